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
#     title: The memory wall
#     minutes: 40
#     needs: ["00"]
#     objectives:
#       - compute what a model's experts weigh, and what one token has to read of them
#       - say whether a computation waits for memory or for arithmetic
#       - say for a machine when an expert is worth a copy over the link, and when it should stay where it is
#       - say what fits a device, and what the figure leaves out
#       - read a hit rate together with the bytes behind it
#     exact: weights, bytes, hits
#     measured: one machine, the reader's, in "Three memories"
#     modelled: times on the named machines, from published and assumed constants
#     sections:
#       - {name: What a model weighs, minutes: 7}
#       - {name: "Read, or compute?", minutes: 8}
#       - {name: Three memories, minutes: 9}
#       - {name: "Does it fit?", minutes: 6}
#       - {name: A cache of experts, minutes: 10}
#     board:
#       - ask: A model has 30 billion weights and uses 3 billion for each token. What must be in memory?
#         answer: All 30, as nobody knows which 3 the next token needs. That is the whole problem.
#       - ask: A GPU computes 160 times faster than a CPU. How much faster does it write, one token at a time?
#         answer: About as many times as its memory is faster. The weights are read once for each token.
#       - ask: Every second expert is found in a cache. What do you have to know to say whether that is good?
#         answer: How many bytes the other half brings over the link, and whether somebody waits for them.
#       - ask: When is it wrong to fetch a missing expert?
#         answer: When the CPU is done with it before the copy would be. For one token that is the usual case.
#     misunderstandings:
#       - said: A mixture of experts needs less memory than a dense model.
#         so: It needs less reading and arithmetic for a token. In memory it has more weights, not fewer.
#       - said: A faster GPU makes decoding faster.
#         so: A faster memory does. At one token a pass, arithmetic waits for reading.
#       - said: What is missing has to be fetched.
#         so: Or it is computed where it is. The link is often slower than the CPU's own memory.
# ---

# %% [markdown]
# # The memory wall
#
# Models of the last years have far more weights than a token uses. A *mixture of experts* keeps many small
# networks in each layer and sends each token through a few of them. That saves arithmetic and it saves
# reading. It saves no memory at all: which experts the next token needs, nobody knows before. This notebook
# counts what there is to keep, what there is to read, and over which wires.
#
# ## What a model weighs
# Six models that people run at home, as far as one can at home, and our small bundled one. A model profile
# holds the shapes as they are published, so that weights can be counted.

# %%
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from moespac_exercises import check, predict, reveal
from moespac_nb import DOMAINS, load_trace, belady_hits, lru_hits, calibrate, cost_model, list_machines
from moespac_nb import load_machine, plan_memory, list_model_specs, load_model_spec
from moespac_nb.hardware.calibration import to_toml
from moespac_nb.policies.timing import measure_planning_s
from moespac_nb.trace.cache_bounds import one_hot
from moespac_nb.trace.locality import committed_experts, overlap
from moespac_widgets import table
from moespac_widgets.figures.base import on_any_page

# %%
models = [load_model_spec(name) for name in list_model_specs() if not name.endswith("-4bit")]
rows = []
for one in models:
    experts = one.all_experts * one.expert_parameters
    used = one.parameters - experts + one.moe_layers * one.top_k * one.expert_parameters
    layout = f"{one.moe_layers} × {one.experts}, {one.top_k} used"
    layer = one.top_k * one.expert_bytes / 1e6
    rows.append((one.name, layout, one.parameters / 1e9, used / 1e9, layer, experts / one.parameters))
head = ["model", "experts", "weights, 10⁹", "a token uses, 10⁹", "experts, MB a layer and token"]
table([*head, "experts' share"], rows, "Counted from shapes; MB at 16 bits a weight")

# %% [markdown]
# The last column is why this toolkit is about experts: they are nearly everything. What remains (attention,
# the embeddings, the routers) is needed for every token and stays on the device. The column before it is
# what one token reads of experts in one layer, and in the next layer as much again, of others.
#
# ### Exercise 01.1: what an expert weighs
# An expert has three matrices: *gate* and *up* take a vector of the model's hidden size to its own width,
# *down* takes it back. How many bytes does it have, at so many bits a weight?


# %%
def expert_bytes(hidden, width, bits):
    ### BEGIN SOLUTION
    return 3 * hidden * width * bits / 8
    ### END SOLUTION


check("01.1", expert_bytes)

# %% [markdown]
# ## Read, or compute?
# To multiply a vector by a matrix, each weight is read once, and used for one multiplication and one
# addition: two operations for two bytes, at 16 bits a weight. How many operations can a processor do in the
# time in which its memory brings one byte?

# %%
rows = []
for name in list_machines():
    one = load_machine(name)
    gpu, cpu = one.flops_per_s / one.memory_bytes_per_s, one.host_flops_per_s / one.cpu_bytes_per_s
    where = "a disk" if one.experts_in == "storage" else "host memory"
    rows.append((name, one.memory_bytes_per_s / 1e9, gpu, where, one.cpu_bytes_per_s / 1e9, cpu))
head = ["machine", "device memory, GB/s", "operations a byte", "experts out of it lie in", "GB/s, to the CPU"]
head += ["operations a byte"]
table(head, rows, "Published and assumed; moespac_nb.hardware.machine names the source of each")

# %% [markdown]
# One operation a byte is asked for, and dozens or hundreds could be done. One token at a time, a GPU does
# nearly nothing but wait for its memory. What changes that is company: if *n* positions use the same
# weights, they are read once and used *n* times.
#
# ### Exercise 01.2: read or compute?
# How long does an expert take that serves `positions` positions? Its `size_bytes` are read once at
# `bytes_per_s`. At 16 bits, each byte means one operation for each position, at `flops_per_s`. Reading and
# computing go on side by side.


# %%
def seconds(positions, size_bytes, bytes_per_s, flops_per_s):
    ### BEGIN SOLUTION
    return max(size_bytes / bytes_per_s, positions * size_bytes / flops_per_s)
    ### END SOLUTION


check("01.2", seconds)

# %%
cost = cost_model("rtx4090", "qwen3-30b-a3b")
n = np.arange(1, 257)
figure = go.Figure()
copies = [cost.copy_s()] * len(n)
lines = {"on the GPU, from its memory": [cost.gpu_s(int(k)) for k in n]}
lines |= {"on the CPU": [cost.cpu_s(int(k)) for k in n], "a copy over the link": copies}
for (name, seconds_of), dash in zip(lines.items(), ("solid", "dash", "dot"), strict=True):
    figure.add_scatter(x=n, y=1e3 * np.array(seconds_of), name=name, line={"dash": dash})
grid = {"gridcolor": "rgba(128,128,128,.25)", "zeroline": False}
figure.update_xaxes(title_text="positions that the expert serves", **grid)
figure.update_yaxes(title_text="milliseconds", type="log", dtick=1, **grid)
on_any_page(figure, "One expert of Qwen3-30B-A3B, on an RTX 4090; modelled", 360)

# %% [markdown]
# One expert of Qwen3-30B-A3B on a desktop with an RTX 4090. What to see: the lines are flat as long as
# reading takes longer than computing, so a second position costs nothing; then they rise. And the dotted
# line, one copy from the host to the device, lies above both at the left.
#
# ## Three memories
# An expert that is not on the device has two ways. It can be *copied* over the link, and then compute
# fast, or it can *stay*, and compute on the CPU, which reads it from the host's own memory. Three speeds
# decide: that of the device's memory, that of the host's, and that of the link between them. And a copy has
# a **fixed cost** beside its bytes, whatever its size: it must be asked for, begun, and reported as done.

# %%
on, qwen = load_machine("rtx4090"), load_model_spec("qwen3-30b-a3b")
print(f"an expert of {qwen.name}: {qwen.expert_bytes / 1e6:.2f} MB at 16 bits a weight; an {on.name}:")
for name, rate in (("device's memory", on.memory_bytes_per_s), ("link", on.link_bytes_per_s)):
    print(f"   {name}: {rate / 1e9:.1f} GB/s")
print(f"   each copy's fixed cost: {1e3 * on.copy_alpha_s:.2f} ms (assumed)")

# %% [markdown]
# A guess first. On this desktop, how many times as long does one copy take as reading the same expert from
# the device's memory?

# %%
predict("01.P1", ...)

# %%
reveal("01.P1", cost.copy_s() / cost.gpu_read_s, "×")
fixed = on.copy_alpha_s / cost.copy_s()
print(f"by bandwidth alone {on.memory_bytes_per_s / on.link_bytes_per_s:.0f} ×; ", end="")
print(f"the fixed cost is {fixed:.0%} of a copy's {1e3 * cost.copy_s():.2f} ms")

# %% [markdown]
# And this is what that does to a decode. Say a token's experts, in all layers, had to be read over one of
# the three for each token, and nothing else took any time:

# %%
token_experts = qwen.moe_layers * qwen.top_k
paths = {"the device's memory": cost.gpu_read_s, "the host's memory": cost.cpu_read_s}
paths["the link, fixed costs included"] = cost.copy_s()
gigabytes = token_experts * qwen.expert_bytes / 1e9
rows = [(name, gigabytes, 1e3 * each_s, 1 / (token_experts * each_s)) for name, each_s in paths.items()]
head = ["experts read over", "GB a token", "ms an expert", "tokens/s at most"]
table(head, rows, "Qwen3-30B-A3B, 16 bits, RTX 4090; modelled")

# %% [markdown]
# Now your own machine: read speed, speed of an expert, speed of a copy. It takes some seconds, and writes
# a small file that the other notebooks can use instead of a named machine. Without a CUDA device the host
# plays both parts, and a copy is one within its memory.

# %%
calibration = calibrate(planning_s=measure_planning_s, quick=True)
Path("my_machine.toml").write_text(to_toml(calibration), encoding="utf-8")
mine = load_machine("my_machine.toml")
rows = []
for one in (mine, *map(load_machine, list_machines())):
    at = cost_model(one, "qwen3-30b-a3b")
    ms = (1e3 * at.gpu_s(1), 1e3 * at.cpu_s(1), 1e3 * at.copy_s())
    rows.append((one.name, *ms, "measured" if one.measured_on else "modelled"))
table(["machine", "on the device, ms", "on the CPU, ms", "a copy, ms", ""], rows, "One expert, one position")

# %% [markdown]
# Compare the last two columns of numbers, line by line. Where the copy takes longer than the CPU, fetching
# a missing expert for a single position is a mistake, however fast the GPU is.
#
# ### Exercise 01.3: copy it, or leave it?
# `cost` knows `cost.copy_s()`, `cost.gpu_s(n)` and `cost.cpu_s(n)`, in seconds, for *n* positions. How
# many positions must an expert serve, at least, so that to copy it and compute on the GPU takes *less*
# time than the CPU? Look from 1 to 64, and return 0 if not even 64 are enough.


# %%
def pays(cost):
    ### BEGIN SOLUTION
    for n in range(1, 65):
        if cost.copy_s() + cost.gpu_s(n) < cost.cpu_s(n):
            return n
    return 0
    ### END SOLUTION


check("01.3", pays)

# %% [markdown]
# Whoever has written that has found out why the paper's engine computes misses on the CPU instead of
# fetching them, and copies only what it expects to need *again*. A copy pays by being used often, or by
# being finished before it is needed.
#
# ## Does it fit?
# A device's memory holds more than experts: what the driver keeps, attention and embeddings, the keys and
# values of the text so far, a draft model if there is one. The rest is room for experts, in whole *slots*.

# %%
head = ["model", *list_machines()]
rows = []
for one in models:
    found = [plan_memory(name, one, context=1024, draft=False) for name in list_machines()]
    rows.append((one.name, *(f"{f.share:.0%}" if f.fits else "no" for f in found)))
table(head, rows, "Share of the experts that fit; 16 bits, 1,024 tokens, no draft; modelled")

# %%
names = [one.name for one in models if one.draft and one.name != "bundled-pair"]
found = {name: plan_memory("rtx4090", name, context=1024) for name in names}
items = [*next(iter(found.values())).taken_bytes, "experts, in slots"]
colours = ["#999999", "#E69F00", "#56B4E9", "#D55E00", "#CC79A7", "#009E73"]
figure = go.Figure()
for number, item in enumerate(items):
    held = [f.taken_bytes.get(item, f.budget_bytes) / 2**30 for f in found.values()]
    look = {"color": colours[number], "pattern": {"shape": ("", "/")[number % 2]}}
    figure.add_bar(x=names, y=held, name=item.replace("_", " "), marker=look)
figure.add_hline(24, line_dash="dot", line_color="gray", annotation_text="the card's memory")
figure.update_yaxes(title_text="GiB", **grid)
on_any_page(figure, "Memory of an RTX 4090, 16 bits, 1,024 tokens; modelled", 380, barmode="stack")

# %% [markdown]
# What to see: the draft takes gigabytes that slots could have. And there is room in each column, also for
# the models that the table refuses: on the card they would fit in part, but the rest of their experts has
# no place in the host's 64 GiB.
#
# ### Exercise 01.4: how many fit?
# Bytes of memory, bytes that are taken, bytes of one expert, and how many experts there are: how many
# slots?


# %%
def slots(memory, taken, expert, experts):
    ### BEGIN SOLUTION
    return min(max(0, memory - taken) // expert, experts)
    ### END SOLUTION


check("01.4", slots)

# %% [markdown]
# How far can such a figure be trusted? The paper reports that its own system ran out of memory at **21 %**
# of Qwen3's experts on an RTX 4090 (published), with a draft of 4 billion weights. The planner finds more:

# %%
paper = plan_memory("rtx4090", "qwen3-30b-a3b", context=1024)
print(f"planned: {paper.share:.0%} of the experts, {paper.slots} slots", end=", ")
print(f"{paper.budget_bytes / 2**30:.1f} GiB")

# %% [markdown]
# So it is optimistic. It counts weights, keys and values, one chunk of activations, and an assumed reserve
# for driver and libraries. What it cannot know is how a program allocates: buffers, fragments, second
# copies. Take such a plan for what is possible at best, and leave some air.
#
# ## A cache of experts
# With slots for a part of the experts, the plainest idea is a cache: keep what was used last (LRU). Here
# are the bundled traces, decoded without a draft, all domains, sampled; each layer has a cache of its own.
# Belady's rule knows the future, and no cache has more hits.

# %%
texts = []
for domain in DOMAINS:
    trace = load_trace(domain, mode="sample", dense=True, half="report")
    for number in range(len(trace.texts)):
        texts.append(one_hot(committed_experts(trace, number), trace.geometry.experts))
asked = sum(int(used.sum()) for used in texts)
shares = (0, 10, 17, 25, 50, 75)
rates = {}
for name, hits_of in (("LRU", lru_hits), ("Belady", belady_hits)):
    found = [sum(int(hits_of(used, round(64 * s / 100)).sum()) if s else 0 for used in texts) for s in shares]
    rates[name] = np.array(found) / asked

# %% [markdown]
# Hits are one thing, bytes the other. Say each of these experts were one of Qwen3-30B-A3B, in its 48 layers
# with 8 used in each, and all misses were copied over the desktop's link. What would come over it for each
# token, and how many tokens a second would the link alone allow?

# %%
rows = []
for share, lru, best in zip(shares, rates["LRU"], rates["Belady"], strict=True):
    copies = (1 - lru) * qwen.moe_layers * qwen.top_k
    rows.append((f"{share} %", lru, best, copies * qwen.expert_bytes / 1e9, 1 / (copies * cost.copy_s())))
head = [
    "experts held",
    "hits, LRU",
    "hits, Belady",
    "GB a token, LRU",
    "tokens/s that the link allows, modelled",
]
table(head, rows, "Hits exact, of the bundled traces; the rest as if Qwen3-30B-A3B on an RTX 4090")

# %% [markdown]
# Read a line from left to right; the first, without a cache, is the last line of the table further up. A hit
# rate that sounds decent still means gigabytes for each token. That is the wall: not the misses' share, but
# their weight. In the paper's table three systems that fetch what is
# missing write 2.4 to 4.7 tokens a second on this card, and llama.cpp 15.2 (published; how much of the
# model it kept on the card is not).
#
# ### Exercise 01.5: last used, last to go
# One layer, one expert asked for at a time, and a cache of so many `slots` that is empty at first. Count
# the hits: how often is the expert that is asked for still there? A newcomer takes a free slot, or that of
# the expert whose last use is longest ago. `asked` is a list such as `[3, 1, 3]`.


# %%
def hits(asked, slots):
    ### BEGIN SOLUTION
    held, found = [], 0
    for expert in asked:
        found += expert in held
        held = [*(other for other in held if other != expert), expert][-slots:]
    return found
    ### END SOLUTION


check("01.5", hits)

# %% [markdown]
# One caution, and it matters for every number of this kind in these notebooks. How well a cache does
# depends on how much of what one token needs the next one needs again, and on how long the text is: each
# starts with an empty cache, and no rule can hit what is asked for the first time.

# %%
ours = [overlap(load_trace(domain, mode="sample", dense=True, half="report")) for domain in DOMAINS]
at = [shares.index(share) for share in (25, 50)]
pair = [rates[name][one] for one in at for name in ("LRU", "Belady")]
rows = [("the bundled pair", np.mean([a for a, _ in ours]), *pair, "exact")]
rows += [("its tokens shuffled", np.mean([b for _, b in ours]), *[None] * 4, "exact")]
rows += [("Qwen3-30B-A3B", 0.427, 0.810, 0.888, 0.918, 0.929, "published")]
head = ["experts shared with the next token", "LRU, 25 %", "Belady, 25 %", "LRU, 50 %", "Belady, 50 %"]
table(["", *head, ""], rows, "The same rule of a cache; published: gajsanders/moe-trace, 4 bits")

# %% [markdown]
# Ours share less, and are shorter. A real model's cache does better than these, and what looks back has
# more to see. So take *how much* a cache brings from traces of the model that you mean, and from the
# bundled pair only *why*.
#
# **References.** L. A. Belady, *A study of replacement algorithms for a virtual-storage computer*, IBM
# Systems Journal 5 (1966). S. Williams, A. Waterman, D. Patterson, *Roofline: an insightful visual
# performance model*, CACM 52 (2009). S. Li, J. Lin, D. Ge, Y. Ye, *MoE-SpAc*, arXiv 2603.09983 (2026).
