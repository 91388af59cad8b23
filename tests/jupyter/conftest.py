"""A view's own page, in the browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.support.browser import Opened, Show, open_page, without_a_fault


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Show]:
    """Opens a view's page, or one that is written. When it is left, nothing may be wrong with it."""
    opened: list[Opened] = []

    def leave() -> None:
        while opened:
            page = opened.pop()
            without_a_fault(page)
            page.page.close()

    def show(view: Any, scheme: str = "light", **options: Any) -> Opened:
        leave()
        path = view if isinstance(view, Path) else view.to_html(tmp_path / "view.html")
        opened.append(open_page(browser, path, scheme, **options))
        return opened[-1]

    yield show
    leave()
