"""How fast is the balancer, and how far is its fast path from the optimum that PuLP proves?

    python -m tools.bench.balancer                              # made-up routing, 48 layers × 128 experts
    python -m tools.bench.balancer --trace a.npz b.npz --json   # recorded routing, of the traces' geometry
    python -m tools.bench.balancer --trace a.npz b.npz --tile   # the same, side by side up to 48 × 128

It prints and writes nothing. An instance is what a scheduler would ask before a window: the utility that a
rule made of the windows before, demand as learned from them, and the residents that earlier thresholds left,
followed through the routing of its source, for several rules, at several budgets and on several machines.
Both ways are asked about the same table; the fast path's time is the lesser of two runs in a row, so that the
solver's own footprint in the caches is not charged to it. The machines' numbers are rough: they only spread
the instances.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from itertools import pairwise, product
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

import numpy as np

from moespac_nb.balancer import Joint, LaneTimes, LevelRates, candidates, solve
from moespac_nb.estimator.utility import make_estimator
from moespac_nb.trace.trace import Trace

ROOT = Path(__file__).resolve().parents[2]

EXPERT_BYTES = 9.44e6  # Qwen3-30B-A3B in bf16
# Link, host memory, device memory in GB/s, CPU lane in Gflop/s: PCIe 4 × 16, PCIe 4 × 8, PCIe 5 × 16.
MACHINES = {
    "desktop": (25.2, 53.8, 1008, 400),
    "laptop": (11.8, 47.5, 256, 300),
    "server": (50, 77.3, 3350, 900),
}
BUDGETS = (0.10, 0.17, 0.25, 0.50)
RULES = {"level": {"up": 2, "down": 1}, "ema": {}, "last-count": {}}
LEVELS, GAMMA = 5, 8


class Instance(NamedTuple):
    source: str
    rule: str
    machine: str
    budget: float
    arguments: tuple[Any, ...]  # of `candidates`


def lane_times(machine: str) -> LaneTimes:
    link, host, device, gflops = MACHINES[machine]
    return LaneTimes(
        gpu_expert_s=EXPERT_BYTES / (device * 1e9),
        cpu_expert_s=EXPERT_BYTES / (host * 1e9),
        cpu_pair_s=EXPERT_BYTES / (gflops * 1e9),  # two flops a weight of two bytes
        copy_s=20e-6 + EXPERT_BYTES / (link * 1e9),
        draft_window_s=GAMMA * 4e-3,
        dense_s=40e6 / (device * 1e9),
    )


def made_up(
    rng: np.random.Generator, windows: int, layers: int = 48, experts: int = 128, k: int = 8
) -> np.ndarray:
    """Counts (windows, layers, experts): demand like Zipf's, each layer its own, turning over slowly."""
    taste = -rng.uniform(0.6, 1.2) * np.log(np.arange(1, experts + 1))
    logits = np.stack([rng.permutation(taste) for _ in range(layers)])
    counts = np.zeros((windows, layers, experts), np.int32)
    for window in counts:
        logits = 0.97 * logits + 0.25 * rng.standard_normal(logits.shape)
        for _ in range(GAMMA + 1):
            chosen = np.argpartition(-(logits + rng.gumbel(size=logits.shape)), k, axis=1)[:, :k]
            window[np.arange(layers)[:, None], chosen] += 1
    return counts


def recorded(files: list[Path], tile: bool) -> Iterator[tuple[str, np.ndarray]]:
    """The windows' counts of each trace; tiled, those of all traces side by side as one 48 × 128 model."""
    counts = {file.stem: Trace.load(file).counts for file in files}
    if not tile:
        yield from counts.items()
        return
    shape = next(iter(counts.values())).shape
    across, down = -(-128 // shape[2]), -(-48 // shape[1])
    streams = list(counts.values())
    windows = min(map(len, streams))
    for turn in range(len(streams)):
        blocks = [
            [streams[(turn + i * across + j) % len(streams)][:windows] for j in range(across)]
            for i in range(down)
        ]
        rows = [np.concatenate(row, axis=2) for row in blocks]
        yield f"tiled {turn}", np.concatenate(rows, axis=1)[:, :48, :128]


def instances(source: str, counts: np.ndarray, rule: str, machine: str, budget: float) -> Iterator[Instance]:
    """One before each window but the first, following the fast path's thresholds from window to window."""
    _, layers, experts = counts.shape
    slots = max(1, int(budget * layers * experts))
    times, rates = lane_times(machine), LevelRates(layers, LEVELS)
    utilities = make_estimator(rule, layers, experts, K=LEVELS, gamma=GAMMA, **RULES[rule])
    resident = np.zeros((layers, experts), bool)
    for before, coming in pairwise(counts):
        utility = utilities.update(before).copy()
        demand = rates.demand(utility, float(coming.sum(axis=1).mean()))
        instance = Instance(source, rule, machine, budget, (utility, resident.copy(), slots, times, demand))
        yield instance
        joint = Joint(candidates(*instance.arguments))
        found = solve(joint, "lagrangian")
        copies = int((times.draft_window_s + found.objective_s + layers * times.dense_s) / times.copy_s)
        after_loads(resident, utility, found.tau, slots, copies)
        rates.observe(utility, coming)


def after_loads(resident: np.ndarray, utility: np.ndarray, tau: np.ndarray, slots: int, copies: int) -> None:
    """Load the hot by utility, as many as the link brings, into free slots and over the coldest residents."""
    wanted = np.flatnonzero((utility >= tau[:, None]) & ~resident)
    wanted = wanted[np.argsort(-utility.flat[wanted], kind="stable")][:copies]
    resident.flat[wanted] = True
    held = np.flatnonzero(resident)
    score = utility.flat[held] + 0.5 * (utility >= tau[:, None]).flat[held]
    excess = max(0, held.size - slots)
    resident.flat[held[np.argsort(score, kind="stable")[:excess]]] = False


CLOCKS = {"wall": perf_counter, "cpu": process_time}


def measure(instance: Instance, time_limit_s: float, clock: Callable[[], float]) -> dict[str, Any]:
    def timed(call: Callable[[], Any]) -> tuple[float, Any]:
        start = clock()
        result = call()
        return clock() - start, result

    table_s, table = timed(lambda: candidates(*instance.arguments))
    joint = Joint(table)
    fast_s, fast = min((timed(lambda: solve(joint, "lagrangian")) for _ in range(2)), key=lambda run: run[0])
    pulp_s, exact = timed(lambda: solve(joint, "pulp", time_limit_s))
    assert fast.feasible == exact.feasible
    return {
        "rule": instance.rule,
        "machine": instance.machine,
        "budget": instance.budget,
        "table_ms": 1e3 * table_s,
        "fast_ms": 1e3 * fast_s,
        "pulp_ms": 1e3 * pulp_s,
        "feasible": exact.feasible,
        "proven": exact.optimal,
        "easy": fast.optimal,
        "binding": " and ".join(sorted({name.split()[0] for name in exact.binding})) or "nothing",
        "gap_percent": 100 * (fast.objective_s / exact.objective_s - 1) if exact.optimal else None,
    }


def quartiles(records: list[dict[str, Any]], name: str) -> dict[str, float]:
    values = [record[name] for record in records if record[name] is not None]
    if not values:
        return {}
    points = np.percentile(values, [0, 25, 50, 75, 95, 100])
    return dict(zip(("least", "q1", "median", "q3", "p95", "most"), points.round(4).tolist(), strict=True))


def summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    times = {name: quartiles(records, name) for name in ("table_ms", "fast_ms", "pulp_ms")}
    hard = [record for record in records if not record["easy"]]
    groups = sorted({record["binding"] for record in records})
    return {
        "instances": len(records),
        "infeasible": sum(not record["feasible"] for record in records),
        "stopped_by_the_limit": sum(record["feasible"] and not record["proven"] for record in records),
        "every_layer_has_its_best": len(records) - len(hard),
        **{f"{name}_measured": values for name, values in times.items()},
        "gap_percent": quartiles(records, "gap_percent"),
        "gap_percent_where_constraints_bind": quartiles(hard, "gap_percent"),
        "gap_percent_by_binding": {
            group: {"instances": len(of), **quartiles(of, "gap_percent")}
            for group in groups
            for of in [[record for record in records if record["binding"] == group]]
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trace", type=Path, nargs="+", metavar="FILE", help="recorded routing")
    parser.add_argument("--tile", action="store_true", help="put traces side by side up to 48 × 128")
    parser.add_argument("--instances", type=int, default=240, help="at most (default %(default)s)")
    parser.add_argument("--machine", nargs="+", choices=MACHINES, default=list(MACHINES))
    parser.add_argument(
        "--time-limit", type=float, default=2.0, help="of PuLP, seconds (default %(default)s)"
    )
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: this process's own time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    cells = list(product(RULES, options.machine, BUDGETS))
    if options.trace:
        sources = list(recorded(options.trace, options.tile))
    else:
        rng = np.random.default_rng(options.seed)
        sources = [(f"made up {i}", made_up(rng, 12)) for i in range(2)]
    shapes = sorted({counts.shape[1:] for _, counts in sources})
    total = len(cells) * sum(len(counts) - 1 for _, counts in sources)
    # Spread over cells, sources and windows alike, whatever the number.
    picked = set(np.linspace(0, total - 1, min(options.instances, total)).astype(int).tolist())
    every = (one for cell in cells for source, counts in sources for one in instances(source, counts, *cell))
    records = [
        measure(one, options.time_limit, CLOCKS[options.clock]) for i, one in enumerate(every) if i in picked
    ]
    result = {"layers_by_experts": shapes, "levels": LEVELS, "clock": options.clock, **summary(records)}
    print(json.dumps(result, indent=2, ensure_ascii=False) if options.json else in_words(result))


def in_words(result: dict[str, Any]) -> str:
    lines = []
    for name, value in result.items():
        if isinstance(value, dict) and "median" in value:
            value = ", ".join(f"{point} {number:g}" for point, number in value.items())
        elif isinstance(value, dict):
            value = "".join(f"\n  {group}: {of}" for group, of in value.items())
        lines.append(f"{name}: {value}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
