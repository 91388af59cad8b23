"""A log of another program: its model, its texts, and errors that name file, line and field."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..utils.exceptions import TraceFormatError
from ..utils.validation import is_whole

__all__ = ["Declared", "Log", "TextSource"]


@dataclass
class Declared:
    """What the logs of one import say about their model; None where none has said it.

    Parameters
    ----------
    model : str
        Name of the model.
    layers, experts, top_k : int
        Its layers with experts, the experts of a layer, and those chosen for a token.
    """

    model: str | None = None
    layers: int | None = None
    experts: int | None = None
    top_k: int | None = None


@dataclass
class TextSource:
    """Where a text comes from, and what its log says of it.

    Parameters
    ----------
    log : Log
        The log that holds it.
    text : str
        The whole text; None where the log does not say.
    """

    log: Log
    text: str | None = None


@dataclass(eq=False)
class Log:
    """One file, or folder, that a format reads.

    Parameters
    ----------
    path : Path
        Where it is.
    declared : Declared
        Shared by all logs of one import.
    texts : list of TextSource
        Shared too: all texts that were met, in order.
    token_strings : dict of str to int
        Shared too: ids of tokens that are known by their strings only, in order of appearance.
    fields : dict of str to str
        What the log calls the fields of `Row` and `Declared`, where it is another name.
    format : str
        Name of its format.
    unit : str
        What its rows are counted in, for error messages.
    is_parquet : bool
        Whether it is one, of a format that may be text as well.
    """

    path: Path
    declared: Declared = field(default_factory=Declared)
    texts: list[TextSource] = field(default_factory=list)
    token_strings: dict[str, int] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    format: str = ""
    unit: str = "line"  # what `Row.line` counts
    is_parquet: bool = False
    _numbers: dict[Any, int] = field(default_factory=dict)

    def named(self, name: str) -> str:
        """Return what the log calls a field of `Row` or `Declared`."""
        return self.fields.get(name, name)

    def error(self, line: int | None, problem: str, expected: str) -> TraceFormatError:
        """Return the error for something that is wrong in the log.

        Parameters
        ----------
        line : int or None
            Where; None where it is no single line.
        problem : str
            What is wrong; it begins with the field.
        expected : str
            What is expected.

        Returns
        -------
        TraceFormatError
        """
        where = f"{self.path}: " if line is None else f"{self.path}: {self.unit} {line}: "
        return TraceFormatError(f"{where}{problem}; expected: {expected}")

    def declare(self, line: int | None = None, **values: Any) -> None:
        """Note what the log says about its model; None is nothing said.

        Parameters
        ----------
        line : int, optional
            Where it says so.
        **values : str or int
            By name, as in `Declared`.

        Raises
        ------
        TraceFormatError
            If it contradicts what was declared before: logs of different models.
        """
        for name, value in values.items():
            if value is None:
                continue
            if not (isinstance(value, str) if name == "model" else is_whole(value, 1)):
                expected = "a name" if name == "model" else "a whole number from 1"
                raise self.error(line, f"{self.named(name)} is {value!r}", expected)
            known = getattr(self.declared, name)
            if known is not None and known != value:
                raise self.error(line, f"{self.named(name)} is {value!r}", f"{known!r} as before: one model")
            setattr(self.declared, name, value)

    def text(self, key: Any = None, text: str | None = None) -> int:
        """Return the number of one of the log's texts.

        Parameters
        ----------
        key : hashable, optional
            What tells it from the log's others.
        text : str, optional
            The text itself.

        Returns
        -------
        int
            Among all texts of the import, in order of appearance.
        """
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.texts)
            self.texts.append(TextSource(self, text))
        return number

    def token(self, string: str) -> int:
        """Return the id of a token that is known by its string only."""
        return self.token_strings.setdefault(string, len(self.token_strings))
