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
#     title: The budget lab
#     minutes: 40
#     needs: ["06"]
#     objectives:
#       - say before a replay what memory, link, draft length, machine and policy will do to the speed, and
#           check it
#       - read where a token's time goes, and compute what removing one part of it could bring at most
#       - compute what the link allows, and who pays for a draft under either accounting
#       - say of a headline what was compared with what, and split a gain into engine, cache and sensor
#       - plan a purchase and defend it with numbers
#     exact: tokens, counts, bytes
#     measured: the speeds in "On your machine", on the reader's machine
#     modelled: "every other speed: the bundled pair's routing, 8 layers of it, as if its experts were a
#       profile's, on a named machine"
#     sections:
#       - {name: Guess first, minutes: 5}
#       - {name: Where the time goes, minutes: 6}
#       - {name: Bytes beside hits, minutes: 5}
#       - {name: What each knob buys, minutes: 6}
#       - {name: "Who pays for the draft?", minutes: 3}
#       - {name: A race, minutes: 3}
#       - {name: "Does the headline hold?", minutes: 7}
#       - {name: On your machine, minutes: 1}
#       - {name: Plan a purchase, minutes: 4}
#     board:
#       - ask: A system is "4 times as fast as the others". What do you ask first?
#         answer: Than which others, under which settings, and is it the ratio to their mean or the mean of
#           the ratios?
#       - ask: A policy's hit rate rises and its speed falls. How can that be?
#         answer: Its hits were paid for with copies, and somebody waited for them. Look at the bytes.
#       - ask: When does a draft make a model slower whose experts compute on the CPU?
#         answer: When a window asks for more times the experts of one token than it yields tokens.
#       - ask: How would you find out what a sensor is worth?
#         answer: Give two policies the same engine, slots, link and miss rule, and let them differ in the
#           sensor alone.
#     misunderstandings:
#       - said: The best hit rate is the best policy.
#         so: Hits do not show what was copied for them, nor who waited.
#       - said: A longer draft is faster, as long as most of its tokens are accepted.
#         so: The last tokens are accepted least often, and their experts are needed all the same.
#       - said: If a system beats another by 42 %, its new idea is worth 42 %.
#         so: Systems differ in many parts. What one part is worth shows only where all others are equal.
#       - said: A faster link helps only who waits for copies.
#         so: Where misses go to the CPU, a slow link shows as waiting for the CPU.
# ---

# %% [markdown]
# # The budget lab
#
# A gigabyte more, a faster link, a longer draft, a better policy: which of them buys tokens per second, and
# why? And when somebody reports 42 % more, or four times as much: more than what? Here you guess, replay,
# take the answer apart, and in the end spend a budget.
#
# One warning for every number below that is called *modelled*. What is replayed is the real routing of the
# bundled pair, as if each of its experts were one of a large model's, on a named machine. The pair has 8
# layers with 4 experts a token, and the model it stands for 48 with 8, so a speed here is that of **a part of
# the model**. What the whole would make of it is computed beside it where it says *whole model*: expert work
# by layers and experts, the rest by layers, which is rough. And the pair's consecutive tokens share fewer
# experts than those of large models. Compare lines, and keep the limits in mind.
#
# ## Guess first
# The domain `chat`, sampled, decoded with γ = 4, as if by Qwen3-30B-A3B on a desktop with an RTX 4090. The
# policy `recency` copies what the last window used, and computes on the CPU what is in no slot. How many
# tokens a second with slots for 17 % of the experts, the paper's budget? Commit your guess; then the curve
# appears. Guess again before you move anything: twice the memory, half the link, γ = 8, another machine.
# Untick *guess first* when you want to play freely.

# %%
from dataclasses import replace
from functools import cache

import numpy as np

# %%
from moespac_exercises import check, predict, reveal
from moespac_exercises.lessons.the_budget_lab import TARGET_TPS, plan
from moespac_nb import DOMAINS, load_prompts, load_trace, load_pair, improve_draft, offload
from moespac_nb import compose_policy, get_policy, replay, cost_model, list_machines, load_machine
from moespac_widgets import BudgetLab, Dashboard, Race, parts_figure, table

dense_traces = {domain: load_trace(domain, mode="sample", dense=True, half="report") for domain in DOMAINS}
chat = dense_traces["chat"]
BudgetLab(chat, gamma=4, policy="recency", beside="on-demand", ask="guess")

# %% [markdown]
# ## Where the time goes
# A speed is the end of a story. Here is the story: what each millisecond of a token was spent on, when four
# policies and a bound have the same 17 %. What to see: the target's own work on the GPU is a sliver. Most
# of a token's time is *waiting*, for copies or for the CPU lane, and a policy decides for which.

# %%
names = ["on-demand", "cpu-only", "recency", "spac-paper", "next-window-oracle"]
played = {"gamma": 4, "timeline": False}
results = [replay(chat, name, "17%", **played) for name in names]
for one in results:
    whole = f"about {one.tps_whole_model:.1f} of the whole model"
    print(f"{one.policy:18} {one.tps_modelled:6.1f} tokens/s of 8 layers, {whole} (modelled)")
parts_figure(results)

# %% [markdown]
# ### Exercise 07.1: a ceiling
# If one part took no time and nothing else changed, how many times as fast would it be? Write `ceiling`:
# `parts` is a dict of seconds, such as `{"draft_s": 1.0, "cpu_wait_s": 2.0, "link_wait_s": 5.0}`, and `part`
# the name of one of them.


# %%
def ceiling(parts, part):
    ### BEGIN SOLUTION
    total = sum(parts.values())
    return total / (total - parts[part])
    ### END SOLUTION


check("07.1", ceiling)

# %% [markdown]
# Such a ceiling is only as good as its "nothing else changed". Below, the ceiling of the link beside what a
# link of four times the bandwidth brings in a replay.

# %%
fast = load_machine("rtx4090")
fast = replace(fast, link_bytes_per_s=4 * fast.link_bytes_per_s)
rows = []
for one in results:
    quicker = replay(chat, one.policy, "17%", machine=fast, **played)
    bound = one.parts.total_s / (one.parts.total_s - one.parts.link_wait_s)
    rows.append((one.policy, bound, quicker.tps_modelled / one.tps_modelled))
now, then = (cost_model(on, "qwen3-30b-a3b") for on in ("rtx4090", fast))
print(f"a copy: {1e3 * now.copy_s():.2f} ms, of them {1e3 * now.copy_alpha_s:.2f} its fixed cost")
print(f"with a link ×4: {1e3 * then.copy_s():.2f} ms, {now.copy_s() / then.copy_s():.2f} times as fast")
table(["policy", "ceiling of waiting for copies", "with a link ×4"], rows, "Modelled, as factors")

# %% [markdown]
# `on-demand` waits for copies nearly all the time, so its ceiling is high. A link of four times the
# bandwidth brings far less, and not even a factor of four: a copy's fixed cost, which no bandwidth
# shortens, is still there (notebook 01). `recency` never waits for a copy, so its ceiling is 1, and yet a
# faster link helps it: more copies come in time, and fewer experts are left to the CPU. **A slow link can
# hide behind a busy CPU.** That is why this notebook replays, and does not only divide.
#
# ## Bytes beside hits
# A cache is usually judged by its hit rate. Here are three ways to treat a miss in one and the same policy,
# and two others beside them. *Ready* is the share of needed experts that were in a slot in time.

# %%
recency = get_policy("recency")
ways = [recency, recency.missing("load"), recency.missing("cheaper"), "on-demand", "spac-paper"]
rows = []
for budget in ("17%", "50%"):
    for one in (replay(chat, way, budget, **played) for way in ways):
        megabytes = one.bytes_per_token / 1e6
        held = budget if one.fits else f"{budget} †"
        rows.append((held, one.policy, one.hit_rate, round(megabytes), round(one.tps_modelled)))
head = ["budget", "policy", "ready", "MB a token", "tokens/s"]
table(head, rows, "Modelled, of 8 of 48 layers; bytes exact. †: more than the card holds, not to be ranked")

# %% [markdown]
# Read the 50 % lines, though no such card holds so much: which has the highest share ready, and which is
# the fastest? To *load* a miss is to have it ready the next time, and to wait for it now. The hit rate
# shows the first and hides the second. And look at `spac-paper`: a little slower than `recency`, with less
# than half of its bytes. On a link that others use, too, that is worth something. So always ask for the
# bytes beside the hits.
#
# ### Exercise 07.2: what the link allows
# Copies pass the link one after another, and each takes `alpha_s` seconds beside its bytes. Write
# `link_allows`, the most tokens a second that a link can feed with so many copies a token, whatever else is
# free of charge.


# %%
def link_allows(copies, expert_bytes, alpha_s, bytes_per_s):
    ### BEGIN SOLUTION
    return 1 / (copies * (alpha_s + expert_bytes / bytes_per_s))
    ### END SOLUTION


check("07.2", link_allows)

# %%
on = load_machine("rtx4090")
rows = []
for one in results:
    copies = one.counters.copies / one.tokens
    expert_bytes = one.counters.bytes / max(1, one.counters.copies)
    link_s = copies * (on.copy_alpha_s + expert_bytes / on.link_bytes_per_s)
    allowed = round(1 / link_s) if copies else None
    rows.append((one.policy, round(one.tps_modelled), allowed, one.tps_modelled * link_s))
head = ["policy", "tokens/s", "what the link allows", "share of it that is used"]
table(head, rows, "17 %, modelled; of 8 layers")

# %% [markdown]
# A policy that uses all that its link allows can only become faster by copying less, or by copying what is
# worth more; one far below has something else to wait for. (A few copies are begun at the end of a text and
# come while the next prompt is read. So a share may be a hair over 1.)
#
# ## What each knob buys
# One change at a time, from the same start: `recency`, 17 %, γ = 4, an RTX 4090. Two kinds of text, because
# the draft is right far more often about word problems than about code.
#
# First a guess. On `code`, with the same slots: how many times as fast is γ = 4 as no draft at all?

# %%
predict("07.P1", ...)  # a factor: 1 is just as fast, 2 is twice as fast

# %%
cpu = {f"host_{what}_per_s": 2 * getattr(on, f"host_{what}_per_s") for what in ("expert_bytes", "flops")}
knobs = {"the start": {}, "twice the slots": {"budget": "34%"}, "a link ×4": {"machine": fast},
         "a CPU lane ×2": {"machine": replace(on, **cpu)}, "no draft": {"gamma": 0}, "γ = 8": {"gamma": 8},
         "4-bit experts": {"model": "qwen3-30b-a3b-4bit"},
         "the best guess": {"policy": "next-window-oracle"}}  # fmt: skip
start = {"policy": "recency", "budget": "17%", **played}
ran = [
    [replay(dense_traces[d], **(start | knob)).tps_modelled for d in ("math", "code")]
    for knob in knobs.values()
]

# %%
speeds = np.array(ran)
factors = dict(zip(knobs, speeds / speeds[0], strict=True))
rows = [(name, *map(round, row), *factors[name]) for name, row in zip(knobs, ran, strict=True)]
caption = "Modelled, of 8 of 48 layers; × is over the start"
table(["", "math, tokens/s", "code, tokens/s", "math ×", "code ×"], rows, caption)

# %%
reveal("07.P1", 1 / factors["no draft"][1], "×")

# %% [markdown]
# The draft is the surprise. Why would it slow a model down? A window is verified in one pass, so it saves
# passes. But with a mixture of experts a pass costs what its *experts* cost, and five positions ask for more
# of them than one. So whether drafting pays is a race between two factors: how many times the experts of a
# single token a window asks for, and how many tokens it yields. In the last columns, what a better draft
# would change: one that does not make half of the mistakes, and one that is never wrong. (A dense trace holds
# what they would have needed: the rows that begin at the right token.)

# %%
rows = []
for domain, trace in dense_traces.items():
    none = replay(trace, "recency", "17%", gamma=0, timeline=False).tps_modelled
    drafts = [improve_draft(trace, fix_fraction) for fix_fraction in (0, 0.5, 1)]
    speeds = [replay(draft, "recency", "17%", **played).tps_modelled / none for draft in drafts]
    rounds = list(trace.rounds(4))
    asks = np.mean([(step.counts > 0).sum(axis=1).mean() for step in rounds]) / trace.geometry.top_k
    rows.append((domain, asks, np.mean([len(step.emitted) for step in rounds]), *speeds))
head = ["domain", "a window's experts over a token's", "tokens a window yields"]
head += ["γ = 4 over no draft", "half the mistakes", "never wrong"]
table(head, rows, "First two columns exact; speeds of recency at 17 %, as factors, modelled")

# %% [markdown]
# Where a window yields so many more tokens than it multiplies experts that the drafting is paid, too, a
# draft pays. Here that is word problems alone; and even a draft that is never wrong would bring little,
# because this model's positions agree so little about their experts. For a large model the paper publishes
# 2.72 for the first column at γ = 4 (Qwen3-235B on MT-Bench, *published*): there a draft pays sooner. That
# is the first reason not to carry our signs over to a large model.
#
# ## Who pays for the draft?
# It needs device memory, too. *Slots-equal* gives every contestant the same slots, as the paper counts, and a
# draft is free. *Device-equal* gives everybody the same memory, and the draft's bytes come off.
#
# ### Exercise 07.3: slots that are left
# Write `slots_left`: whole experts that fit into a budget under device-equal accounting, once the draft is
# in.


# %%
def slots_left(budget_bytes, draft_bytes, expert_bytes):
    ### BEGIN SOLUTION
    return max(0, budget_bytes - draft_bytes) // expert_bytes
    ### END SOLUTION


check("07.3", slots_left)

# %%
rows = []
for accounting in ("slots-equal", "device-equal"):
    for gamma in (0, 4):
        ran = [
            replay(dense_traces[d], "recency", "17%", gamma=gamma, accounting=accounting, timeline=False)
            for d in DOMAINS
        ]
        rows.append((accounting, gamma, ran[0].slots, *(round(one.tps_modelled) for one in ran)))
table(["accounting", "γ", "slots", *DOMAINS], rows, "recency at 17 %; tokens a second of 8 layers, modelled")

# %% [markdown]
# Nothing is right or wrong about either accounting; it is wrong not to say which. Whoever has a card of a
# given size has device-equal.
#
# ## A race
# The same text, three policies, one clock; the oracle, which reads the future, runs along as a ghost. Play,
# or drag the time.

# %%
Race(chat, ["recency", "spac-joint", "on-demand"], budget="25%", gamma=4)

# %% [markdown]
# And one replay seen from all sides at once. Find a window that took long, choose an expert in the placement
# graph that had to compute on the CPU, and read why it was in no slot.

# %%
Dashboard("chat", policy="recency", budget="17%", gamma=4)

# %% [markdown]
# ## Does the headline hold?
# MoE-SpAc reports 42 % more tokens a second than the best speculative baseline, and 4.04 times as many as
# the others. Here is its table for Qwen3-30B-A3B on an RTX 4090 with 17 % of the experts in slots: tokens a
# second on MMLU-Pro, MT-Bench, GSM8K, HumanEval, Alpaca, CNN/DM, QA. All of it is **published**; we did not
# run it.

# %%
published = """Accelerate 1.13 1.15 1.21 1.15 1.09 1.27 1.16
vLLM 2.65 2.67 2.67 2.63 2.67 2.57 2.68
llama.cpp 15.17 14.34 15.01 14.74 16.86 15.42 15.09
llama.cpp+SD 17.29 17.58 19.03 18.78 18.02 16.46 16.49
Mixtral-Offload 2.43 2.36 2.35 2.48 2.33 2.23 2.33
MoE-Infinity 3.64 3.64 3.63 3.63 3.48 3.56 3.44
SP-MoE 4.75 4.46 4.87 4.98 4.83 4.38 4.55
Fate 7.93 7.89 7.82 7.82 7.42 7.83 7.83
HybriMoE 12.22 12.03 12.38 11.96 12.29 12.37 11.83
MoE-SpAc 25.80 24.10 27.82 28.24 23.15 22.78 23.56"""
cells = [line.split() for line in published.splitlines()]

# %%
means = {name: np.mean([float(cell) for cell in row]) for name, *row in cells}
ours = means["MoE-SpAc"]
others = [mean for name, mean in means.items() if name not in ("MoE-SpAc", "llama.cpp+SD")]
print(f"over llama.cpp+SD: {ours / means['llama.cpp+SD'] - 1:.0%} more (published numbers)")
print(f"over the mean speed of the {len(others)} others: {ours / np.mean(others):.2f} ×")
table(
    ["system", "mean tokens/s, published", "MoE-SpAc over it"], [(n, m, ours / m) for n, m in means.items()]
)

# %% [markdown]
# Both headlines follow from the table. But the second is the ratio to a *mean of speeds*. One could as well
# take the *mean of the ratios*, the last column over the same eight systems. What does that come to?

# %%
predict("07.P2", ...)  # a factor

# %%
reveal("07.P2", float(np.mean([ours / mean for mean in others])), "×")
slowest, fastest = min(others), max(others)
print(f"the {len(others)} others: from {slowest:.2f} to {fastest:.2f} tokens a second (means, published)")

# %% [markdown]
# ### Exercise 07.4: two means of one table
# Write `two_ratios`: given our speed and a list of the baselines' speeds, it returns two numbers, the ratio
# to their mean and the mean of the ratios. Which of them does a very slow baseline push up?


# %%
def two_ratios(ours, baselines):
    ### BEGIN SOLUTION
    return ours / np.mean(baselines), np.mean([ours / one for one in baselines])
    ### END SOLUTION


check("07.4", two_ratios)

# %% [markdown]
# So both are true and neither says much: the slowest and the fastest of the others (the line under your
# guess) are different kinds of system, and a number about "the others" is mostly a number about which
# others were asked. What the paper's own *ablation* says is more telling: parts of the system switched off,
# on three of the benchmarks (published).

# %%
full, no_prefetch, one_level = np.array([[25.80, 28.24, 22.78], [17.27, 18.79, 16.46], [19.53, 20.56, 18.43]])
baseline = np.array([float(cells[3][at]) for at in (1, 4, 6)])  # llama.cpp+SD on the same three
print(f"no prefetch over llama.cpp+SD: {(no_prefetch / baseline).mean():.2f} × (published)")
print(f"all of it over no prefetch:    {(full / no_prefetch).mean():.2f} × (published)")
print(f"all of it over K = 1:          {(full / one_level).mean():.2f} × (published)")

# %% [markdown]
# Switch off prefetching, and MoE-SpAc is as fast as llama.cpp with a draft: all of the 42 % is gone. Give its
# utility one level instead of four, which makes of counts a bit, and much of it is gone. What is missing from
# the table is a plain cache **in the same engine**, and what llama.cpp kept on the GPU is not published. In a
# replay the first can be had, and the second is known. Notebook 06 took three steps from loading on demand to
# the oracle; here are nine, the draft among them, one thing at a time. Routing, slots and machine are the
# same throughout.
#
# | step | draft | what it adds to the one before |
# | --- | --- | --- |
# | `on-demand` | – | the classical offloader: what is missing is copied and waited for |
# | `cpu-only` | – | no slots, experts compute where they lie: llama.cpp with all experts on the host |
# | `cpu-only, draft` | γ = 4 | a draft: llama.cpp+SD in the same way |
# | `recency` | γ = 4 | the engine, and a cache that copies what the last window used |
# | `one level` | γ = 4 | the paper's counts as a running mean, rounded to 0 or 1: a bit with a memory |
# | `counts` | γ = 4 | the same mean with levels 0 to 4: what **counts** tell beyond a bit |
# | `rule` | γ = 4 | the printed rule instead of the mean |
# | `spac-paper` | γ = 4 | the printed balancer on top: the paper's method |
# | `spac-joint` | γ = 4 | our balancer over all layers at once, instead of the printed one |
# | `oracle` | γ = 4 | a sensor that is never wrong about the next window |

# %%
mean = {"rule": "ema", "admission": 1}
contestants = {
    "one level": compose_policy("one level", K=1, **mean),
    "counts": compose_policy("counts", **mean),
}
contestants |= {
    "rule": compose_policy("rule", rule="paper", admission=1),
    "oracle": get_policy("next-window-oracle"),
}
steps = ["on-demand", "cpu-only", "cpu-only, draft", "recency", "one level", "counts", "rule"]
steps += ["spac-paper", "spac-joint", "oracle"]


# %%
@cache
def speed(domain, step, budget, **on):
    """Tokens a second, modelled."""
    gamma = 0 if step in ("on-demand", "cpu-only") else 4
    played = contestants.get(step, step.removesuffix(", draft"))
    return replay(dense_traces[domain], played, budget, gamma=gamma, timeline=False, **on).tps_modelled


def flagged(budget):
    """The budget, with a † where the card has no room for it beside the rest."""
    return budget if replay(chat, "recency", budget, **played).fits else f"{budget} †"


# %%
for budget in ("17%", "50%"):
    speeds = np.array([[speed(domain, step, budget) for step in steps] for domain in DOMAINS])
    gains = speeds[:, 1:] / speeds[:, :-1]
    print(f"{flagged(budget)}: each step over the one before, geometric mean (least to most), modelled")
    for step, gain in zip(steps[1:], gains.T, strict=True):
        print(f"   {step:16} × {np.exp(np.log(gain).mean()):.2f}   ({gain.min():.2f} to {gain.max():.2f})")

# %%
rows = [(domain, *(round(speed(domain, step, "17%")) for step in steps)) for domain in DOMAINS]
table(["domain", *steps], rows, "Tokens a second at 17 %; modelled, RTX 4090, 8 layers of Qwen3-30B-A3B")

# %% [markdown]
# Now the paper's question: its method over the same draft without slots, which it gives as 1.42 ×. And beside
# it the question that its table does not ask: the same for a plain cache in the same engine.

# %%
asked, rows = ["recency", "one level", "counts", "spac-paper", "spac-joint", "oracle"], []
for budget in ("17%", "25%", "50%"):
    speeds = [[speed(domain, step, budget) for step in ("cpu-only, draft", *asked)] for domain in DOMAINS]
    base, *logs = np.log(speeds).mean(axis=0)
    rows.append((flagged(budget), *np.exp(np.array(logs) - base)))
caption = "Over cpu-only with the same draft, geometric mean of domains; modelled. †: the card cannot hold it"
table(["budget", *asked], rows, caption)

# %% [markdown]
# What a careful reader can say after these tables.
#
# - **"42 % over a draft without slots" is no proof of a sensor.** Go down the first column: a plain cache in
#   the same engine gets there, too, between 17 and 25 %. It is what slots and an engine bring.
# - **Levels over one level**: the step `counts` is what counts add to a bit when nothing else differs.
#   Compare it with the published 1.31 above. On this routing it is next to nothing; what helps is the
#   memory of the running mean. The printed rule and balancer give some of it back.
# - **There is room above.** The oracle's step is what a better sensor could still bring; notebook 03 shows
#   who comes closer.
# - **"4.04 × the others" is about the first step**: it mostly measures how slow it is to wait for copies.
# - **The draft has to pay for itself first.** Where it slows the model down, a policy that needs it starts
#   behind: in the table of accountings above, see `recency` without one.
#
# And what none of this can say. The routing is a small model's: consecutive tokens share fewer experts than
# in large ones, which is bad for whatever looks back, recency and counts alike, and windows agree less,
# which is bad for drafts. The machine is modelled, and 8 layers stand for 48. A few texts a domain are a
# small sample, and the steps depend on their order. Whether the sensor is worth more on a large model is
# open. **Notebook 08, still to come, gives a fuller answer**, with more budgets, seeds, machines and
# traces.
#
# ## On your machine
# Everything so far was modelled. Here the same scheduler runs on threads and a real clock, and the link is
# a real copy in your memory. This is **measured**, on a pair whose experts take a tenth of a megabyte: it
# says nothing about a GPU. A policy that copies nothing is no accident here. So small an expert is computed
# in less time than a copy takes to begin, and a balancer that is told so leaves it where it is.

# %%
import torch

torch.set_num_threads(1)  # so small a model gains nothing from more
model, draft = load_pair()
prompt, rows = load_prompts("math", half="report")[6].prompt, []
for name in ("cpu-only", "on-demand", "recency", "spac-joint"):
    with offload(model, budget="25%", policy=name, device="host", gamma=4) as run:
        for _ in run.decode(prompt, draft=draft, max_new_tokens=32):
            pass
    told = run.summary()
    rows.append((name, told["tokens_per_second_measured"], run.counters.copies, run.counters.bytes / 1e6))
table(["policy", "tokens/s (measured)", "copies", "MB copied"], rows, "25 % of the experts, your machine")

# %% [markdown]
# ## Plan a purchase
# Somebody wants to chat with Qwen3-30B-A3B in 4 bits and a context of 4,096 tokens. `plan` gives a
# machine's whole memory to it: what the model's other parts, the context and, if there is one, the draft
# leave is slots. So here the draft pays for itself.

# %%
tried = [("laptop4060", "cpu-only", 0), ("laptop4060", "recency", 4), ("rtx4090", "spac-joint", 8)]
rows = []
for which in tried:
    one = plan(*which)
    speeds = one.tps_modelled, one.tps_whole_model
    rows.append((*which, load_machine(which[0]).memory_bytes / 2**30, one.slots / 512, *speeds))
print("machines:", *list_machines())
head = ["machine", "policy", "γ", "device GiB", "share in slots", "tokens/s", "whole model, about"]
table(head, rows, "Modelled; tokens/s of 8 of the 48 layers")

# %% [markdown]
# ### Exercise 07.5: a purchase
# They want at least 700 tokens a second (modelled, of 8 layers; about a tenth of it for the whole model,
# see the last column above). Which machine with the **least device memory** does it, and how? Policies:
# `cpu-only`, `on-demand`, `recency`, `spac-joint`; γ: 0, 4 or 8. Try what you like with `plan` above, then
# answer with a list such as `["h100", "recency", 8]`. Before you try: would you take the draft?

# %%
### BEGIN SOLUTION
choices = [(name, "recency", gamma) for name in list_machines() if name != "t4" for gamma in (0, 4)]
enough = [choice for choice in choices if plan(*choice).tps_modelled >= TARGET_TPS]
answer = min(enough, key=lambda choice: load_machine(choice[0]).memory_bytes)
### END SOLUTION

check("07.5", answer)

# %% [markdown]
# ## From here
# - Another machine for a step: `speed("chat", "counts", "25%", machine="laptop4060",
#   model="qwen3-30b-a3b-4bit")`.
# - Your own machine: `moespac calibrate --out mine.toml`, then `machine="mine.toml"` in any cell above.
# - In a terminal: `moespac replay math --policy recency,spac-joint --budget 10%,25% --machine laptop4060`.
# - The dashboard as a page to project: `moespac dashboard math --gamma 4 --html math.html`.
#
# **References.** S. Li, J. Lin, D. Ge, Y. Ye, *MoE-SpAc*, arXiv 2603.09983 (2026): the published table and
# ablation. K. Kamahori et al., *Fiddler*, ICLR 2025: computing a miss where its weights are. A. Eliseev,
# D. Mazur, *Fast inference of mixture-of-experts language models with offloading*, arXiv 2312.17238 (2023).
