"""A tiny model and its draft for each test, which must be as they were once it ends.

A test that is parametrised by `name` gets that architecture's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tools.support.tiny_moe import QWEN, Untouched, model_and_draft


@pytest.fixture
def name() -> str:
    return QWEN


@pytest.fixture
def model(name: str) -> Iterator[Any]:
    model, _ = model_and_draft(name)
    untouched = Untouched(model)
    yield model
    untouched.check()


@pytest.fixture
def draft(name: str) -> Iterator[Any]:
    _, draft = model_and_draft(name)
    untouched = Untouched(draft)
    yield draft
    untouched.check()
