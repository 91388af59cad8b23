"""The bundled traces: every domain, greedy and sampled, as an ordinary recording and as a dense trace.

`tools/pair/record_traces.py` makes them. Synthetic traces at real sizes are generated, see `synthetic`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args, overload

from ..importing.reading import import_trace
from ..trace.trace import Trace
from ..utils.exceptions import InvalidInputError, MissingDataError, TraceFormatError, did_you_mean
from ..utils.validation import check_choice
from .files import data_root
from .prompts import DOMAINS, Half, load_prompts
from .synthetic import PREFIX, Synthetic, list_synthetic, trace_of_name

__all__ = ["FOLDER", "MODES", "Bundled", "list_traces", "load_trace"]

Mode = Literal["greedy", "sample"]
MODES = get_args(Mode)
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
    dense : bool
        Whether it is a dense trace with γ_max = 8, or an ordinary recording with windows of γ = 8.
    """

    domain: str
    mode: Mode
    dense: bool

    def __str__(self) -> str:
        """Name it in words."""
        return f"{self.domain}, {self.mode}, {'dense' if self.dense else 'plain'}"

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"{self.domain}.{self.mode}.{'dense' if self.dense else 'plain'}.npz"

    @property
    def path(self) -> Path:
        """Path of the file."""
        return data_root() / FOLDER / self.name


@overload
def list_traces(domain: str) -> tuple[Bundled, ...]: ...
@overload
def list_traces(domain: None = None) -> tuple[Bundled | Synthetic, ...]: ...
def list_traces(domain: str | None = None) -> tuple[Bundled | Synthetic, ...]:
    """List the bundled traces, and the synthetic ones that `load_trace` generates.

    Parameters
    ----------
    domain : str, optional
        One of `DOMAINS`; None lists all, and then the synthetic ones.

    Returns
    -------
    tuple of Bundled or Synthetic

    Raises
    ------
    InvalidInputError
        If there is no such domain.

    Examples
    --------
    >>> [trace.name for trace in list_traces("math")][:2]
    ['math.greedy.plain.npz', 'math.greedy.dense.npz']
    >>> list_traces()[-1].name
    'synthetic:qwen3-30b-a3b'
    """
    domains = DOMAINS if domain is None else (check_choice("domain", domain, DOMAINS),)
    files = (Bundled(domain, mode, dense) for domain in domains for mode in MODES for dense in (False, True))
    bundled = tuple(file for file in files if file.path.is_file())
    return bundled if domain is not None else (*bundled, *list_synthetic())


def load_trace(
    name: str | Path,
    mode: Mode | None = None,
    *,
    dense: bool | None = None,
    half: Half | None = None,
) -> Trace:
    """Load a trace: a bundled one by its domain, a synthetic one by its model, any other from its file.

    Parameters
    ----------
    name : str or Path
        One of `DOMAINS`, the path of a trace file (`import_trace` tells which other formats are read), or the
        name of synthetic routing: `list_traces` has the names, and options may follow them, as in
        "synthetic:gpt-oss-20b,tokens=500,texts=4,seed=1".
    mode : {"greedy", "sample"}, optional
        How the domain's tokens were chosen; sampled at a temperature of 0.8. None takes the greedy ones.
    dense : bool, optional
        Whether to load the domain's dense trace, for any γ ≤ 8. Otherwise it is an ordinary recording, with
        windows of γ = 8 and sensor channels.
    half : {"tune", "report"}, optional
        Of the domain's texts, "tune" for what is fitted or chosen, "report" for figures that are shown; None
        loads both.

    Returns
    -------
    Trace

    Raises
    ------
    InvalidInputError
        If a name is unknown, or `mode`, `dense` or `half` is given for a file.
    MissingDataError
        If there is no such file, and no such trace is bundled; the message suggests a similar domain.
    TraceFormatError
        If the file is damaged.

    Examples
    --------
    >>> trace = load_trace("math", half="tune")
    >>> trace[0].gamma, sorted(trace.channels)
    (8, ['draft-gates', 'next-gate'])
    >>> dense = load_trace("math", mode="sample", dense=True, half="report")
    >>> next(dense.rounds(4)).gamma
    4
    """
    if isinstance(name, str) and name.startswith(PREFIX):
        if dense or mode == "greedy":
            raise InvalidInputError(
                f"{name} has no drafts and no tokens of a model; expected: load_trace({name!r}) without mode "
                "and dense"
            )
        return trace_of_name(name, half)
    if not isinstance(name, str) or name not in DOMAINS:
        return _from_file(name, {"mode": mode, "dense": dense, "half": half})
    checked: Mode = check_choice("mode", "greedy" if mode is None else mode, MODES)
    file = Bundled(name, checked, bool(dense))
    prompt_ids = {f"{name}/{int(p.id.rpartition('-')[2])}" for p in load_prompts(name, half)}
    if not file.path.is_file():
        available = ", ".join(str(other) for other in list_traces(name))
        command = f"moespac record --domain {name} --mode {checked}{' --dense 8' if dense else ''}"
        raise MissingDataError(
            f"no trace of {file} is bundled; expected: {available or 'none of this domain'}; "
            f"to record one: {command} --out {name}.npz"
        )
    trace = _load(file.path)
    if half is None:
        return trace
    texts = [number for number, text in enumerate(trace.texts) if text.prompt_id in prompt_ids]
    if not texts:
        raise TraceFormatError(f"{file.path}: holds no text of the {half} half; install moespac-nb again")
    # The texts of a half lie together.
    first, last = (int(trace.starts["steps"][text]) for text in (texts[0], texts[-1] + 1))
    return trace[first:last]


def _from_file(path: str | Path, options: Mapping[str, object]) -> Trace:
    for option, value in options.items():
        if value is not None:
            raise InvalidInputError(
                f"{option} is {value!r} and {str(path)!r} is no domain; expected: {option} with one of "
                f"{', '.join(DOMAINS)}{did_you_mean(path, DOMAINS)}"
            )
    if not Path(path).exists():
        raise MissingDataError(
            f"{str(path)!r} is neither a file nor a domain; expected: a trace file, or one of "
            f"{', '.join(DOMAINS)}{did_you_mean(path, DOMAINS)}"
        )
    return import_trace(path)


@lru_cache(maxsize=4)
def _load(path: Path) -> Trace:
    return Trace.load(path)
