"""Utility inspector: one expert's state machine through time, and why it moved, by any rule and sensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from moespac_nb import Trace
from moespac_nb.estimator.sensors import Sensor
from moespac_nb.estimator.utility import RULES
from moespac_nb.utils.exceptions import InvalidInputError, did_you_mean

from ...base.live_view import LiveView, view_trait, within
from ...base.serialize import Packed, pack
from ..trace_rounds import SENT_BYTES, Rounds, kept
from ..utility_history import FIELDS, evidence_over_time, trail

__all__ = ["UtilityInspector"]

PAGE_BYTES = 8_000_000  # of a page of its own: it cannot ask for the rest
CELL_BYTES = 24  # of one expert at one step, at most


class UtilityInspector(LiveView):
    """Follow one expert's utility through time, and read why it moved.

    The widget shows the count f, the evidence, its boundaries, the utility s, and the reason in words.

    Parameters
    ----------
    trace : Trace
        A recorded decode.
    rule : str
        The utility rule, such as "paper".
    sensor : str or Sensor
        The sensor's name, or a sensor that has been fitted already.
    K : int
        The highest utility level.
    gamma : int, optional
        The draft length to show a dense trace with; None takes its longest.
    step, layer, expert : int
        What is shown at first; None takes the layer's busiest expert.
    limit_bytes : int
        The most data to send. A longer trace is thinned evenly, and the widget says so.
    **options : float
        Parameters of `rule`, as `make_estimator` takes them. The other rules, which a reader may choose in
        the widget, keep their defaults.

    Raises
    ------
    MoespacError
        If there is no such rule or sensor, the trace lacks the sensor's channel, or a value is out of range.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> view = UtilityInspector(load_trace("math")[:40], rule="level", up=5, K=5, layer=3, expert=17)
    >>> view.view_code
    'step=0&layer=3&expert=17&rule=level'
    """

    SCRIPT, TEXTS = "utility_inspector.js", ("inspector", "grid")

    step = view_trait(0)
    layer = view_trait(0)
    expert = view_trait(0)
    rule = view_trait("paper")

    def __init__(
        self,
        trace: Trace,
        *,
        rule: str = "paper",
        sensor: str | Sensor = "verify-counts",
        K: int = 4,
        gamma: int | None = None,
        step: int = 0,
        layer: int = 0,
        expert: int | None = None,
        limit_bytes: int = SENT_BYTES,
        **options: float,
    ) -> None:
        if rule not in RULES:
            raise InvalidInputError(
                f"rule is {rule!r}; expected: {', '.join(RULES)}{did_you_mean(rule, RULES)}"
            )
        self._rounds = rounds = Rounds.of(trace, gamma)
        self._evidence = evidence_over_time(rounds, sensor, gamma)
        self._options = {rule: options}
        self._K, self._gamma = K, max(step.gamma for step in rounds.steps)
        self._blocks: dict[str, dict[str, Packed]] = {}
        layers, experts = rounds.geometry.layers, rounds.geometry.experts
        self._kept, notices = kept(len(rounds), experts * CELL_BYTES, limit_bytes)
        within("layer", layer, (0, layers - 1))
        if expert is None:
            expert = int(self._evidence[:, layer].sum(axis=0).argmax())
        self._sent: dict[str, dict[str, Packed]] = {}
        fits = len(self._kept) * experts * CELL_BYTES * layers <= limit_bytes
        for sent in range(layers) if fits else (layer,):
            self._sent[f"{rule}/{sent}"] = self.answer_block(rule, sent)
        super().__init__(
            data={
                "kept": pack(self._kept),
                "layers": layers,
                "experts_per_layer": experts,
                "rules": list(RULES),
                "K": K,
                "sensor": sensor if isinstance(sensor, str) else sensor.name,
                "blocks": self._sent,
            },
            limits={
                "step": (0, len(rounds) - 1),
                "layer": (0, layers - 1),
                "expert": (0, experts - 1),
                "rule": list(RULES),
            },
            notices=notices,
            step=step,
            layer=layer,
            expert=expert,
            rule=rule,
        )

    def answer_block(self, rule: str, layer: int) -> dict[str, Packed]:
        """Return the state of a layer's experts at every step shown, packed (steps, experts) arrays.

        Parameters
        ----------
        rule : str
            The utility rule.
        layer : int
            Which layer, from 0.
        """
        key = f"{rule}/{layer}"
        if key not in self._blocks:
            options: dict[str, Any] = {"K": self._K, "gamma": self._gamma, **self._options.get(rule, {})}
            states = trail(self._rounds, self._evidence[:, layer : layer + 1], rule, **options)
            self._blocks[key] = {name: pack(states[name][self._kept, 0]) for name in (*FIELDS, "before")}
        return self._blocks[key]

    def page_data(self) -> Mapping[str, Any]:
        """All layers, under this rule and then under the others, as far as a page may hold them."""
        layers = range(self._rounds.geometry.layers)
        order = [(self.rule, self.layer)]
        for rule in dict.fromkeys([self.rule, *RULES]):
            order += [(rule, layer) for layer in layers if (rule, layer) not in order]
        blocks: dict[str, dict[str, Packed]] = {}
        size = 0
        for rule, layer in order:
            block = self.answer_block(rule, layer)
            size += sum(np.asarray(packed["bytes"]).nbytes for packed in block.values())
            if blocks and size > PAGE_BYTES:
                break
            blocks[f"{rule}/{layer}"] = block
        return {**self._data, "blocks": blocks}
