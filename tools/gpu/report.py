"""What the check writes: everything as JSON, and a report to be read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from moespac_nb.utils.files import atomic_write
from tools.gpu.stage import Result
from tools.gpu.supervisor import OUTCOMES

JSON_NAME, REPORT_NAME = "gpu-check.json", "gpu-check.md"


def write(out: Path, about: dict[str, Any], results: Sequence[Result]) -> None:
    """Both files, each the old one or the whole new one."""
    about = about | {"gpu": gpu_of(results)}
    document = {**about, "stages": [asdict(result) for result in results]}
    with atomic_write(out / JSON_NAME, "the check's findings") as file:
        file.write(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode())
    with atomic_write(out / REPORT_NAME, "the check's report") as file:
        file.write(markdown(about, results).encode())


def gpu_of(results: Sequence[Result]) -> str:
    """The GPU's name, as the first stage found it."""
    named = [result.findings.facts["GPU"] for result in results if "GPU" in result.findings.facts]
    return str(named[0]) if named else "GPU not known"


def file_name(about: dict[str, Any], results: Sequence[Result]) -> str:
    """What the report is called where it is kept."""
    return re.sub(r"[^a-z0-9]+", "-", gpu_of(results).lower()).strip("-") + f"-{about['date']}.md"


def markdown(about: dict[str, Any], results: Sequence[Result]) -> str:
    broken = [(result.name, words) for result in results for words in result.broken]
    ended = [result for result in results if result.outcome == "done"]
    lines = [f"# GPU check: {gpu_of(results)}, {about['date']}", ""]
    if about["dry_run"]:
        lines += ["**A dry run at tiny sizes, without a GPU: it shows that the check works, no more.**", ""]
    lines += [
        f"`{about['command']}`: {len(ended)} of {len(results)} stages ran to their end, "
        f"{len(broken)} claims do not hold.",
        "",
        *table([_line(result) for result in results]),
        "",
    ]
    lines += [f"- **does not hold** ({name}): {words}" for name, words in broken]
    for result in results:
        if result.outcome not in ("waiting", "no time"):
            lines += ["", f"## {result.number}. {result.name}", "", *_section(result)]
    return "\n".join(lines) + "\n"


def _line(result: Result) -> dict[str, Any]:
    claims = result.findings.claims
    held = sum(claim["holds"] is True for claim in claims)
    return {
        "": result.number,
        "stage": result.name,
        "outcome": f"{result.outcome}: {OUTCOMES[result.outcome]}",
        "s": round(result.seconds, 1),
        "of at most": round(result.limit_s, 1),
        "claims held": f"{held} of {len(claims)}",
        "cut": "; ".join(result.findings.cuts),
    }


def _section(result: Result) -> list[str]:
    found = result.findings
    lines = [f"Proves: {result.proves}", ""]
    words = {True: "holds", False: "**does not hold**", None: "not judged"}
    lines += [
        f"- {words[claim['holds']]}: {claim['words']}" + (f" ({claim['found']})" if claim["found"] else "")
        for claim in found.claims
    ]
    lines += [f"- {name}: {cell(value)}" for name, value in found.facts.items()]
    for title, rows in found.tables.items():
        lines += ["", f"{title}", "", *table(rows)]
    if result.error:
        lines += ["", "```", result.error.rstrip()[-4000:].replace("```", "'''"), "```"]
    return lines


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Rows of cells by their columns' names, in the order in which these first come."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    return lines + ["| " + " | ".join(cell(row.get(name, "")) for name in names) + " |" for row in rows]


def cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = "–" if value is None else str(value)
    return text.replace("|", "\\|").replace("\n", " ")[:300]
