"""Demand map: what experts are asked for over time and layers, against one token, domain against domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from moespac_nb import Trace
from moespac_nb.utils.exceptions import InvalidInputError

from ...base.live_view import LiveView, view_trait, within
from ...base.serialize import pack
from ..trace_rounds import SENT_BYTES, Rounds, kept

__all__ = ["DemandMap", "routing_distance_bits"]

COUNTS = "counts"
LABELS = ("measured", "modelled", "computed")


class DemandMap(LiveView):
    """Show which experts are used over time and over layers, and compare two domains.

    The maps show a window's counts beside what its first token alone would have shown.

    Parameters
    ----------
    trace : Trace
        A recorded decode.
    against : Trace, optional
        Another trace of the same shape; the shares of positions that experts serve are compared.
    names : tuple of str
        What the two traces are called.
    amounts : mapping of str to ndarray, optional
        More to show than the counts, (steps, layers, experts) whole numbers from 0 to 255: utility or
        residency, for example.
    labels : mapping of str to str, optional
        For each of `amounts` whether it was "measured", "modelled" or "computed" (the default).
    gamma : int, optional
        The draft length to show a dense trace with; None takes its longest.
    step, layer, expert : int
        What is shown at first; None takes the layer's busiest expert.
    show : {"time", "bit", "domains"}
        Which pair of maps; "domains" needs `against`.
    amount : str
        Which amount the maps show.
    limit_bytes : int
        The most data to send. A longer trace is thinned evenly, and the widget says so.

    Raises
    ------
    MoespacError
        If the traces or amounts do not fit each other, or a value is out of range.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> trace = load_trace("math")[:40]
    >>> from moespac_widgets import utility_over_time
    >>> view = DemandMap(trace, amounts={"utility": utility_over_time(trace)}, amount="utility")
    >>> view.view_code  # doctest: +ELLIPSIS
    'step=0&layer=0&expert=...&show=time&amount=utility'
    """

    SCRIPT, TEXTS = "demand_map.js", ("demand", "grid")

    step = view_trait(0)
    layer = view_trait(0)
    expert = view_trait(0)
    show = view_trait("time")
    amount = view_trait(COUNTS)

    def __init__(
        self,
        trace: Trace,
        *,
        against: Trace | None = None,
        names: tuple[str, str] = ("this trace", "the other"),
        amounts: Mapping[str, np.ndarray] | None = None,
        labels: Mapping[str, str] | None = None,
        gamma: int | None = None,
        step: int = 0,
        layer: int = 0,
        expert: int | None = None,
        show: str = "time",
        amount: str = COUNTS,
        limit_bytes: int = SENT_BYTES,
    ) -> None:
        rounds = Rounds.of(trace, gamma)
        geometry = rounds.geometry
        all_amounts = {COUNTS: rounds.counts, **_checked(amounts or {}, rounds.counts.shape)}
        origins = _labels(labels or {}, all_amounts)
        shown, notices = kept(len(rounds), len(all_amounts) * rounds.counts[0].size, limit_bytes)
        first = np.stack([step.experts[0] for step in rounds.steps])
        limits: dict[str, Any] = {
            "step": (0, len(rounds) - 1),
            "layer": (0, geometry.layers - 1),
            "expert": (0, geometry.experts - 1),
            "show": ["time", "bit", *(["domains"] if against is not None else [])],
            "amount": list(all_amounts),
        }
        if expert is None:
            within("layer", layer, limits["layer"])
            expert = int(rounds.counts.sum(axis=0)[layer].argmax())
        super().__init__(
            data={
                "kept": pack(shown),
                "layers": geometry.layers,
                "experts_per_layer": geometry.experts,
                "amounts": {name: pack(values[shown]) for name, values in all_amounts.items()},
                "labels": origins,
                "first": pack(first[shown]),
                "domains": None if against is None else _domains(rounds, against, gamma, names),
            },
            limits=limits,
            notices=notices,
            step=step,
            layer=layer,
            expert=expert,
            show=show,
            amount=amount,
        )


def _checked(amounts: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    checked = {}
    for name, amount in amounts.items():
        values = np.asarray(amount)
        if name == COUNTS or values.shape != shape:
            raise InvalidInputError(
                f"amount {name!r} has shape {values.shape}; expected: any name but {COUNTS!r}, "
                f"with shape {shape}"
            )
        if values.dtype.kind not in "buif" or not np.array_equal(values, np.clip(np.rint(values), 0, 255)):
            raise InvalidInputError(f"amount {name!r} has other values; expected: whole numbers, 0 to 255")
        checked[name] = values.astype(np.uint8)
    return checked


def _labels(labels: Mapping[str, str], amounts: Mapping[str, np.ndarray]) -> dict[str, str]:
    for name, label in labels.items():
        if name == COUNTS or name not in amounts or label not in LABELS:
            raise InvalidInputError(
                f"the label of amount {name!r} is {label!r}; expected: {', '.join(LABELS)}, of an amount "
                "that was given"
            )
    return {name: "measured" if name == COUNTS else labels.get(name, "computed") for name in amounts}


def _domains(rounds: Rounds, against: Trace, gamma: int | None, names: tuple[str, str]) -> dict[str, Any]:
    other = Rounds.of(against, gamma, name="against")
    if other.geometry != rounds.geometry:
        raise InvalidInputError(
            f"against is of {other.geometry}; expected: a trace of the same geometry, {rounds.geometry}"
        )
    shares = [_shares(trace_rounds) for trace_rounds in (rounds, other)]
    return {
        "names": list(names),
        "shares": [pack(share.astype(np.float32)) for share in shares],
        "bits": pack(routing_distance_bits(*shares).astype(np.float32)),
    }


def _shares(rounds: Rounds) -> np.ndarray:
    """Share of a trace's positions that go to each expert, (layers, experts); a layer's sum is k."""
    positions = sum(step.gamma + 1 for step in rounds.steps)
    return rounds.counts.sum(axis=0) / positions


def routing_distance_bits(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return the Jensen-Shannon divergence of two routings, layer by layer.

    Parameters
    ----------
    p, q : ndarray, (layers, experts)
        How often each expert was used; each layer is scaled to sum 1.

    Returns
    -------
    ndarray, (layers,)
        Bits, from 0 (alike) to 1 (no expert in common).

    Examples
    --------
    >>> routing_distance_bits(np.array([[1.0, 1.0, 0.0]]), np.array([[0.0, 0.0, 1.0]])).tolist()
    [1.0]
    """
    p, q = (uses / uses.sum(axis=1, keepdims=True) for uses in (p, q))
    middle = (p + q) / 2

    def surprise(a: np.ndarray) -> np.ndarray:
        parts = np.divide(a, middle, out=np.ones_like(a), where=a > 0)
        return np.asarray((a * np.log2(parts)).sum(axis=1))

    return (surprise(p) + surprise(q)) / 2
