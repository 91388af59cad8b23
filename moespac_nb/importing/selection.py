"""Selection of the positions that make a trace: what is odd is named, and dropped or refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..utils.exceptions import TraceFormatError
from .findings import DROPS, Finding, identical_stretches, passes_of
from .log import Declared, TextSource
from .rows import PASS, PREFILL
from .spool import TEXT_BITS, Places, Spool
from .survey import LACKS, LACKS_LAST, SAME, Survey, routing_between, survey

__all__ = ["Selection", "select"]


@dataclass(frozen=True, eq=False)
class Selection:
    """Positions that a trace is made of.

    Parameters
    ----------
    keep : ndarray
        (positions,) bool, in the order of their places.
    prefill : ndarray
        (positions,) bool, whether each is part of a prompt.
    begins : ndarray
        (positions,) bool, whether a text begins there.
    layers : ndarray
        Numbers of the layers that are kept, ascending.
    findings : tuple of Finding
        What was found.
    """

    keep: np.ndarray
    prefill: np.ndarray
    begins: np.ndarray
    layers: np.ndarray
    findings: tuple[Finding, ...]


@dataclass(frozen=True, eq=False)
class _Context:
    """What the rules below need beside the survey."""

    spool: Spool
    places: Places
    declared: Declared
    texts: list[TextSource]
    drop: frozenset[str]

    def error(self, place: int, line: int, problem: str, name: str) -> TraceFormatError:
        """Return the error for something that cannot be kept, and how it can be dropped."""
        text, position = self.places.key(place)
        log = self.texts[text].log
        where = f"{log.fields.get('position', 'position')} {position}: {problem}"
        return log.error(line, where, f"{_EXPECTED[name]}; drop={name!r} leaves out {DROPS[name]}")


_EXPECTED = {
    "duplicates": "one row each",
    "gaps": "all layers of each position",
    "last-layer": "all layers of each position",
}


def select(
    spool: Spool,
    places: Places,
    layers: np.ndarray,
    declared: Declared,
    texts: list[TextSource],
    drop: frozenset[str],
    chunk: int,
) -> Selection:
    """Select the positions that make a trace.

    Parameters
    ----------
    spool : Spool
        All rows, at least one.
    places : Places
        Where their positions stand.
    layers : ndarray
        Numbers of the layers that were met, ascending.
    declared : Declared
        What the logs say about their model.
    texts : list of TextSource
        Where the texts come from.
    drop : frozenset of str
        What is dropped, names of `DROPS`.
    chunk : int
        Positions at a time.

    Returns
    -------
    Selection

    Raises
    ------
    TraceFormatError
        If something cannot be kept and is not dropped, or nothing is left.
    """
    context = _Context(spool, places, declared, texts, drop)
    findings = list(_of_layers(context, layers))
    seen = survey(spool, places, layers, chunk)
    if seen.duplicate.count:
        findings.append(_of_duplicates(context, seen))
    keep, kept_layers, said = _whole_positions(context, seen, layers)
    findings += [*said, *_of_token_gaps(places)]
    warm_up = identical_stretches(seen.where(SAME)) & keep
    keep &= ~_stretch(context, findings, "warm-up", warm_up, "in stretches with identical sets of experts")
    del warm_up
    begins = np.zeros(len(keep), bool)
    begins[places.starts[:-1]] = True
    prefill = seen.where(PREFILL)
    first_of_pass = begins | seen.where(PASS)
    if first_of_pass.sum() > begins.sum():  # else the log does not tell passes apart
        of_passes, batched = passes_of(first_of_pass)
        prefill |= of_passes
        begins[1:] |= of_passes[1:] & ~of_passes[:-1]
        keep &= ~_stretch(context, findings, "batched", batched, "in passes over several sequences")
    begins[1:] |= ~keep[:-1]
    if not keep.any():
        raise TraceFormatError(
            f"{_paths(texts)}: nothing is left of {len(keep)} positions; expected: less to drop than "
            f"{', '.join(sorted(drop)) or 'was incomplete'}"
        )
    return Selection(keep, prefill, begins, kept_layers, tuple(findings))


def _paths(texts: list[TextSource]) -> str:
    return ", ".join(dict.fromkeys(str(text.log.path) for text in texts))


def _stretch(
    context: _Context, findings: list[Finding], name: str, which: np.ndarray, what: str
) -> np.ndarray:
    """Note positions that can be kept; return those that are to be dropped."""
    dropped = name in context.drop
    if count := int(which.sum()):
        done = "left out" if dropped else f"kept; drop={name!r} leaves them out"
        findings.append(Finding(name, f"{count:,} positions {what}, the first {_at(context, which)}: {done}"))
    return which if dropped else np.zeros(1, bool)


def _at(context: _Context, which: np.ndarray) -> str:
    text, position = context.places.key(int(which.argmax()))
    return f"at {position} of text {text}"


def _of_layers(context: _Context, layers: np.ndarray) -> Iterator[Finding]:
    """Check the numbers of the layers: none missing in between, as many as declared, more than one."""
    declared = context.declared.layers
    if len(layers) == 1:
        if "one-layer" in context.drop:
            raise TraceFormatError(
                f"{_paths(context.texts)}: one layer only, {layers[0]}; expected: a log of several layers, "
                "or 'one-layer' not in drop"
            )
        of = f" of {declared}" if declared else ""
        yield Finding("one-layer", f"layer {layers[0]} only{of}: figures are of that layer, not of the model")
        return
    steps = np.diff(layers)
    missing = []
    if len(steps) and steps.min() != steps.max():
        missing = sorted(set(range(layers[0], layers[-1])) - set(layers.tolist()))
    elif declared and len(layers) < declared:
        missing = sorted(set(range(declared)) - set(layers.tolist()))[: declared - len(layers)]
    if missing:
        numbers = ", ".join(map(str, missing[:8])) + (", …" if len(missing) > 8 else "")
        if "gaps" not in context.drop:
            log = context.texts[0].log
            raise log.error(
                None,
                f"{log.fields.get('layer', 'layer')} {numbers} is nowhere",
                f"{declared or 'a row for each of the'} layers; drop='gaps' goes on without",
            )
        yield Finding("gaps", f"layers {numbers} are nowhere: the trace has {len(layers)} layers")


def _of_duplicates(context: _Context, seen: Survey) -> Finding:
    first = seen.duplicate
    if "duplicates" not in context.drop:
        raise context.error(
            first.place, first.line, f"layer {first.layer} is there a second time", "duplicates"
        )
    return Finding(
        "duplicates", f"{first.count:,} rows that were there before: the first one of each is kept"
    )


def _whole_positions(
    context: _Context, seen: Survey, layers: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[Finding]]:
    """Return which positions have all layers, the layers, and what was found."""
    findings: list[Finding] = []
    incomplete, lacks_last = seen.where(LACKS), seen.where(LACKS_LAST)
    positions, last, lacking = len(incomplete), int(layers[-1]), int(lacks_last.sum())
    keep, dropped = np.ones(positions, bool), "last-layer" in context.drop
    if dropped and 2 * lacking > positions:
        layers, incomplete = layers[:-1], incomplete & ~lacks_last
        held = f"layer {last}, the last, holds {positions - lacking:,} of {positions:,} positions"
        findings.append(Finding("last-layer", f"{held}: the layer is left out"))
    elif lacking:
        # A program that wants one next token computes the last layer of a prompt for its last position only.
        keep = ~(lacks_last & (seen.where(PREFILL) | dropped))
        incomplete = incomplete & keep
        if out := int((~keep).sum()):
            whose = "positions" if dropped else "positions of prompts"
            findings.append(Finding("last-layer", f"layer {last}, the last, lacks {out:,} {whose}: left out"))
    if incomplete.any():
        if "gaps" not in context.drop:
            raise _lack(context, int(incomplete.argmax()), layers)
        findings.append(Finding("gaps", f"{incomplete.sum():,} positions lack a layer: left out"))
    return keep & ~incomplete, layers, findings


def _lack(context: _Context, place: int, layers: np.ndarray) -> TraceFormatError:
    there, line = set[int](), 0
    for rows, *_ in routing_between(context.spool, context.places, layers, place, place + 1):
        there |= set(rows["layer"].tolist())
        line = max(line, int(rows["line"].max()))
    missing = sorted(set(layers.tolist()) - there)
    name = "last-layer" if missing == [layers[-1]] else "gaps"
    return context.error(place, line, f"layer {', '.join(map(str, missing[:8]))} is missing", name)


def _of_token_gaps(places: Places) -> Iterator[Finding]:
    """Name the gaps between positions of a text: what follows one becomes a text of its own."""
    ranges = places.ranges
    text = ranges[:, 0] >> TEXT_BITS
    if count := int((text[1:] == text[:-1]).sum()):
        after = int((text[1:] == text[:-1]).argmax())
        number, position = places.key(int(places.starts[after + 1]))
        yield Finding(
            "gaps",
            f"{count:,} gaps between positions, the first before {position} of text {number}: what follows "
            "a gap is a text of its own",
        )
