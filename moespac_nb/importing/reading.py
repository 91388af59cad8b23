"""Import of logs: recognise the format of each file, read it, and make a trace of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..trace.editing import concatenate
from ..trace.npz import LIMIT_BYTES
from ..trace.schema import MOST_EXPERTS
from ..trace.step import MoEShape
from ..trace.trace import Trace
from ..utils.exceptions import InvalidInputError, TraceFormatError
from ..utils.files import check_writable
from ..utils.validation import check_choice, checked_whole, warn
from .assembly import Assembly
from .findings import checked_drops
from .formats import FORMATS
from .head import Head, head_of
from .log import Declared, Log, TextSource

__all__ = ["OWN", "Written", "format_of", "import_trace", "write_parts"]

OWN = "moespac"  # the name of this project's own npz
PART_BYTES = 2**26  # of one file of several, in memory


def import_trace(
    path: str | Path | Sequence[str | Path],
    format: str = "auto",  # noqa: A002  # as the command has it
    *,
    drop: str | Iterable[str] = (),
    experts: int | None = None,
) -> Trace:
    r"""Import the routing that another program recorded.

    Each position becomes a step without a draft, or part of a prompt where the log says so. What a log does
    not hold is missing from the trace too: token ids are -1, gate weights None. What is odd about it is
    warned of and stands in `Trace.notes`.

    Parameters
    ----------
    path : str, Path or sequence of them
        Files or folders; several make one trace, each with texts of its own.
    format : str
        A name of `FORMATS`, "moespac" for this project's own, or "auto" to recognise it.
    drop : str or iterable of str
        What to leave out, where it is found: "warm-up", "duplicates", "batched", "gaps", "one-layer",
        "last-layer", or "all".
    experts : int, optional
        Number of experts a layer; needed where the log does not say it and its largest id is not the last.

    Returns
    -------
    Trace

    Raises
    ------
    MissingDataError
        If there is no such file.
    TraceFormatError
        If a file is damaged, of no known format, or holds what cannot be kept and is not to be dropped; the
        message names file, line and field.
    InvalidInputError
        If an argument is wrong, a package is missing, or the trace would be larger than a trace may be:
        `moespac import` writes such a log as several.

    Examples
    --------
    >>> import json, tempfile
    >>> rows = [{"tok": i, "layers": [[i % 4, 4], [5, i % 3]]} for i in range(3)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "ids.jsonl")
    ...     _ = path.write_text("\n".join(map(json.dumps, rows)))
    ...     trace = import_trace(path, experts=8)
    >>> trace.geometry, len(trace), trace.gate_weights is None
    (MoEShape(layers=2, experts=8, top_k=2), 3, True)
    """
    paths = _paths(path)
    with _imported(paths, format, drop, experts, LIMIT_BYTES // 2) as found:
        if found.parts > 1:
            raise InvalidInputError(
                f"{paths[0]}: its routing takes more than {LIMIT_BYTES // 2} bytes; expected: less for one "
                "trace; `moespac import` writes it in parts"
            )
        trace = next(found.traces)
    if found.is_log:
        for note in trace.notes:
            if not note.startswith("experts:"):
                warn(f"{paths[0]}{', …' if len(paths) > 1 else ''}: {note}")
    return trace


class Written(NamedTuple):
    """A trace file that was written, and what is in it.

    Parameters
    ----------
    path : Path
        The file.
    geometry : MoEShape
        Shape of the routing.
    texts, steps : int
        How many it holds.
    notes : tuple of str
        What was found odd about the logs.
    """

    path: Path
    geometry: MoEShape
    texts: int
    steps: int
    notes: tuple[str, ...]


def write_parts(
    path: str | Path | Sequence[str | Path],
    out: Path,
    format: str = "auto",  # noqa: A002
    *,
    drop: str | Iterable[str] = (),
    experts: int | None = None,
    part_bytes: int = PART_BYTES,
) -> list[Written]:
    """Import logs of any size to trace files, a part at a time.

    Parameters
    ----------
    path, format, drop, experts
        As in `import_trace`.
    out : Path
        The file to write. Where one is not enough, the parts are named after it: `out-1.npz`, `out-2.npz`.
    part_bytes : int
        The most that a part takes in memory, about.

    Returns
    -------
    list of Written
        The files, in order. After an error there is none of them.

    Raises
    ------
    MoespacError
        As `import_trace` raises, or if a file cannot be written.
    """
    paths = _paths(path)
    check_writable(out, "the trace")
    written: list[Written] = []
    try:
        with _imported(paths, format, drop, experts, part_bytes) as found:
            for number, trace in enumerate(found.traces, start=1):
                path = out if found.parts == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}")
                trace.save(path)
                written.append(Written(path, trace.geometry, len(trace.texts), len(trace), trace.notes))
                del trace  # before the next one is made
    except BaseException:
        for part in written:
            part.path.unlink(missing_ok=True)
        raise
    return written


def format_of(head: Head) -> str:
    """Return the name of the format that a file is in.

    Parameters
    ----------
    head : Head
        Its beginning.

    Returns
    -------
    str
        `OWN`, or a name of `FORMATS`.

    Raises
    ------
    TraceFormatError
        If it is none of them.
    """
    if "header.json.npy" in head.entries:
        return OWN
    if name := next((name for name, candidate in FORMATS.items() if candidate.detect(head)), None):
        return name
    seen = f"begins with {head.start[:40]!r}" if head.start else "is a folder or empty"
    if head.columns or head.entries:
        seen = f"holds {', '.join(sorted(head.columns | head.entries)[:6])}"
    names = ", ".join([OWN, *FORMATS])
    raise TraceFormatError(
        f"{head.path}: {seen}: no known format; expected: one of {names}; format=… names one that is not "
        "recognised"
    )


class _Imported(NamedTuple):
    is_log: bool  # not this package's own files
    parts: int
    traces: Iterator[Trace]


def _paths(path: str | Path | Sequence[str | Path]) -> list[Path]:
    several = [path] if isinstance(path, str | Path) else path
    if not isinstance(several, Sequence) or not all(isinstance(each, str | Path) for each in several):
        raise InvalidInputError(f"path is {path!r}; expected: a file, or a list of files")
    return [Path(each) for each in several]


@contextmanager
def _imported(
    paths: list[Path], name: str, drop: str | Iterable[str], experts: int | None, part_bytes: int
) -> Iterator[_Imported]:
    """Read all files, and give the traces that they make, of at most so many bytes each."""
    check_choice("format", name, ["auto", OWN, *FORMATS])
    drops = checked_drops(drop)
    if not paths:
        raise InvalidInputError("there is no file to import; expected: at least one")
    if experts is not None:
        checked_whole("experts", experts, 1, MOST_EXPERTS)
    heads = [head_of(path) for path in paths]
    names = [format_of(head) if name == "auto" else name for head in heads]
    if OWN in names:
        if set(names) != {OWN}:
            odd = next(path for path, other in zip(paths, names, strict=True) if other != OWN)
            raise InvalidInputError(f"{odd} is a log among trace files; expected: files of one kind")
        yield _Imported(False, 1, iter([concatenate([Trace.load(path) for path in paths])]))
        return
    declared, texts, token_strings = Declared(experts=experts), list[TextSource](), dict[str, int]()
    with Assembly(paths, declared, texts, token_strings, drops) as assembly:
        for head, other in zip(heads, names, strict=True):
            log = Log(head.path, declared, texts, token_strings, format=other, is_parquet=bool(head.columns))
            for rows in FORMATS[other].read(log):
                assembly.add(log, rows)
        yield _Imported(True, *assembly.traces(part_bytes))
