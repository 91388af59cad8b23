"""The first views, without a browser: what they say and that nothing of a text can break their HTML."""

from __future__ import annotations

import numpy as np
import pytest

from moespac_nb import MoespacError
from moespac_widgets import GrowingText, demand_figure, table
from tests.helpers.steps import step


class Letters:
    """A tokenizer whose ids are characters, some of them hostile."""

    def decode(self, ids: list[int]) -> str:
        return "".join("<b>&\n'x"[int(i) % 7] for i in ids)


def test_a_table_escapes_its_cells_and_aligns_figures() -> None:
    html = table(["<a>", "n"], [("<script>", 0.12345), ("x", None)], "a & b").data
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "a &amp; b" in html
    assert '<td style="text-align:right">0.123</td>' in html


def test_the_text_tells_accepted_rejected_and_own_tokens_apart_and_counts_them() -> None:
    view = GrowingText(Letters(), "<i>", show=False)
    view.add(step(0, 0, [[[0]], [[1]], [[2]]], accepted=1))  # two drafted, one accepted, one correction
    html = view.html()
    assert html.count('title="drafted and accepted') == 1
    assert html.count('title="drafted and rejected') == 1
    assert (
        html.count('title="the target&#x27;s own token') + html.count("title=\"the target's own token") == 1
    )
    assert "<i>" not in html
    assert "<b" not in html
    assert view.sentence() == "2 tokens in 1 rounds, 2.00 a round; 1 of 2 drafted tokens accepted."


def test_all_accepted_shows_nothing_as_rejected() -> None:
    view = GrowingText(Letters(), show=False)
    view.add(step(0, 0, [[[0]], [[1]]], accepted=1))
    assert 'title="drafted and rejected' not in view.html()


def test_before_the_first_round_the_view_says_so() -> None:
    assert GrowingText(Letters(), show=False).sentence() == "Nothing decoded yet."


def test_without_a_tokenizer_there_is_a_clear_error() -> None:
    with pytest.raises(MoespacError, match=r"pass model\.tokenizer"):
        GrowingText(None)


def test_the_map_holds_every_rounds_counts_and_its_first_tokens_bits() -> None:
    steps = [step(i, i, [[[i % 4]], [[3]], [[3]]], accepted=0) for i in range(5)]
    figure = demand_figure(steps, Letters())
    assert [frame.name for frame in figure.frames] == ["0", "1", "2", "3", "4"]
    assert len(figure.layout.sliders[0].steps) == 5
    for frame, shown in zip(figure.frames, steps, strict=True):
        window, first = frame.data
        assert np.array_equal(np.asarray(window.z), shown.counts)
        assert np.asarray(first.customdata).sum() == 1
        assert (window.zmin, window.zmax) == (-0.5, 3.5)  # one colour a count, 0 to γ + 1
        assert len({colour for _, colour in window.colorscale}) == 4
    assert "0 of 2 accepted" in figure.layout.title.text


def test_a_map_of_nothing_is_refused() -> None:
    with pytest.raises(MoespacError, match="no steps"):
        demand_figure([])
