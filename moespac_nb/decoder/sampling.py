"""From logits to a token, and the rule that accepts drafted tokens without changing the distribution.

Knows nothing of models or caches. Randomness comes in as uniforms in [0, 1), so that every decision can be
repeated from what a step recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..utils.exceptions import InvalidInputError
from ..utils.validation import check_number, checked_whole

Mode = Literal["greedy", "sample"]


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen from the model's distribution.

    Parameters
    ----------
    mode : {"greedy", "sample"}
        The likeliest token each time, or one drawn from the distribution, as the other parameters say.
    temperature : float
        Divides the logits; above 0.
    top_k : int or None
        Only the `top_k` likeliest tokens are drawn.
    top_p : float or None
        Only the likeliest tokens that together have probability `top_p` are drawn; in (0, 1].
    min_p : float or None
        Only tokens with at least `min_p` times the likeliest one's probability are drawn; in [0, 1].

    Raises
    ------
    InvalidInputError
        If a value is not as expected.

    Examples
    --------
    >>> Sampling("sample", top_k=50, top_p=0.95)
    Sampling(mode='sample', temperature=0.8, top_k=50, top_p=0.95, min_p=None)
    """

    mode: Mode = "greedy"
    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.mode not in get_args(Mode):
            raise InvalidInputError(f"mode is {self.mode!r}; expected: 'greedy' or 'sample'")
        if self.temperature == 0:
            raise InvalidInputError(
                f"temperature is {self.temperature!r}; expected: a number above 0 "
                "(for the likeliest token each time, use mode 'greedy')"
            )
        check_number("temperature", self.temperature, above=0)
        if self.top_k is not None:
            checked_whole("top_k", self.top_k, least=1)
        if self.top_p is not None:
            check_number("top_p", self.top_p, above=0, most=1)
        if self.min_p is not None:
            check_number("min_p", self.min_p, least=0, most=1)


GREEDY = Sampling()


def check_finite(logits: Tensor, whose: str, dtype: torch.dtype) -> None:
    """Check that the largest of each row of logits is finite; single tokens may be minus infinity.

    Parameters
    ----------
    logits : Tensor, (rows, vocabulary)
    whose : str
        Name of the model, for the error message.
    dtype : torch.dtype
        What the model computes in.

    Raises
    ------
    InvalidInputError
        If a row has no finite largest logit.
    """
    best = logits.max(-1).values
    if bool(best.isfinite().all()):
        return
    found = "NaN" if bool(best.isnan().any()) else "infinite"
    name = str(dtype).removeprefix("torch.")
    advice = (
        "weights that are finite, and logits processors that leave some token possible"
        if dtype == torch.float32
        else f"a dtype that the model does not overflow: load it with dtype='float32'"
        f"{' or bfloat16' if dtype == torch.float16 else ''}"
    )
    raise InvalidInputError(
        f"{whose}'s logits are {found}, computed in {name}: no token follows; expected: {advice}"
    )


def probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    """Turn logits into the distribution that tokens are drawn from.

    Parameters
    ----------
    logits : Tensor, (..., vocabulary)
    sampling : Sampling
        Temperature, top-k, top-p and min-p apply in this order, by transformers' own warpers. Greedy decoding
        draws nothing: for it, the result is the plain softmax.

    Returns
    -------
    Tensor, (..., vocabulary) float32

    Raises
    ------
    InvalidInputError
        If the temperature is so small that finite logits overflow.

    Examples
    --------
    >>> probabilities(torch.tensor([0.0, 0.0, -9.0]), Sampling("sample", top_k=2)).tolist()
    [0.5, 0.5, 0.0]
    """
    logits = logits.float()
    if sampling.mode == "greedy":
        return logits.softmax(-1)
    if not bool((logits.max(-1).values / sampling.temperature).isfinite().all()):
        raise InvalidInputError(
            f"temperature is {sampling.temperature!r}: logits divided by it overflow float32; expected: a "
            "larger temperature, or mode 'greedy' for the likeliest token each time"
        )
    rows = logits.reshape(-1, logits.shape[-1])
    for warper in _warpers(sampling):
        rows = warper(None, rows)
    return rows.softmax(-1).view(logits.shape)


@cache
def _warpers(sampling: Sampling) -> list[Callable[[None, Tensor], Tensor]]:
    from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    warpers = [TemperatureLogitsWarper(float(sampling.temperature))]
    if sampling.top_k is not None:
        warpers.append(TopKLogitsWarper(int(sampling.top_k)))
    if sampling.top_p is not None and sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(float(sampling.top_p)))
    if sampling.min_p is not None:
        warpers.append(MinPLogitsWarper(float(sampling.min_p)))
    return warpers


def draw(weights: Tensor, uniform: float) -> Tensor:
    """Draw a token by its weight; never one of weight 0.

    Parameters
    ----------
    weights : Tensor, (vocabulary,)
        They need not sum to 1.
    uniform : float
        In [0, 1); the token stands at this share of the cumulated weights.

    Returns
    -------
    Tensor, ()

    Examples
    --------
    >>> int(draw(torch.tensor([0.5, 0.0, 0.5]), 0.6))
    2
    """
    if weights.device.type == "mps":  # has no float64
        weights = weights.cpu()
    # In float64 a uniform of 53 bits times the total stays below the total.
    cumulated = weights.cumsum(-1, dtype=torch.float64)
    return torch.searchsorted(cumulated, cumulated[-1:] * uniform, right=True)[0]


def accept_greedy(drafted: list[int], target_ids: list[int]) -> tuple[int, int]:
    """Accept drafted tokens as long as they equal the target's choices.

    Parameters
    ----------
    drafted : list of int, (γ,)
    target_ids : list of int, (γ+1,)
        The target's choice at each position of the window.

    Returns
    -------
    accepted : int
        How many drafted tokens are accepted.
    next_id : int
        The target's choice after them.

    Examples
    --------
    >>> accept_greedy([5, 6, 7], [5, 6, 9, 2])
    (2, 9)
    """
    accepted = common_prefix(drafted, target_ids)
    return accepted, target_ids[accepted]


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Return the length of the longest common start of two sequences of ids.

    Examples
    --------
    >>> common_prefix([5, 6, 7], [5, 6, 9, 9])
    2
    """
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def accept_sampled(drafted: Tensor, q: Tensor, p: Tensor, uniforms: np.ndarray) -> tuple[int, int]:
    """Accept drafted tokens so that the text has the target's distribution p, whatever the draft's q is.

    Parameters
    ----------
    drafted : Tensor, (γ,)
    q : Tensor, (γ, vocabulary)
        What each drafted token was drawn from.
    p : Tensor, (γ+1, vocabulary)
        The target's distribution at each position of the window.
    uniforms : array, (γ+1,)
        One in [0, 1) for each drafted token, and one for the token that follows the accepted ones.

    Returns
    -------
    accepted : int
        How many drafted tokens are accepted.
    next_id : int
        The token that follows them.

    References
    ----------
    Leviathan et al., arXiv 2211.17192, algorithm 1 and appendix A.1.
    """
    gamma = len(drafted)
    # A drafted token d is kept with probability min(1, p(d) / q(d)), the first one lost ends the round.
    ratios = acceptance_ratios(drafted, q, p).tolist()
    accepted = next((i for i in range(gamma) if uniforms[i] >= ratios[i]), gamma)
    # After a loss the target's token comes from what p has above q there; with all kept, from p itself.
    leftover = p[accepted] if accepted == gamma else (p[accepted] - q[accepted]).clamp(min=0)
    if not leftover.any():  # p and q differ by rounding alone
        leftover = p[accepted]
    return accepted, int(draw(leftover, float(uniforms[gamma])))


def acceptance_ratios(drafted: Tensor, q: Tensor, p: Tensor) -> Tensor:
    """Return p(d) / q(d) for each drafted token d.

    Parameters
    ----------
    drafted, q, p : Tensor
        As in `accept_sampled`.

    Returns
    -------
    Tensor, (γ,)
    """
    column = drafted[:, None]
    return (p[: len(drafted)].gather(-1, column) / q.gather(-1, column)).squeeze(-1)
