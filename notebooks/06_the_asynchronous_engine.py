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
#     title: "The asynchronous engine: a decode under a budget"
#     minutes: 40
#     needs: ["05"]
#     objectives:
#       - read a timeline of lanes, and say of an expert whether it was ready, late or missed
#       - say what streams and events are on a modelled machine, on threads and on a GPU
#       - say what goes wrong if a weight is read too early, and write a layer in which it cannot
#       - put requests and residents into one order, and say who is copied next and who makes room
#       - read speed against budget with the bytes beside it, and say what of a gain is the engine's
#     exact: tokens, counts, bytes, the order of operations
#     measured: one speed and one timeline, on threads of the reader's machine
#     modelled: "all other times: as if each expert were a Qwen3-30B-A3B's, on a desktop with an RTX 4090"
#     sections:
#       - {name: A quarter of the experts, minutes: 4}
#       - {name: "Who is where, and why", minutes: 4}
#       - {name: "What was copied when, what ran where", minutes: 6}
#       - {name: Another budget while it runs, minutes: 2}
#       - {name: Streams and events, minutes: 4}
#       - {name: A race, minutes: 5}
#       - {name: What a slot may do next, minutes: 3}
#       - {name: One order for both directions, minutes: 4}
#       - {name: "What is a budget worth?", minutes: 4}
#       - {name: "Where does the gain come from?", minutes: 4}
#     board:
#       - ask: A layer asks for an expert whose copy is half way. What are the choices, and what is none?
#         answer: To wait for the copy's event, or to compute on the CPU. To read the slot now is none.
#       - ask: The link copies an expert into a slot that a layer still reads. What does the layer compute?
#         answer: Something between two experts, without an error. So a slot that is read is pinned.
#       - ask: Two residents are worth the same. Which one makes room, that of the next layer or of the last?
#         answer: That of the layer that comes last. The other one is needed sooner.
#       - ask: The hit rate doubles and the decode gets slower. How can that be?
#         answer: The hits were paid for with copies, and somebody waited for the link.
#     misunderstandings:
#       - said: Asynchronous means that something runs in the background, sooner or later.
#         so: It means that who submits does not wait. What must come first is said with an event.
#       - said: A race shows itself by a crash.
#         so: The slot holds numbers at all times, only those of another expert. Nothing raises.
#       - said: An expert that is evicted is written back.
#         so: Weights do not change. The slot is given to another expert, and the host still has the first.
#       - said: A miss must be copied before its layer can go on.
#         so: It can compute on the CPU, where its weights are, and here that is nearly always faster.
# ---

# %% [markdown]
# # The asynchronous engine: a decode under a budget
#
# The experts of a model are most of its bytes. Where they do not fit on the device, some have a place there,
# a *slot* each, and the others stay on the host. An expert that is needed and has no slot is either copied
# over a link much slower than the device's memory, or computes where it is, on the host's CPU. The **engine**
# decides, expert by expert, who gets a slot, what is copied next, and who computes where, while the draft
# drafts and the layers compute.
#
# All this happens at the same time, and that is the difficulty: whoever copies and computes at once can read
# what is not there yet. This notebook shows the engine at work, then lets you break it and mend it, and asks
# last what it is worth.
#
# ## A quarter of the experts
# A word problem, first with all experts in place, then with slots for a quarter of them.
# The arithmetic is real in both. The second clock is a model's: as if each of our small experts were one of
# Qwen3-30B-A3B, on a desktop with an RTX 4090.

# %%
from contextlib import closing
from threading import Event

import numpy as np
import torch
from tqdm.auto import tqdm

from moespac_exercises import check, predict, reveal
from moespac_nb import DOMAINS, load_prompts, load_trace, load_pair, record, CudaDevice, HostDevice
from moespac_nb import VirtualDevice, Engine, offload, compose_policy, replay, cost_model

# %%
from moespac_nb.engine.slots import STATES
from moespac_widgets import PlacementGraph, Timeline, budget_figure, table
from moespac_widgets.figures.timeline import busy, timeline_figure

torch.set_num_threads(1)  # so small a model gains nothing from more

# %%
model, draft = load_pair()
prompt = load_prompts("math", half="report")[0].prompt
asked = {"draft": draft, "gamma": 4, "max_new_tokens": 96}
trace = record(model, prompt, **asked)
free = trace.committed_ids.tolist()
print(f"{len(trace)} rounds:", model.tokenizer.decode(free))

# %%
on = {"machine": "rtx4090", "model": "qwen3-30b-a3b"}
live = {"machine": on["machine"], "model_spec": on["model"]}
with offload(model, budget="25%", policy="spac-joint", gamma=4, **live) as run:
    decoding = run.decode(prompt, **asked)
    for _ in decoding:
        pass
print("the same tokens:", decoding.new_ids == free)
table(["of the decode", ""], run.summary().items(), "Times modelled, the rest exact")

# %% [markdown]
# The text is the same, token for token. It has to be: a slot holds a copy of the very weights that the CPU
# would have used, and what experts say is added in the same order either way. So where an expert computes
# changes the time and nothing else.
#
# On a modelled clock nothing is left to chance. A *replay* drives the same scheduler through the recorded
# trace, without the arithmetic, and comes to the same timeline, operation for operation. So whatever the
# widgets below replay is what the decode did.

# %%
again = replay(trace, "spac-joint", "25%", **on)
print("the same timeline:", again.timeline == run.timeline, f"({len(again.timeline)} operations)")

# %% [markdown]
# ## Who is where, and why
# Experts on the left, a row a layer; slots in the middle; lanes on the right. Step through the windows with
# `j` and `l`, and through the layers of one with its own slider: who is in a slot, who is being copied, who
# is asked for and where each computes. Click an expert and read the sentence: why it is there, or why it had
# to go, with both scores.

# %%
PlacementGraph(trace, "spac-joint", "25%", step=5, layer=3, **on)

# %% [markdown]
# Two things to find. Blue slots, without a dot: they hold experts that nobody asks for in this window, while
# others that are asked for (crossed out) compute on the CPU. That is the price of guessing. And an expert
# that had to go: its score was the lower one.
#
# ## What was copied when, what ran where
# Four lanes run side by side, and the operations of one lane run in order: `draft`, `gpu`, `cpu`, and the
# `link` that copies experts. `host` is the policy, thinking. Drag to pan, `+` and `-` to zoom, arrows to go
# from operation to operation, `j` and `l` from window to window.

# %%
start_s, end_s = run.windows_s[5]
Timeline(run, step=5, start_us=round(1e6 * start_s), span_us=round(1e6 * (end_s - start_s)))

# %% [markdown]
# What to see: the link works while the draft drafts, since the order of what is worth copying is known from
# the last window on. In each layer the GPU computes what is in slots and the CPU what is not, beside each
# other, and the layer ends with the later of the two. The table says which lane that is, most of the time.

# %%
opened, learned = run.windows_s[1][0], run.windows_s[-1][1]
table(["lane", "busy"], busy(run.timeline, opened, learned).items(), "From the second window on, modelled")

# %% [markdown]
# When a layer begins its experts, the engine looks once: an expert is **ready** if its copy has come, in that
# moment or before; **late** if its copy has been handed to the link and has not come, begun or not; else
# **missed**.
#
# ### Exercise 06.1: ready, late or missed?
# Write the look as a function. `copies` is what the link has been handed so far, in order: `(expert,
# start_ms, end_ms)`, in one layer, with slots for all. `at_ms` is when the layer begins, `expert` who is
# asked for. Return `"ready"`, `"late"` or `"miss"`.


# %%
def judge(copies, at_ms, expert):
    ### BEGIN SOLUTION
    for copied, _, end_ms in copies:
        if copied == expert:
            return "ready" if end_ms <= at_ms else "late"
    return "miss"
    ### END SOLUTION


check("06.1", judge)

# %% [markdown]
# ## Another budget while it runs
# Memory is not always yours: another program wants some, or gives it back. The budget below falls to a
# twentieth after round 6 and rises again after round 12. Slots that are taken away lose the experts that are
# worth least; those in use go when they are no longer read. No token may change.

# %%
changes, rows = {6: "5%", 12: "60%"}, []
with offload(model, budget="50%", policy="spac-joint", gamma=4, **live) as changing:
    resized = changing.decode(prompt, **asked)
    for step in resized:
        rows.append((step.index, changing.slots, int(changing.resident.sum()), changing.counters.copies))
        if step.index in changes:
            changing.resize(changes[step.index])
print("the same tokens:", resized.new_ids == free)
table(["round", "slots", "experts in them at its end", "copies so far"], rows[4:17])

# %% [markdown]
# ## Streams and events
# The engine above never knew what its time was made of. It asks a *device* for two things: to `submit` an
# operation to a lane, which does not wait and gives back an **event**; and to make something wait for an
# event, be it another operation (`after=`) or the caller (`wait`). Three devices keep that contract.
#
# | | virtual | host | CUDA |
# | --- | --- | --- | --- |
# | a lane is | a number: when it is free | a thread | a *stream*, a queue on the GPU; for the CPU a thread |
# | an event is | the time at which it comes | the end of a piece of work | a mark in a stream |
# | `after=[event]` | starts no earlier | the lane's thread waits | the stream waits, the program goes on |
# | `wait(event)` | the clock goes on to it | the caller waits | the caller waits |
# | copies run beside | always | in a throttled thread | in their own stream, from *pinned* memory |
# | time is | modelled | measured | measured |
#
# Here is a layer written for all of them, and what each says of it: expert 7 is on its way, others are in
# their slots, and some compute on the CPU.


# %%
def one_layer(device):
    x, y = torch.ones(2, 400, 400), torch.ones(400, 400, device=getattr(device, "place", "cpu"))
    with closing(device):
        copy = device.submit("link", 6e-3, label="copy E7")
        device.submit("gpu", 2e-3, lambda: y @ y, label="experts in slots")
        cpu = device.submit("cpu", 4e-3, lambda: x @ x, label="the CPU's share")
        late = device.submit("gpu", 2e-3, lambda: y @ y, [copy], "E7, after its copy")
        device.wait(cpu)
        device.wait(late)
    return device.timeline()


# %%
devices = [VirtualDevice(), HostDevice()] + [CudaDevice() for _ in range(torch.cuda.is_available())]
rows = []
for device in devices:
    ran, times = one_layer(device), "modelled" if device.kind == "virtual" else "measured"
    for one in ran:
        from_ms, to_ms = (1e3 * (at - ran[0].start) for at in (one.start, one.end))
        rows.append((device.kind, times, one.lane, one.label, from_ms, to_ms))
head = ["device", "its times are", "lane", "operation", "from, ms", "to, ms"]
table(head, rows, "Virtual: of a made-up machine; the others: of yours")

# %% [markdown]
# What to see: the order is the same on each, and the lengths are not. On the virtual device they are what was
# asked for. On threads they are what the work took on your machine; only the link is throttled, to no less
# than its 6 ms. And on each, what reads expert 7 begins after the copy's end, though it was submitted before.
#
# So the whole decode runs on threads as well, by the same lines of the scheduler. This is the speed
# **measured** on your machine. Its lanes share your cores, so it says nothing about a GPU.

# %%
with offload(model, budget="25%", policy="recency", device="host", gamma=4) as threads:
    real = threads.decode(prompt, **{**asked, "max_new_tokens": 32})
    for _ in real:
        pass
print("the same tokens:", real.new_ids == free[:32])
print(f"{threads.summary()['tokens_per_second_measured']:.1f} tokens a second (measured)")

# %% [markdown]
# ## A race
# To copy and to compute at the same time is to risk reading what has not come yet. Nothing crashes then: the
# slot still holds numbers, those of the expert before. Below, expert 7 is copied into a slot, which takes two
# milliseconds, and a layer reads the slot twice: once at once, once *after the copy's event*.

# %%
device = VirtualDevice()
copy = device.submit("link", 2e-3, label="copy E7 into the slot")
device.submit("gpu", 1e-3, label="reads too early")
device.submit("gpu", 1e-3, after=[copy], label="reads after its event")
timeline_figure(device.timeline(), label="modelled: a made-up machine")

# %% [markdown]
# What does each of them compute? Let us see it on threads, with real numbers. Left to itself a race goes
# wrong one time in a thousand, and never while you look. So this copy is held half way, until somebody has
# read: then it goes wrong every time.

# %%
old, new = np.random.default_rng(0).normal(size=(2, 100, 100))
x = np.ones(100)


def held_copy(slot, half_way, was_read):
    slot[:50] = new[:50]
    half_way.set()
    was_read.wait(5)
    slot[50:] = new[50:]


# %%
def race():
    """What the slot's expert computed for x, read too early and read after the copy's event."""
    slot, half_way, was_read, read = old.copy(), Event(), Event(), {}
    with closing(HostDevice()) as device:
        copy = device.submit("link", 0, lambda: held_copy(slot, half_way, was_read))
        device.submit("gpu", 0, lambda: half_way.wait(5))
        device.submit("gpu", 0, lambda: read.update({"too early": slot @ x}))
        device.submit("gpu", 0, was_read.set)
        device.wait(device.submit("gpu", 0, lambda: read.update({"after its event": slot @ x}), [copy]))
    return read


# %%
right = new @ x
rows = [(how, np.linalg.norm(y - right) / np.linalg.norm(right)) for how, y in race().items()]
table(["expert 7 is read", "error, relative to the result"], rows, "Exact")

# %% [markdown]
# An error of the size of the result, and no exception. The event costs nothing but the waiting, and only the
# one who needs the copy waits.
#
# ### Exercise 06.2: a layer without a race
# Write a layer for any device. The link already copies an expert; `copy` is that copy's event. Submit three
# operations with `device.submit(lane, seconds, after=[…], label=…)`: `"ready"`, the experts in their slots,
# and `"late"`, the one that is being copied, both on lane `"gpu"`; and `"cpu"` on lane `"cpu"`. Nobody may
# read too early, and nobody wait longer than need be. When all three have finished, return `device.now()`.


# %%
def layer(device, copy, ready, late, cpu):
    ### BEGIN SOLUTION
    device.submit("gpu", ready, label="ready")
    beside = device.submit("cpu", cpu, label="cpu")
    device.wait(device.submit("gpu", late, after=[copy], label="late"))
    device.wait(beside)
    return device.now()
    ### END SOLUTION


check("06.2", layer)

# %% [markdown]
# ## What a slot may do next
# The other race is the mirror of this one: an expert is *overwritten* while a layer still reads it. The
# engine rules out both by what a slot may do next:
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
device = VirtualDevice()
engine = Engine(device, layers=1, experts=8, slots=1, costs=cost_model(*on.values()))
moments = []


# %%
def look(moment):
    slots = engine.slots
    state = STATES[slots.state[0]], slots.owner[0], slots.generation[0]
    moments.append((moment, 1e3 * device.now(), *state))


def want(expert, worth):
    scores = worth * np.eye(8)[[expert]]
    engine.set_priorities(scores, scores > 0)
    engine.pump()
    look(f"expert {expert} is wanted")


# %%
look("at the start")
want(7, worth=1)
placement = engine.layer(0, [7], [1], miss="load")
look("its layer comes: late")
if placement.awaited:
    engine.wait_for(placement.awaited[0])
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
# ### Exercise 06.3: what a slot may do
# Write it down: the state in which a slot is after an event. States are `"free"`, `"loading"`, `"ready"` and
# `"pinned"`. Events: `"wanted"`, an expert worth more than the slot's is wanted, and the engine pumps;
# `"come"` and `"failed"`, the copy into it comes or fails; `"begins"`, the layer of its expert begins, and
# waits for no copy; `"through"`, that layer is through. Where an event changes nothing, the state stays.


# %%
def after(state, event):
    ### BEGIN SOLUTION
    moves = {
        "wanted": {"free": "loading", "ready": "loading"},
        "come": {"loading": "ready"},
        "failed": {"loading": "free"},
        "begins": {"ready": "pinned"},
        "through": {"pinned": "ready"},
    }
    return moves[event].get(state, state)
    ### END SOLUTION


# %%
check("06.3", after)

# %% [markdown]
# ## One order for both directions
# What to copy next, and who makes room? One score answers both. Of those wanted the highest is copied first.
# It takes a free slot; if there is none, that of the weakest resident, if its score is *higher* than that
# one's. If even the best of the wanted beats nobody, the link rests.
#
# Scores are small whole numbers, so many are equal. Then the layers decide: the pass goes from the first to
# the last, so of equal ones the expert of the **earlier** layer is copied first, and the one of the **later**
# layer makes room. And equal never displaces equal: two experts of the same worth would take turns for ever.
#
# ### Exercise 06.4: one order
# `residents` and `requests` are lists of `(name, score, layer)`, `free` the number of free slots. Return the
# copies in the order of the link, as pairs `(who comes, who goes)`, with `None` for a free slot. A copy that
# has come is a resident like the others.


# %%
def copies(residents, requests, free):
    ### BEGIN SOLUTION
    held, made = list(residents), []
    for one in sorted(requests, key=lambda one: (-one[1], one[2])):
        weakest = min(held, key=lambda one: (one[1], -one[2]), default=None)
        if not free and (weakest is None or weakest[1] >= one[1]):
            break
        held = held if free else [other for other in held if other != weakest]
        made.append((one[0], None if free else weakest[0]))
        held, free = [*held, one], max(0, free - 1)
    return made
    ### END SOLUTION


# %%
check("06.4", copies)

# %% [markdown]
# The paper says the order in the same words, a score for prefetching and for eviction. What a request that
# beats nobody does to those behind it is left open there; in the released code a waiting request holds up all
# that follow. Here the order is made anew at every pump, a few copies are in flight at a time, and nothing
# stale is copied.
#
# ## What is a budget worth?
# Now many budgets, and seven ways to use them, on sampled text: word problems of the half that nothing was
# tuned on, recorded once and replayed.
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

# %% [markdown]
# At a budget of 17 %, how many times as fast as `cpu-only` is `on-demand`, which has slots and copies into
# them whatever it misses? Guess before you run on: above 1 is faster, below 1 slower.

# %%
on_demand_guess = ...
predict("06.P1", on_demand_guess)

# %%
names = ["cpu-only", "on-demand", "static-hot", "recency", "spac-paper", "spac-joint", "next-window-oracle"]
shown, known = (load_trace("math", mode="sample", dense=True, half=half) for half in ("report", "tune"))
played = {"gamma": 4, "timeline": False, **on}
pairs = [(n, f"{share}%") for n in names for share in (5, 10, 17, 25, 50, 75, 100)]
results = [replay(shown, *pair, expert_usage=known, **played) for pair in tqdm(pairs, desc="replays")]
budget_figure(results)

# %%
speed = {one.policy: one.tps_modelled for one in results if one.budget == "17%"}
reveal("06.P1", speed["on-demand"] / speed["cpu-only"], "×")
# %%
head = ["policy", "budget", "tokens/s", "whole model, about", "ready", "MB/token", "work on CPU"]
head += ["time waiting for copies"]
fields = ("policy", "budget", "tps_modelled", "tps_whole_model", "hit_rate", "bytes_per_token", "cpu_share")
rows = []
for one in (one for one in results if one.budget in ("17%", "50%")):
    name, budget, *rates, copied, on_cpu = (getattr(one, field) for field in fields)
    budget += "" if one.fits else ", does not fit"
    rows.append((name, budget, *rates, copied / 1e6, on_cpu, one.stall_share))
table(head, rows, "Modelled; tokens/s of 8 of the 48 layers")

# %% [markdown]
# Four things to read off.
# - **The hit rate alone does not tell the speed.** `on-demand` copies what it misses and waits for it.
#   Look at its bytes: with small budgets it is slower than no device memory at all. Always ask for the bytes
#   beside the hits.
# - **Open markers do not fit**: a real card of this kind has no room for so many slots. They are drawn to
#   show the shape of the curve, and not to be ranked.
# - **Absolute speeds flatter.** Our model has 8 layers with 4 experts a token, the one it stands for 48 with
#   8. The column beside the speeds charges all of them: expert work by layers and experts, the rest by
#   layers. That is rough. Compare lines, not numbers with those of a paper.
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
# How much of the third step do these plain counts get, in per cent of the oracle's gain over recency?

# %%
share_guess = ...
predict("06.P2", share_guess)

# %%
plain = compose_policy("plain counts", rule="ema", admission=1)
others = ["static-hot", plain, "spac-paper", "spac-joint", "next-window-oracle"]
lines = ["on-demand", "cpu-only", "recency", *others]
found = {}
for domain in tqdm(DOMAINS, desc="domains"):
    shown, known = (load_trace(domain, mode="sample", dense=True, half=h) for h in ("report", "tune"))
    found[domain] = [replay(shown, line, "17%", expert_usage=known, **played) for line in lines]

# %%
speeds = np.array([[one.tps_modelled for one in ran] for ran in found.values()])
ratios = speeds / speeds[:, [2]]
mean = np.exp(np.log(ratios).mean(axis=0))
names = [one.policy for one in found["math"]]
rows = [(d, *ratio) for d, ratio in zip(found, ratios, strict=True)] + [("all", *mean)]
table(["domain", *names], rows, "Speed over that of recency, 17 % budget; modelled")

# %%
reveal("06.P2", 100 * (mean[4] - 1) / (mean[-1] - 1), "%")
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
# - A slower link: `on = {"machine": "laptop4060", "model": "qwen3-30b-a3b-4bit"}`, and run all.
# - Who pays for the draft? Add `"accounting": "device-equal"` to `played`: its bytes come off the budget.
# - The same in a terminal: `moespac replay math --policy recency,spac-joint --budget 10%,17%,25%`, and
#   `moespac decode --domain math --budget 25% --model qwen3-30b-a3b`.
# - A timeline for Perfetto: `moespac replay math --timeline run.json`, opened at ui.perfetto.dev.
#
# **References.** S. Li, J. Lin, D. Ge, Y. Ye, *MoE-SpAc*, arXiv 2603.09983 (2026).
