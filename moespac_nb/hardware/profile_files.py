"""A profile: named constants in a TOML file, each with where it comes from. Knows nothing of what they mean.

    [link]
    alpha_ms = { value = 0.3, source = "one published report" }
    bandwidth_gb_per_s = { value = 12, assumption = "PCIe 3 x16 at three quarters of its rate" }

A constant says `source`, `assumption` or `measured`; in a file of one's own it may be a bare number. The unit
is in the key. Anything unknown, missing, negative or not a number raises MoespacError naming file and key.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..datasets.files import data_path
from ..utils.exceptions import MoespacError, did_you_mean

__all__ = ["ORIGINS", "Kind", "Profile", "Quantity", "profile_names", "read_profile"]

Kind = Literal["machines", "models"]
ORIGINS = ("source", "assumption", "measured")


class Quantity(NamedTuple):
    """What a constant may be: a number of `unit` from `least` to `most`, or a text where there is no unit."""

    unit: str | None
    least: float = 0.0
    most: float = math.inf
    whole: bool = False
    optional: bool = False

    def accepts(self, value: Any) -> bool:
        if self.unit is None:
            return isinstance(value, str) and bool(value.strip())
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return (
            math.isfinite(value)
            and self.least <= value <= self.most
            and (not self.whole or value == int(value))
        )

    @property
    def accepted(self) -> str:
        if self.unit is None:
            return "a text in quotes"
        kind = "a whole number" if self.whole else "a number"
        limits = f"from {self.least:g}" + (f" to {self.most:g}" if math.isfinite(self.most) else "")
        return f"{kind} of {self.unit}, {limits}"


@dataclass(frozen=True)
class Profile:
    """The constants of one file by their dotted keys, in the units of the keys."""

    name: str
    path: Path
    values: Mapping[str, Any]
    origins: Mapping[str, str]  # "source: …", "assumption: …", "measured: …" or "not stated"

    def get(self, key: str) -> Any:
        """A constant; None where an optional one was left out."""
        return self.values.get(key)


def profile_names(kind: Kind) -> tuple[str, ...]:
    """What is bundled, sorted."""
    return tuple(sorted(path.stem for path in data_path(f"profiles/{kind}").glob("*.toml")))


def read_profile(kind: Kind, given: str | Path, schema: Mapping[str, Quantity]) -> Profile:
    """The bundled profile of that name, or the file at that path."""
    path = Path(given)
    if path.suffix == ".toml":
        if not path.is_file():
            raise MoespacError(f"{path} is not there; expected: a profile in TOML, or {_names(kind)}")
    elif str(given) in profile_names(kind):
        path = data_path(f"profiles/{kind}/{given}.toml")
    else:
        raise MoespacError(
            f"{kind[:-1]} is {str(given)!r}; expected: {_names(kind)}, or the path of an own profile, a "
            f".toml file{did_you_mean(given, profile_names(kind))}"
        )
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: of TOML and of UTF-8 alike
        raise MoespacError(f"{path} cannot be read: {error}; expected: a profile in TOML") from None
    return Profile(path.stem, path, *_checked(path, document, schema))


def _names(kind: Kind) -> str:
    return ", ".join(profile_names(kind))


def _checked(
    path: Path, document: Mapping[str, Any], schema: Mapping[str, Quantity]
) -> tuple[dict[str, Any], dict[str, str]]:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, given in _leaves(document):
        if key not in schema:
            raise MoespacError(
                f"{path}: {key} is unknown; expected: {', '.join(schema)}{did_you_mean(key, schema)}"
            )
        value, origins[key] = _constant(path, key, given)
        if not schema[key].accepts(value):
            raise MoespacError(f"{path}: {key} is {value!r}; expected: {schema[key].accepted}")
        values[key] = value
    for key, quantity in schema.items():
        if key not in values and not quantity.optional:
            raise MoespacError(f"{path}: {key} is missing; expected: {quantity.accepted}")
    return values, origins


def _leaves(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Constants by their dotted keys; a table with a `value` is one."""
    for name, entry in table.items():
        if isinstance(entry, dict) and "value" not in entry:
            yield from _leaves(entry, f"{above}{name}.")
        else:
            yield f"{above}{name}", entry


def _constant(path: Path, key: str, given: Any) -> tuple[Any, str]:
    if not isinstance(given, dict):
        return given, "not stated"
    stated = {name: text for name, text in given.items() if name != "value"}
    if len(stated) == 1 and (origin := next(iter(stated))) in ORIGINS and str(stated[origin]).strip():
        return given["value"], f"{origin}: {stated[origin]}"
    raise MoespacError(
        f"{path}: {key} says {', '.join(stated) or 'nothing'} beside its value; "
        f"expected: one of {', '.join(ORIGINS)}, in words"
    )
