"""Synthetic routing at the sizes of real models, from parameters that were fitted to captures of them.

`tools/routing/fit.py` fits them; `docs/figures/routing.md` says how well they fit captures held out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..trace.schema import TextInfo
from ..trace.step import MoEShape
from ..trace.trace import Trace
from ..utils.exceptions import InvalidInputError, MissingDataError, MoespacError
from ..utils.validation import check_choice, checked_whole
from .files import data_root
from .prompts import Half
from .routing_model import LayerParameters, RoutingModel, gate_weights

__all__ = [
    "LABEL",
    "PREFIX",
    "Synthetic",
    "list_synthetic",
    "load_routing_model",
    "synthetic_trace",
    "trace_of_name",
]

PREFIX = "synthetic:"
LABEL = "synthetic, fitted"
FOLDER = "synthetic"
TEXTS, TOKENS, PROMPT = 8, 128, 32  # of a trace where nothing else is asked for
MOST_TOKENS, MOST_TEXTS = 8192, 1024  # a text's scores are in memory at once


@dataclass(frozen=True)
class Synthetic:
    """Routing that is generated from fitted parameters.

    Parameters
    ----------
    model : str
        The model that the parameters were fitted to.
    """

    model: str

    def __str__(self) -> str:
        """Name it in words."""
        return f"{self.model}, {LABEL}"

    @property
    def name(self) -> str:
        """Name for `load_trace`."""
        return PREFIX + self.model

    @property
    def path(self) -> Path:
        """Path of the parameters."""
        return data_root() / FOLDER / f"{self.model}.json"


def list_synthetic() -> tuple[Synthetic, ...]:
    """List the models whose routing can be generated.

    Returns
    -------
    tuple of Synthetic

    Examples
    --------
    >>> list_synthetic()[0].name
    'synthetic:gpt-oss-20b'
    """
    return tuple(Synthetic(path.stem) for path in sorted((data_root() / FOLDER).glob("*.json")))


def load_routing_model(model: str) -> RoutingModel:
    """Load the fitted parameters of a model's routing.

    Parameters
    ----------
    model : str
        Its name, with or without "synthetic:".

    Returns
    -------
    RoutingModel

    Raises
    ------
    InvalidInputError
        If no parameters of such a model are bundled.
    MissingDataError
        If there are none at all.

    Examples
    --------
    >>> load_routing_model("gpt-oss-20b").geometry
    MoEShape(layers=24, experts=32, top_k=4)
    """
    models = tuple(synthetic.model for synthetic in list_synthetic())
    if not models:
        raise MissingDataError(
            f"no parameters of routing in {data_root() / FOLDER}; install moespac-nb again"
        )
    return _read(Synthetic(check_choice("model", model.removeprefix(PREFIX), models)).path)


@lru_cache(maxsize=4)
def _read(path: Path) -> RoutingModel:
    try:
        fitted = json.loads(path.read_text(encoding="utf-8"))
        layers = LayerParameters(**{name: np.array(values) for name, values in fitted["layers"].items()})
        return RoutingModel(MoEShape(**fitted["geometry"]), layers, **fitted["common"])
    except (ValueError, KeyError, TypeError) as error:
        raise MoespacError(f"{path} is damaged ({error}); install moespac-nb again") from None


def synthetic_trace(
    model: str,
    *,
    tokens: int = TOKENS,
    texts: int = TEXTS,
    prompt: int = PROMPT,
    seed: int = 0,
    half: Half | None = None,
) -> Trace:
    """Generate a trace with the routing of a real model's size and kind.

    Its tokens mean nothing, except that equal ids are the same token. It was decoded without a draft: there
    is one position a step.

    Parameters
    ----------
    model : str
        Name of the model, see `list_synthetic`.
    tokens : int
        Decoded tokens of each text.
    texts : int
        Number of texts, each with topics of its own.
    prompt : int
        Tokens of each text's prompt.
    seed : int
        Of the texts; the same seed gives the same trace.
    half : {"tune", "report"}, optional
        The first half of the texts, for what is fitted or chosen, or the other half, for figures that are
        shown; None takes both.

    Returns
    -------
    Trace

    Raises
    ------
    InvalidInputError
        If a name is unknown, or a number out of range.

    Examples
    --------
    >>> trace = synthetic_trace("gpt-oss-20b", tokens=20, texts=2, seed=1)
    >>> len(trace), trace.texts[0].target
    (40, 'gpt-oss-20b (synthetic, fitted)')
    """
    routing = load_routing_model(model)
    checked_whole("tokens", tokens, least=1, most=MOST_TOKENS)
    checked_whole("texts", texts, least=1 if half is None else 2, most=MOST_TEXTS)
    checked_whole("prompt", prompt, least=1, most=MOST_TOKENS)
    checked_whole("seed", seed, least=0)
    numbers = {None: range(texts), "tune": range(texts // 2), "report": range(texts // 2, texts)}
    if half not in numbers:
        raise InvalidInputError(f"half is {half!r}; expected: 'tune', 'report', or None for both")
    name = model.removeprefix(PREFIX)
    routed = [_routed(routing, prompt + tokens, (seed, number)) for number in numbers[half]]
    infos = [_text_info(name, seed, number) for number in numbers[half]]
    return _trace(routing, routed, infos, prompt)


def _text_info(model: str, seed: int, number: int) -> TextInfo:
    return TextInfo(
        target=f"{model} ({LABEL})", draft=None, mode="sample", temperature=None, top_k=None, top_p=None,
        gamma="0", gamma_max=None, seed=seed, stop_ids=(), prompt_id=f"{PREFIX}{model}/{number}", prompt=None,
        text=None, finish_reason="length", versions={},
    )  # fmt: skip


class _Routed(NamedTuple):
    ids: np.ndarray
    experts: np.ndarray
    weights: np.ndarray


def _routed(routing: RoutingModel, tokens: int, seed: tuple[int, int]) -> _Routed:
    text = routing.generate(tokens, seed)
    experts = text.experts(routing.geometry.top_k)
    weights = gate_weights(text.scores, experts, routing.layers.gate_scale, routing.gates_of_chosen)
    return _Routed(text.token_ids.astype(np.int32), experts, weights)


def _trace(routing: RoutingModel, texts: list[_Routed], infos: list[TextInfo], prompt: int) -> Trace:
    """Return a trace of steps without drafts; the prompt's last token opens the first step."""
    prefilled, end = prompt - 1, len(texts[0].ids) - 1  # the last token is committed, and not read any more
    steps = end - prefilled

    def rows(arrays: tuple[np.ndarray, ...], first: int, last: int) -> np.ndarray:
        return np.concatenate([array[first:last] for array in arrays])

    ids, experts, weights = zip(*texts, strict=True)
    n = steps * len(texts)
    index = np.tile(np.arange(steps, dtype=np.int32), len(texts))
    columns: dict[str, Any] = {
        "text_steps": np.full(len(texts), steps, np.int32),
        "text_prompt": np.full(len(texts), prefilled, np.int32),
        "prefill_ms": np.full(len(texts), np.nan),
        "prompt_ids": rows(ids, 0, prefilled),
        "prompt_experts": rows(experts, 0, prefilled),
        "prompt_gate_weights": rows(weights, 0, prefilled),
        "step_index": index,
        "step_position": index + np.int32(prefilled),
        "committed": np.ones(n, np.int32),
        "committed_ids": rows(ids, prefilled + 1, end + 1),
        "window": rows(ids, prefilled, end),
        "target_ids": rows(ids, prefilled + 1, end + 1),
        "experts": rows(experts, prefilled, end),
        "gate_weights": rows(weights, prefilled, end),
        "target_top_ids": np.empty((n, 0), np.int32),
        "target_top_probs": np.empty((n, 0), np.float32),
        "draft_top_ids": np.empty((0, 0), np.int32),
        "draft_top_probs": np.empty((0, 0), np.float32),
        "uniforms": np.empty(0),
    }
    columns |= {name: np.zeros(n, np.int32) for name in ("gamma", "accepted")}
    columns |= {name: np.full(n, np.nan) for name in ("draft_ms", "verify_ms")}
    columns |= {name: np.empty(0, np.float32) for name in ("draft_probs", "target_probs")}
    return Trace(geometry=routing.geometry, vocabulary=routing.vocabulary, texts=tuple(infos), **columns)


def trace_of_name(name: str, half: Half | None = None) -> Trace:
    """Generate the trace of a name such as "synthetic:gpt-oss-20b,tokens=500,seed=1".

    Parameters
    ----------
    name : str
        "synthetic:", the model, and options of `synthetic_trace` with commas between them.
    half : {"tune", "report"}, optional
        See `synthetic_trace`.

    Returns
    -------
    Trace

    Raises
    ------
    InvalidInputError
        If the name cannot be read.
    """
    model, *options = name.split(",")
    values: dict[str, Any] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if key not in ("tokens", "texts", "prompt", "seed") or not equals or not value.isdecimal():
            raise InvalidInputError(
                f"{option!r} in {name!r} is no option; expected: tokens=, texts=, prompt= or seed= and a "
                "whole number"
            )
        values[key] = int(value)
    return synthetic_trace(model, half=half, **values)
