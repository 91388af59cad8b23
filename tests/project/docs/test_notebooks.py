"""Notebooks: made from their sources, run to the end solved and as given, within memory and offline."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from moespac_exercises import exercises_of
from tools.support.notebook_runner import NOTEBOOKS, SOURCES, build, run

PEAK_BYTES = 1 << 30
NORMALLY_SOLVED = ("00", "03", "05")  # the others under --full: all of them take minutes
NORMALLY_AS_GIVEN = ("04",)


def each(normally: tuple[str, ...]) -> pytest.MarkDecorator:
    marks = {True: (), False: pytest.mark.full}
    params = [pytest.param(s, id=s.stem, marks=marks[s.name[:2] in normally]) for s in SOURCES]
    return pytest.mark.parametrize("source", params)


ids_of = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


@ids_of
def test_the_notebook_is_made_from_its_source(source: Path) -> None:
    """To mend: python -m tools.docs.notebooks."""
    path = source.with_suffix(".ipynb")
    found, wanted = nbformat.read(path, as_version=4), build(source, solved=False)
    assert [(c.cell_type, c.source) for c in found.cells] == [(c.cell_type, c.source) for c in wanted.cells]
    assert not any(c.get("outputs") or c.get("execution_count") for c in found.cells)
    assert path.stat().st_size < 200_000
    assert "SOLUTION" not in path.read_text()


@ids_of
def test_code_cells_stay_short(source: Path) -> None:
    for cell in build(source, solved=False).cells:
        if cell.cell_type == "code" and "colab" not in cell.metadata.get("tags", ()):
            imports = ("import ", "from ")  # the first cell has all of them
            lines = [line for line in cell.source.splitlines() if line and not line.startswith(imports)]
            assert len(lines) <= 12, cell.source


@ids_of
def test_each_exercise_is_checked_once_and_in_order(source: Path) -> None:
    code = "\n".join(c.source for c in build(source, solved=True).cells if c.cell_type == "code")
    asked = [line.split('"')[1] for line in code.splitlines() if line.startswith('check("')]
    assert asked == [exercise.id for exercise in exercises_of(source.name[:2])]
    assert 3 <= len(asked) <= 6
    assert re.findall(r"^# ### Exercise (\S+): ", source.read_text(encoding="utf-8"), re.M) == asked
    assert f'predict("{source.name[:2]}.P1"' in code


@pytest.mark.slow
@each(NORMALLY_SOLVED)
def test_solved_it_runs_and_every_answer_is_right(source: Path, tmp_path: Path) -> None:
    done = run(build(source, solved=True), tmp_path)
    states = {name: entry["state"] for name, entry in done.progress["exercises"].items()}
    assert states == {exercise.id: "right" for exercise in exercises_of(source.name[:2])}
    assert "Warning" not in done.stderr
    assert "Traceback" not in done.stderr
    if done.peak_bytes is not None:
        assert done.peak_bytes <= PEAK_BYTES, f"the kernel took {done.peak_bytes / 2**20:.0f} MiB"


@pytest.mark.slow
@each(NORMALLY_AS_GIVEN)
def test_as_given_it_runs_and_every_exercise_says_not_yet(source: Path, tmp_path: Path) -> None:
    done = run(build(source, solved=False), tmp_path)
    assert "Warning" not in done.stderr
    assert done.progress["exercises"] == {}
    for exercise in exercises_of(source.name[:2]):
        assert [words for words in done.plain if words.startswith(f"… {exercise.id} {exercise.title}: ")]


@pytest.mark.full
@ids_of
def test_run_again_in_the_same_kernel_it_comes_to_the_same(source: Path, tmp_path: Path) -> None:
    notebook = build(source, solved=True)
    notebook.cells += [cell.copy() for cell in notebook.cells]
    done = run(notebook, tmp_path)
    tries = {name: entry["tries"] for name, entry in done.progress["exercises"].items()}
    assert tries == {exercise.id: 2 for exercise in exercises_of(source.name[:2])}


@pytest.mark.full
@ids_of
def test_out_of_order_only_a_name_is_missing(source: Path, tmp_path: Path) -> None:
    """After the first code cell, which imports, any order: a cell that ran before its own says which name."""
    notebook = build(source, solved=False)
    first, *others = [cell for cell in notebook.cells if cell.cell_type == "code"]
    random.Random(source.stem).shuffle(others)
    notebook.cells = [first, *others]
    done = run(notebook, tmp_path, allow_errors=True)
    assert [problem for problem in done.errors if not problem.startswith("NameError: ")] == []


@pytest.mark.full
@ids_of
def test_after_a_restart_it_goes_on_with_what_was_kept(source: Path, tmp_path: Path) -> None:
    """The kernel ends after half of the cells; the rest misses names at most, and all can be run again."""
    exercises = exercises_of(source.name[:2])
    notebook, first, second = (build(source, solved=True) for _ in range(3))
    half = len(notebook.cells) // 2
    del first.cells[half:], second.cells[:half]
    before = run(first, tmp_path).progress
    rest = run(second, tmp_path, allow_errors=True)
    assert [problem for problem in rest.errors if not problem.startswith("NameError: ")] == []
    after = run(notebook, tmp_path).progress
    assert {each: entry["state"] for each, entry in after["exercises"].items()} == {
        exercise.id: "right" for exercise in exercises
    }
    for kept in before["exercises"]:
        assert after["exercises"][kept]["first_right"] == before["exercises"][kept]["first_right"]


def test_a_stale_notebook_is_noticed(tmp_path: Path) -> None:
    source = SOURCES[0]
    (tmp_path / source.name).write_text(source.read_text().replace("# Start", "# Begin"))
    tool = NOTEBOOKS.parent / "tools/docs/notebooks.py"
    subprocess.run([sys.executable, tool, "--sources", tmp_path], check=True, capture_output=True)
    cells = json.loads((tmp_path / f"{source.stem}.ipynb").read_text())["cells"]
    assert "".join(cells[0]["source"]).startswith("# Begin")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("minutes: 30\n", "minutes: 31\n", "sections of 30 minutes in a notebook of 31"),
        ("#     needs: []\n", "", "lacks needs"),
        ("{name: One round from inside,", "{name: One round,", "the headings are"),
        ("inside, minutes: 6}", "inside, minutes: six}", r"sections that are not just name \(str\)"),
        ("{name: One round from inside, minutes: 6}", "One round from inside", "sections that are not just"),
        ("needs: []", "needs: [03]", "a number such as 03 stands in quotes"),
        ("minutes: 30\n", "minutes: 90\n", "asks for 90 minutes; expected: 20 to 40"),
        ("#     board:\n", "#     board: [\n", "cannot be read"),
        ("#       - step through a decode and say of each token who wrote it, and why\n", "", None),
    ],
)
def test_front_matter_that_does_not_fit_is_refused(
    tmp_path: Path, old: str, new: str, said: str | None
) -> None:
    source = SOURCES[0]
    assert old in source.read_text()
    path = tmp_path / source.name
    path.write_text(source.read_text().replace(old, new))
    if said is None:  # three objectives are enough
        assert len(build(path, solved=False).metadata.moespac.objectives) == 3
        return
    with pytest.raises(SystemExit, match=said):
        build(path, solved=False)


def test_the_page_of_the_notebooks_is_made_from_them(root: Path) -> None:
    """To mend: python -m tools.docs.notebook_table --only-text, or with a notebook's number to measure it."""
    subprocess.run([sys.executable, "-m", "tools.docs.notebook_table", "--check"], check=True)
    for took in json.loads((root / "docs/notebooks.json").read_text()).values():
        assert took["seconds"] <= 60
        assert took["peak_mib"] <= 1024
        assert took["file_kb"] <= 200


def test_solutions_become_dots() -> None:
    build(SOURCES[0], solved=False)  # makes the tool importable
    from tools.docs.notebooks import solution_kept, solution_taken

    asked = "### BEGIN SOLUTION\nx = 2\na, b = x, 3\n### END SOLUTION\ncheck(a)"
    assert solution_taken(asked) == "a = b = ...  # your answer\ncheck(a)"
    assert solution_kept(asked) == "x = 2\na, b = x, 3\ncheck(a)"
    inside = "def f(p):\n    ### BEGIN SOLUTION\n    q = p\n    return q\n    ### END SOLUTION"
    assert solution_taken(inside) == "def f(p):\n    ...  # your answer"


def test_the_teaching_guide_is_made_from_the_front_matter(root: Path) -> None:
    """To mend: python -m tools.docs.teaching."""
    subprocess.run([sys.executable, "-m", "tools.docs.teaching", "--check"], check=True)
