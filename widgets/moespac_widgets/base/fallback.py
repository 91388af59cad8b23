"""Small pictures and tables of what a view shows, for pages that draw none: some kilobytes, and no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from .assets import CIVIDIS, Words
from .table import table

__all__ = ["fallback_html"]

CELL_PIXELS = 10
Data = Mapping[str, Any]
Texts = Mapping[str, str]


def fallback_html(script: str, data: Data, state: Mapping[str, Any], texts: Texts) -> str:
    """Return HTML of what a view shows, or nothing where its state says all there is.

    Parameters
    ----------
    script : str
        The view's front-end file.
    data : mapping
        What was packed for the browser.
    state : mapping
        The view's traits by name.
    texts : mapping of str to str
        The catalogue's "static." texts.
    """
    make = _VIEWS.get(script)
    return make(data, state, texts) if make else ""


def _demand(data: Data, state: Mapping[str, Any], texts: Texts) -> str:
    counts = _array(data["amounts"]["counts"])
    return _map(counts[_nearest(data, state["step"])], state["step"], texts)


def _stepper(data: Data, state: Mapping[str, Any], texts: Texts) -> str:
    shown = _nearest(data, state["step"])
    ends = np.cumsum(_array(data["gamma"]) + 1)  # of the windows' positions
    experts = _array(data["experts"])[ends[shown - 1] if shown else 0 : ends[shown]]
    counts = np.zeros((data["layers"], data["experts_per_layer"]), int)
    for position in experts:  # (layers, k)
        np.put_along_axis(counts, position, np.take_along_axis(counts, position, 1) + 1, 1)
    return _map(counts, state["step"], texts)


def _race(data: Data, _state: Mapping[str, Any], texts: Texts) -> str:
    rows = [(run["policy"], run["tps_modelled"], run["hit_rate"]) for run in data["contestants"]]
    return _results(rows, texts) + _about(data["about"], texts)


def _timeline(data: Data, _state: Mapping[str, Any], texts: Texts) -> str:
    runs = list(data["results"].values())
    rows = [(run["name"], run["about"]["tps"], run["about"]["hit_rate"]) for run in runs]
    return _results(rows, texts) + _about(runs[0]["about"], texts)


def _results(rows: list[tuple[Any, ...]], texts: Texts) -> str:
    return str(table([texts[f"static.{name}"] for name in ("policy", "tps", "hit_rate")], rows).data)


def _about(about: Data, texts: Texts) -> str:
    return f"<p>{escape(Words('static.about', about).read(texts))}</p>"


_VIEWS: dict[str, Callable[[Data, Mapping[str, Any], Texts], str]] = {
    "demand_map.js": _demand,
    "race.js": _race,
    "stepper.js": _stepper,
    "timeline.js": _timeline,
}


def _nearest(data: Data, step: int) -> int:
    """Which of the steps that were sent is shown: the last one not after it."""
    return max(0, int(np.searchsorted(_array(data["kept"]), step, side="right")) - 1)


def _array(packed: Data) -> np.ndarray:
    return np.frombuffer(packed["bytes"], packed["dtype"]).reshape(packed["shape"]).astype(np.int64)


def _map(counts: np.ndarray, step: int, texts: Texts) -> str:
    """(layers, experts) of whole numbers as a picture, and what it is in words."""
    layers, experts = counts.shape
    values = {"step": step, "layers": layers, "experts": experts, "most": int(counts.max())}
    words = escape(Words("static.map", values).read(texts))
    width, height = experts * CELL_PIXELS, layers * CELL_PIXELS
    png = io.BytesIO()
    picture = Image.fromarray(_coloured(counts)).resize((width, height), Image.Resampling.NEAREST)
    picture.save(png, "PNG", optimize=True)
    source = f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
    return f'<p><img width="{width}" height="{height}" alt="{words}" src="{source}"></p><p>{words}</p>'


def _coloured(counts: np.ndarray) -> np.ndarray:
    """(layers, experts, 4) bytes of red, green, blue and opacity; what is 0 lets the page through."""
    ramp = np.array([[*bytes.fromhex(colour[1:]), 255] for colour in CIVIDIS], np.uint8)
    least = len(ramp) // 3  # the darkest could not be told from a dark page
    place = least + (counts - 1) * (len(ramp) - 1 - least) // max(1, int(counts.max()) - 1)
    colours = ramp[np.clip(place, 0, len(ramp) - 1)]
    colours[counts == 0] = 0
    return colours
