"""Sampled text has the target's own distribution: chi-square over two-token texts, which broken rules fail.

The target is a Markov chain over a few tokens, so the probability of each text is known exactly.
"""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from scipy.stats import chisquare

from moespac_nb.decoder import decoding as decoding_module
from moespac_nb.decoder.drafts import NgramDraft
from moespac_nb.decoder.sampling import Sampling, probabilities
from moespac_nb.decoder.speculative import decode
from tests.helpers.decodes import BROKEN_RULES, markov_chain

VOCABULARY = 5
TEXTS = 2000
PROMPT = [0, 1, 2, 0, 1]
FAILS, PASSES = 1e-6, 0.01  # p-values; the seeds are fixed, so neither is a matter of luck
PLAIN = Sampling("sample", temperature=1.0)
COLD = Sampling("sample", temperature=0.7, top_k=3)

TARGET, DRAFT = (markov_chain(seed, VOCABULARY) for seed in (1, 2))


def p_value(sampling: Sampling = PLAIN, draft=DRAFT, gamma: int = 2) -> float:
    """Of the first two tokens of many seeded texts, under the target's own distribution."""
    seen: Counter[tuple[int, int]] = Counter()
    options = {"draft": draft, "gamma": gamma, "sampling": sampling, "max_new_tokens": gamma + 2}
    for seed in range(TEXTS):
        decoding = decode(TARGET, PROMPT, seed=seed, **options)
        while len(decoding.new_ids) < 2:
            next(decoding)
        seen[tuple(decoding.new_ids[:2])] += 1
    p = probabilities(TARGET.logits, sampling).double().numpy()
    texts = list(product(range(VOCABULARY), repeat=2))
    expected = np.array([TEXTS * p[PROMPT[-1], a] * p[a, b] for a, b in texts])
    counts = np.array([seen[text] for text in texts])
    if counts[expected == 0].any():
        return 0.0
    rare = expected < 5  # chi-square needs a handful in each cell: rare texts share one
    if expected[rare].any():
        counts, expected = (np.append(of[~rare], of[rare].sum()) for of in (counts, expected))
    else:
        counts, expected = counts[~rare], expected[~rare]
    return float(chisquare(counts, expected * counts.sum() / expected.sum()).pvalue)


@pytest.mark.parametrize("sampling", [PLAIN, COLD, Sampling("sample", 1.0, top_p=0.8)], ids=repr)
def test_sampled_text_has_the_targets_distribution(sampling):
    assert p_value(sampling) > PASSES


def test_it_has_with_a_draft_that_looks_the_text_up():
    assert p_value(draft=NgramDraft()) > PASSES


@pytest.mark.full
@pytest.mark.parametrize("gamma", [0, 1, 3, 4, 8])
def test_it_has_at_every_draft_length(gamma):
    assert p_value(gamma=gamma) > PASSES


@pytest.mark.parametrize("broken", BROKEN_RULES)
def test_the_same_test_fails_with_a_broken_rule(broken, monkeypatch):
    monkeypatch.setattr(decoding_module, "accept_sampled", broken)
    assert p_value() < FAILS


def test_it_fails_where_a_draft_is_not_sampled_as_it_says(monkeypatch):
    monkeypatch.setattr(decoding_module, "probabilities", lambda logits, _sampling: logits.softmax(-1))
    assert p_value(COLD) < FAILS
