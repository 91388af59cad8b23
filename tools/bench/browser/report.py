"""The bounds, the tables of docs/gallery.md, and what misses a bound."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PAGE, FIGURES = ROOT / "docs/gallery.md", ROOT / "docs/gallery/bench.json"
BOUNDS = {"median_ms": 100, "p95_ms": 200, "paint_s": 1.0, "backlog_ms": 200, "websocket_mb": 6.0}
SCRIPT_BYTES = 40 * 1024
HEAP_GROWTH = 1.05  # over 1,000 inputs: JupyterLab keeps a little of every message
SIZES = {
    "48x128": "48 layers × 128 experts, made up",
    "8x64": "8 layers × 64 experts, the bundled pair",
}


def after_its_cell(found: Mapping[str, Any]) -> float:
    """Seconds from the end of the cell's computing to the first paint."""
    return max(0.0, round(found["painted_s"] - found["ran_s"], 2))


def missed(found: Mapping[str, Any]) -> list[str]:
    """Every figure beyond its bound, in words."""
    wrong = []
    for size in SIZES:
        for name, one in found.get(size, {}).items():
            figures = {"websocket_mb": one["websocket_mb"]}
            if "inputs" in one:
                figures |= {"backlog_ms": one["scrub_100"]["backlog_ms"], "paint_s": after_its_cell(one)}
                for what, waits in one["inputs"].items():
                    wrong += [
                        f"{size} {name}, {what}: {key} is {waits[key]}, the bound {BOUNDS[key]}"
                        for key in ("median_ms", "p95_ms")
                        if waits[key] > BOUNDS[key]
                    ]
                first, *_, last = one["heap_mb"]
                if last > HEAP_GROWTH * first:
                    wrong.append(f"{size} {name}: the heap went from {first} to {last} MB")
            wrong += [
                f"{size} {name}: {key} is {value}, the bound {BOUNDS[key]}"
                for key, value in figures.items()
                if value > BOUNDS[key]
            ]
    for name, one in found.get("travels", {}).items():
        if name != "Dashboard" and one["script"] > SCRIPT_BYTES:
            wrong.append(f"{name}: {one['script']} bytes of script, the bound {SCRIPT_BYTES}")
    return wrong


def tables(found: Mapping[str, Any]) -> str:
    """All that there is figures for, as Markdown."""
    return "\n\n".join(text for _, text in _parts(found))


def _parts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    parts = [("travels", _travels(found["travels"]))] if "travels" in found else []
    fast = [_fast(size, found[size]) for size in SIZES if size in found]
    return [*parts, ("fast", "\n\n".join(fast))] if fast else parts


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _travels(found: Mapping[str, Any]) -> str:
    head = ["widget", "script", "data, 8 × 64", "data, 48 × 128", "page, 8 × 64"]
    keys = ("script", "data_8x64", "data_48x128", "page")
    return _table(head, [[name, *(f"{one[key]:,}" for key in keys)] for name, one in found.items()])


def _fast(size: str, found: Mapping[str, Any]) -> str:
    widgets = {name: one for name, one in found.items() if "inputs" in one}
    where = [one["where"] for one in found.values()]
    loads = [each["load"] for each in where]
    said = [
        f"{SIZES[size]}, {max(each['steps'] for each in where)} steps; {where[0]['cores']} cores, Chromium "
        f"{where[0]['chromium']}, load {min(loads)} to {max(loads)}."
    ]
    head = [
        "widget", "key, ms", "slider, ms", "other, ms", "cell ran, s", "then first paint, s",
        "left after 100 inputs, ms", "websocket, MB", "heap over 1,000 inputs, MB",
    ]  # fmt: skip
    rows = []
    for name, one in widgets.items():
        waits = {what: f"{each['median_ms']} / {each['p95_ms']}" for what, each in one["inputs"].items()}
        other = [f"{what} {text}" for what, text in waits.items() if what not in ("key", "slider")]
        rows.append(
            [
                name,
                waits["key"],
                waits["slider"],
                ", ".join(other) or "–",
                f"{one['ran_s']:.1f}",
                f"{after_its_cell(one):.2f}",
                str(one["scrub_100"]["backlog_ms"]),
                f"{one['websocket_mb']:.1f}",
                " · ".join(f"{mb:.1f}" for mb in one["heap_mb"]),
            ]
        )
    made = [" ".join(said), _table(head, rows)]
    if "notebook" in found:
        made.append(f"A notebook that has all of them: {found['notebook']['websocket_mb']:.1f} MB.")
    beside = [(name, one["figures"]) for name, one in widgets.items() if "figures" in one]
    if beside:
        head = [
            "charts of",
            "FigureWidgets",
            "step, ms",
            "times the widget's",
            "first paint, s",
            "websocket, MB",
        ]
        rows = [
            [name, str(one["charts"]), f"{one['step']['median_ms']} / {one['step']['p95_ms']}",
             f"{one['ratio']:.1f}", f"{one['painted_s']:.1f}", f"{one['websocket_mb']:.1f}"]
            for name, one in beside
        ]  # fmt: skip
        made.append(_table(head, rows))
    return "\n\n".join(made)


def written(page: str, found: Mapping[str, Any]) -> str:
    """The page with the tables of these figures between their markers."""
    for name, text in _parts(found):
        begin, end = f"<!-- bench: {name} -->", "<!-- bench: end -->"
        page, times = re.subn(
            rf"{begin}\n.*?{end}", lambda _, b=begin, t=text, e=end: f"{b}\n\n{t}\n\n{e}", page, flags=re.S
        )
        if times != 1:
            raise ValueError(f"{PAGE} has {times} places {begin}; expected: one, with {end} after it")
    return page


def write(found: Mapping[str, Any]) -> None:
    """Put these figures with those that are known, and the tables of all on the page."""
    known = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    for part, some in found.items():
        order = [*known.get(part, {}), *some]
        known[part] = {name: {**known.get(part, {}), **some}[name] for name in dict.fromkeys(order)}
    FIGURES.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), known), encoding="utf-8")
