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
#     title: Speculative decoding, token by token
#     minutes: 40
#     needs: ["00"]
#     objectives:
#       - say for one drafted token whether it is kept, and what takes its place if it is not
#       - show that neither rule changes what the target writes, greedy or sampled
#       - compute how many tokens a round brings, and say where that computation is wrong
#       - say when drafting ahead is not worth it, with and without experts to fetch
#     exact: tokens, acceptance, counts of experts and of misses
#     measured: draft and target speed in "When does it pay?", on the reader's machine
#     modelled: nothing
#     sections:
#       - {name: One round of sampled text, minutes: 6}
#       - {name: Keep or replace, minutes: 10}
#       - {name: Nothing changes, minutes: 8}
#       - {name: "How many tokens a round?", minutes: 8}
#       - {name: "When does it pay?", minutes: 8}
#     board:
#       - ask: The draft is certain of a token (q = 1), the target gives it p = 0.3. How often is it kept?
#         answer: In 3 of 10 cases. In the other 7 the token comes from what the target has elsewhere.
#       - ask: When is every drafted token kept, whatever the random numbers?
#         answer: When the draft's distribution is the target's. Then p/q is 1 everywhere.
#       - ask: Why may the draft look at γ tokens ahead, but the target's verdict end at the first rejection?
#         answer: The target judged each later token after a text that is not there any more.
#       - ask: A draft is right 9 times of 10. Does a draft length of 100 bring 90 tokens a round?
#         answer: No, fewer than 10. The first rejection ends a round, and it comes after 9 tokens on average.
#     misunderstandings:
#       - said: A token is kept if the target finds it likelier than the draft does, and else it goes.
#         so: A token that the draft likes too much is kept sometimes, with probability p/q. Else tokens that
#           both find likely would come too seldom.
#       - said: After a rejection the token is drawn from the target's distribution.
#         so: From what is left of it above the draft's. Drawn from all of it, what the draft likes comes too
#           often.
#       - said: With a bad draft the text gets worse.
#         so: It gets slower. Each token has the target's distribution, whatever the draft's is.
# ---

# %% [markdown]
# # Speculative decoding, token by token
#
# To write a token, a large model has to read all the weights that the token needs. To *check* five tokens
# it reads hardly more: the work grows, the reading does not, and the reading is what takes the time. So
# let something small write ahead, and the large model check. In notebook 00 you saw that this changes
# nothing of a greedy text. Here is the rule for all texts, why it is exact, how much it brings, and when
# it brings nothing. The last question is the one that experts turn upside down.
#
# ## One round of sampled text
# A greedy target keeps a drafted token if it is its own. But most text is *sampled*: the target draws each
# token from its distribution, and so does the draft. Two people with the same taste, who draw for
# themselves, will often differ. If only equal tokens were kept, hardly anything would be.

# %%
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
import torch

from moespac_exercises import check, predict, reveal
from moespac_exercises.lessons.speculative_decoding import ROUND, sampled, speed_up, tokens_a_round
from moespac_nb import DOMAINS, load_prompts, load_trace, load_pair, NgramDraft, record, decode
from moespac_nb import lru_hits
from moespac_nb.decoder.sampling import accept_sampled, draw
from moespac_widgets import Stepper, table
from moespac_widgets.figures.base import on_any_page

torch.set_num_threads(1)  # so small a model gains nothing from more

# %%
Stepper(sampled(), gamma=4, step=ROUND)

# %% [markdown]
# Each drafted token shows *q*, how likely the draft found it, *p*, how likely the target finds it, and
# *u*, a random number between 0 and 1 that was drawn for it. Go through some rounds (`l` and `j`). The line
# under the tokens says the rule: check it on tokens that were kept, and on those that were not. Why
# should it be just this one?
#
# ## Keep or replace
# A drafted token was drawn with probability *q*. If the target would write it with a probability *p* that
# is as large or larger, keep it. If *p* is smaller, the draft proposes it too often: keep it in just the
# share *p/q* of the cases. So the token comes from the draft, and stays, with probability
#
# $$ q \cdot \min\left(1, \frac{p}{q}\right) = \min(q, p) $$
#
# which is never more than the target wants.
#
# ### Exercise 02.1: keep it?
# Write the rule: is a drafted token with these *p* and *q* kept, when the random number is *u*? `True` or
# `False`. It is tried on many triples, and if it is wrong you are shown the simplest.


# %%
def keep(p, q, u):
    ### BEGIN SOLUTION
    return u < p / q
    ### END SOLUTION


check("02.1", keep)

# %% [markdown]
# ### Exercise 02.2: how nearly was it kept?
# Go back to the stepper, to the round on which it opened. One drafted token there was judged and rejected.
# With what probability would it have been kept, if only *u* had been drawn anew? Read *p* and *q* off, and
# write the number, from 0 to 1.

# %%
### BEGIN SOLUTION
step = list(sampled().rounds(4))[ROUND]
answer = step.target_probs[step.accepted] / step.draft_probs[step.accepted]
### END SOLUTION

check("02.2", answer)

# %% [markdown]
# What is missing? Here are a target and a draft that know four words. The plain part of a bar is what the
# draft brings by the rule, $\min(p, q)$. Where the target wants more, a gap stays: the hatched part. Both
# together are *p*. The dots are *q*: one above its bar is a word that the draft proposes too often.

# %%
words = ["the", "a", "one", "no"]
p, q = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.2, 0.2, 0.3, 0.3])
figure = go.Figure()
figure.add_bar(x=words, y=np.minimum(p, q), name="from the draft, kept", marker_color="#009E73")
figure.add_bar(
    x=words, y=np.maximum(p - q, 0), name="missing", marker={"color": "#0072B2", "pattern": {"shape": "/"}}
)
figure.add_scatter(x=words, y=q, name="drafted, q", mode="markers", marker={"color": "#E69F00", "size": 12})
figure.update_yaxes(title_text="probability", gridcolor="rgba(128,128,128,.25)", zeroline=False)
on_any_page(figure, "A word from the draft, and what is missing to p; exact", 320, barmode="stack")

# %% [markdown]
# The gaps add up to the probability of a rejection: what the draft brings and what is missing are one
# together. So whenever a token is rejected, fill the gaps: draw from the missing part, as shares of one.
# That is all there is to it, and it makes every word come with just the probability *p*.
#
# ### Exercise 02.3: what is left over
# Write the distribution from which the token after a rejection is drawn, given the lists `p` and `q` over
# all words. It is tried on small vocabularies.


# %%
def left_over(p, q):
    ### BEGIN SOLUTION
    above = [max(a - b, 0) for a, b in zip(p, q, strict=True)]
    return [each / sum(above) for each in above]
    ### END SOLUTION


check("02.3", left_over)

# %% [markdown]
# ## Nothing changes
# Do not believe a derivation, try it. First greedy, with the real pair and a draft that knows no
# language at all: it repeats what stood in the text before.

# %%
model, draft = load_pair()
prompt = load_prompts("news", half="report")[0].prompt
asked = {"max_new_tokens": 48, "stop_ids": ()}
texts, rows = [], []
for name, chosen in (("no draft", None), ("the pair's draft", draft), ("repeats the text", NgramDraft())):
    run = decode(model, prompt, draft=chosen, gamma=0 if chosen is None else 4, **asked)
    rows.append((name, len(list(run)), sum(step.accepted for step in run.steps)))
    texts.append(run.new_ids)
print("all three texts are the same:", texts[0] == texts[1] == texts[2])
table(["draft", "passes of the target", "drafted tokens kept"], rows, "Greedy, 48 tokens; exact")

# %% [markdown]
# In float32, as here, the texts are the same to the last token. In half precision a pass over five positions
# rounds otherwise than one over each. Where the target's two best tokens nearly tie, that may decide, and
# either is as much its own; `moespac decode` counts such near ties.
#
# Then sampled. The four words again, drafted and judged many times by the function that the decoder itself
# uses. To see what a wrong rule would do, two more: one that draws from all of *p* after a rejection, and
# one that keeps a token only if the target likes it at least as much.


# %%
def by_the_rule(rng):
    """The word that comes out of one round, by the decoder's own function."""
    target, proposed = torch.tensor(p), torch.tensor(q)
    drafted = draw(proposed, rng.random())
    kept, other = accept_sampled(drafted[None], proposed[None], target.expand(2, -1), rng.random(2))
    return int(drafted) if kept else other


# %%
def redraws(rng):
    word = rng.choice(4, p=q)
    return word if rng.random() < p[word] / q[word] else rng.choice(4, p=p)


def keeps_only_the_liked(rng):
    word = rng.choice(4, p=q)
    gap = np.maximum(p - q, 0)
    return word if p[word] >= q[word] else rng.choice(4, p=gap / gap.sum())


# %%
N = 6000
rng = np.random.default_rng(2)
rows = [("the target's p", *p, 0.0)]
for rule in (by_the_rule, redraws, keeps_only_the_liked):
    share = np.bincount([rule(rng) for _ in range(N)], minlength=4) / N
    rows.append((rule.__name__.replace("_", " "), *share, np.abs(share - p).sum() / 2))
table(["", *words, "distance from p"], rows, f"Shares of {N} words each; distance: total variation")

# %% [markdown]
# Is the first distance small enough to be chance? As many words, drawn from *p* itself, have a distance,
# too.

# %%
chance = np.abs(rng.multinomial(N, p, size=1000) / N - p).sum(axis=1) / 2
print(f"from p itself: {chance.mean():.4f} on average, below {np.quantile(chance, 0.99):.4f} in 99 of 100")
for name, *_, distance in rows[1:]:
    print(f"{name}: {distance:.4f}, {'chance' if distance <= np.quantile(chance, 0.999) else 'not chance'}")

# %% [markdown]
# ## How many tokens a round?
# Say that each drafted token is kept with probability α, whatever became of the others. A round brings one
# token of the target's own, and the drafted ones before the first rejection.
#
# ### Exercise 02.4: tokens a round
# How many tokens does a round bring on average? Write it for any α from 0 to 1, the ends too, and any γ
# from 0.


# %%
def tokens(alpha, gamma):
    ### BEGIN SOLUTION
    return sum(alpha**n for n in range(gamma + 1))
    ### END SOLUTION


check("02.4", tokens)

# %% [markdown]
# Leviathan, Kalman and Matias, who derived it, write $\frac{1 - \alpha^{\gamma+1}}{1 - \alpha}$, which is
# the same (but for α = 1); MoE-SpAc calls it $\Omega(\gamma, \alpha)$. Is the assumption true? The bundled
# traces know what became of every token. Of the rounds that reached a position, how many kept the token
# there?

# %%
accepted = {}
for domain in DOMAINS:
    dense = load_trace(domain, mode="sample", dense=True, half="report")
    accepted[domain] = np.array([step.accepted for step in dense.rounds(8) if step.gamma == 8])
reached = {d: [(kept >= n).mean() for n in range(9)] for d, kept in accepted.items()}
rows = [(d, *(now / before for before, now in pairwise(r[:6]))) for d, r in reached.items()]
table(["domain", *(f"token {n}" for n in range(1, 6))], rows, "Kept, of those reached; γ = 8, sampled; exact")

# %%
rows = []
for domain, kept in accepted.items():
    alpha = kept.sum() / np.minimum(kept + 1, 8).sum()  # kept, of all that were judged
    rows.append((domain, alpha, tokens_a_round(alpha, 8), (kept + 1).mean()))
head = ["domain", "α", "Ω(8, α)", "tokens a round, counted"]
off, where = max((abs(said / counted - 1), domain) for domain, _, said, counted in rows)
print(f"the formula is off by {off:.0%} at most, in {where}")
table(head, rows, "What the formula says, and what happened; γ = 8; exact")

# %% [markdown]
# Look along the lines of the first table. If tokens were kept independently, a line would be flat. Where
# it rises, easy stretches hide in the average: who has been right three times is in a stretch where being
# right is easy. One α for a whole domain mixes those with the hard ones. And yet the formula is hardly off,
# in any domain: with the α of these very rounds it gives their *mean* well. It is no proof that tokens are
# kept independently.
#
# ## When does it pay?
# A round takes γ steps of the draft and one pass of the target: $T = \gamma\,T_D + T_V$. Divide by the
# tokens it brings.
#
# ### Exercise 02.5: how far ahead?
# A drafted token takes the share `cost` of the time of one pass. Which γ from 0 to 8 brings the most
# tokens in the same time, if each is kept with probability `alpha`? Where several are as good, any of
# them.


# %%
def best_length(alpha, cost):
    ### BEGIN SOLUTION
    return max(range(9), key=lambda gamma: tokens(alpha, gamma) / (1 + gamma * cost))
    ### END SOLUTION


check("02.5", best_length)

# %% [markdown]
# On your machine, for this pair, on a text that is easy and one that is not:

# %%
rows = []
for domain in ("math", "code"):
    prompt = load_prompts(domain, half="report")[1].prompt
    trace = record(model, prompt, draft=draft, gamma=4, **asked)
    cost = np.median(trace.draft_ms) / 4 / np.median(trace.verify_ms)
    alpha = trace.accepted.sum() / np.minimum(trace.accepted + 1, 4).sum()
    rows.append((domain, cost, alpha, speed_up(alpha, 4, cost)))
table(["", "a drafted token, in passes", "α", "tokens in the time of a pass"], rows, "γ = 4; times measured")

# %% [markdown]
# A number below one in the last column is a loss. And so far a pass was taken to cost the same, however
# many tokens it checks. For a model whose weights are all read in any case that is nearly so. A mixture of
# experts reads *what its tokens ask for*: a window of nine positions asks for the experts of nine tokens,
# also of those that are rejected.
#
# Before you run on: a draft of 8 tokens, sampled, all domains. How many times as many experts must be read
# **for each token of text**, compared with no draft? 1 is as many, 0.5 half as many, 2 twice as many.

# %%
predict("02.P1", ...)


# %%
def asked_for(domain, gamma):
    """Experts that each pass asks for in each layer, and how many tokens of text that brought."""
    dense = load_trace(domain, mode="sample", dense=True, half="report")
    rounds = list(dense.rounds(gamma))
    return np.stack([step.counts > 0 for step in rounds]), sum(len(step.emitted) for step in rounds)


# %%
lengths, experts, misses = (0, 1, 2, 4, 8), [], []
for gamma in lengths:
    found = [asked_for(domain, gamma) for domain in DOMAINS]
    grown = sum(tokens for _, tokens in found)
    layers = found[0][0].shape[1]
    experts.append(sum(used.sum() for used, _ in found) / grown / layers)
    missed = sum(used.sum() - lru_hits(used, slots=16).sum() for used, _ in found)
    misses.append(missed / grown / layers)

# %%
rows = zip(lengths, experts, misses, strict=True)
head = ["γ", "experts read a token and layer", "of them not in a cache of 16 of 64"]
reveal("02.P1", experts[-1] / experts[0], "×")
table(head, rows, "All domains, sampled; an LRU cache a layer, text after text; exact")

# %% [markdown]
# Drafting ahead makes fewer passes, and a token of text needs *more* experts to be read, not fewer, also
# with a cache. (That is the mean of all domains; notebook 03 takes them one by one.) Where experts have to
# come over a slow link, that can eat the gain and more. Then why speculate at all, with a mixture of
# experts on a small device? Three reasons are put forward: copies can be shared by the positions of a
# window; a window has more time in which copies can hide; and the window *tells* something. Notebook 03
# takes up the last one, notebooks 05 to 07 the others.
#
# Three cautions. The pair is small, and its draft was trained on the same kinds of text. The domains math
# and mcq are made from templates that the training text shares, which flatters acceptance there. And α
# depends on the temperature: these traces were sampled at 0.8.
#
# **References.** Y. Leviathan, M. Kalman, Y. Matias, *Fast inference from transformers via speculative
# decoding*, ICML 2023. C. Chen et al., *Accelerating large language model decoding with speculative
# sampling*, arXiv 2302.01318 (2023). S. Li, J. Lin, D. Ge, Y. Ye, *MoE-SpAc*, arXiv 2603.09983 (2026).
