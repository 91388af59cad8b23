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
# # Start here: what a window asks for
#
# *20 minutes. You need Python; no GPU, no network. Everything below is computed here and now: counts are
# exact, speeds are **measured** on your machine.*
#
# A mixture-of-experts model keeps many small networks, *experts*, in each layer and uses a few of them for
# each token. The experts are most of its bytes, so on a small device they do not all fit, and somebody has to
# guess which ones the next token needs. **Speculative decoding** drafts several tokens with a small model and
# lets the large one verify them in one pass. MoE-SpAc ([Li et al. 2026](https://arxiv.org/abs/2603.09983))
# uses that pass as a *sensor*: it shows how many of the window's tokens asked for each expert.
#
# After this notebook you can
# 1. decode with a draft and say what was accepted, rejected and corrected;
# 2. read an expert-demand map of a window;
# 3. say with a number how well one window foretells the next.
#
# ## The pair
# A *target* with 8 layers of 64 experts, 4 used for each token, and a dense *draft* of 2 layers. Both were
# really trained, and are really small: they know the form of seven kinds of text and little of the world.

# %%
import torch

from moespac_nb import DOMAINS, Sampling, decode, load_pair, prompts
from moespac_widgets import GrowingText, demand_figure, table

torch.set_num_threads(1)  # so small a model gains nothing from more
model, draft = load_pair()
sizes = [sum(p.numel() for p in m.parameters()) / 1e6 for m in (model, draft)]
table(["model", "parameters (million)"], zip(("target", "draft"), sizes, strict=True))

# %% [markdown]
# ## Decode
# The draft proposes γ = 4 tokens, the target reads them together with the last committed token (five
# positions, the **window**) and keeps what it would have said itself. Watch a held-out word problem being
# solved. Solid underline: drafted and accepted. Struck out: drafted and rejected. Boxed: the target's own.

# %%
prompt = prompts("math", half="report")[0].prompt
view = GrowingText(model.tokenizer, prompt)
decoding = decode(model, prompt, draft=draft, gamma=4, max_new_tokens=96)
for step in decoding:
    view.add(step)

# %% [markdown]
# Each round ends with one token of the target's own: a *correction* after a rejected token, or a *bonus*
# when all four were right. So every round moves on, and the text is exactly the target's. Do not take our
# word for it: here is the same text from the target alone, one token at a time.

# %%
alone = decode(model, prompt, max_new_tokens=96)
for _ in alone:
    pass
figures = ("new_tokens", "steps", "tokens_per_second_measured")
rows = [(name, decoding.summary()[name], alone.summary()[name]) for name in figures]
print("the same text:", decoding.new_ids == alone.new_ids)
table(["", "with draft", "target alone"], rows)

# %% [markdown]
# ## One round from inside
# A greedy target accepts a drafted token if it is its own likeliest one. *q* is the draft's probability of
# the token, *p* the target's. Change `number` and run the cell again.

# %%
number = 2
step = decoding.steps[number]
words = [model.tokenizer.decode([i]) for i in step.drafted]
choices = [model.tokenizer.decode([i]) for i in step.target_ids]
fates = ["accepted" if ok else "not kept" for ok in step.accepted_mask]
chances = (step.draft_probs, step.target_probs)
rows = zip(map(repr, words), *chances, map(repr, choices), fates, strict=False)
caption = f"Round {number}; then the target's own {choices[step.accepted]!r}"
table(["drafted", "q", "p", "target's choice", ""], rows, caption)

# %% [markdown]
# ## The demand
# While it verified the window, the target's routers sent every one of its positions to four experts a layer.
# Left: how many positions each expert served, the **counts** *f*. Right: what decoding token by token would
# have shown, used or not. Drag the slider through the rounds.
#
# What to see: the window tells *how much* an expert is wanted, the token only *that* it is. But the window
# also asks for many more experts, rejected positions included: fewer passes are not fewer bytes.

# %%
demand_figure(decoding.steps, model.tokenizer)

# %%
experts = decoding.steps[0].counts.shape[1]
windows = sum((s.counts > 0).sum(1).mean() for s in decoding.steps) / len(decoding.steps)
single = model.config.num_experts_per_tok
print(f"distinct experts a layer and pass: {windows:.1f} of {experts} with γ = 4, {single} without")

# %% [markdown]
# ## Does the window foretell the next one?
# This is the first honest question, and the whole method hangs on it. Before the next window, name 16 of the
# 64 experts in each layer. How many of those that it will need have you named? Five ways to choose, all with
# 16 names:
# - the **last window's counts**, filled up by recency: the paper's sensor;
# - the **last token** alone, filled up by recency: what a cache without speculation knows (LRU);
# - **overall popularity** and **this domain's popularity**, observed over other texts beforehand;
# - **chance**.
#
# Before you run the next two cells: which one wins? Popularity first, from texts of the other half:

# %%
from tqdm.auto import tqdm

from moespac_nb.foretelling import recall_by_predictor, use_shares
from moespac_nb.routing import observe

texts = {d: [p.text for p in prompts(d, half="tune")[:5]] for d in DOMAINS}
ids = {d: [model.tokenizer(t)["input_ids"][:512] for t in ts] for d, ts in texts.items()}
bar = tqdm(ids.items(), desc="popularity")
shares = {d: use_shares((observe(model, i)[0] for i in of_domain), experts) for d, of_domain in bar}
overall = sum(shares.values()) / len(shares)

# %%
recalls = {}
modes = {"greedy": Sampling(), "sampled at 0.8": Sampling("sample", temperature=0.8)}
for domain in tqdm(DOMAINS, desc="decoding"):
    known = {"overall popularity": overall, "this domain's popularity": shares[domain]}
    for mode, sampling in modes.items():
        asked = {"gamma": 4, "sampling": sampling, "max_new_tokens": 48, "stop_ids": ()}
        for chosen in prompts(domain, half="report")[:2]:
            run = decode(model, chosen.prompt, draft=draft, **asked)
            steps = list(run)
            found = recall_by_predictor(run.prefill, steps, 16, known)
            recalls.setdefault((domain, mode), []).append(found)

# %%
import numpy as np

names = list(recalls["math", "greedy"][0])
mean = {key: np.mean([[r[n] for n in names] for r in found], axis=0) for key, found in recalls.items()}
rows = [[d, m, *mean[d, m]] for m in modes for d in DOMAINS]
rows += [["all", m, *np.mean([mean[d, m] for d in DOMAINS], axis=0)] for m in modes]
table(["domain", "mode", *names], rows, "Recall of the next window's experts, 16 of 64 named a layer")

# %% [markdown]
# Read the two last rows. The counts lead, clearly on greedy text, narrowly on sampled text, where having seen
# this kind of text before does nearly as well. So the sensor is real, and modest: more than half of what the
# next sampled window needs it does not name. Three cautions. Two prompts a domain are a small sample.
# Templated domains (mcq, math) and greedy text, which loops, flatter whatever looks back. And what a better
# guess is *worth*, in tokens per second, depends on the cache, the link and the balancer: the next notebooks
# build these, step by step.
#
# ## From here
# - Your own prompt: change `prompt` in the second code cell and run on.
# - The same from a terminal: `moespac decode --domain chat --gamma 8`, `moespac doctor`.
#
# **References.** S. Li, J. Lin, D. Ge, Y. Ye, *MoE-SpAc*, arXiv 2603.09983 (2026). Y. Leviathan, M. Kalman,
# Y. Matias, *Fast inference from transformers via speculative decoding*, ICML 2023. C. Chen et al.,
# *Accelerating large language model decoding with speculative sampling*, arXiv 2302.01318 (2023).
