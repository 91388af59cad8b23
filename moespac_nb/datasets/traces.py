"""The bundled traces: every domain, greedy and sampled, as an ordinary recording and as a dense trace.

`tools/pair/record_traces.py` makes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from ..trace.trace import Trace
from ..utils.exceptions import MissingDataError, MoespacError, did_you_mean
from ..utils.validation import check_choice
from .files import data_root
from .prompts import DOMAINS, Half, load_prompts

__all__ = ["FOLDER", "KINDS", "MODES", "Bundled", "list_traces", "load_trace", "load_trace_file"]

Mode = Literal["greedy", "sample"]
Kind = Literal["plain", "fan"]
MODES, KINDS = get_args(Mode), get_args(Kind)
FOLDER = "traces"


@dataclass(frozen=True)
class Bundled:
    """One bundled file: the trace of all prompts of a domain that were decoded in one way.

    Parameters
    ----------
    domain : str
        One of `DOMAINS`.
    mode : {"greedy", "sample"}
        How tokens were chosen; sampled at a temperature of 0.8.
    kind : {"plain", "fan"}
        An ordinary recording with windows of γ = 8, or a dense trace with γ_max = 8.
    """

    domain: str
    mode: Mode
    kind: Kind

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"{self.domain}.{self.mode}.{self.kind}.npz"

    @property
    def path(self) -> Path:
        """Path of the file."""
        return data_root() / FOLDER / self.name


def list_traces(domain: str | None = None) -> tuple[Bundled, ...]:
    """List the bundled traces.

    Parameters
    ----------
    domain : str, optional
        One of `DOMAINS`; None lists all.

    Returns
    -------
    tuple of Bundled

    Raises
    ------
    InvalidInputError
        If there is no such domain.

    Examples
    --------
    >>> [trace.name for trace in list_traces("math")][:2]
    ['math.greedy.plain.npz', 'math.greedy.fan.npz']
    """
    domains = DOMAINS if domain is None else (check_choice("domain", domain, DOMAINS),)
    files = (Bundled(domain, mode, kind) for domain in domains for mode in MODES for kind in KINDS)
    return tuple(file for file in files if file.path.is_file())


def load_trace(domain: str, mode: Mode = "greedy", kind: Kind = "plain", half: Half | None = None) -> Trace:
    """Load a bundled trace.

    Parameters
    ----------
    domain : str
        One of `DOMAINS`.
    mode : {"greedy", "sample"}
        How tokens were chosen; sampled at a temperature of 0.8.
    kind : {"plain", "fan"}
        An ordinary recording with windows of γ = 8 and sensor channels, or a dense trace, for any γ ≤ 8.
    half : {"tune", "report"}, optional
        "tune" for what is fitted or chosen, "report" for figures that are shown; None loads both.

    Returns
    -------
    Trace

    Raises
    ------
    InvalidInputError
        If a name is unknown.
    MissingDataError
        If no such trace is bundled.
    TraceFormatError
        If the file is damaged.

    Examples
    --------
    >>> trace = load_trace("math", half="tune")
    >>> trace[0].gamma, sorted(trace.sensors)
    (8, ['draft-gates', 'next-gate'])
    >>> fan = load_trace("math", mode="sample", kind="fan", half="report")
    >>> next(fan.rounds(4)).gamma
    4
    """
    prompt_ids = {f"{domain}/{int(p.id.rpartition('-')[2])}" for p in load_prompts(domain, half)}
    file = Bundled(domain, check_choice("mode", mode, MODES), check_choice("kind", kind, KINDS))
    if not file.path.is_file():
        available = ", ".join(f"{other.mode} {other.kind}" for other in list_traces(domain))
        command = f"moespac record --domain {domain} --mode {mode}{' --dense 8' if kind == 'fan' else ''}"
        raise MissingDataError(
            f"no trace of {domain}, {mode}, {kind} is bundled; expected: "
            f"{available or 'none of this domain'}; to record one: {command} --out {domain}.npz"
        )
    trace = _load(file.path)
    if half is None:
        return trace
    texts = [number for number, text in enumerate(trace.texts) if text.prompt_id in prompt_ids]
    if not texts:
        raise MoespacError(f"{file.path}: holds no text of the {half} half; install moespac-nb again")
    # The texts of a half lie together.
    first, last = (int(trace.starts["steps"][text]) for text in (texts[0], texts[-1] + 1))
    return trace[first:last]


def load_trace_file(name: str | Path) -> Trace:
    """Load a trace from a file.

    Parameters
    ----------
    name : str or Path
        The file.

    Returns
    -------
    Trace

    Raises
    ------
    MissingDataError
        If there is no such file; the message suggests a domain with a similar name.
    TraceFormatError
        If the file is damaged.
    """
    if not Path(name).exists():
        raise MissingDataError(
            f"{str(name)!r} is neither a file nor a domain; expected: a trace file, or one of "
            f"{', '.join(DOMAINS)}{did_you_mean(name, DOMAINS)}"
        )
    return Trace.load(name)


@lru_cache(maxsize=4)
def _load(path: Path) -> Trace:
    return Trace.load(path)
