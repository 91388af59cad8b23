"""From logits to a token: what is drawn from, what is drawn, and what the accept rule may not change."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from moespac_nb.decoder.sampling import Sampling, accept_greedy, accept_sampled, draw, probabilities
from moespac_nb.utils.exceptions import MoespacError

seeds = st.integers(0, 2**32 - 1)
uniforms = st.floats(0, 1, exclude_max=True)


def random_logits(seed: int, size: int = 40, spread: float = 3.0) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * spread


@given(
    seeds,
    st.floats(0.1, 5),
    st.none() | st.integers(1, 60),
    st.none() | st.floats(0.05, 1),
)
def test_probabilities_are_those_of_the_librarys_own_warpers(seed, temperature, top_k, top_p):
    logits = random_logits(seed)
    scores = TemperatureLogitsWarper(temperature)(None, logits[None])
    if top_k is not None:
        scores = TopKLogitsWarper(top_k)(None, scores)
    if top_p is not None and top_p < 1:
        scores = TopPLogitsWarper(top_p)(None, scores)
    ours = probabilities(logits, Sampling("sample", temperature, top_k, top_p))
    assert torch.allclose(ours, scores.softmax(-1)[0], atol=1e-6)


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


def test_greedy_probabilities_are_the_plain_softmax_whatever_the_temperature():
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


def test_each_token_is_drawn_over_a_stretch_as_long_as_its_probability():
    weights = torch.tensor([0.1, 0.0, 0.6, 0.3])
    drawn = [int(draw(weights, (i + 0.5) / 1000)) for i in range(1000)]
    assert np.bincount(drawn, minlength=4).tolist() == [100, 0, 600, 300]


def distribution_of_first_token(accept, q: torch.Tensor, p: torch.Tensor, grid: int = 400) -> np.ndarray:
    """What comes out when the draft proposes one token from q: all drafted tokens, a grid over chance."""
    out = np.zeros(len(p))
    probability_after = torch.full_like(p, 1 / len(p))
    chances = (np.arange(grid) + 0.5) / grid
    for drafted in range(len(q)):
        if q[drafted] == 0:
            continue
        kept = (
            sum(
                accept(
                    torch.tensor([drafted]), q[None], torch.stack([p, probability_after]), np.array([u, 0.5])
                )[0]
                for u in chances
            )
            / grid
        )
        out[drafted] += float(q[drafted]) * kept
        if kept < 1:
            rejected = np.array([1 - 2.0**-53, 0.0])
            for u in chances:
                rejected[1] = u
                token = accept(
                    torch.tensor([drafted]), q[None], torch.stack([p, probability_after]), rejected
                )[1]
                out[token] += float(q[drafted]) * (1 - kept) / grid
    return out


def always_accept(drafted, q, p, uniforms):
    return len(drafted), int(draw(p[-1], uniforms[-1]))


def resample_from_p(drafted, q, p, uniforms):
    accepted, _ = accept_sampled(drafted, q, p, uniforms)
    return accepted, int(draw(p[accepted], uniforms[-1]))


def accept_by_coin(drafted, q, p, uniforms):
    """Accepts with p(d) instead of p(d) / q(d)."""
    accepted, token = accept_sampled(drafted, torch.ones_like(q), p, uniforms)
    return accepted, token


def random_distribution(seed: int, size: int = 5) -> torch.Tensor:
    return random_logits(seed, size, spread=1.5).softmax(-1)


@pytest.mark.parametrize("seed", range(5))
def test_what_comes_out_has_the_targets_distribution(seed):
    q, p = random_distribution(seed), random_distribution(seed + 100)
    assert np.allclose(distribution_of_first_token(accept_sampled, q, p), p, atol=0.01)


@pytest.mark.parametrize("broken", [always_accept, resample_from_p, accept_by_coin])
def test_a_mutated_rule_is_told_apart(broken):
    q, p = random_distribution(0), random_distribution(100)
    assert not np.allclose(distribution_of_first_token(broken, q, p), p, atol=0.05)


def test_a_one_hot_draft_is_kept_as_often_as_the_target_would_choose_it():
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
def test_the_first_rejection_ends_the_round_and_its_token_is_one_the_draft_held_too_low(seed, chances):
    q = torch.stack([random_distribution(seed + i) for i in range(3)])
    p = torch.stack([random_distribution(seed + i + 50) for i in range(4)])
    drafted = torch.stack([draw(row, 0.5) for row in q])
    accepted, token = accept_sampled(drafted, q, p, np.array(chances))
    ratios = [float(p[i, d] / q[i, d]) for i, d in enumerate(drafted.tolist())]
    assert all(chances[i] < ratios[i] for i in range(accepted))
    if accepted < 3:
        assert chances[accepted] >= ratios[accepted]
        assert p[accepted, token] > q[accepted, token]


def test_where_p_and_q_differ_by_rounding_alone_the_token_comes_from_p():
    p = torch.tensor([0.5, 0.5])
    q = torch.tensor([0.5, torch.nextafter(torch.tensor(0.5), torch.tensor(1.0)).item()])
    accepted, token = accept_sampled(
        torch.tensor([1]), q[None], torch.stack([p, p]), np.array([1 - 2**-53, 0.9])
    )
    assert (accepted, token) == (0, 1)


@given(st.lists(st.integers(0, 3), max_size=8), st.lists(st.integers(0, 3), min_size=9, max_size=9))
def test_greedy_accepts_the_common_prefix_and_adds_the_targets_choice(drafted, target_ids):
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
        ({"top_p": 0.0}, "top_p is 0.0.*\\(0, 1\\]"),
        ({"top_p": 1.5}, "top_p is 1.5"),
    ],
)
def test_bad_settings_are_named_with_what_is_accepted(arguments, said):
    with pytest.raises(MoespacError, match=said):
        Sampling(**arguments)
