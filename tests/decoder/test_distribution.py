"""Sampled text has the target's own distribution: chi-square over two-token texts, which broken rules fail.

The target is a Markov chain over a few tokens, so the probability of each text is known exactly.
"""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from moespac_nb.decoder import decoding as decoding_module
from moespac_nb.decoder.drafts import NgramDraft
from moespac_nb.decoder.sampling import Sampling, accept_sampled, draw, probabilities
from moespac_nb.decoder.speculative import decode
from tools.support import tiny_models as tiny

VOCABULARY = 5
TEXTS = 2000
PROMPT = [0, 1, 2, 0, 1]
FAILS, PASSES = 1e-6, 0.01  # p-values; the seeds are fixed, so neither is a matter of luck


def chain(seed: int) -> tiny.MarkovChain:
    generator = torch.Generator().manual_seed(seed)
    return tiny.MarkovChain(1.2 * torch.randn(VOCABULARY, VOCABULARY, generator=generator))


TARGET, DRAFT = chain(1), chain(2)


def p_value(sampling: Sampling, draft, gamma: int) -> float:
    """Of the first two tokens of many seeded texts, under the target's own distribution."""
    seen: Counter[tuple[int, int]] = Counter()
    for seed in range(TEXTS):
        decoding = decode(
            TARGET, PROMPT, draft=draft, gamma=gamma, sampling=sampling, seed=seed, max_new_tokens=gamma + 2
        )
        while len(decoding.new_ids) < 2:
            next(decoding)
        seen[tuple(decoding.new_ids[:2])] += 1
    p = probabilities(TARGET.logits, sampling).double().numpy()
    expected = {(a, b): TEXTS * p[PROMPT[-1], a] * p[a, b] for a, b in product(range(VOCABULARY), repeat=2)}
    impossible = [text for text, wanted in expected.items() if wanted == 0]
    if any(seen[text] for text in impossible):
        return 0.0
    possible = [text for text in expected if text not in impossible]
    wanted = np.array([expected[text] for text in possible])
    rare = wanted < 5  # chi-square needs a handful in each cell: rare texts share one
    counts = np.array([seen[text] for text in possible])
    if rare.any():
        counts = np.append(counts[~rare], counts[rare].sum())
        wanted = np.append(wanted[~rare], wanted[rare].sum())
    return float(chisquare(counts, wanted * counts.sum() / wanted.sum()).pvalue)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling("sample", temperature=1.0),
        Sampling("sample", temperature=0.7, top_k=3),
        Sampling("sample", temperature=1.0, top_p=0.8),
    ],
    ids=["plain", "top-k", "top-p"],
)
def test_sampled_text_has_the_targets_distribution(sampling):
    assert p_value(sampling, DRAFT, gamma=2) > PASSES


def test_so_it_has_with_a_draft_that_looks_the_text_up():
    assert p_value(Sampling("sample", temperature=1.0), NgramDraft(), gamma=2) > PASSES


@pytest.mark.full
@pytest.mark.parametrize("gamma", [0, 1, 3, 4, 8])
def test_so_it_has_at_every_draft_length(gamma):
    assert p_value(Sampling("sample", temperature=1.0), DRAFT, gamma) > PASSES


def always_accept(drafted, _q, p, uniforms):
    return len(drafted), int(draw(p[-1], uniforms[-1]))


def resample_from_p(drafted, q, p, uniforms):
    accepted, _ = accept_sampled(drafted, q, p, uniforms)
    return accepted, int(draw(p[accepted], uniforms[-1]))


def accept_by_p_alone(drafted, q, p, uniforms):
    return accept_sampled(drafted, torch.ones_like(q), p, uniforms)


@pytest.mark.parametrize("broken", [always_accept, resample_from_p, accept_by_p_alone])
def test_the_same_test_fails_with_a_broken_rule(broken, monkeypatch):
    monkeypatch.setattr(decoding_module, "accept_sampled", broken)
    assert p_value(Sampling("sample", temperature=1.0), DRAFT, gamma=2) < FAILS


def test_the_same_test_fails_where_the_draft_is_sampled_otherwise_than_it_says(monkeypatch):
    monkeypatch.setattr(decoding_module, "probabilities", lambda logits, _sampling: logits.softmax(-1))
    assert p_value(Sampling("sample", temperature=0.7, top_k=3), DRAFT, gamma=2) < FAILS
