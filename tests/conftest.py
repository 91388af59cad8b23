"""Options, markers and what every test shares: seeds, no hub, and a browser if there is one."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from tools.support.browser import browser_of, find_browser

# Nothing is fetched at run time: a test that tries fails at once instead of hanging.
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

settings.register_profile("moespac", derandomize=True, deadline=None)
settings.load_profile("moespac")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the long matrices too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--full"):
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(pytest.mark.skip(reason="a long matrix: run with --full"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout that the tests lie in."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  # what uses numpy's global state must not differ from run to run
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser's path. Without one the test skips, or fails where MOESPAC_REQUIRE_BROWSER is set."""
    path = find_browser()
    if path is None:
        message = "no Chromium: install one, or name it in MOESPAC_CHROMIUM"
        if os.environ.get("MOESPAC_REQUIRE_BROWSER"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Any]:
    """One Chromium for a module's pages."""
    with browser_of(chromium) as browser:
        yield browser
