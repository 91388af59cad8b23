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
#     title: The workload balancer
#     minutes: 40
#     needs: ["04"]
#     objectives:
#       - compute what a threshold τ gives to the CPU and to the GPU, and how long each of them takes
#       - say why balanced lanes are not the same as a fast layer, and on which machines that matters
#       - read which constraint keeps a layer from a lower threshold
#       - write the choice of all thresholds as one integer program, and know when to believe its solver
#       - say how much of the method's gain is the balancer's, here and in the paper
#     exact: thresholds, counts of experts and slots, which constraint binds, proven optima
#     measured: how long the fast path and the solver take on the reader's machine
#     modelled: "all other times: a Qwen3-30B-A3B's experts on the named machine, an RTX 4090 where none is"
#     sections:
#       - {name: Two lanes, minutes: 8}
#       - {name: "Balanced, or fast?", minutes: 9}
#       - {name: What may not be chosen, minutes: 6}
#       - {name: One layer in PuLP, minutes: 4}
#       - {name: All layers at once, minutes: 7}
#       - {name: "Exact, or quick?", minutes: 2}
#       - {name: "What is it worth?", minutes: 4}
#     board:
#       - ask: τ goes from 2 to 3. Which lane gets more work, and are more experts copied or fewer?
#         answer: The CPU's lane gets more, and fewer experts are copied. Fewer experts are hot.
#       - ask: One threshold leaves the lanes at 6 ms and 6 ms, another at 5 ms and 1 ms. Which is better?
#         answer: The second. A layer ends with its slower lane, after 5 ms. It is badly balanced, and faster.
#       - ask: Eight layers, each told that 40 slots are free. What can go wrong?
#         answer: They are the same 40 slots. Each layer keeps its constraint, all of them together do not.
#       - ask: Why is one sum over the whole window not enough for the link?
#         answer: A copy for the first layer cannot hide in time that comes later. Each layer is a deadline.
#     misunderstandings:
#       - said: The best threshold is the one at which both processors take the same time.
#         so: What counts is the slower lane. With whole experts and whole thresholds the two can differ.
#       - said: Status "Optimal" means that the point is optimal.
#         so: PuLP says that of a point found before the time limit, too. `sol_status` tells the two apart.
#       - said: The threshold decides what is copied.
#         so: It decides what is wanted. The engine copies in order of utility, as far as slots and link go.
# ---

# %% [markdown]
# # The workload balancer: from a drawing to an integer program
#
# The estimator of notebook 04 gives each expert a utility *s* from 0 to *K*. Somebody has to draw the line:
# who is *hot*, gets a slot and computes on the GPU, and who is *cold*, stays on the host and computes on the
# CPU? A line too low, and the link cannot bring what was promised. A line too high, and the CPU does
# everything while the GPU waits.
#
# The paper draws it anew before every window, in every layer, by a small optimisation problem: its *workload
# balancer*. You will draw the problem, write it down, solve it in three ways, and find out what it is worth.
#
# ## Two lanes
# One layer, one window. A threshold τ makes the experts with s ≥ τ hot. Two *lanes* then work side by side:
#
# - the CPU takes **T_cpu(τ)**: the cold experts' pairs of position and expert, one after another;
# - the GPU takes **T_gpu(τ)**: the hot experts that somebody asks for, each once, since its positions are
#   served together.
#
# The layer is through when both are: after **max(T_cpu, T_gpu)**.

# %%
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pulp

from moespac_exercises import check, predict, reveal
from moespac_exercises.lessons.the_workload_balancer import (
    CPU_PAIR_MS,
    GPU_EXPERT_MS,
    recorded,
    tables,
    to_read,
)
from moespac_nb import DOMAINS, load_trace, Candidates, Joint, PerLayer, solve, compose_policy
from moespac_nb import record_balancer_inputs, replay, list_machines
from moespac_nb.balancer.highs import solve_program

# %%
from moespac_widgets import BalancerExplorer, table
from moespac_widgets.figures.base import on_any_page

# %% [markdown]
# ### Exercise 05.1: two lanes
# Write a function of a layer's `counts` (how many positions ask for each expert), its `utility` (alike) and
# `tau`. It returns the two times in milliseconds. Here a pair on the CPU takes `CPU_PAIR_MS`, and a hot
# expert on the GPU `GPU_EXPERT_MS`.


# %%
def lanes(counts, utility, tau):
    ### BEGIN SOLUTION
    experts = list(zip(counts, utility, strict=True))
    cold_pairs = sum(f for f, s in experts if s < tau)
    hot_in_use = sum(f > 0 for f, s in experts if s >= tau)
    return cold_pairs * CPU_PAIR_MS, hot_in_use * GPU_EXPERT_MS
    ### END SOLUTION


check("05.1", lanes)

# %% [markdown]
# Now a real layer. The trace is sampled code, γ = 8; a replay on a modelled RTX 4090 with slots for 17 % of
# the experts noted what its balancer was asked before each window. What the coming window will ask for is not
# known then. It is expected from the utility: how much work an expert of each level has brought so far. (Our
# cost model is a little richer than the paper's: each lane takes the longer of reading weights and computing
# pairs.)

# %%
window, layer = to_read()
asked = tables()[window]
head = ["τ", "hot experts", "of them to be copied", "T_cpu, ms", "T_gpu, ms", "slower lane, ms"]
rows = [asked.row(layer, level) for level in range(asked.levels)]
rows = [(r["tau"], r["hot"], r["loads"], *(1e3 * r[t] for t in ("cpu_s", "gpu_s", "total_s"))) for r in rows]
table(head, rows, f"Window {window}, layer {layer}; times modelled, an RTX 4090")


# %%
def lanes_figure(asked, layer, sentence):
    figure, taus = go.Figure(), list(range(1, asked.levels + 1))
    cpu, gpu = (asked.cpu_s, "dash", "#D55E00"), (asked.gpu_s, "solid", "#0072B2")
    for name, (seconds, dash, colour) in {"T_cpu, the cold": cpu, "T_gpu, the hot": gpu}.items():
        figure.add_scatter(x=taus, y=1e3 * seconds[layer], name=name, line={"dash": dash, "color": colour})
    figure.update_xaxes(title_text="threshold τ", dtick=1)
    figure.update_yaxes(title_text="ms (modelled)", rangemode="tozero")
    return on_any_page(figure, sentence, 320)


lanes_figure(asked, layer, f"Window {window}, layer {layer}, RTX 4090: each lane against τ")

# %% [markdown]
# What to see: to the right, work goes from the GPU's lane to the CPU's, so one line rises and the other
# falls. This is the drawing behind the balancer: somewhere the lines should meet. Do they?
#
# ## Balanced, or fast?
# The paper minimises the *difference*, |T_cpu − T_gpu|: both lanes are to be busy all the time. What a layer
# takes is the *maximum*. If the lines crossed at a whole number, both would name the same τ. But τ is one of
# K whole numbers, and on whole numbers the two are not the same.
#
# ### Exercise 05.2: balanced and slow
# Make up a layer in which they differ: a list of pairs (T_cpu, T_gpu), the first for τ = 1, such that the τ
# of least difference takes *longer* than another. As always T_cpu must not fall with τ, nor T_gpu rise.

# %%
### BEGIN SOLUTION
layer_of_mine = [(1, 4), (5, 4)]
### END SOLUTION

check("05.2", layer_of_mine)

# %% [markdown]
# So it can happen. Does it, on a real machine? Of all layers of all windows of this trace: in what share do
# the lanes cross at all, the GPU's the longer at τ = 1 and the CPU's at τ = K? And in what share does the
# difference choose a slower τ than the maximum? Guess both, in per cent, on the RTX 4090.

# %%
crossing_guess = ...
slower_guess = ...
predict("05.P1", crossing_guess)
predict("05.P2", slower_guess)


# %%
def longer(asked):
    """(layers,) how many times as long each layer takes with the difference's τ as with the maximum's."""
    even, fast = (solve(PerLayer(asked, by), "enumerate").tau for by in ("difference", "max"))
    return asked.of(asked.total_s, even) / asked.of(asked.total_s, fast)


def shares(found):
    """Per cent of the layers of all windows: the lanes cross; the difference chooses a slower τ."""
    crossed = [(t.gpu_s[:, 0] > t.cpu_s[:, 0]) & (t.gpu_s[:, -1] < t.cpu_s[:, -1]) for t in found]
    return 100 * np.mean(crossed), 100 * np.mean([longer(t) > 1 + 1e-9 for t in found])


# %%
reveal("05.P1", shares(tables().values())[0], "%")
reveal("05.P2", shares(tables().values())[1], "%")
rows = []
for name in list_machines():
    found = record_balancer_inputs(recorded(), "spac-joint", "17%", gamma=8, machine=name).values()
    ratio = np.median(
        [t.cpu_s[:, 0] / np.maximum(t.gpu_s[:, 0], 1e-12) for t in found if t.gpu_s[:, 0].all()]
    )
    rows.append((name, ratio, *shares(found)))
head = ["machine", "T_cpu over T_gpu at τ = 1, median", "lanes cross, %", "difference slower, %"]
print("the CPU is nearest to the GPU on:", min(rows, key=lambda row: row[1])[0])
table(head, rows, "All layers of all windows; modelled")

# %% [markdown]
# The second column tells why. A GPU reads an expert from its own memory many times faster than a CPU does
# from the host's, and even at τ = 1 there are cold experts that somebody asks for. Where T_cpu is the longer
# lane at *every* threshold there is nothing to balance. Difference and maximum then say the same: as low a τ
# as is allowed.
#
# When would it matter? Let the CPU take only a part of its time, and search.

# %%
rows, worst = [], (1.0, asked, 100, window, layer)
for per_cent in (100, 30, 10, 5, 3, 2, 1):
    quick = {at: replace(one, cpu_s=one.cpu_s * per_cent / 100) for at, one in tables().items()}
    ratios = {at: longer(one) for at, one in quick.items()}
    at = max(ratios, key=lambda at: ratios[at].max())
    if ratios[at].max() > worst[0]:
        worst = ratios[at].max(), quick[at], per_cent, at, int(ratios[at].argmax())
    slower = np.mean([each > 1 + 1e-9 for each in ratios.values()])
    rows.append((per_cent, 100 * slower, ratios[at].max()))
head = ["CPU's time, % of the given", "difference slower, % of layers", "at worst, times as long"]
table(head, rows, "All layers of all windows; modelled")

# %%
ratio, quick, per_cent, number, at = worst
by_difference, by_maximum = (solve(PerLayer(quick, by), "enumerate").tau[at] for by in ("difference", "max"))
print(f"difference: τ = {by_difference}; maximum: τ = {by_maximum}; {ratio:.2f} times as long")
lanes_figure(quick, at, f"The worst one: window {number}, layer {at}, a CPU of {per_cent} % of the time")

# %% [markdown]
# Go down the table to the first row in which the difference is ever slower: so fast would the CPU have to be.
# Where two processors really are about equal the objective matters, and the maximum is the right one. On the
# machines above the balancer's work is elsewhere: in its constraints.
#
# ## What may not be chosen
# With n(τ) hot experts that are not in a slot yet, the paper asks of each layer
#
# - **link**: n(τ) copies take no longer than the layer itself, its share of the drafting, and the part of a
#   layer that is no expert; else somebody waits;
# - **slots**: n(τ) is no more than the slots that are free or hold a cold expert.

# %%
print(PerLayer(asked, "difference"))

# %% [markdown]
# Here is an instrument for it. In its map a column is a layer, a row a threshold: click a cell, or choose it
# with the arrows. Hatched cells may not be chosen: rising lines say that the slots forbid it, falling lines
# the link. The sliders change the slots and what each unit takes; the kernel then solves anew. Try a CPU lane
# of 10 % with a GPU lane of 200 %, and watch the lanes meet.

# %%
opened = {"step": window, "layer": layer, "tau": 2, "formulation": "per-layer-difference"}
BalancerExplorer(recorded(), gamma=8, budget="17%", **opened)

# %% [markdown]
# ### Exercise 05.3: what binds?
# In the window and the layer on which the explorer opened, with its sliders where they were: which constraint
# of the layer, alone, forbids τ = 2? Write `"link"`, `"slots"`, `"both"` or `"nothing"`.

# %%
### BEGIN SOLUTION
alone = PerLayer(asked, "difference")
broken = [name for name in ("link", "slots") if getattr(alone, f"breaks_{name}")[layer, 1]]
binding = "both" if len(broken) == 2 else (broken or ["nothing"])[0]
### END SOLUTION

check("05.3", binding)

# %%
rows = []
for budget in ("5%", "17%", "50%", "100%"):
    inputs = record_balancer_inputs(recorded(), "spac-joint", budget, gamma=8).values()
    found = [PerLayer(table) for table in inputs]
    link, slots = (
        np.array([getattr(f, f"breaks_{name}")[:, 0] for f in found]) for name in ("link", "slots")
    )
    rows.append(
        (budget, *(100 * np.mean(m) for m in (link & ~slots, slots & ~link, link & slots, ~link & ~slots)))
    )
head = ["budget", "link only", "slots only", "both", "nothing"]
table(head, rows, "What forbids τ = 1, % of the layers of all windows; modelled, an RTX 4090")

# %% [markdown]
# What to see: with more slots the slots stop binding and the link is left, until every expert has a slot and
# nothing needs to be copied.
#
# ## One layer in PuLP
# Choosing one of four numbers needs no solver. But the form is worth having, since it grows: a 0-or-1
# variable for each τ, of which exactly one is 1, and everything else a sum over them. PuLP writes
# such a program down, HiGHS solves it inside this process.


# %%
def one_of(taus):
    """A program with a 0-or-1 variable for each τ, of which exactly one is 1."""
    program = pulp.LpProblem("one_layer", pulp.LpMinimize)
    x = program.add_variable_dicts("tau", taus, cat="Binary")
    program += pulp.lpSum(x.values()) == 1, "one"
    return program, x


def at_tau(x, values):
    """The value at the chosen τ, as a linear expression."""
    return pulp.lpSum(float(value) * x[tau] for tau, value in enumerate(values, 1))


# %% [markdown]
# An absolute value is not linear. But *cost* ≥ a − b and *cost* ≥ b − a, with *cost* as small as can be,
# comes to |a − b|. For the maximum it would be *cost* ≥ a and *cost* ≥ b.

# %%
program, x = one_of(range(1, asked.levels + 1))
cost = program.add_variable("cost", 0)
program.setObjective(cost)
cpu_ms, gpu_ms = (at_tau(x, 1e3 * seconds[layer]) for seconds in (asked.cpu_s, asked.gpu_s))
program += cost >= cpu_ms - gpu_ms, "cpu_longer"
program += cost >= gpu_ms - cpu_ms, "gpu_longer"
hidden_ms = at_tau(x, 1e3 * asked.total_s[layer]) + 1e3 * PerLayer(asked).window_s
program += 1e3 * asked.times.copy_s * at_tau(x, asked.loads[layer]) <= hidden_ms, "link"
program += at_tau(x, asked.loads[layer] - asked.room) <= 0, "slots"
print(program)

# %%
print(solve_program(program), {tau: round(bit.value()) for tau, bit in x.items()})
print("the package chooses τ =", solve(PerLayer(asked, "difference"), "enumerate").tau[layer])

# %% [markdown]
# `solve_program` is the package's: `program.solve(pulp.HiGHS(msg=False, threads=1))`, silent, and it reads
# `program.sol_status`, of which more below.
#
# ## All layers at once
# In the paper each layer solves its problem alone. Yet all layers share one pool of slots and one link. Each
# is told of the same free slots; do the layers' thresholds, taken together, fit?

# %%
rows = []
for name in list_machines():
    inputs = record_balancer_inputs(recorded(), "spac-joint", "17%", gamma=8, machine=name)
    found = [Joint(table) for table in inputs.values()]
    alone = [(joint, solve(PerLayer(joint.table), "enumerate").tau) for joint in found]
    fits = [(joint, tau) for joint, tau in alone if not joint.violations(tau)]
    too_many = sum("slots" in joint.violations(tau) for joint, tau in alone)
    planned = [solve(joint, "lagrangian").objective_s / joint.objective_s(tau) for joint, tau in fits]
    rows.append((name, len(found), too_many, np.mean(planned)))
head = ["machine", "windows", "ask for too many slots", "joint plan's time over theirs, where they fit"]
table(head, rows, "Each layer alone, 17 % budget; times modelled")

# %% [markdown]
# Two faults show. On some machines many windows ask for more slots than there are. And where all fits, the
# joint plan (below; here by its fast path) promises less time: alone, a layer may hide its copies only behind
# itself and its share of the drafting, although a copy for a late layer can use all the time before it.
#
# That is also the trap of the other extreme, one sum for the whole window. A copy for layer l must have come
# when layer l **begins** its experts. So each layer is a deadline on the one link:
#
# copies for layers 0 … l ≤ drafting + what the layers *before* l take.
#
# ### Exercise 05.4: in time
# The link copies for layer 0 first, then for layer 1, and so on, from the beginning of the drafting. Given
# each layer's `loads`, what each layer takes (`takes_ms`), `copy_ms` for one copy and the drafting's
# `draft_ms`: return `True` if every copy has come when its layer begins, else `False`.


# %%
def in_time(loads, takes_ms, copy_ms, draft_ms):
    ### BEGIN SOLUTION
    begins, copied = draft_ms, 0
    for n, takes in zip(loads, takes_ms, strict=True):
        copied += n * copy_ms
        if copied > begins:
            return False
        begins += takes
    return True
    ### END SOLUTION


check("05.4", in_time)

# %% [markdown]
# Now the whole window as one program. Its beginning is the same for everybody: a 0-or-1 variable for each
# layer and τ, one τ a layer, and the sum of what the layers take to be minimised. What a layer takes at each
# τ is known beforehand, so the maximum is a coefficient and needs no trick.


# %%
def summed(x, values):
    """For each layer the value at its chosen τ, as linear expressions. values: (layers, K)."""
    return [
        pulp.lpSum(float(value) * chosen[tau] for tau, value in enumerate(row, 1))
        for chosen, row in zip(x, values, strict=True)
    ]


# %%
def begun(asked):
    """The program without its constraints, and x[layer][τ], which is 1 for the τ that is chosen."""
    program, taus = pulp.LpProblem("joint", pulp.LpMinimize), range(1, asked.levels + 1)
    x = [program.add_variable_dicts(f"tau_{at}", taus, cat="Binary") for at in range(asked.layers)]
    program.setObjective(pulp.lpSum(summed(x, asked.total_s)))
    for at, chosen in enumerate(x):
        program += pulp.lpSum(chosen.values()) == 1, f"one_{at}"
    return program, x


# %% [markdown]
# ### Exercise 05.5: all layers at once
# Add what is missing: the slots (`asked.hot`, at most `asked.slots` over all layers), and a deadline for each
# layer (`asked.loads`, `asked.times.copy_s`, `asked.times.draft_window_s`; leave `dense_s` out, it is 0 in
# the tests). Then `solve_program(program)`, and return the list of thresholds. If it says `"infeasible"`,
# every τ is K = `asked.levels`.


# %%
def thresholds(asked):
    program, x = begun(asked)
    ### BEGIN SOLUTION
    takes, loads = summed(x, asked.total_s), summed(x, asked.times.copy_s * asked.loads)
    program += pulp.lpSum(summed(x, asked.hot)) <= asked.slots
    for at in range(asked.layers):
        program += pulp.lpSum(loads[: at + 1]) <= asked.times.draft_window_s + pulp.lpSum(takes[:at])
    if solve_program(program) == "infeasible":
        return [asked.levels] * asked.layers
    return [max(chosen, key=lambda tau: chosen[tau].value()) for chosen in x]
    ### END SOLUTION


check("05.5", thresholds)

# %% [markdown]
# And here is our window, by the package's formulation of the same: each layer alone as in the paper, then all
# together. `dense_s`, what a layer takes besides its experts, gives the link a little time more.

# %%
joint = Joint(asked)
ways = {
    "each alone": solve(PerLayer(asked, "difference"), "enumerate"),
    "together, PuLP": solve(joint, "pulp"),
}
ways["together, fast path"] = solve(joint, "lagrangian")
rows = []
for way, found in ways.items():
    used, breaks = asked.of(asked.hot, found.tau).sum(), ", ".join(joint.violations(found.tau)) or "nothing"
    rows.append((way, *found.tau, int(used), 1e3 * joint.objective_s(found.tau), breaks))
head = ["", *(f"τ of {at}" for at in range(asked.layers)), "slots", "ms", "breaks"]
table(head, rows, f"Window {window}: each layer's τ; {asked.slots} slots; times modelled")

# %% [markdown]
# ## Exact, or quick?
# Thinking takes time too, before every window, and the table above says how little a window has of it. The
# *fast path* puts a price on a slot and on a second of the link, lets each layer buy, and then mends what is
# left. It proves nothing, so it is checked against PuLP, which does. Below with our 8 layers, and with 48, as
# a Qwen3-30B-A3B has: six windows on top of each other.


# %%
def stacked(found):
    """Several windows as the layers of one."""
    first, names = found[0], ("cpu_s", "gpu_s", "hot", "loads")
    rows = (np.concatenate([getattr(one, name) for one in found]) for name in names)
    room, slots = sum(one.room for one in found), sum(one.slots for one in found)
    return Candidates(*rows, room, slots, first.times)


# %%
every, rows = list(tables().values()), []
for windows, picked in ((1, range(20, 160, 7)), (6, range(20, 150, 18))):
    problem = [Joint(stacked(every[at : at + windows])) for at in picked if at + windows <= len(every)]
    quick, exact = ([solve(joint, method) for joint in problem] for method in ("lagrangian", "pulp"))
    gaps = [100 * (q.objective_s / e.objective_s - 1) for q, e in zip(quick, exact, strict=True)]
    took = [1e3 * np.median([one.seconds for one in found]) for found in (quick, exact)]
    rows.append((8 * windows, len(problem), *took, np.median(gaps), max(gaps), all(e.optimal for e in exact)))
head = ["layers", "problems", "fast, ms", "PuLP, ms", "gap, %, median", "gap, %, most", "all proven"]
table(head, rows, "Medians; the two times are measured on your machine, gaps are exact")

# %% [markdown]
# A solver can be told to stop. What it then holds need not be the best, or anything. PuLP's `status` does not
# tell: it says *Optimal* of any point at all. `sol_status` does. (Where the change comes depends on your
# machine.)

# %%
rows = []
for limit_ms in (0.1, 3, 10, 30, None):
    program, _ = Joint(stacked(every[20:26])).program()
    said = solve_program(program, limit_ms and limit_ms / 1e3)
    rows.append(
        (limit_ms or "none", pulp.LpStatus[program.status], pulp.LpSolution[program.sol_status], said)
    )
table(["time limit, ms", "status", "sol_status", "the package's word"], rows)

# %% [markdown]
# And sometimes there is nothing to find: a budget that has just shrunk, a link that has slowed down. Then
# every τ is K, whatever that breaks. Below, the window with the most experts at level K, with one slot fewer
# than they need.

# %%
full = max(every, key=lambda one: one.hot[:, -1].sum())
short = Joint(replace(full, slots=max(0, int(full.hot[:, -1].sum()) - 1)))
for method in ("pulp", "lagrangian"):
    found = solve(short, method)
    print(f"{method}: feasible {found.feasible}, τ {found.tau.tolist()}, breaks {', '.join(found.binding)}")

# %% [markdown]
# Nothing terrible follows, because thresholds are wishes. The engine of notebook 06 copies what is wanted in
# order of utility, as far as slots and link go, and what has not come computes on the CPU.
#
# ## What is it worth?
# The paper took parts of its system away, one at a time. With a fixed τ = 2 in every layer instead of the
# balancer it published:

# %%
full_system, fixed = {"MMLU-Pro": 25.80, "HumanEval": 28.24, "CNN/DM": 22.78}, (24.32, 26.95, 20.16)
rows = [(name, tau_2, tps, 100 * (tps / tau_2 - 1))
        for (name, tps), tau_2 in zip(full_system.items(), fixed, strict=True)]  # fmt: skip
table(["benchmark", "fixed τ = 2", "with the balancer", "gain, %"], rows, "Tokens a second, published")

# %% [markdown]
# Now the same question here: fixed thresholds from 1 to 4, the paper's balancer, and the joint one, all with
# the same counts, the same rule and the same engine, on seven domains. By how many per cent is the paper's
# balancer faster than a fixed τ = 2?

# %%
gain_guess = ...
predict("05.P3", gain_guess)

# %%
players = [compose_policy(f"τ = {tau}", admission=tau) for tau in (1, 2, 3, 4)]
players += [
    compose_policy("the paper's", admission="per-layer-difference"),
    compose_policy("joint", admission="joint"),
]
played = {}
for domain in DOMAINS:
    trace = load_trace(domain, mode="sample", dense=True, half="report")
    played[domain] = [replay(trace, each, "17%", gamma=8, timeline=False) for each in players]

# %%
speeds = np.array([[one.tps_modelled for one in ran] for ran in played.values()])
gains = 100 * (speeds / speeds[:, [1]] - 1)
mean = 100 * (np.exp(np.log(speeds / speeds[:, [1]]).mean(axis=0)) - 1)
mb = np.mean([[one.bytes_per_token / 1e6 for one in ran] for ran in played.values()], axis=0)
reveal("05.P3", mean[4], "%")
rows = [(domain, *each) for domain, each in zip(played, gains, strict=True)]
rows += [("all", *mean), ("MB copied a token", *mb)]
table(
    ["domain", *(one.name for one in players)], rows, "Faster than a fixed τ = 2, in %; 17 % budget, modelled"
)

# %%
for name, gain in sorted(zip((one.name for one in players), mean, strict=True), key=lambda pair: -pair[1]):
    print(f"{name:12} {gain:+.1f} %")

# %% [markdown]
# Read the last list from its top, and compare it with the paper's table. Two things are behind it.
#
# - **The engine does part of the balancer's work.** It copies in order of utility and lets the stronger
#   displace the weaker. So a threshold that asks for too much asks in the right order, and what comes too
#   late computes on the CPU. What it costs is the bytes of the last row.
# - **A plan is only as good as its forecast.** The joint plan promised clearly less time than the layers'
#   own, further up. But it plans with the work that is *expected* of each level of utility, and the window
#   brings other work.
#
# The published gain is of another system: 48 layers, a processor and unit times that are not published, and
# an engine in which a request behind others waits. It need not be wrong there. What you can take from here is
# the question to ask of any balancer: compared with which fixed threshold? The best one, or the one that
# happened to be in the ablation?
#
# ## From here
# - A slower link, and a CPU that is nearer to its GPU than any other here: give `machine="laptop4060"` to
#   `replay`, and run the last cells again.
# - One bit an expert instead of one τ a layer: `moespac_nb.PerExpert`. It is the bound on what any
#   thresholds can do.
# - Next: 06, the engine that carries the plan out.
#
# **References.** S. Li, J. Lin, D. Ge, Y. Ye, *MoE-SpAc*, arXiv 2603.09983 (2026), §3.3 and its ablation.
# S. Mitchell, M. O'Sullivan, I. Dunning, *PuLP: a linear programming toolkit for Python* (2011). Q. Huangfu,
# J. A. J. Hall, *Parallelizing the dual revised simplex method* (2018), on which HiGHS is built.
