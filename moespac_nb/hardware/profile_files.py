"""Read profiles: TOML files of named constants, each with where it comes from.

    [link]
    alpha_ms = { value = 0.3, source = "one published report" }
    bandwidth_gb_per_s = { value = 12, assumption = "PCIe 3 x16 at three quarters of its rate" }

A constant states its `source`, `assumption` or how it was `measured`; in a user's own file it may be a bare
number. The unit is in the key. What a profile may hold is written beside the fields of the dataclass that is
read from it: each is `Annotated` with a `Constant`.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from ..datasets.files import data_path
from ..utils.exceptions import InvalidInputError, MissingDataError, did_you_mean

__all__ = ["ORIGINS", "TINY", "Constant", "Profile", "profile_keys", "profile_names", "read_profile"]

ORIGINS = ("source", "assumption", "measured")
TINY = 1e-6  # the least value of what is divided by


@dataclass(frozen=True)
class Constant:
    """How a profile writes one field of a record: the key, the unit and the limits of the number.

    Parameters
    ----------
    key : str
        Its dotted key.
    unit : str, optional
        What the file counts it in, for messages. None means that it is a text.
    factor : float, default 1
        What a number of the file is multiplied by in the record, 1e9 for gigabytes that become bytes.
    least, most : float
        Limits of the number in the file, both included.
    whole : bool, default False
        Whether the number is a count.
    choices : tuple of str, default ()
        The texts that are allowed; () for any.
    optional : bool, default False
        Whether a profile may leave it out.

    Examples
    --------
    >>> alpha = Constant("link.alpha_ms", "milliseconds a copy", 1e-3, most=1000)
    >>> alpha.expected
    'a number of milliseconds a copy, from 0 to 1000'
    >>> alpha.accepts(0.3), alpha.accepts(-0.3), alpha.accepts("0.3"), alpha.accepts(float("nan"))
    (True, False, False, False)
    """

    key: str
    unit: str | None = None
    factor: float = 1.0
    least: float = 0.0
    most: float = math.inf
    whole: bool = False
    choices: tuple[str, ...] = ()
    optional: bool = False

    def accepts(self, value: Any) -> bool:
        """Tell whether a value of a file is within the limits."""
        if self.unit is None:
            return isinstance(value, str) and (value in self.choices if self.choices else bool(value.strip()))
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return is_number and self.least <= value <= self.most and (not self.whole or value == int(value))

    @property
    def expected(self) -> str:
        """What `accepts` accepts, for messages."""
        if self.unit is None:
            return " or ".join(map(repr, self.choices)) or "a text in quotes"
        limits = f"from {self.least:g}" + (f" to {self.most:g}" if math.isfinite(self.most) else "")
        return f"a {'whole ' if self.whole else ''}number of {self.unit}, {limits}"


@dataclass(frozen=True)
class Profile:
    """The constants of one file by their dotted keys, in the units of the keys.

    Attributes
    ----------
    name : str
        The file's name without its suffix.
    path : Path
    values : mapping of str to float or str
        The constants that the file holds; each is within its limits.
    origins : mapping of str to str
        "source: …", "assumption: …", "measured: …" or "not stated", by the same keys.
    """

    name: str
    path: Path
    values: Mapping[str, Any]
    origins: Mapping[str, str]

    def fields(self, record: type, table: str = "") -> dict[str, Any]:
        """Return the fields of a record that stand in the profile, in the units of the record.

        Parameters
        ----------
        record : type
            A dataclass of `read_profile`'s `records`.
        table : str, default ""
            The table that its keys lie in.

        Returns
        -------
        dict
            By the names of the fields; an optional one that the file leaves out is left out.

        Raises
        ------
        InvalidInputError
            If a constant is missing.
        """
        fields = {}
        for name, kind, constant in _constants(record):
            key = table + constant.key
            if key in self.values:
                value = self.values[key]
                scaled = value if constant.unit is None else value * constant.factor
                fields[name] = round(scaled) if kind is int else float(scaled) if kind is float else scaled
            elif not constant.optional:
                raise InvalidInputError(f"{self.path}: {key} is missing; expected: {constant.expected}")
        return fields

    def has(self, table: str) -> bool:
        """Tell whether the file holds anything in a table."""
        return any(key.startswith(table) for key in self.values)

    def check_at_most(self, part: str, whole: str) -> None:
        """Raise InvalidInputError if one constant is larger than another."""
        if self.values[part] > self.values[whole]:
            raise InvalidInputError(
                f"{self.path}: {part} is {self.values[part]!r}; expected: at most {whole}, "
                f"{self.values[whole]!r}"
            )


def profile_keys(records: Mapping[str, type]) -> dict[str, Constant]:
    """Return what a profile may hold, by dotted key; `records` as in `read_profile`."""
    tables = [(table, constant) for table, record in records.items() for _, _, constant in _constants(record)]
    return {table + constant.key: constant for table, constant in tables}


def _constants(record: type) -> Iterator[tuple[str, Any, Constant]]:
    """Return the name, the type and the constant of each field of a record that has one."""
    for name, hint in get_type_hints(record, include_extras=True).items():
        if get_origin(hint) is Annotated:
            kind, constant = get_args(hint)
            yield name, kind, constant


def profile_names(kind: str) -> tuple[str, ...]:
    """Return the names of the bundled profiles, sorted."""
    return tuple(sorted(path.stem for path in data_path(f"profiles/{kind}").glob("*.toml")))


def read_profile(
    kind: str, name: str | Path, records: Mapping[str, type], names: Sequence[str] = ()
) -> Profile:
    """Read a bundled profile, or a user's own.

    Parameters
    ----------
    kind : {"machines", "models"}
        The folder of the bundled ones.
    name : str or Path
        The name of a bundled one, or the path of a .toml file.
    records : mapping of str to type
        The dataclasses that are read from it, annotated with `Constant`, by the table that their keys lie
        in, with a dot at its end; "" for the whole file.
    names : sequence of str, default ()
        The names that a message lists; () for those of the bundled files.

    Returns
    -------
    Profile
        It may lack constants: `Profile.fields` finds that out.

    Raises
    ------
    MissingDataError
        If there is no file at the path.
    InvalidInputError
        If there is no profile of that name, if the file is no TOML, or if a key is unknown, out of its
        limits or without one statement of where it comes from. The message names file and key.

    Examples
    --------
    >>> from moespac_nb.hardware.machine import Machine
    >>> profile = read_profile("machines", "t4", {"": Machine})
    >>> profile.values["device.tflops"], profile.origins["device.tflops"]
    (65, "source: vendor's sheet: FP16 tensor; it has no bfloat16")
    """
    path, bundled = Path(name), profile_names(kind)
    names = names or bundled
    if str(name) in bundled:
        path = data_path(f"profiles/{kind}/{name}.toml")
    elif path.suffix != ".toml":
        raise InvalidInputError(
            f"{kind[:-1]} is {str(name)!r}; expected: {', '.join(names)}, or the path of your own profile, "
            f"a .toml file{did_you_mean(name, names)}"
        )
    elif not path.is_file():
        raise MissingDataError(f"{path} is not there; expected: a profile in TOML, or {', '.join(names)}")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: of TOML and of UTF-8 alike
        raise InvalidInputError(f"{path} cannot be read: {error}; expected: a profile in TOML") from None
    keys = profile_keys(records)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, entry in _leaves(document):
        if key not in keys:
            raise InvalidInputError(
                f"{path}: {key} is unknown; expected: {', '.join(keys)}{did_you_mean(key, keys)}"
            )
        values[key], origins[key] = _with_origin(path, key, entry)
        if not keys[key].accepts(values[key]):
            raise InvalidInputError(f"{path}: {key} is {values[key]!r}; expected: {keys[key].expected}")
    return Profile(path.stem, path, values, origins)


def _leaves(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Constants by their dotted keys; a table with a `value` is one."""
    for name, entry in table.items():
        if isinstance(entry, dict) and "value" not in entry:
            yield from _leaves(entry, f"{above}{name}.")
        else:
            yield f"{above}{name}", entry


def _with_origin(path: Path, key: str, entry: Any) -> tuple[Any, str]:
    if not isinstance(entry, dict):
        return entry, "not stated"
    stated = {origin: words for origin, words in entry.items() if origin != "value"}
    for origin, words in stated.items():
        if len(stated) == 1 and origin in ORIGINS and str(words).strip():
            return entry["value"], f"{origin}: {words}"
    raise InvalidInputError(
        f"{path}: {key} says {', '.join(stated) or 'nothing'} beside its value; expected: one of "
        f"{', '.join(ORIGINS)}, in words"
    )
