"""Exceptions: each is of this package and what a Python user would catch."""

from __future__ import annotations

import pickle

import pytest

from moespac_nb.utils import exceptions
from moespac_nb.utils.exceptions import (
    ClosedSessionError,
    InvalidInputError,
    MissingDataError,
    MoespacError,
    TraceFormatError,
    did_you_mean,
)

BUILT_IN = {
    ClosedSessionError: RuntimeError,
    InvalidInputError: ValueError,
    MissingDataError: FileNotFoundError,
    TraceFormatError: ValueError,
}


@pytest.mark.parametrize(("kind", "built_in"), BUILT_IN.items())
def test_an_exception_is_also_the_built_in_one(kind: type[MoespacError], built_in: type[Exception]) -> None:
    for caught in (MoespacError, built_in):
        with pytest.raises(caught) as info:
            raise kind("gamma is -1; expected: 0 and more")
        assert str(info.value) == "gamma is -1; expected: 0 and more"
    again = pickle.loads(pickle.dumps(kind("a message")))
    assert (type(again), str(again)) == (kind, "a message")


def test_all_exceptions_are_in_the_table() -> None:
    kinds = {kind for kind in vars(exceptions).values() if isinstance(kind, type)} - {MoespacError}
    assert {kind for kind in kinds if issubclass(kind, MoespacError)} == set(BUILT_IN)


def test_a_name_is_suggested_only_if_it_is_near() -> None:
    assert did_you_mean("maths", ("chat", "math")) == "; did you mean 'math'?"
    assert did_you_mean("zzz", ("chat", "math")) == ""
    assert did_you_mean(3, ()) == ""
