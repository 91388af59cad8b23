"""What all widgets share, without a browser: files, packing, state, commands, pages, cells."""

from __future__ import annotations

import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moespac_nb import MoespacError
from moespac_widgets import LiveView, Stepper, write_page
from moespac_widgets.base import assets as front_end
from moespac_widgets.base import cell_lifecycle as cells
from moespac_widgets.base.live_view import view_trait
from moespac_widgets.base.serialize import pack, split
from moespac_widgets.views.trace_rounds import Rounds, kept
from tests.helpers.traces.strategies import one_text

SCRIPT_LIMIT = 40 * 1024
BLACK, WHITE = "#111111", "#ffffff"  # JupyterLab's dark page and its light one


def every_widget() -> list[type[LiveView]]:
    return [kind for kind in LiveView.__subclasses__() if kind.__module__.startswith("moespac_widgets")]


class Probe(LiveView):
    """A widget with one command and two parts of state."""

    SCRIPT, TEXTS = "stepper.js", ("grid",)
    step = view_trait(0)
    rule = view_trait("a")

    def __init__(self, **options: Any) -> None:
        super().__init__(
            data={"x": pack(np.arange(3))},
            title="A <probe>",
            limits={"step": (0, 9), "rule": ["a", "b b"]},
            **options,
        )
        self.sent: list[tuple[Any, Any]] = []

    def send(self, content: Any, buffers: Any = None) -> None:
        self.sent.append((content, buffers))

    def answer_twice(self, n: int) -> dict[str, Any]:
        return {"n": 2 * n, "row": pack(np.arange(n))}


# -- files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("widget", every_widget())
def test_a_widgets_script_is_small_and_reaches_nowhere(widget: type[LiveView]) -> None:
    script = front_end.bundle(widget.SCRIPT)
    assert len(script.encode()) <= SCRIPT_LIMIT
    assert not re.search(r"^import |\bimport\(|\bfetch\(|XMLHttpRequest|WebSocket|eval\(", script, re.M)
    assert set(re.findall(r"https?://[^\"' ]+", script)) <= {"http://www.w3.org/2000/svg"}
    assert len(re.findall("^export default ", script, re.M)) == 1


def test_what_is_imported_twice_is_sent_once() -> None:
    assert front_end.bundle("stepper.js").count("function cividis(") == 1
    assert front_end.bundle("stepper.js").count("const PALETTE = ") == 1


@pytest.mark.parametrize("widget", every_widget())
def test_every_text_a_script_asks_for_is_in_the_catalogue(widget: type[LiveView]) -> None:
    texts = front_end.catalogue("base", *widget.TEXTS)
    asked = set(re.findall(r'\.text\("([\w.]+)"', front_end.bundle(widget.SCRIPT)))
    assert len(asked) > 10
    assert asked <= set(texts)


def test_every_text_is_asked_for() -> None:
    """By its key or by what follows its point, whole or with a value at the beginning or the end."""
    source = "\n".join(p.read_text("utf-8") for p in front_end.HOME.rglob("*") if p.suffix in (".js", ".py"))
    whole = set(re.findall(r"""["'`]([\w.-]+)["'`]""", source))
    begun = tuple(re.findall(r"`([\w.-]+_)\$\{", source))
    ended = tuple(re.findall(r"\}(_\w+)`", source))
    texts = json.loads((front_end.HOME / "texts/en.json").read_text("utf-8"))

    def is_asked(part: str) -> bool:
        return part in whole or part.startswith(begun) or part.endswith(ended)

    assert [key for key in texts if not is_asked(key) and not is_asked(key.partition(".")[2])] == []


def test_titles_and_notices_come_from_the_catalogue(tmp_path: Path) -> None:
    texts = front_end.catalogue("base", "title", "notice")
    assert {key.split(".")[0] for key in texts} == {"base", "title", "notice"}
    widget = Stepper(one_text(1, steps=20), limit_bytes=1000)
    assert widget._title == texts["title.stepper"]
    filled = re.escape(texts["notice.thinned"]).replace(r"\{steps\}", "20")
    assert re.fullmatch(re.sub(r"\\\{\w+\\\}", r"\\d+", filled), widget._notices[0])
    page = widget.to_html(tmp_path / "s.html").read_text(encoding="utf-8")
    assert f'<html lang="{texts["base.language"]}">' in page
    assert f"<title>{texts['title.stepper']}</title>" in page


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(a: str, b: str) -> float:
    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", front_end.KINDS.values(), ids=front_end.KINDS)
def test_a_kinds_colour_is_seen_on_light_and_dark_pages(colour: str) -> None:
    assert contrast(colour, WHITE) >= 3  # WCAG 2.1, 1.4.11: graphics
    assert contrast(colour, BLACK) >= 3


# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
SEEN_BY = {
    "everyone": np.eye(3),
    "protanopia": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deuteranopia": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritanopia": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}  # fmt: skip


def lab(colour: str, seen_by: str) -> np.ndarray:
    """CIELAB under D65 of a colour as some see it."""
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(SEEN_BY[seen_by]) @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.maximum(to_xyz @ linear / [0.9505, 1, 1.089], 1e-9))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("seen_by", SEEN_BY)
def test_kinds_are_told_apart_whatever_colours_a_reader_sees(seen_by: str) -> None:
    kinds = [lab(colour, seen_by) for colour in front_end.KINDS.values()]
    for i, one in enumerate(kinds):
        for other in kinds[i + 1 :]:
            assert np.linalg.norm(one - other) > 10


@pytest.mark.parametrize("seen_by", SEEN_BY)
def test_amounts_grow_lighter_for_everyone(seen_by: str) -> None:
    lightness = [lab(colour, seen_by)[0] for colour in front_end.CIVIDIS]
    assert (np.diff(lightness) > 2).all()


# -- packing and thinning ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([0, 255], "uint8"), ([-1, 127], "int8"), ([0, 256], "uint16"), ([-1, 300], "int16"),
     ([0, 70000], "int32"), ([0.5], "float32"), ([2.0, 3.0], "uint8"), ([np.nan, 1], "float32"),
     ([True, False], "uint8"), ([], "uint8")],
)  # fmt: skip
def test_an_array_travels_in_the_smallest_type_that_holds_it(values: list[Any], dtype: str) -> None:
    array = np.array(values, int) if not values else np.array(values)
    packed = pack(array)
    assert (packed["dtype"], packed["shape"]) == (dtype, [len(values)])
    assert np.array_equal(
        np.frombuffer(packed["bytes"], dtype), array.astype(dtype), equal_nan=dtype == "float32"
    )


def test_what_32_bits_do_not_hold_is_refused() -> None:
    with pytest.raises(MoespacError, match="too large"):
        pack(np.array([2**40]))


def test_a_message_carries_its_arrays_beside_it() -> None:
    buffers: list[memoryview] = []
    value = split({"a": {"b": pack(np.arange(4))}, "n": 1}, buffers)
    assert value == {"a": {"b": {"dtype": "uint8", "shape": [4], "buffer": 0}}, "n": 1}
    assert bytes(buffers[0]) == bytes(range(4))
    json.dumps(value)


def test_a_trace_that_is_too_long_is_thinned_evenly_and_says_so() -> None:
    assert kept(10, 100, 1000) == (pytest.approx(np.arange(10)), [])
    steps, (notice,) = kept(1000, 1000, 250_000)
    assert steps.tolist() == list(range(0, 1000, 4))
    said = notice.read(front_end.catalogue("notice"))
    assert "of 1000 steps one in 4 is shown" in said
    assert "at most 250 steps" in said


def test_of_a_dense_trace_rounds_of_one_gamma_are_shown() -> None:
    dense = one_text(2, gamma_max=3, steps=7)
    for gamma in (0, 1, 3, None):
        rounds = Rounds.of(dense, gamma)
        assert [step.window.tolist() for step in rounds.steps] == [
            step.window.tolist() for step in dense.rounds(3 if gamma is None else gamma)
        ]
    with pytest.raises(MoespacError, match="gamma is 2; expected: None"):
        Rounds.of(one_text(1), gamma=2)


def test_counts_and_the_first_tokens_bits_are_those_of_the_trace() -> None:
    trace = one_text(4, steps=6)
    rounds = Rounds.of(trace)
    assert np.array_equal(rounds.counts, trace.counts)
    for step, bits in zip(trace, rounds.bits, strict=True):
        used = {(layer, int(e)) for layer in range(2) for e in step.experts[0, layer]}
        assert {(int(layer), int(e)) for layer, e in np.argwhere(bits)} == used


# -- state ------------------------------------------------------------------------------------------------


def test_a_view_code_brings_the_state_back() -> None:
    widget = Probe(step=4, rule="b b")
    assert widget.view_code == "step=4&rule=b%20b"
    other = Probe()
    other.restore_view(widget.view_code)
    assert (other.step, other.rule) == (4, "b b")


@pytest.mark.parametrize(
    ("code", "words"),
    [("stop=1", "expected: step, rule; did you mean 'step'?"), ("step=10", "step is 10; expected: 0 to 9"),
     ("step=x", "step is 'x'"), ("", "expected: one such as 'step=0&rule=a'"),
     ("step=3&rule=c", "rule is 'c'; expected: a, b b")],
)  # fmt: skip
def test_a_bad_view_code_changes_nothing(code: str, words: str) -> None:
    widget = Probe()
    with pytest.raises(MoespacError, match=re.escape(words)):
        widget.restore_view(code)
    assert widget.view_code == "step=0&rule=a"


@pytest.mark.parametrize("value", [-1, 10, 1.5, "3", None, True])
def test_state_out_of_its_limits_is_refused_in_python(value: Any) -> None:
    widget = Probe()
    with pytest.raises(MoespacError, match=r"step is .*expected: 0 to 9"):
        widget.step = value
    with pytest.raises(MoespacError):
        Probe(step=value)


def test_bad_state_is_shown_in_the_browser_until_good_comes() -> None:
    widget = Probe()
    widget.set_state({"step": 77})
    assert widget._error == "step is 77; expected: 0 to 9"
    assert widget.step == 0
    widget.set_state({"step": 7})
    assert (widget.step, widget._error) == (7, "")


def test_a_command_is_answered_with_its_arrays_and_its_errors() -> None:
    widget = Probe()

    def ask(command: str, **values: Any) -> tuple[Any, Any]:
        widget._on_message(widget, {"ask": 5, "command": command, "values": values}, [])
        return widget.sent.pop()

    content, buffers = ask("twice", n=3)
    assert content["answer"] == 5
    assert content["value"]["n"] == 6
    assert bytes(buffers[0]) == b"\x00\x01\x02"
    assert ask("ping")[0] == {"answer": 5, "value": None}
    assert "no command 'thrice'" in ask("thrice")[0]["error"]
    assert ask("twice", n="x")[0]["error"].startswith("TypeError")


# -- pages ------------------------------------------------------------------------------------------------


def test_a_page_holds_all_and_no_text_can_break_it(tmp_path: Path) -> None:
    from dataclasses import replace

    trace = one_text(1)
    hostile = "</script><script>alert(1)</script>"
    trace = replace(trace, token_strings=dict.fromkeys(trace.token_strings, hostile))
    html = Stepper(trace, step=3).to_html(tmp_path / "s.html").read_text(encoding="utf-8")
    assert html.count("</script>") == 2
    assert "default-src 'none'" in html
    state = json.loads(re.search(r'id="state">(.*?)</script>', html, re.S)[1])
    (widget,) = state["widgets"]
    assert widget["state"]["step"] == 3
    assert widget["state"]["_kernel"] is False
    assert hostile in widget["state"]["_data"]["pieces"].values()
    with pytest.raises(MoespacError, match=r"a name that ends in \.html"):
        Stepper(trace).to_html(tmp_path / "s.txt")
    with pytest.raises(MoespacError, match="cannot be written"):
        Stepper(trace).to_html(tmp_path / "missing" / "s.html")
    with pytest.raises(MoespacError, match="no widget"):
        write_page(tmp_path / "s.html", [])


# -- cells ------------------------------------------------------------------------------------------------


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs what makes a widget as JupyterLab would run it in a cell."""
    requests = {"n": 0, "parent": {}}
    shell = types.SimpleNamespace(get_parent=lambda: requests["parent"])
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(cells, "_RUNS", {})

    def run(cell_id: str, *makers: Any, deleted: tuple[str, ...] = ()) -> list[Any]:
        requests["n"] += 1
        requests["parent"] = {
            "header": {"msg_id": str(requests["n"])},
            "metadata": {"cellId": cell_id, "deletedCells": list(deleted)},
        }
        return [make() for make in makers]

    return run


def test_running_a_cell_again_closes_what_it_made_before(cell: Any) -> None:
    a, b = cell("one", Probe, Probe)
    (other,) = cell("two", Probe)
    assert a.comm is not None
    (c,) = cell("one", Probe)
    assert [w.comm is None for w in (a, b, c, other)] == [True, True, False, False]
    (d,) = cell("three", Probe, deleted=("two",))
    assert other.comm is None
    assert d.comm is not None


def test_without_a_notebook_no_widget_is_closed() -> None:
    a, b = Probe(), Probe()
    assert a.comm is not None
    assert b.comm is not None
