"""The public names of the widgets: numpydoc that a reader can trust, and examples that run."""

from __future__ import annotations

import doctest
import inspect
import re
import sys
from typing import Any

import pytest

import moespac_widgets

PUBLIC = [getattr(moespac_widgets, name) for name in moespac_widgets.__all__]
DOCUMENTED = {
    f"{public.__name__}.{name}": part
    for public in PUBLIC
    for name, part in [("", public), *(vars(public).items() if inspect.isclass(public) else ())]
    if not name.startswith("_") and (inspect.isclass(part) or inspect.isfunction(part))
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_public_name_has_numpydoc(name: str) -> None:
    part = DOCUMENTED[name]
    text = inspect.getdoc(part)
    assert text, "no docstring"
    assert re.match(r"[A-Z][^\n]*\.(\n\n|$)", text), "its first line is no sentence"
    own = part.__init__ if inspect.isclass(part) and "__init__" in vars(part) else part
    parameters = [] if inspect.isclass(own) else [p for p in inspect.signature(own).parameters if p != "self"]
    described = text.partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    named = {each for line in re.findall(r"^(\S.*)$", described, re.M) for each in re.findall(r"\w+", line)}
    assert not [parameter for parameter in parameters if parameter not in named]


@pytest.mark.parametrize("public", PUBLIC, ids=lambda public: public.__name__)
def test_its_examples_run(public: Any) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    module = sys.modules[public.__module__]
    for example in doctest.DocTestFinder(recurse=False).find(public, globs=dict(vars(module))):
        assert runner.run(example).failed == 0
