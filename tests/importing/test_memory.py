"""A log of 10 GB is imported in 1 GiB of memory: measured on two smaller logs, in a process of its own.

What an import holds beside one part of the trace grows with the number of positions, by a few bytes each.
tracemalloc sees every array and object, and repeats to the byte; so the growth between a log and one four
times as large, carried on to 10 GB, tells what such a log would take.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from moespac_nb.importing.reading import PART_BYTES

GB, GIB, MIB = 10**9, 2**30, 2**20
INTERPRETER_BYTES = 150 * MIB  # Python, numpy and pyarrow themselves
MEASURE = """
import json, sys, tracemalloc, warnings
from pathlib import Path
from moespac_nb.importing import reading, rows
rows.ROWS = 64  # what is held at a time is small beside what grows
warnings.simplefilter("ignore")
tiny, path, part_bytes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
reading.write_parts(tiny, path.with_name("tiny.npz"))  # everything is loaded by now
tracemalloc.start()
files = reading.write_parts(path, path.with_name("out.npz"), part_bytes=part_bytes)
print(json.dumps([tracemalloc.get_traced_memory()[1], sum(file.steps for file in files), len(files)]))
"""


def one_layer_routes(path: Path, positions: int) -> None:
    """The worst case: routes of one layer, so that a position takes the fewest bytes of the log."""
    rng = np.random.default_rng(0)
    ends = [
        json.dumps(
            {"layer": 0, "topk_ids": rng.permutation(60)[:4].tolist(), "topk_weights": rng.random(4).tolist()}
        )
        for _ in range(997)
    ]
    with path.open("w") as file:
        file.write(json.dumps({"type": "meta", "num_experts": 60, "top_k": 4}) + "\n")
        file.writelines(
            f'{{"type": "route", "token_idx": {i}, {ends[i % 997][1:]}\n' for i in range(positions)
        )


def all_layers(path: Path, positions: int) -> None:
    rng = np.random.default_rng(0)
    ends = [json.dumps(rng.random((16, 64)).argsort(-1)[:, :8].tolist()) for _ in range(97)]
    with path.open("w") as file:
        file.writelines(f'{{"tok": {i}, "layers": {ends[i % 97]}}}\n' for i in range(positions))


def measured(tiny: Path, path: Path, part_bytes: int) -> tuple[int, int, int]:
    """Peak bytes, steps and files."""
    command = [sys.executable, "-c", MEASURE, str(tiny), str(path), str(part_bytes)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, steps, files = json.loads(run.stdout.splitlines()[-1])
    return peak, steps, files


@pytest.mark.parametrize(("write", "positions"), [(one_layer_routes, 12_000), (all_layers, 2_000)])
def test_ten_gigabytes_fit_in_one_gibibyte(write, positions: int, tmp_path: Path) -> None:
    part_bytes = 2**15
    write(tmp_path / "tiny.jsonl", 3)
    peaks, sizes = [], []
    for times in (1, 4):
        path = tmp_path / f"{times}.jsonl"
        write(path, positions * times)
        peak, steps, files = measured(tmp_path / "tiny.jsonl", path, part_bytes)
        assert steps == positions * times
        assert files == -(-steps // (part_bytes // (124 if write is one_layer_routes else 356)))
        peaks.append(peak)
        sizes.append(path.stat().st_size)
    growth = (peaks[1] - peaks[0]) / (sizes[1] - sizes[0])
    largest = peaks[1] + growth * 10 * GB + INTERPRETER_BYTES

    # Beside it stands one part, in about four copies while it is checked and written.
    assert largest + 4 * PART_BYTES < GIB, (
        f"{largest / MIB:.0f} MiB, {growth * 100:.2f} bytes for 100 of the log"
    )


LIMITED = """
import resource, sys, warnings
from pathlib import Path
from moespac_nb.importing import reading, rows
warnings.simplefilter("ignore")
tiny, path = map(Path, sys.argv[1:3])
reading.write_parts(tiny, path.with_name("tiny.npz"))  # everything is loaded by now
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[3]),) * 2)
rows.ROWS = int(sys.argv[4])
print(sum(file.steps for file in reading.write_parts(path, path.with_name("out.npz"), part_bytes=2**22)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is limited as Linux does it")
@pytest.mark.parametrize(("at_a_time", "fits"), [(8192, True), (10**9, False)])
def test_a_log_is_imported_in_less_memory_than_it_has(at_a_time: int, fits: bool, tmp_path: Path) -> None:
    """A twentieth of 1 GiB for 30 MB of log; with all its rows at once it does not fit."""
    tiny, path, positions = tmp_path / "tiny.jsonl", tmp_path / "log.jsonl", 180_000
    one_layer_routes(tiny, 3)
    one_layer_routes(path, positions)
    command = [sys.executable, "-c", LIMITED, str(tiny), str(path), str(GIB // 20), str(at_a_time)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert path.stat().st_size > 30 * 10**6
    if fits:
        assert run.stdout.split() == [str(positions)], run.stderr
    else:
        assert run.returncode != 0  # a MemoryError, or a library that ends the process where it gets none
        assert not list(tmp_path.glob("out*"))


def test_parts_are_what_the_whole_is(tmp_path: Path) -> None:
    from moespac_nb import Trace, import_trace
    from moespac_nb.importing.reading import write_parts

    path = tmp_path / "ids.jsonl"
    all_layers(path, 50)
    whole = import_trace(path)
    files = write_parts(path, tmp_path / "part.npz", part_bytes=20 * 356)
    assert [file.path.name for file in files] == ["part-1.npz", "part-2.npz", "part-3.npz"]
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "ids.jsonl",
        *(file.path.name for file in files),
    ]
    parts = [Trace.load(file.path) for file in files]
    assert np.array_equal(np.concatenate([part.experts for part in parts]), whole.experts)


def test_nothing_is_left_where_a_part_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moespac_nb import MoespacError, Trace
    from moespac_nb.importing.reading import write_parts

    path = tmp_path / "ids.jsonl"
    all_layers(path, 50)
    save, saved = Trace.save, []

    def full(self: Trace, out: Path) -> None:
        saved.append(out)
        if len(saved) == 3:
            raise MoespacError("the disk is full")
        save(self, out)

    monkeypatch.setattr(Trace, "save", full)
    with pytest.raises(MoespacError, match="full"):
        write_parts(path, tmp_path / "part.npz", part_bytes=20 * 356)
    assert [file.name for file in tmp_path.iterdir()] == ["ids.jsonl"]
