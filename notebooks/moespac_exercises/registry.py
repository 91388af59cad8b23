"""Which notebook has which exercises."""

from __future__ import annotations

from importlib import import_module

from moespac_nb.utils.exceptions import InvalidInputError, did_you_mean

from .exercise import Exercise

__all__ = ["NOTEBOOKS", "exercise", "exercises_of"]

NOTEBOOKS = {
    "00": "start_here",
    "01": "the_memory_wall",
    "02": "speculative_decoding",
    "03": "speculation_as_a_sensor",
    "04": "the_utility_estimator",
    "05": "the_workload_balancer",
    "06": "the_asynchronous_engine",
    "07": "the_budget_lab",
}


def exercises_of(number: str) -> tuple[Exercise, ...]:
    """Return a notebook's exercises, in order.

    Parameters
    ----------
    number : str
        The notebook's, such as "04".

    Raises
    ------
    MoespacError
        If there is no such notebook, or it has no exercises.

    Examples
    --------
    >>> [exercise.id for exercise in exercises_of("00")]
    ['00.1', '00.2', '00.3', '00.4']
    """
    if number not in NOTEBOOKS:
        raise InvalidInputError(f"the notebook is {number!r}; expected: {', '.join(NOTEBOOKS)}")
    name = f"{__package__}.lessons.{NOTEBOOKS[number]}"
    try:
        exercises: tuple[Exercise, ...] = import_module(name).EXERCISES
    except ModuleNotFoundError as problem:
        if problem.name != name:
            raise
        raise InvalidInputError(
            f"notebook {number} has no exercises yet; expected: those of another notebook"
        ) from None
    return exercises


def exercise(name: str) -> Exercise:
    """Return the exercise of this id.

    Parameters
    ----------
    name : str
        Such as "04.2".

    Raises
    ------
    MoespacError
        If there is no such exercise.

    Examples
    --------
    >>> exercise("00.4").title
    'Recall by hand'
    """
    number = name.partition(".")[0] if isinstance(name, str) else ""
    known = {question.id: question for question in exercises_of(number)} if number in NOTEBOOKS else {}
    if name not in known:
        expected = ", ".join(known) or "a notebook's number, a point and a digit, such as '04.2'"
        raise InvalidInputError(
            f"the exercise is {name!r}; expected: {expected}{did_you_mean(str(name), known)}"
        )
    return known[name]
