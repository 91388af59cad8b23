"""From logits to a token: what is drawn from, what is drawn, and what the accept rule may not change."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moespac_nb.decoder.sampling import (
    Sampling,
    accept_greedy,
    accept_sampled,
    common_prefix,
    draw,
    probabilities,
)
from tests.helpers.decodes import BROKEN_RULES, refused

seeds = st.integers(0, 2**32 - 1)
uniforms = st.floats(0, 1, exclude_max=True)


def random_logits(seed: int, size: int = 40, spread: float = 3.0) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * spread


def reference(logits: torch.Tensor, sampling: Sampling) -> np.ndarray:
    """The definitions once more, in float64: temperature, then top-k, then top-p, then min-p."""
    scaled = logits.double().numpy() / sampling.temperature
    p = np.exp(scaled - scaled.max())
    if sampling.top_k is not None:
        p[scaled < np.sort(scaled)[-sampling.top_k :][0]] = 0
    order = np.argsort(-p)
    before = np.cumsum(p[order] / p.sum()) - p[order] / p.sum()
    p[order[before >= (sampling.top_p or 2)]] = 0
    p[p < (sampling.min_p or 0) * p.max()] = 0
    return p / p.sum()


SAMPLINGS = st.builds(
    Sampling,
    mode=st.just("sample"),
    temperature=st.floats(0.1, 5),
    top_k=st.none() | st.integers(1, 60),
    top_p=st.none() | st.floats(0.05, 1),
    min_p=st.none() | st.sampled_from([0.0, 0.05, 0.3, 1.0]),
)


@given(seeds, SAMPLINGS)
def test_probabilities_are_as_defined(seed, sampling):
    logits = random_logits(seed)
    assert np.allclose(probabilities(logits, sampling), reference(logits, sampling), atol=2e-6)


@given(seeds, SAMPLINGS, uniforms)
def test_the_accept_rule_stays_exact_whatever_is_filtered(seed, sampling, uniform):
    """Σ_d min(p, q) and the leftover add up to p, and no token without probability is drawn."""
    p, q = (probabilities(random_logits(s), sampling).double() for s in (seed, seed + 1))
    kept = torch.minimum(p, q)
    leftover = (p - q).clamp(min=0)
    share = leftover / leftover.sum() if leftover.any() else p
    assert torch.allclose(kept + (1 - kept.sum()) * share, p, atol=1e-6)
    drafted = draw(q, uniform)
    assert q[drafted] > 0
    accepted, token = accept_sampled(drafted[None], q[None], torch.stack([p, p]), np.full(2, uniform))
    assert p[token] > 0
    assert accepted == 0 or p[drafted] > 0


def test_rows_of_any_shape_are_as_one_at_a_time():
    logits = torch.stack([random_logits(seed) for seed in range(6)]).view(2, 3, -1)
    sampling = Sampling("sample", 0.7, 10, 0.9, 0.05)
    assert torch.equal(probabilities(logits, sampling)[1, 2], probabilities(logits[1, 2], sampling))


@given(seeds, st.integers(1, 40))
def test_top_k_keeps_k_tokens_and_their_proportions(seed, k):
    logits = random_logits(seed)
    probs = probabilities(logits, Sampling("sample", 1.0, top_k=k))
    assert int((probs > 0).sum()) == k
    kept = logits.topk(k)
    assert torch.allclose(probs[kept.indices], kept.values.softmax(-1), atol=1e-6)


@given(seeds, st.floats(0.01, 1))
def test_top_p_keeps_the_fewest_tokens_that_hold_the_mass(seed, top_p):
    plain = probabilities(random_logits(seed), Sampling("sample", 1.0))
    kept = probabilities(random_logits(seed), Sampling("sample", 1.0, top_p=top_p)) > 0
    mass = float(plain[kept].sum())
    assert mass >= top_p - 1e-5
    assert mass - float(plain[kept].min()) < top_p + 1e-5


def test_greedy_probabilities_are_the_plain_softmax():
    logits = random_logits(0)
    assert torch.equal(probabilities(logits, Sampling("greedy", temperature=0.1)), logits.softmax(-1))


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30).filter(any), uniforms)
def test_a_token_of_weight_zero_is_never_drawn(weights, uniform):
    assert weights[int(draw(torch.tensor(weights), uniform))] > 0


@given(st.integers(1, 2**53))
def test_the_largest_uniforms_stay_inside(steps_below_one):
    uniform = 1 - steps_below_one * 2.0**-53
    weights = torch.tensor([0.3, 0.7, 0.0])
    assert int(draw(weights, uniform)) in (0, 1)


def test_a_token_is_drawn_as_often_as_it_weighs():
    weights = torch.tensor([0.1, 0.0, 0.6, 0.3])
    drawn = [int(draw(weights, (i + 0.5) / 1000)) for i in range(1000)]
    assert np.bincount(drawn, minlength=4).tolist() == [100, 0, 600, 300]


def distribution_of_first_token(accept, q: torch.Tensor, p: torch.Tensor, grid: int = 400) -> np.ndarray:
    """What comes out when the draft proposes one token from q: all drafted tokens, a grid over chance."""
    out, rows = np.zeros(len(p)), torch.stack([p, torch.full_like(p, 1 / len(p))])
    chances = (np.arange(grid) + 0.5) / grid

    def verdict(drafted: int, judge: float, redraw: float) -> tuple[int, int]:
        return accept(torch.tensor([drafted]), q[None], rows, np.array([judge, redraw]))

    for drafted in np.flatnonzero(q):
        kept = sum(verdict(drafted, u, 0.5)[0] for u in chances) / grid
        out[drafted] += float(q[drafted]) * kept
        for u in chances if kept < 1 else ():
            token = verdict(drafted, 1 - 2.0**-53, u)[1]
            out[token] += float(q[drafted]) * (1 - kept) / grid
    return out


def random_distribution(seed: int, size: int = 5) -> torch.Tensor:
    return random_logits(seed, size, spread=1.5).softmax(-1)


@pytest.mark.parametrize("seed", range(5))
def test_what_comes_out_has_the_targets_distribution(seed):
    q, p = random_distribution(seed), random_distribution(seed + 100)
    assert np.allclose(distribution_of_first_token(accept_sampled, q, p), p, atol=0.01)


@pytest.mark.parametrize("broken", BROKEN_RULES)
def test_a_mutated_rule_is_told_apart(broken):
    q, p = random_distribution(0), random_distribution(100)
    assert not np.allclose(distribution_of_first_token(broken, q, p), p, atol=0.05)


def test_a_one_hot_draft_is_kept_as_often_as_the_target_draws_i():
    q, p = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.2, 0.5, 0.3])
    assert np.allclose(distribution_of_first_token(accept_sampled, q, p), p, atol=0.005)


@given(seeds, st.lists(uniforms, min_size=4, max_size=4))
def test_a_draft_equal_to_the_target_is_always_accepted(seed, chances):
    p = torch.stack([random_distribution(seed + i) for i in range(4)])
    drafted = p[:3].argmax(-1)
    accepted, token = accept_sampled(drafted, p[:3], p, np.array(chances))
    assert accepted == 3
    assert token == int(draw(p[3], chances[3]))


@given(seeds, st.lists(uniforms, min_size=4, max_size=4))
def test_a_rejection_ends_the_round_with_a_token_held_too_low(seed, chances):
    q = torch.stack([random_distribution(seed + i) for i in range(3)])
    p = torch.stack([random_distribution(seed + i + 50) for i in range(4)])
    drafted = torch.stack([draw(row, 0.5) for row in q])
    accepted, token = accept_sampled(drafted, q, p, np.array(chances))
    ratios = [float(p[i, d] / q[i, d]) for i, d in enumerate(drafted.tolist())]
    assert all(chances[i] < ratios[i] for i in range(accepted))
    if accepted < 3:
        assert chances[accepted] >= ratios[accepted]
        assert p[accepted, token] > q[accepted, token]


def test_where_p_and_q_differ_by_rounding_p_is_drawn_from():
    p = torch.tensor([0.5, 0.5])
    q = torch.tensor([0.5, torch.nextafter(torch.tensor(0.5), torch.tensor(1.0)).item()])
    accepted, token = accept_sampled(
        torch.tensor([1]), q[None], torch.stack([p, p]), np.array([1 - 2**-53, 0.9])
    )
    assert (accepted, token) == (0, 1)


@given(st.lists(st.integers(0, 3), max_size=8), st.lists(st.integers(0, 3), min_size=9, max_size=9))
def test_greedy_accepts_the_prefix_and_adds_the_targets_choice(drafted, target_ids):
    accepted, own = accept_greedy(drafted, target_ids)
    assert drafted[:accepted] == target_ids[:accepted]
    assert accepted == len(drafted) or drafted[accepted] != target_ids[accepted]
    assert own == target_ids[accepted]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"mode": "beam"}, "'beam'.*'greedy' or 'sample'"),
        ({"temperature": 0}, "temperature is 0.*above 0.*greedy"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"top_k": 0}, "top_k is 0.*from 1"),
        ({"top_k": 2.5}, "top_k is 2.5"),
        ({"top_p": 0.0}, "top_p is 0.0; expected: a number above 0, at most 1"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"min_p": -0.1}, "min_p is -0.1; expected: a number from 0, at most 1"),
    ],
)
def test_bad_settings_are_named_with_what_is_expected(arguments, said):
    with refused(said):
        Sampling(**arguments)


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_common_prefix_is_common_and_longest(a, b):
    n = common_prefix(a, b)
    assert a[:n] == b[:n]
    assert n in (len(a), len(b)) or a[n] != b[n]
