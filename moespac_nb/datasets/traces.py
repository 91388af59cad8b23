"""The bundled traces: every domain, greedy and sampled, as it was decoded and as a fan.

    trace = bundled("math", half="tune")                        # windows of γ = 8, with sensors' channels
    trace = bundled("math", mode="sample", kind="fan", half="report")     # any γ ≤ 8: trace.rounds(4)

Knows where they lie and which prompts are whose half. `tools/pair/record_traces.py` makes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from ..trace.trace import Trace
from ..utils.exceptions import MoespacError, did_you_mean
from .files import data_root
from .prompts import DOMAINS, Half, load_prompts

__all__ = ["FOLDER", "KINDS", "MODES", "Bundled", "list_traces", "load_trace", "load_trace_file"]

Mode = Literal["greedy", "sample"]
Kind = Literal["plain", "fan"]
MODES, KINDS = get_args(Mode), get_args(Kind)
FOLDER = "traces"


@dataclass(frozen=True)
class Bundled:
    """One file of traces: all the texts of a domain that were decoded in one way."""

    domain: str
    mode: Mode  # sampled at T = 0.8
    kind: Kind

    @property
    def name(self) -> str:
        return f"{self.domain}.{self.mode}.{self.kind}.npz"

    @property
    def path(self) -> Path:
        return data_root() / FOLDER / self.name


def list_traces(domain: str | None = None) -> tuple[Bundled, ...]:
    """The traces that are there, of one domain or of all."""
    domains = DOMAINS if domain is None else (_accepted("domain", domain, DOMAINS),)
    every = (Bundled(domain, mode, kind) for domain in domains for mode in MODES for kind in KINDS)
    return tuple(one for one in every if one.path.is_file())


def load_trace(domain: str, mode: Mode = "greedy", kind: Kind = "plain", half: Half | None = None) -> Trace:
    """A bundled trace, of one half of its prompts or, with None, of both.

    half: "tune" for whatever is fitted or chosen, "report" for figures that are shown.
    Raises MoespacError for an unknown name, and where it is not there or damaged.
    """
    of_half = {f"{domain}/{int(p.id.rpartition('-')[2])}" for p in load_prompts(domain, half)}
    one = Bundled(domain, _accepted("mode", mode, MODES), _accepted("kind", kind, KINDS))
    if not one.path.is_file():
        there = ", ".join(f"{other.mode} {other.kind}" for other in list_traces(domain))
        how = f"moespac record --domain {domain} --mode {mode}{' --fan 8' if kind == 'fan' else ''}"
        raise MoespacError(
            f"no trace of {domain}, {mode}, {kind} is bundled; expected: {there or 'none of this domain'}; "
            f"to record one: {how} --out {domain}.npz"
        )
    whole = _load(one.path)
    if half is None:
        return whole
    chosen = [number for number, text in enumerate(whole.texts) if text.prompt_id in of_half]
    if not chosen:
        raise MoespacError(f"{one.path}: holds no text of the {half} half; install moespac-nb again")
    # The texts of a half lie together.
    first, last = (int(whole.starts["steps"][at]) for at in (chosen[0], chosen[-1] + 1))
    return whole[first:last]


def load_trace_file(name: str | Path) -> Trace:
    """The trace in a file; who mistyped a domain is told so."""
    if not Path(name).exists():
        raise MoespacError(
            f"{str(name)!r} is neither a file nor a domain; expected: a trace file, or one of "
            f"{', '.join(DOMAINS)}{did_you_mean(name, DOMAINS)}"
        )
    return Trace.load(name)


@lru_cache(maxsize=4)
def _load(path: Path) -> Trace:
    return Trace.load(path)


def _accepted(what: str, given: Any, accepted: tuple[str, ...]) -> Any:
    if given not in accepted:
        hint = did_you_mean(given, accepted)
        raise MoespacError(f"{what} is {given!r}; expected: {', '.join(accepted)}{hint}")
    return given
