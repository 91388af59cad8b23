# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   moespac:
#     title: "Start here: what a window asks for"
#     minutes: 30
#     needs: []
#     objectives:
#       - step through a decode and say of each token who wrote it, and why
#       - say what greedy speculative decoding may change of a text, and check it
#       - read from a map of layers and experts what a window asks for, and which tokens asked
#       - say with a number how well one window predicts the next
#     exact: tokens, acceptance, counts of experts, recall
#     measured: the two speeds in "The same text, without a draft", on the reader's machine
#     modelled: nothing
#     sections:
#       - {name: Step through a decode, minutes: 7}
#       - {name: "The same text, without a draft", minutes: 3}
#       - {name: One round from inside, minutes: 6}
#       - {name: What a window asks for, minutes: 6}
#       - {name: "Does the window predict the next one?", minutes: 7}
#       - {name: Where to go from here, minutes: 1}
#     board:
#       - ask: A draft proposes 4 tokens and the target accepts 3. By how many tokens does the text grow?
#         answer: By 4. The pass that rejects the fourth token also says what stands in its place.
#       - ask: The draft is replaced by a much worse one. What happens to the text, and to the speed?
#         answer: The text stays as it is, token for token. Fewer tokens are accepted, so there are more
#           rounds.
#       - ask: Why does a window of five positions need more experts than one position, but not five times
#           as many?
#         answer: Each position has its own experts, and some experts are asked for by several of them.
#     misunderstandings:
#       - said: The draft writes part of the text, so the text is a mixture of two models.
#         so: The target judges every token. What stays is what it would have written alone.
#       - said: A rejected token costs nothing.
#         so: It went through the target's layers like the others, and its experts were needed for it.
#       - said: A token that equals the target's choice is accepted wherever it stands.
#         so: Only up to the first that differs. What follows was drafted, and judged, after a text that is
#           not there.
# ---

# %% [markdown]
# # Start here: what a window asks for
#
# A mixture-of-experts model keeps many small networks, *experts*, in each layer and uses a few of them for
# each token. The experts are most of its bytes. On a small device they do not all fit, and somebody has to
# guess which ones the next token needs.
#
# **Speculative decoding** lets a small model, the *draft*, propose several tokens, which the large one, the
# *target*, then checks in one pass. MoE-SpAc ([Li et al. 2026](https://arxiv.org/abs/2603.09983)) noticed
# that this pass is also a *sensor*: it shows how many of the tokens asked for each expert, and so, perhaps,
# what the next pass will need. This notebook shows you such a pass from the inside, and then asks whether the
# "perhaps" holds.
#
# ## Step through a decode
# The pair that comes with the toolkit: a target with 8 layers of 64 experts, 4 of them used for each token,
# and a dense draft of 2 layers. Both were really trained and are really small. They know the form of seven
# kinds of text and little of the world, so do check their sums. The kinds, or *domains*, bear short names
# after the benchmarks whose place they take, and are only like them: half of `news` is narrative of old
# novels, scripture and Python's release notes, half of `chat` is dialogue from those novels, and the rest of
# both is made from templates (`data/README.md` has all seven).

# %%
import numpy as np
import torch

from moespac_exercises import check, predict, reveal
from moespac_exercises.lessons.start_here import ROUND, recorded
from moespac_nb import DOMAINS, load_prompts, load_trace, load_pair, record, decode, expert_usage
from moespac_nb import recall_by_predictor
from moespac_widgets import DemandMap, Stepper, table

torch.set_num_threads(1)  # so small a model gains nothing from more
model, draft = load_pair()

# %% [markdown]
# Now a word problem that neither has seen. In each round the draft proposes γ = 4 tokens. The target reads
# them together with the last token of the text (five *positions*, the **window**), in one pass, and keeps
# those that it would have written itself.

# %%
prompt = load_prompts("math", half="report")[6].prompt
trace = record(model, prompt, draft=draft, gamma=4, max_new_tokens=96)
Stepper(trace)

# %% [markdown]
# Click into it and press `l` (or `→`) to go on, `j` (or `←`) to go back, `k` to play. Look for three things.
#
# 1. **Most rounds keep all four tokens**, and the target adds a fifth, the *bonus*: one pass of the large
#    model, five tokens.
# 2. **Some rounds reject a token.** It is struck out, the target's own choice takes its place, and what was
#    drafted after it goes as well: it continued a text that is not there.
# 3. **Below is what the pass asked for**: a row for each layer, a column for each expert, and in it how
#    many of the window's positions were sent to that expert. Click a token to see its experts, and a cell
#    to see which tokens asked for it.
#
# For the exercises everybody gets the same decode, which was recorded beforehand: a question with four
# answers, a kind of text on which the draft is less sure of itself.

# %%
Stepper(recorded(), gamma=4, step=ROUND)

# %% [markdown]
# ### Exercise 00.1: who wrote it?
# Up to and including the round on which the stepper above opens: how many tokens of the answer did the draft
# write, and how many the target? Go through the rounds from the first, and write two numbers, such as
# `[2, 5]`. Then run the cell: it says whether you are right, and never what is right.

# %%
### BEGIN SOLUTION
rounds = list(recorded().rounds(4))[: ROUND + 1]
answer = [sum(step.accepted for step in rounds), len(rounds)]
### END SOLUTION

check("00.1", answer)

# %% [markdown]
# ## The same text, without a draft
# The draft may be as bad as it likes, the text stays the target's. Do not take our word for it: here the
# target writes alone, a token a pass.

# %%
alone = decode(model, prompt, max_new_tokens=96)
ids = [int(token) for step in alone for token in step.emitted]
both_ms = float(np.sum(trace.draft_ms + trace.verify_ms))
alone_ms = sum(step.verify_ms for step in alone.steps)
print("the same text:", ids == trace.committed_ids.tolist())
rows = [("tokens", len(ids), len(ids)), ("passes of the target", len(trace), len(alone.steps))]
rows += [("tokens a second (measured)", 1e3 * len(ids) / both_ms, 1e3 * len(ids) / alone_ms)]
table(["", "with draft", "target alone"], rows)

# %% [markdown]
# The speeds are measured on your machine, and of so small a model: they say nothing about large ones. The
# number of passes is exact, and it is what a draft saves.
#
# ## One round from inside
# Why was a token kept, or not? A target that always takes its likeliest token (*greedy* decoding) keeps a
# drafted token if it is that one. *q* is the probability that the draft gave its token, *p* the one that the
# target gave it. Change `number` and run the cell again.

# %%
number = 6
step = trace[number]
drafted, choices = ([trace.token_strings[i] for i in ids.tolist()] for ids in (step.drafted, step.target_ids))
fates = ["accepted" if ok else "not kept" for ok in step.accepted_mask]
rows = zip(map(repr, drafted), step.draft_probs, step.target_probs, map(repr, choices), fates, strict=False)
caption = f"Round {number}; then the target's own {choices[step.accepted]!r}"
table(["drafted", "q", "p", "target's choice", ""], rows, caption)

# %% [markdown]
# The target's choice in each line is what it would write *after the lines above*. So once a line differs, the
# lines below it are about another text, even where they happen to agree.
#
# ### Exercise 00.2: the rule as code
# Write a function that is given the γ drafted tokens and the target's γ + 1 choices, both as lists of ids,
# and returns how many drafted tokens are accepted. It is tried on rounds of the recorded decode, with drafts
# of 1 to 8 tokens; if it is wrong on one, you are shown the simplest such round.


# %%
def accepted_length(drafted, choices):
    ### BEGIN SOLUTION
    for n, token in enumerate(drafted):
        if token != choices[n]:
            return n
    return len(drafted)
    ### END SOLUTION


check("00.2", accepted_length)

# %% [markdown]
# ## What a window asks for
# In each layer a *router* sent each of the five positions to 4 of the 64 experts. The upper map shows how
# many positions each expert served: the **counts** *f*, from 0 to 5. The lower one shows what the first
# token alone would have told: used, or not. Step through the rounds.

# %%
DemandMap(trace, show="bit", layer=5)

# %% [markdown]
# The window tells *how much* an expert is wanted, a token only *that* it is wanted. That is the sensor. It
# has a price: a window asks for many more experts than a token, those of rejected tokens among them. In the
# table a draft that is nearly always right, and one that is often wrong, beside none.

# %%
rows = []
for name, rounds in (
    ("the word problem", list(trace)),
    ("the recorded question", list(recorded().rounds(4))),
):
    asked = sum((step.counts > 0).sum(axis=1).mean() for step in rounds)
    rows.append((name, asked / len(rounds), asked / sum(len(step.emitted) for step in rounds)))
rows.append(("any text without a draft", float(trace.geometry.top_k), float(trace.geometry.top_k)))
table(["", "experts a layer and pass", "experts a layer and token of text"], rows, "γ = 4; exact")

# %% [markdown]
# Fewer passes are not fewer bytes. A draft that is right saves passes and asks for about as many experts a
# token; one that is wrong asks for more.
#
# ### Exercise 00.3: who asked?
# Go back to the stepper of the recorded decode, to the round on which it opened. In its map, choose the
# busiest expert of **layer 5** (if there are several, any of them). Which positions of the window asked for
# it? Write them as a list, such as `[0, 4]`; position 0 is the last token of the text before.

# %%
### BEGIN SOLUTION
asked = list(recorded().rounds(4))[ROUND]
busiest = asked.counts[5].argmax()
answer = [n for n, experts in enumerate(asked.experts[:, 5]) if busiest in experts]
### END SOLUTION

check("00.3", answer)

# %% [markdown]
# ## Does the window predict the next one?
# This is the first honest question, and the whole method hangs on it. It is asked as a share: of the experts
# that the next window will need, how many have you named? That share is called **recall**. By hand, for one
# layer, with the plainest forecast: the next window needs what this one needed.

# %%
now, following = list(recorded().rounds(4))[ROUND : ROUND + 2]
for name, one in (("this window asks for", now), ("the next one asks for", following)):
    print(f"layer 5, {name}", *np.flatnonzero(one.counts[5]))

# %% [markdown]
# ### Exercise 00.4: recall by hand
# All experts of the first line are named. What is the recall, a number from 0 to 1?

# %%
### BEGIN SOLUTION
named, needed = (set(np.flatnonzero(one.counts[5]).tolist()) for one in (now, following))
answer = len(named & needed) / len(needed)
### END SOLUTION

check("00.4", answer)

# %% [markdown]
# Whoever names more experts has the better recall, so a fair comparison names equally many: 16 of the 64 in
# each layer. Five ways to choose them:
#
# 1. the **last window's counts**, highest first, filled up by recency: the paper's sensor;
# 2. the **last token** alone, filled up by recency: what a cache without speculation knows (LRU);
# 3. **overall popularity**: what other texts of all seven kinds used most;
# 4. **this domain's popularity**: what other texts of this kind used most;
# 5. **chance**.
#
# Which of the five wins, on text that is sampled rather than greedy? Chance has a recall of 25 %, by itself.
# Put three guesses in the place of the dots before you run on.

# %%
predict("00.P1", ...)  # the last window's counts, recall in per cent
predict("00.P2", ...)  # the last token
predict("00.P3", ...)  # this domain's popularity


# %%
def texts(domain, mode):
    """Each text that was set aside for reports: the reading of its prompt, and its windows of γ = 4."""
    dense = load_trace(domain, mode=mode, dense=True, half="report")
    found = []
    for step in dense.rounds(4):
        if step.index == 0:  # the next text
            found.append((dense.prefill(len(found)), []))
        found[-1][1].append(step)
    return [(prefill, windows) for prefill, windows in found if len(windows) > 1]


# %%
def popularity(domain, mode):
    """How often texts of the other half used each expert, as shares of a layer."""
    counts = expert_usage(load_trace(domain, mode=mode, dense=True, half="tune"))
    return counts / counts.sum(axis=1, keepdims=True)


# %%
names = ["last window's counts", "last token", "overall popularity", "this domain's popularity", "chance"]
recalls = {}
for mode in ("greedy", "sample"):
    known = {domain: popularity(domain, mode) for domain in DOMAINS}
    overall = sum(known.values()) / len(known)
    for domain in DOMAINS:
        told = {names[2]: overall, names[3]: known[domain]}
        found = [recall_by_predictor(*text, 16, told) for text in texts(domain, mode)]
        recalls[mode, domain] = np.array([[one[name] for name in names] for one in found])

# %%
means = {key: found.mean(axis=0) for key, found in recalls.items()}
every = {mode: np.mean([means[mode, domain] for domain in DOMAINS], axis=0) for mode in ("greedy", "sample")}
rows = [(domain, mode, *mean) for (mode, domain), mean in means.items()]
rows += [("all", mode, *mean) for mode, mean in every.items()]
table(["domain", "mode", *names], rows, "Recall of the next window's experts, 16 of 64 named a layer; exact")

# %%
for guessed, name in (("00.P1", names[0]), ("00.P2", names[1]), ("00.P3", names[3])):
    reveal(guessed, 100 * every["sample"][names.index(name)], "%")
for mode in every:
    values = np.concatenate([recalls[mode, domain] for domain in DOMAINS])
    last, popular = (values[:, [0]] > values[:, [1, 3]]).sum(axis=0)
    print(
        f"{mode}: of {len(values)} texts, the counts beat the last token in {last}, popularity in {popular}"
    )

# %% [markdown]
# Read the last lines first. The counts beat the last token in most texts: a window does tell more than a
# token. Against someone who has simply seen this kind of text before, sampled text is a close call, by the
# mean and by the number of texts. And the table says how far all of them are from knowing: the best name
# about half of what the next window needs.
#
# So the sensor is real, and modest. Three cautions. These are 8 short texts a domain. Greedy text of so small
# a model loops, which flatters whatever looks back; the sampled lines are the ones to trust. And recall is
# not speed: what a better guess is *worth*, in tokens per second, depends on the cache, the link, the
# processors and on who decides what. That is what the other notebooks are about.
#
# ## Where to go from here
#
# | notebook | the question that it answers |
# | --- | --- |
# | [01 the memory wall] | Why are experts the problem, and does your model fit your machine? |
# | [02 speculative decoding] | How can a draft speed up a target and change nothing of what it writes? |
# | [03 speculation as a sensor] | What do counts tell that bits do not, and where do they predict? |
# | [04 the utility estimator] | How does a noisy count become a steady judgement of an expert's worth? |
# | [05 the workload balancer] | Which experts should the GPU take, and which the CPU? |
# | [06 the asynchronous engine] | How do copies run beside computing, and what must never happen? |
# | [07 the budget lab] | What is a gigabyte worth, and does the paper's headline hold up? |
#
# Still to come: 08, does it hold up on other models and traces; 09, your own model; 10, write a policy.
#
# - Your own prompt: change `prompt` in the second code cell and run on.
# - The same from a terminal: `moespac decode --domain chat --gamma 8`, `moespac doctor`.
#
# [01 the memory wall]: 01_the_memory_wall.ipynb
# [02 speculative decoding]: 02_speculative_decoding.ipynb
# [03 speculation as a sensor]: 03_speculation_as_a_sensor.ipynb
# [04 the utility estimator]: 04_the_utility_estimator.ipynb
# [05 the workload balancer]: 05_the_workload_balancer.ipynb
# [06 the asynchronous engine]: 06_the_asynchronous_engine.ipynb
# [07 the budget lab]: 07_the_budget_lab.ipynb
#
# **References.** S. Li, J. Lin, D. Ge, Y. Ye, *MoE-SpAc*, arXiv 2603.09983 (2026). Y. Leviathan, M. Kalman,
# Y. Matias, *Fast inference from transformers via speculative decoding*, ICML 2023. C. Chen et al.,
# *Accelerating large language model decoding with speculative sampling*, arXiv 2302.01318 (2023).
