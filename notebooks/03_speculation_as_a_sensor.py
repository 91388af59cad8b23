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
#     title: Speculation as a sensor
#     minutes: 40
#     needs: ["00", "02"]
#     objectives:
#       - compute how many experts a window asks for, and when its tokens pay for them
#       - say what a count tells of the next window that a bit does not, and measure it with an honest control
#       - say why a decision survives a wrong count, and where that argument fails
#       - read a table of recall at equal size, and name the strongest sensor and the one that sees nothing
#     exact: tokens, counts of experts, recall, bits
#     measured: nothing
#     modelled: nothing
#     sections:
#       - {name: A count is not a bit, minutes: 4}
#       - {name: "One load, several positions", minutes: 10}
#       - {name: "How much does a count tell?", minutes: 11}
#       - {name: "How wrong may a count be?", minutes: 6}
#       - {name: Where it predicts and where it does not, minutes: 8}
#       - {name: From here, minutes: 1}
#     board:
#       - ask: >-
#           A layer has 64 experts, 4 a token. If every position chose at random, how many would nine
#           positions ask for? And if all chose alike?
#         answer: 64 (1 − (60/64)⁹) ≈ 28.2, and 4. Real windows lie between.
#       - ask: Why is the entropy of a count no measure of what it predicts?
#         answer: >-
#           Entropy is how uncertain the count is; noise has plenty. What it predicts is the mutual
#           information with the next window, which can be 0 however large the entropy.
#       - ask: >-
#           A sensor names 40 experts and finds 90 % of what is needed, another names 16 and finds 60 %.
#           Which is better?
#         answer: Not to be said. Let both name 16, or weigh the 24 copies more.
#     misunderstandings:
#       - said: Nine positions are nine observations, so the count is three times as reliable.
#         so: >-
#           Only if they are independent. Nine neighbours resemble each other, and the more they do, the
#           less each adds. And nine plain steps give the same nine observations.
#       - said: The window that was rejected tells nothing, it was thrown away.
#         so: Its routing predicts. The next window is drafted from nearly the same place.
#       - said: Expert reuse means that speculation loads fewer bytes.
#         so: Fewer a position. Of a token of text, often more, since rejected positions fetch experts, too.
# ---

# %% [markdown]
# # Speculation as a sensor
#
# A plain decoding step tells a memory manager one bit of each expert: used, or not. A verified window
# tells a *count*: how many of its positions asked. MoE-SpAc ([Li et al.
# 2026](https://arxiv.org/abs/2603.09983)) builds everything on that count, with three arguments: one load
# serves several positions (**expert reuse**), a count tells more than a bit (**information gain**), and a
# decision made from counts survives errors (**fault tolerance**). All three are true of something. This
# notebook derives each, finds what it needs to hold, and measures it on recorded decodes. Then it asks
# what is left: whether the sensor predicts.
#
# ## A count is not a bit
# Sixty-four sampled tokens of a word problem, read as windows of γ = 8: nine positions each.

# %%
from math import comb

import numpy as np
import plotly.graph_objects as go

from moespac_exercises import check, predict, reveal
from moespac_exercises.information import entropy_bits, information_bits, information_of
from moespac_exercises.lessons.speculation_as_a_sensor import ACCEPTANCE, REUSE, THRESHOLD
from moespac_nb import DOMAINS, load_trace, expert_counts, iter_windows, verified_tokens, EVIDENCE
from moespac_nb import evaluate_predictors, SENSORS, VerifyCounts, make_sensor
from moespac_nb.trace.locality import distinct_by_chance, distinct_by_gamma

# %%
from moespac_widgets import DemandMap, table
from moespac_widgets.figures.base import INK, on_any_page

# %%
reports = {
    mode: {domain: load_trace(domain, mode=mode, dense=True, half="report") for domain in DOMAINS}
    for mode in ("greedy", "sample")
}  # any γ up to 8 can be read from them; in what follows, sampled text where nothing else is said
sampled = reports["sample"]
DemandMap(sampled["math"], gamma=8, show="bit", layer=4, step=2)

# %% [markdown]
# Above is the instrument of this notebook, the counts *f* of one window; below it the bit that its
# first token alone would have shown. Press `l` for the next window. Look for two things: most experts that
# are asked for are asked for **once**, and the few that are asked for often change from window to window.
#
# ## One load, several positions
# Expert reuse first. If an expert has to be fetched, it is fetched once for all positions that ask for it.
# So what counts is the number of *distinct* experts of a window. Two limits are plain: if all positions
# choose alike, there are *k* (here 4); if no two share any, there are *k* times the positions.
#
# Between them lies **chance**. Let each position choose its *k* of *N* experts at random, by itself.
# An expert is spared by one position with probability 1 − *k*/*N*.
#
# ### Exercise 03.1: experts by chance
# Write a function that returns how many distinct experts are asked for on average, given the number of
# experts, *k*, and the number of positions.


# %%
def distinct(experts, k, positions):
    ### BEGIN SOLUTION
    return experts * (1 - (1 - k / experts) ** positions)
    ### END SOLUTION


check("03.1", distinct)

# %% [markdown]
# Before you look: a window of nine positions, of our pair, on sampled text. How many times as many experts
# does it ask for as one position does?

# %%
times = ...  # between 1 and 9
predict("03.P1", times)

# %%
found = np.mean([distinct_by_gamma(trace) for trace in sampled.values()], axis=0)
reveal("03.P1", found[8] / found[0], "×")
shape = sampled["math"].geometry
rows = {d: verified_tokens(load_trace(d, mode="sample", dense=True, half="tune")) for d in DOMAINS}
popular = [make_sensor("popularity", shape, learned).shares for learned in rows.values()]
at = np.arange(1, 10)
drawn = {"no two share any": shape.top_k * at, "by chance, all experts alike": [],
         "by chance, as popular as they are": [], "recorded": found}  # fmt: skip
for n in at.tolist():
    drawn["by chance, all experts alike"].append(distinct_by_chance(np.full(64, 4 / 64), n))
    drawn["by chance, as popular as they are"].append(np.mean([distinct_by_chance(p, n) for p in popular]))

# %%
figure = go.Figure()
marks = {"dot": "x", "dash": "square", "dashdot": "triangle-up", "solid": "circle"}
for (name, values), dash in zip(drawn.items(), marks, strict=True):
    style = {"color": "#0072B2" if name == "recorded" else INK, "dash": dash}
    mark = {"symbol": marks[dash], "size": 9}
    figure.add_scatter(x=at, y=values, name=name, line=style, mode="lines+markers", marker=mark)
figure.update_xaxes(title_text="positions of the window", showgrid=False, zeroline=False)
figure.update_yaxes(title_text="distinct experts a layer", range=[0, 38], gridcolor="rgba(128,128,128,.25)")
figure.update_layout(yaxis_zeroline=False, legend={"orientation": "h", "y": -0.25})
on_any_page(figure, "Distinct experts of a window, of 64; exact", 380)

# %% [markdown]
# What to see: reuse is real, and most of it is chance and popularity. The recorded line lies a little
# below what positions of the same domain would share that had nothing to do with each other; that last bit
# is what neighbours have in common.
#
# Does it pay? Let a pass of γ + 1 positions ask for *a* experts where a plain step asks for *b*, and bring
# Ω tokens. If time goes by experts and drafting is cheap, a token costs *a*/Ω with a draft and *b*
# without. So speculation pays while
#
# $$\frac{a}{b} < \Omega(\gamma, \alpha) = \frac{1 - \alpha^{\gamma+1}}{1 - \alpha}$$
#
# where α is the probability that a drafted token is accepted. The paper's own counts of *a*/*b*,
# **published** for a model of 235 billion parameters, with α = 0.8:

# %%
table(["γ", "a / b, published"], REUSE.items(), f"Experts of a pass over those of a step; α = {ACCEPTANCE}")

# %% [markdown]
# ### Exercise 03.2: how long a draft pays
# Which is the longest γ of the table at which the inequality holds? Write a number.

# %%
### BEGIN SOLUTION
tokens = {gamma: (1 - 0.8 ** (gamma + 1)) / (1 - 0.8) for gamma in REUSE}
answer = max(gamma for gamma in REUSE if REUSE[gamma] < tokens[gamma])
### END SOLUTION

check("03.2", answer)

# %% [markdown]
# And ours, counted: experts of a pass over those of a step, the tokens that a pass really brought, and what
# follows for the experts of a token of text.


# %%
def a_pass(trace, gamma):
    """Experts of a pass over those of a step, the tokens it brought, and the one over the other."""
    rounds = list(trace.rounds(gamma))
    asked = np.mean([(step.counts > 0).sum(axis=1).mean() for step in rounds]) / shape.top_k
    brought = np.mean([len(step.emitted) for step in rounds])
    return asked, brought, asked / brought


# %%
lines = [(domain, *a_pass(trace, 4), *a_pass(trace, 8)) for domain, trace in sampled.items()]
by_need = sorted((a_token, domain) for domain, _, _, a_token, *_ in lines)
print("γ = 4, experts a token over those without a draft:", *(f"{d} {x:.2f}" for x, d in by_need))
table(["domain", "a/b, γ = 4", "tokens", "a token", "a/b, γ = 8", "tokens", "a token"], lines,
      "Sampled text; 'a token' above 1: more experts a token than without a draft; exact")  # fmt: skip

# %% [markdown]
# Where the draft is good enough, a token needs fewer experts (below 1); where it is not, more, and most in
# the domain that stands last. And the argument has left something out: **a cache**. It compares two
# machines that fetch every expert every time. A machine that keeps some fetches only what is missing, and a
# plain step misses few: the last table of notebook 02 counted it, with room for 16 of the 64 experts of a
# layer. What is fetched for a token of text rises with γ there, too.
#
# So reuse lowers the number of *passes*, and what each position costs; it does not lower the bytes of a
# text. Speculation buys fewer passes and time to copy ahead, and pays with more experts. A manager who
# uses that time well must know what to copy. That is the sensor.
#
# ## How much does a count tell?
# The paper's second argument goes: let an expert be needed by a position with probability *p*, and let
# positions be nearly independent. Then a step shows a coin toss, and a window a Binomial count, whose
# **entropy** is larger and whose **mean over deviation** is √(γ + 1) times as large. Both are right, and
# the first takes one line: knowing the first toss can only lower the entropy of a sum, and what is left is
# the sum of the others. But do they say what we want to know?


# %%
def binomial(n, p):
    return np.array([comb(n, f) * p**f * (1 - p) ** (n - f) for f in range(n + 1)])


def coins(p, n=9):
    mean_over_deviation = np.sqrt(n * p / (1 - p))
    return p, entropy_bits(binomial(1, p)), entropy_bits(binomial(n, p)), mean_over_deviation


# %%
columns = ["p", "entropy of a bit", "entropy of a count of 9", "mean / deviation of the count"]
table(columns, map(coins, (1 / 64, 1 / 16, 1 / 4)), "A world of coins; exact")

# %% [markdown]
# Entropy is how *uncertain* the count is, not what it says about anything. Dice have entropy. What we want
# is **mutual information**: how many bits the count *f* now tells about *y*, whether the next window needs
# the expert. Of a table of their joint probabilities it is 0 if rows and columns are independent, and the
# whole entropy if one determines the other:
#
# $$I(f; y) = H(f) + H(y) - H(f, y) = \sum_{f,y} p(f, y)\,\log_2 \frac{p(f, y)}{p(f)\,p(y)}$$
#
# ### Exercise 03.3: information of a table
# Write a function that is given such a table, a list of rows of probabilities whose sum is 1, and returns
# the information in bits. Entries may be 0.


# %%
def information(table):
    ### BEGIN SOLUTION
    joint = np.array(table)
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    some = joint > 0
    return float((joint[some] * np.log2(joint[some] / apart[some])).sum())
    ### END SOLUTION


check("03.3", information)

# %% [markdown]
# ### Exercise 03.4: a world of coins
# Take the argument's own world: every position tosses for itself, and *p* = 1/16 is known from other texts.
# How many bits does the count of this window tell about whether the *next* window of nine needs the expert?

# %%
### BEGIN SOLUTION
now, following = binomial(9, 1 / 16), (15 / 16) ** 9
answer = abs(information(np.outer(now, [following, 1 - following]).tolist()))
### END SOLUTION

check("03.4", answer)

# %% [markdown]
# That is the hole in the argument. Under the assumption that makes the count Binomial, it is worthless,
# unless *p* itself is unknown. A count predicts only if *p* **changes**, and lasts longer than a window.
# So let it: an expert is hot (*p* = ½) in a tenth of the windows and cold (*p* = 1/50) otherwise, and
# stays what it is from one window to the next. Three readings of the same nine positions:


# %%
def world(reading, n=9, states=((0.1, 0.5), (0.9, 1 / 50))):
    """Joint probabilities of what is read now and whether the next window needs the expert."""
    joint = np.zeros((n + 1, 2))
    for share, p in states:
        none = (1 - p) ** n
        seen = {"first": binomial(1, p), "any": np.array([none, 1 - none]), "count": binomial(n, p)}
        joint[: len(seen[reading])] += share * np.outer(seen[reading], [none, 1 - none])
    return joint


# %%
names = {"first": "the first token's bit", "any": "the window's bit", "count": "the window's count"}
lines = [(name, information_of(world(reading))) for reading, name in names.items()]
table(["reading", "bits about the next window"], lines, "A world in which experts are hot or cold; exact")

# %% [markdown]
# The count tells most, as it must: the window's bit is made from the count, and nothing that is made from a
# thing tells more than the thing (*data processing*). Here it tells far more. In nine positions a cold
# expert is touched now and then, and only the count tells that from heat. In such a world the paper is right.
#
# Is our pair such a world? An estimate from samples is too high, since by chance alone some table will look
# dependent. So each number gets two controls: the same text with its **windows shuffled**, which keeps what
# is popular in the text and takes away *when*; and **everything shuffled**, which should tell nothing.


# %%
def readings(trace, text, gamma=4):
    """(windows, layers, experts) of each reading of a text."""
    steps = [seen.step for seen in iter_windows(trace, text, gamma)]
    counts = np.stack([step.counts for step in steps])
    first = np.stack([expert_counts(step.experts[:1], shape.experts) for step in steps])
    return {"first": first, "any": (counts > 0).astype(int), "count": counts}


# %%
def estimate(mode, reading, shuffle, seed=0):
    rng, now, following = np.random.default_rng(seed), [], []
    for trace in reports[mode].values():
        for text in range(len(trace.texts)):
            read = readings(trace, text)
            order = rng.permutation(len(read["any"])) if shuffle else np.arange(len(read["any"]))
            now += [read[reading][order[:-1]].ravel()]
            following += [read["any"][order[1:]].ravel()]
    now, following = np.concatenate(now), np.concatenate(following)
    return information_bits(now, rng.permutation(following) if shuffle == "all" else following)


# %%
lines = [(mode, name, *(estimate(mode, reading, shuffle) for shuffle in ("", "windows", "all")))
         for mode in reports for reading, name in names.items()]  # fmt: skip
table(["mode", "reading", "bits", "windows shuffled", "all shuffled"], lines,
      "Bits about whether the next window needs an expert, γ = 4; exact, of these texts")  # fmt: skip

# %% [markdown]
# Three things to read from it. The last column is near 0, so with this many samples the estimate can be
# trusted. The window's bit tells far more than a token's, and the count little more than the window's bit:
# it is the *width* of the window that tells, and not the counting. And what remains with the windows
# shuffled is most of it: the larger part of what a count predicts is *who is popular in this text*, the
# smaller part *what is wanted now*.
#
# The √(γ + 1) fails in the same place: nine plain steps, counted together, give the very same
# Binomial. And neighbours that resemble each other (without which nothing predicts) add less: with
# correlation ρ the factor is √(n / (1 + (n − 1)ρ)), which for ρ = 1 is 1. What the window has of its own is
# that its positions come *at once*, and some lie **ahead** of the text. Keep that for the end.
#
# ## How wrong may a count be?
# The third argument: decisions are coarse, so they survive errors. An expert is *hot* if its count reaches
# a threshold τ. If the estimate is off by less than the distance between the count and τ, the **margin**,
# the decision stands. A bit is either right or wrong; a count of 5 with τ = 2 may be taken for a 3. As
# printed, the claim is: an error of **at most** the margin |f − τ| causes no fault.
#
# ### Exercise 03.5: within the margin, and wrong
# With τ = 2, find a true count and an estimate whose error is at most the margin, and for which the
# decision is wrong all the same. Write them as a list, such as `[5, 3]` (which is no answer: both are
# hot).

# %%
### BEGIN SOLUTION
answer = [1, THRESHOLD]
### END SOLUTION

check("03.5", answer)

# %% [markdown]
# So on the cold side the error must be *less* than the margin. That is a detail. The larger gap is that the
# argument lets the margin grow with the window and holds the error fixed, where the error grows too: a count
# of nine positions deviates by three times as much as a bit does. And how many experts have a margin worth
# the name?

# %%
counts = np.concatenate([step.counts.ravel() for trace in sampled.values() for step in trace.rounds(8)])
shares = np.bincount(counts, minlength=10) / len(counts)
lines = [(f, shares[f], f * shares[f] / (shares @ np.arange(10)), abs(f - 2), abs(f - 1)) for f in range(10)]
table(
    ["count f", "share of experts", "share of demand", "margin, τ = 2", "margin, τ = 1"],
    lines,
    "How many experts of a window have which count, and which margin; γ = 8; exact",
)

# %% [markdown]
# Large margins belong to few experts. What helps is not the margin but **rank**: who is named first
# matters, not by how much. Two sensors to try that on, each a few lines: one that reads a share of the picks
# wrongly, one that cannot count beyond a ceiling.


# %%
class Noisy(VerifyCounts):
    """Each pick of a router is read wrongly with a certain probability."""

    def __init__(self, geometry, share, seed=0):
        super().__init__(geometry)
        self.share, self.rng = share, np.random.default_rng(seed)

    def on_verify(self, step):
        wrong = self.rng.random(step.experts.shape) < self.share
        picks = np.where(wrong, self.rng.integers(0, step.experts_per_layer, wrong.shape), step.experts)
        return expert_counts(picks, step.experts_per_layer)


# %%
class Coarse(VerifyCounts):
    """A count of `most` or more is read as `most`."""

    def __init__(self, geometry, most):
        super().__init__(geometry)
        self.most = most

    def on_verify(self, step):
        return np.minimum(step.counts, self.most)


# %%
def recalls(sensors, size, mode="sample", gamma=4):
    """Mean over domains of the recall of each sensor, with `size` experts named a layer."""
    found = [evaluate_predictors(trace, sensors(domain), size, gamma=gamma, rules=(EVIDENCE,))
             for domain, trace in reports[mode].items()]  # fmt: skip
    return {name: np.mean([one[name, EVIDENCE].recall for one in found]) for name, _ in found[0]}


wrong = recalls(lambda _: {share: Noisy(shape, share) for share in (0, 0.1, 0.25, 0.5, 1)}, 16)
table(
    ["share of picks read wrongly", "recall, 16 named"], wrong.items(), "γ = 4; chance would be 0.25; exact"
)

# %%
coarse = {size: recalls(lambda _: {most: Coarse(shape, most) for most in (1, 2, 3, 9)}, size, gamma=8)
          for size in (4, 8, 16)}  # fmt: skip
lines = [(most, *(coarse[size][most] for size in coarse)) for most in (1, 2, 3, 9)]
table(
    ["counts up to", *(f"{size} named" for size in coarse)],
    lines,
    "Recall; γ = 8; 'up to 1' is the bit; exact",
)

# %% [markdown]
# A tenth of the picks wrong costs a point or two: that much of fault tolerance holds. The second table
# turns the argument round. If a decision does not need the exact count, then the exact count is not worth
# much: two levels do nearly all that nine do. That is an argument *for* a coarse score of a few levels,
# such as the s ∈ {0..K} of notebook 04, and *against* expecting much from the step from bit to count.
#
# ## Where it predicts and where it does not
# Ten sensors, three moments at which they can speak: after a window was verified; after the next has been
# drafted, before it is verified; a layer ahead while it is. All name the same number of experts.
#
# ### Exercise 03.6: recall at equal size
# Write a function that is given the scores of a layer's experts, the counts of the next window, and a size.
# Named are the `size` experts with the highest scores. Return their recall.


# %%
def recall(scores, counts, size):
    ### BEGIN SOLUTION
    named = sorted(range(len(scores)), key=lambda expert: -scores[expert])[:size]
    needed = [expert for expert, count in enumerate(counts) if count]
    return len(set(named) & set(needed)) / len(needed)
    ### END SOLUTION


check("03.6", recall)

# %% [markdown]
# `verify-counts` is the paper's sensor. `last-window` is its bit. `committed-counts` leaves out rejected
# positions. `ema-counts` averages the counts of all windows so far, each older one weighing 0.7 of the
# next; `frequency` adds them up, the prompt's included. `recency` is what a cache knows, `popularity` what
# other texts of the domain used.
# `token-table` looks up, for each *drafted token*, where it was sent in other texts. `next-gate` asks each
# layer's gate one layer early. `draft-gates` asks the target's gates what they make of the *draft's*
# state. With 16 of 64 named and chance at 25 %: what recall does `verify-counts` have on sampled text, in
# per cent?

# %%
per_cent = ...  # 0 to 100
predict("03.P2", per_cent)


# %%
def everyone(mode):
    learned = {d: verified_tokens(load_trace(d, mode=mode, dense=True, half="tune")) for d in DOMAINS}
    return lambda domain: {name: make_sensor(name, shape, learned[domain]) for name in SENSORS}


# %%
def knowing(trace, size):
    """The best recall there can be: a window may need more experts than are named."""
    needed = np.concatenate([(step.counts > 0).sum(axis=1) for step in trace.rounds(4)])
    return np.minimum(1, size / needed).mean()


all_recalls = {mode: recalls(everyone(mode), 16, mode) for mode in reports}
reveal("03.P2", 100 * all_recalls["sample"]["verify-counts"], "%")

# %%
moments = {"verified": "after verifying", "drafted": "after drafting", "layer": "a layer ahead"}
lines = [(name, moments[kind.available_at], all_recalls["greedy"][name], all_recalls["sample"][name])
         for name, kind in SENSORS.items()]  # fmt: skip
lines += [
    ("all-knowing", "", *(np.mean([knowing(trace, 16) for trace in reports[m].values()]) for m in reports))
]
table(
    ["sensor", "known", "greedy", "sampled"],
    lines,
    "Recall, 16 of 64 named, γ = 4, mean of seven domains; exact",
)

# %% [markdown]
# Read it in five steps.
# 1. **Looking back**: `verify-counts` is ahead of `recency`, by a few points. Whether it counts or only
#    says yes or no (`last-window`) makes no difference at this size, as a window asks for about as many
#    experts as are named.
# 2. **What was rejected tells**: without it (`committed-counts`) the lead over `recency` is gone. Those
#    positions were drafted from the very place where the next window starts. That is the part of the
#    sensor which only speculation has.
# 3. **Remembering more than one window helps most of all that looks back**: `ema-counts` is about five
#    points ahead of `verify-counts`, and `frequency`, which forgets nothing, lies between. One window is a
#    small sample of what the text asks for.
# 4. **On sampled text `popularity` does as well as the last window**, without looking at the text at all.
#    Greedy text of so small a model loops, and flatters whoever looks back.
# 5. **What the draft has already said is worth more than all that was counted**: `token-table` knows the
#    window's tokens and asks where such tokens went before. It is known before verification, in time to
#    copy.

# %%
shown = "verify-counts", "ema-counts", "recency", "popularity", "token-table"
gaps = {}
for domain, trace in sampled.items():
    one = evaluate_predictors(trace, everyone("sample")(domain), 16, gamma=4, rules=(EVIDENCE,))
    gaps[domain] = [one[name, EVIDENCE].recall for name in shown]
table(["domain", *shown], [(d, *g) for d, g in gaps.items()],
      "Recall by domain, sampled, 16 named, γ = 4; exact")  # fmt: skip

# %% [markdown]
# And `draft-gates`? Ask it directly: of the 4 experts that a token uses in a layer, what share does the
# gate name whose input is the draft's state, or the layer before's?


# %%
def agreement(channel):
    """Share of a token's experts that a gate asked too early names, by layer; mean of domains."""
    found = []
    for trace in sampled.values():
        drafted = np.ones(len(trace.window), bool)
        drafted[trace.starts["verified"][:-1]] = (
            channel == "next-gate"
        )  # no state of the draft is at the first
        named, used = trace.channels[channel].values[..., : shape.top_k], trace.experts[drafted]
        found.append((named[..., None] == used[..., None, :]).any(axis=-1).mean(axis=(0, 2)))
    return np.mean(found, axis=0)


# %%
lines = [("draft-gates", *agreement("draft-gates")), ("next-gate", None, *agreement("next-gate")[1:])]
caption = f"Share of a token's experts named; by chance {shape.top_k / shape.experts:.4f}; exact"
table(["channel", *(f"layer {n}" for n in range(8))], lines, caption)

# %% [markdown]
# On our pair the draft's state is noise to the target's gates, hardly better than chance. That is no
# surprise: the draft was trained apart, its vectors mean nothing to a matrix that was trained on others.
# **Published** are .88 to .91 (SP-MoE, MoE-SpeQ), of drafts that share the target's states or are copies
# of it in low precision; that is a property of such a draft, not of drafting. The *token* that a draft
# says is a language both understand, which is why the table works. In the next layer's gate the residual
# stream is shared, hence the last row, from layer 2 on. Before layer 0 there is no gate to
# ask, and what goes into layer 0's tells hardly more than chance of layer 1.
#
# ## From here
# - The counts of a window are real evidence, modest, and mostly about what the text is about. What to
#   make of such evidence from window to window is the subject of notebook 04.
# - What is a better guess *worth*? Recall is not speed: notebooks 05 to 07.
# - Our pair is small, and consecutive tokens share fewer experts than in large models (notebook 01 counts
#   them; **published** are .31 to .50). Whatever looks back has less to see here. Notebook 08 will ask
#   that of other traces.
# - The same in a terminal: `moespac evaluate --mode sample --gamma 4`, `moespac evaluate math --share 10%`.
#
# **References.** S. Li, J. Lin, D. Ge, Y. Ye, *MoE-SpAc*, arXiv 2603.09983 (2026), appendix A: the three
# arguments, and figure 7. T. M. Cover, J. A. Thomas, *Elements of Information Theory*, 2nd ed. (2006), ch.
# 2. L. Paninski, *Estimation of entropy and mutual information*, Neural Computation 15 (2003). Y.
# Leviathan, M. Kalman, Y. Matias, *Fast inference from transformers via speculative decoding*, ICML 2023.
