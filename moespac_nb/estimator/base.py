"""What all sensors share: when they are asked, what they are given, what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from ..trace.schema import TraceColumns
from ..trace.step import MoEShape, Prefill, Step, expert_counts
from ..trace.windows import RoutedTokens, Window
from ..utils.exceptions import InvalidInputError

__all__ = ["GATE_S", "Known", "Sensor", "ask", "mark_used"]

GATE_S = 10e-6  # an assumption: a gate is a small product, on a GPU as long as its launch
Known = Literal["verified", "drafted", "layer"]


class Sensor:
    """Predictor of the experts that a window will use; this base class predicts nothing.

    Evidence is in positions: how many positions of a window each expert is expected to serve. A sensor gives
    it at the moment that `available_at` names: "verified", after verification, about the next window;
    "drafted", after drafting, about the window to be verified; "layer", at the layer before, about one layer
    of the window that is being verified.

    Parameters
    ----------
    geometry : MoEShape
        Shape of the target's routing.

    Attributes
    ----------
    name : str
        Key in `SENSORS`.
    available_at : {"verified", "drafted", "layer"}
        When it gives evidence.
    channel : str
        Sensor channel that it needs of a trace, or None.
    needs_tokens : bool
        Whether it goes by token ids, which an imported trace may lack.
    fitted : bool
        Whether it must learn from other texts first.
    window_s, cell_s : float
        Seconds a window, and a cell of layers × experts × positions. Measured by
        `policies.timing.measure_overhead` on one core of an x86 server (2026) and fixed, so that results can
        be reproduced anywhere.

    Examples
    --------
    >>> from moespac_nb import load_trace, make_sensor
    >>> trace = load_trace("chat", half="report")
    >>> sensor = make_sensor("verify-counts", trace.geometry)
    >>> sensor.available_at
    'verified'
    """

    name: ClassVar[str]
    available_at: ClassVar[Known]
    channel: ClassVar[str | None] = None
    needs_tokens: ClassVar[bool] = False
    fitted: ClassVar[bool] = False
    window_s: ClassVar[float]
    cell_s: ClassVar[float]

    def __init__(self, geometry: MoEShape) -> None:
        self.geometry = geometry

    @classmethod
    def serves(cls, trace: TraceColumns) -> bool:
        """Tell whether a trace holds what the sensor needs: its channel, and token ids.

        Parameters
        ----------
        trace : Trace
            The trace.

        Returns
        -------
        bool
        """
        return (cls.channel is None or cls.channel in trace.channels) and (
            not cls.needs_tokens or trace.has_tokens
        )

    @classmethod
    def check_tokens(cls, trace: TraceColumns) -> None:
        """Raise an error where the sensor goes by token ids and the trace has none.

        Parameters
        ----------
        trace : Trace
            The trace.

        Raises
        ------
        MissingDataError
            If they are missing.
        """
        if cls.needs_tokens:
            trace.need("tokens", f"sensor {cls.name!r}")

    def cost_s(self, gamma: int) -> float:
        """Return the modelled seconds a window: computing, and the target's gates where they are asked.

        Parameters
        ----------
        gamma : int
            Draft length.

        Returns
        -------
        float
        """
        return self.overhead_s(gamma) + GATE_S * self._gates(gamma)

    def overhead_s(self, gamma: int) -> float:
        """Return the modelled seconds of computing a window, without the target's gates.

        Parameters
        ----------
        gamma : int
            Draft length.

        Returns
        -------
        float
        """
        cells = self.geometry.layers * self.geometry.experts
        return self.window_s + self.cell_s * cells * (gamma + 1)

    def fit(self, rows: RoutedTokens) -> None:
        """Learn from other texts, before any is begun.

        Parameters
        ----------
        rows : RoutedTokens
            Tokens and their experts.
        """

    def on_prefill(self, prefill: Prefill, /) -> np.ndarray | None:
        """Begin a text: forget the last one, keep what was learned.

        Parameters
        ----------
        prefill : Prefill
            Reading of the prompt.

        Returns
        -------
        ndarray or None
            Evidence about the first window, (layers, experts); None if there is none.
        """

    def on_draft(self, tokens: np.ndarray, gates: np.ndarray | None = None, /) -> np.ndarray | None:
        """Return evidence about a window that has been drafted, or a part of it.

        It may be called again as the draft grows; its evidence then replaces the one before.

        Parameters
        ----------
        tokens : ndarray
            (n+1,), the window's first token and those drafted so far.
        gates : ndarray, optional
            (n, layers, m), experts that the target's gates choose from the draft's state at each token.

        Returns
        -------
        ndarray or None
            (layers, experts); None if there is nothing new.
        """

    def on_layer(self, layer: int, gates: np.ndarray | None = None, /) -> np.ndarray | None:
        """Return evidence about a layer while the layer before is computed.

        Parameters
        ----------
        layer : int
            Number of the layer, from 1.
        gates : ndarray, optional
            (positions, m), experts that its gate chooses from the input of the layer before; -1 for none.

        Returns
        -------
        ndarray or None
            (experts,); None if there is nothing new.
        """

    def on_verify(self, step: Step, /) -> np.ndarray | None:
        """Return evidence about the next window after a window has been verified.

        Parameters
        ----------
        step : Step
            The window, its routing and its accepted length.

        Returns
        -------
        ndarray or None
            (layers, experts); None if there is nothing new.
        """

    def _gates(self, _gamma: int) -> int:
        """Return how many gates a window asks beyond those of the routers."""
        return 0

    def _counted(self, gates: np.ndarray | None) -> np.ndarray:
        """Count choices (positions, layers, m): of each position the first k, as many as a router takes."""
        if gates is None:
            raise InvalidInputError(
                f"sensor {self.name!r} was given no {self.channel!r}; expected: a trace with that channel; "
                "record one, or choose a sensor that needs none"
            )
        experts, chosen = self.geometry.experts, gates[..., : self.geometry.top_k]
        if chosen.size and not -1 <= chosen.min() <= chosen.max() < experts:
            raise InvalidInputError(
                f"channel {self.channel!r} names experts {chosen.min()} to {chosen.max()}; expected: 0 to "
                f"{experts - 1}, or -1 for none"
            )
        counts: np.ndarray = expert_counts(chosen + 1, experts + 1)[:, 1:]
        return counts


def mark_used(last_used: np.ndarray, experts: np.ndarray, position: int) -> None:
    """Note where each expert was used last.

    Parameters
    ----------
    last_used : ndarray
        (layers, experts), changed in place.
    experts : ndarray
        (tokens, layers, k), experts that each of some consecutive tokens used.
    position : int
        Position of the first of these tokens in its text.

    Examples
    --------
    >>> last_used = np.full((1, 4), -1)
    >>> mark_used(last_used, np.array([[[0, 1]], [[1, 3]]]), position=5)
    >>> last_used
    array([[ 5,  6, -1,  6]])
    """
    for offset, chosen in enumerate(experts):
        np.put_along_axis(last_used, chosen.astype(np.int64), position + offset, axis=1)


def ask(sensor: Sensor, window: Window) -> Iterator[tuple[slice | int, np.ndarray]]:
    """Ask a sensor about a window until it is verified: after drafting, then at each layer.

    `sensor.on_verify(window.step)` asks it afterwards, about the next window.

    Parameters
    ----------
    sensor : Sensor
        It has begun the window's text.
    window : Window
        The window, with its rows of the sensor channels.

    Yields
    ------
    layers : slice or int
        The layers that the evidence is about: all, or one.
    evidence : ndarray
        (layers, experts), or (experts,) of one layer.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> from moespac_nb.estimator.sensors import make_sensor
    >>> from moespac_nb.trace.windows import iter_windows
    >>> trace = load_trace("chat", half="report")
    >>> sensor = make_sensor("next-gate", trace.geometry)
    >>> window = next(iter_windows(trace))
    >>> [layer for layer, evidence in ask(sensor, window)]
    [1, 2, 3, 4, 5, 6, 7]
    """
    if (evidence := sensor.on_draft(window.step.window, window.draft_gates)) is not None:
        yield slice(None), evidence
    for layer in range(1, sensor.geometry.layers) if sensor.available_at == "layer" else ():
        gates = None if window.next_gates is None else window.next_gates[:, layer]
        if (evidence := sensor.on_layer(layer, gates)) is not None:
            yield layer, evidence
