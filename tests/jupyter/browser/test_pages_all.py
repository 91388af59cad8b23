"""What every live widget must do, on its own page: be read aloud, be seen, fit, say what its numbers are, and
go on without its kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moespac_widgets import BudgetLab, PlacementGraph, Race, Stepper, Timeline, write_page
from moespac_widgets.base.assets import style
from tests.helpers.jupyter.all_widgets import MAKERS, small
from tests.helpers.jupyter.pages import with_a_kernel
from tools.support.browser import Opened, Show, open_page, without_a_fault

pytestmark = [pytest.mark.browser]

LABEL = re.compile("measured|modelled|published", re.I)
# What takes the focus is one of these, as the browser tells a screen reader.
SPOKEN = {
    "button", "slider", "combobox", "textbox", "spinbutton", "checkbox", "application", "region", "group",
    "DisclosureTriangle",
}  # fmt: skip
PLACES = """[...document.querySelectorAll('.moespac *')]
  .filter(each => each.tabIndex >= 0 && each.checkVisibility())"""
FOCUS = f"""() => {{
  const now = document.activeElement, style = getComputedStyle(now);
  return [{PLACES}.indexOf(now), style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2];
}}"""
# Texts and how they stand out from what is behind them; a canvas reads colours of any notation.
CONTRASTS = """() => {
  const pen = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const over = (colour, under) => {
    for (const fill of [`rgb(${under})`, colour]) { pen.fillStyle = fill; pen.fillRect(0, 0, 1, 1); }
    return [...pen.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  };
  const page = matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18] : [255, 255, 255];
  const behind = node =>
    node ? over(getComputedStyle(node).backgroundColor, behind(node.parentElement)) : page;
  const linear = c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const bright = rgb => rgb.reduce((sum, c, i) => sum + [0.2126, 0.7152, 0.0722][i] * linear(c / 255), 0);
  const walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const words = walker.currentNode.data.trim(), node = walker.currentNode.parentElement;
    if (!words || !node.checkVisibility() || node.disabled) continue;
    const under = behind(node);
    const two = [bright(under), bright(over(getComputedStyle(node).color, under))];
    found.push([words.slice(0, 60), (Math.max(...two) + 0.05) / (Math.min(...two) + 0.05)]);
  }
  return found;
}"""
# What sticks out of its widget, what is cut, and a widget wider than the page.
OUTSIDE = """() => {
  const widget = document.querySelector('.moespac'), { left, right } = widget.getBoundingClientRect();
  const shown = tags => [...widget.querySelectorAll(tags)].filter(each => each.checkVisibility());
  const out = shown('button, input, select, canvas, summary, output, svg, p').filter(each => {
    const box = each.getBoundingClientRect(), scrolls = each.closest('.ms-scroll, .ms-cards, .ms-detail');
    return !scrolls && (box.left < left - 1 || box.right > right + 1);
  });
  const cut = shown('button, output').filter(each => each.scrollWidth > each.clientWidth + 1);
  const words = [...out, ...cut].map(each => each.getAttribute('aria-label') ?? each.textContent);
  return right > innerWidth + 1 ? [...words, 'all of it'] : words;
}"""


@pytest.fixture(scope="module", params=MAKERS)
def opened(browser: Any, tmp_path_factory: pytest.TempPathFactory, request: Any) -> Iterator[Opened]:
    """A widget's page, everything unfolded."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    page = open_page(browser, MAKERS[request.param](small()).to_html(path))
    for summary in page.page.locator("summary").all():
        summary.click()
    page.settle()
    yield page
    without_a_fault(page)
    page.page.close()


def test_every_control_has_a_name_and_a_role(opened: Opened) -> None:
    session = opened.page.context.new_cdp_session(opened.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    focused = [
        (node["role"]["value"], node["name"]["value"].strip())
        for node in nodes
        if any(of["name"] == "focusable" and of["value"]["value"] for of in node.get("properties", ()))
    ]
    controls = [each for each in focused if each[0] not in ("RootWebArea", "option")]
    assert len(controls) > 8
    assert [each for each in controls if each[0] not in SPOKEN or not each[1]] == []


def test_tab_goes_through_all_of_it_and_is_seen(opened: Opened) -> None:
    count = opened.page.evaluate(f"{PLACES}.length")
    walked = []
    for _ in range(count + 1):  # a full round, from wherever the focus was; -1 is the page itself
        opened.page.keyboard.press("Tab")
        walked.append(opened.page.evaluate(FOCUS))
    inside = [each for each in walked if each[0] >= 0]
    first = inside.index([0, True])
    assert inside[first:] + inside[:first] == [[i, True] for i in range(count)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(opened: Opened, scheme: str) -> None:
    opened.page.emulate_media(color_scheme=scheme)
    opened.settle()
    found = opened.page.evaluate(CONTRASTS)
    assert len(found) > 20
    # WCAG 2.1, 1.4.3 for words; 1.4.11 for a sign, which is a picture.
    assert [[words, ratio] for words, ratio in found if ratio < (4.5 if len(words) > 1 else 3)] == []


@pytest.mark.parametrize("width", [480, 560])  # a narrow page; one of 1120 pixels at 200 %
def test_nothing_is_cut_off_on_a_narrow_page(opened: Opened, width: int) -> None:
    opened.page.set_viewport_size({"width": width, "height": 700})
    opened.settle()
    assert opened.page.evaluate(OUTSIDE) == []
    opened.page.set_viewport_size({"width": 1120, "height": 900})


def test_view_sentence_and_table_say_what_the_numbers_are(opened: Opened) -> None:
    origin = opened.page.locator(".ms-more > .ms-hint").inner_text()
    for words in (opened.sentence, origin):
        assert LABEL.search(words)
    assert opened.page.locator(".ms-more caption").inner_text() == origin


def test_a_frame_is_told_once_and_what_stays_is_not_told_again(opened: Opened) -> None:
    opened.press("Tab")
    opened.page.evaluate("""() => {
      globalThis.told = 0;
      new MutationObserver(some => { told += some.length; })
        .observe(document.querySelector('.ms-sentence'), { childList: true });
    }""")
    opened.page.set_viewport_size({"width": 900, "height": 900})  # drawn anew, and nothing else
    opened.settle()
    assert opened.page.evaluate("told") == 0
    before = opened.sentence
    opened.page.get_by_role("slider").first.focus()
    opened.press("End")
    assert opened.sentence != before
    assert opened.page.evaluate("told") == 1


PLACED = """() => [...document.querySelectorAll('.moespac, .moespac *')].map(each => {
  const { x, y, width, height } = each.getBoundingClientRect();
  const { font, color, border } = getComputedStyle(each);
  return [each.getAttribute('class'), x, y, width, height, font, color, border].join();
})"""


def test_the_style_sheets_of_all_the_others_change_nothing(opened: Opened) -> None:
    """In a notebook every widget's sheet is on the page, the one that came last behind the others."""
    opened.page.set_viewport_size({"width": 1120, "height": 900})
    opened.settle()
    before = opened.page.evaluate(PLACED)
    others = "\n".join(style(kind.SCRIPT) for kind in (Stepper, Race, BudgetLab, PlacementGraph, Timeline))
    opened.page.add_style_tag(content=others)
    opened.settle()
    assert opened.page.evaluate(PLACED) == before


def test_without_an_answer_widgets_say_so_and_still_scrub(show: Show, tmp_path: Path) -> None:
    """A page whose kernel never answers: what a dead one looks like to the front end."""
    trace = small()
    path = write_page(tmp_path / "all.html", [make(trace) for make in MAKERS.values()], linked=())
    with_a_kernel(path, "send() {}")
    opened = show(path)
    widgets = opened.page.locator(".moespac").all()
    assert len(widgets) == len(MAKERS)
    for widget in widgets:
        widget.get_by_role("slider").first.focus()
        opened.press("End")
    for name, widget in zip(MAKERS, widgets, strict=True):
        widget.get_by_text("The kernel does not answer").wait_for(timeout=15_000)
        before = widget.locator(".ms-sentence").inner_text()
        widget.get_by_role("slider").first.focus()
        opened.press("Home")
        assert widget.locator(".ms-sentence").inner_text() != before, name
        assert not widget.get_by_role("alert").is_visible()


def test_with_reduced_motion_nothing_moves_between_frames(show: Show) -> None:
    moving = """() => {
      const over = document.querySelector('.ms-over'), pen = over.getContext('2d');
      return pen.getImageData(0, 0, over.width, over.height).data.some(Boolean);
    }"""
    view = MAKERS["PlacementGraph"](small())
    for motion in ("no-preference", "reduce"):
        opened = show(view, reduced_motion=motion)
        opened.page.locator("canvas").first.focus()
        opened.press("l", "l", "l")
        assert opened.page.evaluate(moving) == (motion == "no-preference")


def test_on_the_whole_screen_it_is_large_and_a_click_still_hits(show: Show) -> None:
    opened = show(Stepper(small(), step=2))

    def clicked() -> tuple[float, str, str | None]:
        canvas = opened.page.locator("canvas").first
        box = canvas.bounding_box()
        canvas.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
        opened.settle()
        return box["width"], opened.sentence, opened.page.locator(".ms-hint").first.text_content()

    width, *said = clicked()
    opened.page.get_by_role("button", name="Whole screen").click()
    opened.page.wait_for_function("() => document.fullscreenElement !== null")
    opened.settle()
    large, *said_then = clicked()
    assert said_then == said
    assert large > 1.2 * width
    opened.press("f")
    opened.page.wait_for_function("() => document.fullscreenElement === null")
