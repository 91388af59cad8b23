"""The public names of widgets and exercises: numpydoc that a reader can trust."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from importlib import import_module
from typing import Any

import pytest

import moespac_exercises
import moespac_widgets

MODULES = [
    import_module(module.name)
    for package in (moespac_widgets, moespac_exercises)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith(".cli")
]


def documented() -> Iterator[tuple[str, Any]]:
    """Classes, their methods, and functions that a module offers."""
    for module in MODULES:
        offered = [getattr(module, name) for name in getattr(module, "__all__", ())]
        for public in (p for p in offered if getattr(p, "__module__", "") == module.__name__):
            for name, part in [("", public), *(vars(public).items() if inspect.isclass(public) else ())]:
                if not name.startswith("_") and (inspect.isclass(part) or inspect.isfunction(part)):
                    yield f"{module.__name__}.{public.__name__}.{name}".strip("."), part


DOCUMENTED = dict(documented())


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_public_name_has_numpydoc(name: str) -> None:
    part = DOCUMENTED[name]
    text = inspect.getdoc(part)
    assert text, "no docstring"
    assert re.match(r"[A-Z][^\n]*\.(\n\n|$)", text), "its first line is no sentence"
    own = vars(part).get("__init__", part) if inspect.isclass(part) and not is_dataclass(part) else part
    is_written = inspect.isfunction(own) and own.__module__ == part.__module__
    parameters = [p for p in inspect.signature(own).parameters if p != "self"] if is_written else []
    described = text.partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    named = {word for line in re.findall(r"^(\S.*)$", described, re.M) for word in re.findall(r"\w+", line)}
    assert not [parameter for parameter in parameters if parameter not in named]


def test_all_of_both_packages_is_looked_at() -> None:
    assert {"moespac_widgets.base.page.write_page", "moespac_exercises.display.check"} <= set(DOCUMENTED)
