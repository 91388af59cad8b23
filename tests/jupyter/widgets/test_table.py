"""A table of figures: aligned, and no text of a trace can break its HTML."""

from __future__ import annotations

from moespac_widgets import table


def test_a_table_escapes_its_cells_and_aligns_figures() -> None:
    html = table(["<a>", "n"], [("<script>", 0.12345), ("x", None)], "a & b").data
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "a &amp; b" in html
    assert '<td style="text-align:right">0.123</td>' in html
