"""Exercises that check themselves: what a notebook asks, and the smallest case that shows an answer wrong.

    check("04.2", my_function).sentence
    exercises_of("04")                 # those of one notebook, in order

Each notebook's exercises stand in the module of its name. An exercise never tells its solution: it says for
which case an answer breaks which property.
"""

from .checking import Outcome, check
from .exercise import Exercise
from .registry import NOTEBOOKS, exercise, exercises_of

__all__ = ["NOTEBOOKS", "Exercise", "Outcome", "check", "exercise", "exercises_of"]
