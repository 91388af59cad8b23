"""`check`, `predict` and `reveal` in JupyterLab: a word and a sign for each, a stepper on the case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.support.jupyterlab import THEMES, read, write_notebook

CELLS = (
    "from moespac_exercises import check, predict, reveal",
    'predict("00.P1", 3)',
    'reveal("00.P1", 2.0, "×")',
    'check("00.2", ...)',
    'check("00.2", "four")',
    "def accepted(drafted, choices):\n"
    "    return next((n for n, token in enumerate(drafted) if token != choices[n]), len(drafted))\n"
    'check("00.2", accepted)',
    'check("00.9", 1)',
    'check("00.2", lambda drafted, choices: 0)',
)


@pytest.mark.browser
@pytest.mark.slow
@THEMES
def test_outcomes_are_told_by_word_and_sign(theme: str, browser: Any, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    write_notebook(tmp_path / "given/answers.ipynb", CELLS)
    with read(tmp_path / "given/answers.ipynb", browser, theme, tmp_path) as seen:
        told = [each.inner_text() for each in seen.page.locator("div[role=status]").all()]
        begins = ("? 00.P1", "= 00.P1", "… 00.2", "✗ 00.2", "✓ 00.2", "✗ check", "✗ 00.2")
        assert [text.startswith(begin) for text, begin in zip(told, begins, strict=False)] == [True] * 7
        seen.page.locator(".jp-OutputArea-output .ms-sentence").first.wait_for(timeout=30_000)
        seen.picture("outcomes")
