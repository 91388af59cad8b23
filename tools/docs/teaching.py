"""The teaching guide, docs/teaching.md, from the notebooks' front matter and the plans of teaching.toml.

python -m tools.docs.teaching            # writes it
python -m tools.docs.teaching --check    # fails if it is out of date
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moespac_exercises import exercises_of
from moespac_nb.utils.files import atomic_write
from tools.docs.notebooks import front_matter, sources

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/teaching.md"
PLANS = ROOT / "tools/docs/teaching.toml"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    page = "\n".join(guide()) + "\n"
    if not args.check:
        with atomic_write(PAGE, "the guide") as file:
            file.write(page.encode())
    elif page != PAGE.read_text(encoding="utf-8"):
        sys.exit(f"{PAGE.relative_to(ROOT)} is out of date: python -m tools.docs.teaching")


def guide() -> Iterator[str]:
    """The page's lines."""
    notebooks = {path.name[:2]: front_matter(path) for path in sources()}
    plans = tomllib.loads(PLANS.read_text(encoding="utf-8"))
    yield from ("# Teaching with it", "", plans["about"].strip(), "")
    for plan in plans["plan"]:
        yield from _plan(plan, notebooks)
    yield from ("## Notebook by notebook", "")
    for number, matter in notebooks.items():
        yield from _notebook(number, matter)


def _plan(plan: dict[str, Any], notebooks: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield from (f"## {plan['name']}", "", plan["about"].strip(), "")
    yield from ("| from minute | minutes | what | how |", "| ---: | ---: | --- | --- |")
    at = 0
    for step in plan["step"]:
        minutes, what = step.get("minutes", 0), step.get("what", "")
        if "notebook" in step:
            matter = notebooks[step["notebook"]]
            sections = {one["name"]: one["minutes"] for one in matter["sections"]}
            chosen = step.get("sections", list(sections))
            unknown = set(chosen) - set(sections)
            if unknown:
                sys.exit(f"{plan['name']}: notebook {step['notebook']} has no section {', '.join(unknown)}")
            minutes += sum(sections[name] for name in chosen)
            what = f"{step['notebook']} {matter['title']}: " + (
                "all of it" if len(chosen) == len(sections) else "; ".join(chosen)
            )
        yield f"| {at} | {minutes} | {what} | {step.get('how', '')} |"
        at += minutes
    if at > plan["minutes"]:
        sys.exit(f"{plan['name']} takes {at} minutes, more than its {plan['minutes']}")
    yield from (f"| {at} | | end | |", "")


def _notebook(number: str, matter: Mapping[str, Any]) -> Iterator[str]:
    needs = ", ".join(matter["needs"])
    yield from (f"### {number} {matter['title']}", "")
    yield f"{matter['minutes']} minutes{f', after {needs}' if needs else ''}. After it they can"
    yield from ("", *(f"- {each}" for each in matter["objectives"]), "")
    yield from ("| section | minutes |", "| --- | ---: |")
    yield from (f"| {one['name']} | {one['minutes']} |" for one in matter["sections"])
    exercises = [f"{each.id} {each.title}" for each in exercises_of(number)]
    yield from ("", f"Exercises: {'; '.join(exercises)}.", "", "For the board:", "")
    yield from (f"- {one['ask']} *{one['answer']}*" for one in matter["board"])
    yield from ("", "Often misunderstood:", "")
    yield from (f"- “{one['said']}” {one['so']}" for one in matter["misunderstandings"])
    yield ""


if __name__ == "__main__":
    main()
