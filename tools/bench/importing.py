"""How fast are logs of other programs imported, and in how much memory?

    python -m tools.bench.importing                      # 32 MB of each format
    python -m tools.bench.importing --mb 1000 --formats vllm-routes
    python -m tools.bench.importing --without-orjson     # what the standard library's json costs

Each log is made up: 48 layers of 128 experts, 8 a token, in random order; and vllm-routes with one layer
only, as its loggers write them, where a position takes the fewest bytes. Each import is a process of its own,
which writes trace files. Seconds are of the CPU, for reading, assembling and packing; the peak is what the
system gave the process, Python and numpy included. A row is a position in a layer.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

LAYERS, EXPERTS, TOP_K = 48, 128, 8
IMPORT = """
import json, re, resource, sys, time, warnings
from pathlib import Path
if sys.argv[3] == "without":
    sys.modules["orjson"] = None
from moespac_nb.importing.reading import write_parts
warnings.simplefilter("ignore")
start = time.process_time()
files = write_parts(Path(sys.argv[1]), Path(sys.argv[2]) / "out.npz")
seconds = time.process_time() - start
status = Path("/proc/self/status")  # getrusage counts what the parent had before the process began
if status.exists():
    peak = 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1])
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([sum(f.steps for f in files) * files[0].geometry.layers, seconds, peak, len(files)]))
"""


class Cells(NamedTuple):
    """Routing of some positions, which repeats: experts and gate weights (positions, layers, k)."""

    experts: np.ndarray
    weights: np.ndarray

    @classmethod
    def random(cls, layers: int, positions: int = 61) -> Cells:
        rng = np.random.default_rng(0)
        experts = rng.random((positions, layers, EXPERTS)).argsort(-1)[..., :TOP_K]
        return cls(experts, rng.random(experts.shape).astype(np.float16))


def repeated(lines_of: Callable[[Any, int, int], str], cells: Cells) -> Iterator[str]:
    """The lines of one position after another; what does not depend on its number is made once."""
    layers = range(cells.experts.shape[1])
    rows = [
        [(experts.tolist(), weights.tolist()) for experts, weights in zip(*position, strict=True)]
        for position in zip(*cells, strict=True)
    ]
    made = [[lines_of(row[layer], -1, layer) for layer in layers] for row in rows]
    for position in count():
        yield "".join(made[position % len(made)]).replace("-1", str(position))


def warp(cells: Cells) -> Iterator[str]:
    made = [json.dumps(position.tolist()) for position in cells.experts]
    return (f'{{"tok": {position}, "layers": {made[position % len(made)]}}}\n' for position in count())


def moevm(cells: Cells) -> Iterator[str]:
    return repeated(
        lambda row, position, layer: (
            json.dumps(
                {"token": position, "layer": layer, "experts": row[0], "scores": row[1], "phase": "decode"}
            )
            + "\n"
        ),
        cells,
    )


def vllm(cells: Cells) -> Iterator[str]:
    yield json.dumps({"type": "meta", "model_id": "made-up", "num_experts": EXPERTS, "top_k": TOP_K}) + "\n"
    yield from repeated(
        lambda row, position, layer: (
            json.dumps(
                {
                    "type": "route",
                    "token_idx": position,
                    "layer": layer,
                    "topk_ids": row[0],
                    "topk_weights": row[1],
                }
            )
            + "\n"
        ),
        cells,
    )


def policylang(cells: Cells) -> Iterator[str]:
    yield json.dumps({"model_name": "made-up", "num_layers": cells.experts.shape[1], "num_experts": EXPERTS,
                      "top_k": TOP_K}) + "\n"  # fmt: skip
    yield from repeated(
        lambda row, position, layer: (
            json.dumps({"p": 0, "t": position, "l": layer, "e": row[0], "s": row[1]}) + "\n"
        ),
        cells,
    )


def route_csv(cells: Cells) -> Iterator[str]:
    yield f"# n_layer={cells.experts.shape[1]} n_expert={EXPERTS}\nturn,phase,step,layer,slot,expert,weight\n"
    yield from repeated(
        lambda row, position, layer: "".join(
            f"0,1,{position},{layer},{slot},{expert},{weight}\n"
            for slot, (expert, weight) in enumerate(zip(*row, strict=True))
        ),
        cells,
    )


def arrays(path: Path, cells: Cells, size: int) -> None:
    times = size // cells.experts.size + 1
    np.savez(path, routed_experts=np.tile(cells.experts.astype(np.uint8), (times, 1, 1)))


def parquet(path: Path, cells: Cells, size: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    positions, layers, top_k = cells.experts.shape
    times = size // (cells.experts.size * 8) + 1
    n = positions * times
    lists = [
        pa.FixedSizeListArray.from_arrays(pa.array(np.tile(values.reshape(-1), times), kind), top_k)
        for values, kind in ((cells.experts, pa.int32()), (cells.weights.astype(np.float32), pa.float32()))
    ]
    pq.write_table(
        pa.table({
            "prompt_id": pa.array(np.zeros(n * layers, np.int32)),
            "token_idx": pa.array(np.repeat(np.arange(n, dtype=np.int32), layers)),
            "layer_idx": pa.array(np.tile(np.arange(layers, dtype=np.int32), n)),
            "selected_experts": lists[0].cast(pa.list_(pa.int32())),
            "router_scores": lists[1].cast(pa.list_(pa.float32())),
        }),
        path,
    )  # fmt: skip


def lines(make: Callable[[Cells], Iterator[str]]) -> Callable[[Path, Cells, int], None]:
    def write(path: Path, cells: Cells, size: int) -> None:
        written, made = 0, make(cells)
        with path.open("w", encoding="ascii") as file:
            while written < size:
                block = "".join(islice(made, 64))
                file.write(block)
                written += len(block)

    return write


LOGS: dict[str, tuple[str, int, Callable[[Path, Cells, int], None]]] = {
    "warp-tokens": (".jsonl", LAYERS, lines(warp)),
    "moevm-rows": (".jsonl", LAYERS, lines(moevm)),
    "vllm-routes": (".jsonl", LAYERS, lines(vllm)),
    "vllm-routes, one layer": (".jsonl", 1, lines(vllm)),
    "policylang": (".jsonl", LAYERS, lines(policylang)),
    "policylang, parquet": (".parquet", LAYERS, parquet),
    "route-csv": (".csv", LAYERS, lines(route_csv)),
    "routed-experts": (".npz", LAYERS, arrays),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--mb", type=int, default=32, help="size of each log, in 10^6 bytes (default %(default)s)"
    )
    parser.add_argument("--formats", nargs="+", default=list(LOGS), choices=list(LOGS), metavar="NAME")
    parser.add_argument("--without-orjson", action="store_true")
    args = parser.parse_args()
    names = ("MB", "rows", "CPU s", "rows/s", "MB/s", "peak MiB", "files")
    print("{:24} {:>7} {:>11} {:>7} {:>9} {:>6} {:>9} {:>5}".format("log", *names))
    for name in args.formats:
        print(measure(name, args.mb * 10**6, args.without_orjson), flush=True)


def measure(name: str, size: int, without_orjson: bool = False) -> str:
    suffix, layers, write = LOGS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"log{suffix}")
        write(path, Cells.random(layers), size)
        which = "without" if without_orjson else "with"
        command = [sys.executable, "-c", IMPORT, str(path), folder, which]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        rows, seconds, peak, files = json.loads(run.stdout.splitlines()[-1])
        megabytes = path.stat().st_size / 1e6
    return (
        f"{name:24} {megabytes:7.1f} {rows:11,} {seconds:7.1f} {rows / seconds:9,.0f} "
        f"{megabytes / seconds:6.1f} {peak / 2**20:9.0f} {files:5}"
    )


if __name__ == "__main__":
    main()
