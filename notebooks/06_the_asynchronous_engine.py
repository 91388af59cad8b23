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
# ---

# %% [markdown]
# # The asynchronous engine: a decode under a budget
#
# *30 minutes. You need Python and notebook 00; no GPU, no network. Tokens, counts and bytes are exact. Times
# are **modelled**: a named machine's, reckoned from its published and assumed constants, the same each time.
# One speed is **measured** on your machine, and says so.*
#
# The experts of a model are most of its bytes. Where they do not fit on the device, some have a place there,
# a *slot* each, and the others stay on the host. An expert that is needed and has no slot is either copied
# over a link much slower than the device's memory, or computes where it is, on the host's CPU. The **engine**
# decides, expert by expert, who gets a slot, what is copied next, and who computes where, while the draft
# drafts and the layers compute.
#
# After this notebook you can
# 1. read a timeline of lanes, and say of an expert whether it was ready, late or missed;
# 2. say what goes wrong if a weight is read too early, and which slot states rule it out;
# 3. read a curve of speed against budget with the bytes beside it, and say how much of a gain is the
#    engine's and how much the sensor's.
#
# ## A quarter of the experts
# The word problem of notebook 00, first with all experts in place, then with slots for a quarter of them.
# The arithmetic is real in both. The second clock is a model's: as if each of our small experts were one of
# Qwen3-30B-A3B, on a desktop with an RTX 4090.

# %%
import torch

from moespac_nb import decode, load_pair, offload, prompts
from moespac_widgets import busy, residency_figure, table, timeline_figure

torch.set_num_threads(1)  # so small a model gains nothing from more
model, draft = load_pair()
prompt = prompts("math", half="report")[0].prompt
asked = {"draft": draft, "gamma": 4, "max_new_tokens": 96}
free = decode(model, prompt, **asked)
print(f"{len(list(free))} rounds:", free.text)

# %%
on = {"machine": "rtx4090", "model_profile": "qwen3-30b-a3b"}
resident, ends = [], []
with offload(model, budget="25%", policy="spac-joint", gamma=4, **on) as run:
    decoding = run.decode(prompt, **asked)
    for _ in decoding:
        resident.append(run.resident)  # what the next window finds
        ends.append(run.device.now())
print("the same tokens:", decoding.new_ids == free.new_ids)
table(["of the decode", ""], run.summary().items(), "Times modelled, the rest exact")

# %% [markdown]
# The text is the same, token for token. It has to be: a slot holds a copy of the very weights that the CPU
# would have used, so where an expert computes changes the time and nothing else.
#
# ## What was resident
# One round at a time: what the slots held when its window began, and what the window then asked for. Blue
# was there, red was not. Drag the slider. Faint blue is the price of guessing: a slot for nothing, this time.

# %%
residency_figure(decoding.steps[1:], resident[:-1])

# %% [markdown]
# ## What was copied when, what ran where
# Four lanes run side by side, and the operations of one lane run in order: `draft`, `gpu`, `cpu`, and the
# `link` that copies experts. `host` is the policy, thinking. Here are two rounds; drag along the lanes for
# the others, hover for what a bar is.
#
# What to see: the link works while the draft drafts, since the order of what is worth copying is known from
# the last window on. In each layer the GPU computes what is in slots and the CPU what is not, beside each
# other, and the layer ends with the later of the two. That is the CPU, most of the time.

# %%
timeline_figure(run.timeline, ends[4], ends[6], label="modelled: as if Qwen3-30B-A3B on an RTX 4090")

# %%
shown = [one for one in run.timeline if ends[4] <= one.start < ends[5] and one.lane != "gpu"]
rows = [(one.lane, one.label, *(1e3 * at for at in one[2:4]), one.size_bytes / 1e6) for one in shown]
table(["lane", "operation", "from, ms", "to, ms", "MB"], rows[:16], "The first of them, modelled")

# %%
table(["lane", "busy"], busy(run.timeline, ends[0], ends[-1]).items(), "From the second round on, modelled")

# %% [markdown]
# ## Another budget while it runs
# Memory is not always yours: another program wants some, or gives it back. The budget below falls to a
# twentieth after round 6 and rises again after round 12. Slots that are taken away lose the experts that are
# worth least; those in use go when they are no longer read. No token may change.

# %%
changes, rows = {6: "5%", 12: "60%"}, []
with offload(model, budget="50%", policy="spac-joint", gamma=4, **on) as changing:
    again = changing.decode(prompt, **asked)
    for step in again:
        rows.append((step.index, changing.slots, int(changing.resident.sum()), changing.counters.copies))
        if step.index in changes:
            changing.resize(changes[step.index])
print("the same tokens:", again.new_ids == free.new_ids)
table(["round", "slots", "experts in them at its end", "copies so far"], rows[4:17])

# %% [markdown]
# On threads and a real clock it is the same once more, by the same lines of the scheduler. This is the speed
# **measured** on your machine; its lanes share your cores, so it says nothing about a GPU.

# %%
with offload(model, budget="25%", policy="spac-joint", device="host", gamma=4) as threads:
    real = threads.decode(prompt, **{**asked, "max_new_tokens": 32})
    for _ in real:
        pass
print("the same tokens:", real.new_ids == free.new_ids[:32])
print(f"{threads.summary()['tokens_per_second_measured']:.1f} tokens a second (measured)")

# %% [markdown]
# ## A race
# To copy and to compute at the same time is to risk reading what has not come yet. Nothing crashes then: the
# slot still holds numbers, those of the expert before. Below, expert 7 is copied into a slot, which takes two
# milliseconds, and a layer reads the slot twice: once at once, once *after the copy's event*.

# %%
from moespac_nb.devices import VirtualDevice

device = VirtualDevice()
copy = device.submit("link", 2e-3, label="copy E7 into the slot")
device.submit("gpu", 1e-3, label="reads too early")
device.submit("gpu", 1e-3, after=[copy], label="reads after its event")
timeline_figure(device.timeline(), label="modelled: a made-up machine")

# %% [markdown]
# What does each of them compute? A copy fills the slot from its first row to its last; whoever reads in
# between gets some rows of the new expert and the rest of the old one.

# %%
import numpy as np

old, new = np.random.default_rng(0).normal(size=(2, 100, 100))
x, right = np.ones(100), new @ np.ones(100)
rows = []
for read in (one for one in device.timeline() if one.lane == "gpu"):
    come = round(100 * min(1, (read.start + read.end) / 2 / copy))  # rows, in the middle of the read
    got = np.vstack([new[:come], old[come:]]) @ x
    wrong = np.linalg.norm(got - right) / np.linalg.norm(right)
    rows.append((read.label, 1e3 * read.start, come, wrong))
table(["read", "begins, ms", "rows that had come, of 100", "error, relative"], rows)

# %% [markdown]
# An error as large as the result, and no exception. The other race is its mirror: an expert is *overwritten*
# while a layer still reads it. The engine rules out both by what a slot may do next:
#
#     FREE → LOADING → READY ⇄ PINNED        READY → LOADING, for another expert
#
# - a **LOADING** slot is read only after its copy's event, so whoever needs it is *late* and waits, or
#   computes on the CPU instead;
# - a **PINNED** slot is being read. It cannot be evicted, however much better the next expert is;
# - each time a slot gets another expert its **generation** goes up, so nobody who was promised the old one
#   takes the new one for it.
#
# Here is one slot and what happens to it. Expert 7 is copied, its layer comes while the copy is under way,
# and then expert 2 turns out to be worth more.

# %%
from moespac_nb.costs import costs
from moespac_nb.engine import Engine
from moespac_nb.slots import STATES

device = VirtualDevice()
engine = Engine(device, layers=1, experts=8, slots=1, costs=costs(*on.values()))
moments = []


# %%
def look(moment):
    slots = engine.slots
    state = STATES[slots.state[0]], slots.owner[0], slots.generation[0]
    moments.append((moment, 1e3 * device.now(), *state))


def want(expert, worth):
    scores = worth * np.eye(8)[[expert]]
    engine.order(scores, scores > 0)
    engine.pump()
    look(f"expert {expert} is wanted")


# %%
look("at the start")
want(7, worth=1)
placement = engine.layer(0, [7], [1], miss="load")
look("its layer comes: late")
engine.arrived(placement.awaited[0])
look("its copy has come, it computes")
want(2, worth=2)

# %%
engine.release(placement)
look("its layer is through")
engine.pump()
look("the engine pumps again")
engine.drain()
look("that copy has come")
table(["moment", "ms, modelled", "state", "expert", "generation"], moments, "-1: nobody's")

# %% [markdown]
# When expert 2 was wanted, nothing happened: the slot was pinned. One moment later it was free to go. The
# project's tests drive the engine through random windows, budget changes, cancellations and failing copies,
# and check after every step that no weight was read early or overwritten in use.
#
# ## What is a budget worth?
# Now many budgets, and seven ways to use them, on sampled text: word problems of the half that nothing was
# tuned on, recorded once and *replayed*. A replay drives the same scheduler as the decode above, without the
# arithmetic, and takes a fraction of a second.
#
# | policy | what is copied ahead | what makes room | a miss |
# | --- | --- | --- | --- |
# | `cpu-only` | nothing, it has no slots | | computes on the CPU |
# | `on-demand` | nothing | least recently used | is copied and waited for |
# | `static-hot` | what *other texts* used most, once | nothing | CPU |
# | `recency` | what the last window used | least recently used | CPU |
# | `spac-paper` | the paper's counts, rule and balancer | lowest utility | CPU |
# | `spac-joint` | the same counts and rule, thresholds for all layers at once | lowest utility | CPU |
# | `next-window-oracle` | what the next window *will* use: a bound | used least often | CPU |

# %%
from tqdm.auto import tqdm

from moespac_nb.replay import replay
from moespac_nb.traces import bundled
from moespac_widgets import budget_figure

names = ["cpu-only", "on-demand", "static-hot", "recency", "spac-paper", "spac-joint", "next-window-oracle"]
trace, known = (bundled("math", mode="sample", kind="fan", half=h) for h in ("report", "tune"))
played = {"gamma": 4, "timeline": False, **on}
pairs = [(n, f"{share}%") for n in names for share in (5, 10, 17, 25, 50, 75, 100)]
results = [replay(trace, *pair, profile=known, **played) for pair in tqdm(pairs, desc="replays")]
budget_figure(results)

# %%
head = ["policy", "budget", "tokens/s", "ready", "MB/token", "work on CPU", "time waiting for copies"]
fields = ("policy", "budget", "tps_modelled", "hit_rate", "bytes_per_token", "cpu_share", "stall_share")
rows = [[getattr(one, field) for field in fields] for one in results if one.budget in ("17%", "50%")]
rows = [[*row[:4], row[4] / 1e6, *row[5:]] for row in rows]
table(head, rows, "Modelled")

# %% [markdown]
# Four things to read off.
# - **The hit rate alone does not tell the speed.** `on-demand` copies what it misses and waits for it,
#   hundreds of megabytes a token, and with small budgets it is slower than no device memory at all. Always
#   ask for the bytes beside the hits.
# - **Open markers do not fit**: a real card of this kind has no room for so many slots. They are drawn to
#   show the shape of the curve, and not to be ranked.
# - **Absolute speeds flatter.** Our model has 8 layers and the one it stands for 48, so a pass here is about
#   a sixth of one there. Compare lines, not numbers with those of a paper.
# - `static-hot` is a strong plain opponent: it has been told what other texts of this very domain use, and
#   copies almost nothing.
#
# ## Where does the gain come from?
# From `on-demand` to the oracle there are three different steps.
# 1. *Compute where the weights are*, if that is faster than to fetch them: `cpu-only` does nothing else.
# 2. *Slots filled ahead of need, and both processors side by side*: the engine. `recency` has all of it, and
#    knows no more than a cache does: which experts the last windows used.
# 3. *A sensor*: what the **counts** of the last window tell beyond that. At most the oracle's gain.
#
# So divide each speed by that of `recency`, on every domain, with the same slots. One contestant is added, to
# see the counts without the paper's rule and balancer: an expert is worth a running mean of its counts, and
# whatever has any worth is wanted.
#
# Before you run it: who gets how much of the third step?

# %%
from moespac_nb import DOMAINS
from moespac_nb.policies import composed

plain = composed("plain counts", rule="ema", admission=1)
others = ["static-hot", plain, "spac-paper", "spac-joint", "next-window-oracle"]
lines = ["on-demand", "cpu-only", "recency", *others]
found = {}
for domain in tqdm(DOMAINS, desc="domains"):
    trace, known = (bundled(domain, mode="sample", kind="fan", half=h) for h in ("report", "tune"))
    found[domain] = [replay(trace, line, "17%", profile=known, **played) for line in lines]

# %%
speeds = np.array([[one.tps_modelled for one in ran] for ran in found.values()])
ratios = speeds / speeds[:, [2]]
mean = np.exp(np.log(ratios).mean(axis=0))
names = [one.policy for one in found["math"]]
rows = [(d, *ratio) for d, ratio in zip(found, ratios, strict=True)] + [("all", *mean)]
table(["domain", *names], rows, "Speed over that of recency, 17 % budget; modelled")

# %%
print(f"1. cpu-only is {mean[1] / mean[0]:.2f} times as fast as on-demand")
print(f"2. recency is {1 / mean[1]:.2f} times as fast as cpu-only")
print(f"3. the oracle is {mean[-1]:.2f} times as fast as recency; of that step,")
for at in range(3, 7):
    share, ahead = (mean[at] - 1) / (mean[-1] - 1), (ratios[:, at] > 1).sum()
    print(f"   {names[at]} makes {share:.0%}, ahead of recency in {ahead} of {len(found)} domains")

# %% [markdown]
# That is the honest size of it, on this pair, this machine and this budget. The first step is the largest,
# and needs no slot and no sensor. The second is the engine's. The third is all that the best possible guess
# of the next window could add, and what the counts get of it is in the last lines. The sensor is the same in
# `plain counts`, `spac-paper` and `spac-joint`: what differs is what rule and thresholds make of it. A share
# below zero means that to know only *when* an expert was last used would have been better.
#
# Three cautions. Consecutive tokens of our small pair share fewer experts than those of large models, so
# whatever looks back has less to see here. A few texts a domain are a small sample. And one budget on one
# machine is one point: change `"17%"`, or `on`, and run the last cells again.
#
# ## From here
# - A slower link: `on = {"machine": "laptop4060", "model_profile": "qwen3-30b-a3b-4bit"}`, and run all.
# - Who pays for the draft? Add `"accounting": "device-equal"` to `played`: its bytes come off the budget.
# - The same in a terminal: `moespac replay math --policy recency,spac-joint --budget 10%,17%,25%`, and
#   `moespac decode --domain math --budget 25% --model-profile qwen3-30b-a3b`.
# - A timeline for Perfetto: `moespac replay math --timeline run.json`, opened at ui.perfetto.dev.
#
# **References.** S. Li, J. Lin, D. Ge, Y. Ye, *MoE-SpAc*, arXiv 2603.09983 (2026).
