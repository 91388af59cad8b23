"""How fast a replay is: (step, layer) events a second, and a sweep of budgets and policies.
Seconds are the process's own, so that what else the machine does counts little.

python tools/bench_replay.py [--profile] [--trace FILE]

A made-up trace with locality stands in where no file is given: experts have lasting popularity, topics change
every few windows, and a position keeps some of the experts of the one before it.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
from time import process_time

import numpy as np

from moespac_nb.costs import Costs
from moespac_nb.policies import POLICIES
from moespac_nb.replay import profile_of, replay
from moespac_nb.step import Geometry, Prefill, Step, Top
from moespac_nb.trace import Text, Trace

# About Qwen3-30B-A3B in 16 bits on an RTX 4090 beside a desktop CPU; only the ratios matter here.
COSTS = Costs(
    expert_bytes=9_437_184,
    expert_flops=2 * 3 * 2048 * 768,
    copy_alpha_s=20e-6,
    link_bytes_per_s=25e9,
    gpu_bytes_per_s=900e9,
    gpu_flops_per_s=80e12,
    cpu_bytes_per_s=50e9,
    cpu_flops_per_s=500e9,
    dense_s=60e-6,
    dense_position_s=1e-6,
    head_s=0.5e-3,
    draft_s=2e-3,
    draft_prefill_s=20e-6,
    plan_s=1e-3,
)


def made_up(geometry: Geometry, gamma: int, steps: int, seed: int = 0, prompt: int = 64) -> Trace:
    """A trace of one text, with routing that has locality; its tokens mean nothing."""
    rng = np.random.default_rng(seed)
    layers, experts, k = geometry.layers, geometry.experts, geometry.top_k
    lasting = rng.gumbel(size=(layers, experts))

    def routed(positions: int, topic: np.ndarray) -> np.ndarray:
        chosen = np.empty((positions, layers, k), np.int16)
        last = np.zeros((layers, experts))
        for position in range(positions):
            scores = lasting + 1.5 * topic + 1.5 * last + rng.gumbel(size=(layers, experts))
            chosen[position] = np.argpartition(-scores, k, axis=1)[:, :k]
            last = np.zeros((layers, experts))
            np.put_along_axis(last, chosen[position].astype(np.int64), 1.0, axis=1)
        return chosen

    made, position, topic = [], prompt - 1, rng.gumbel(size=(layers, experts))
    for index in range(steps):
        if index % 12 == 0:
            topic = rng.gumbel(size=(layers, experts))
        accepted = int(rng.binomial(gamma, 0.6))
        seen = routed(gamma + 1, topic)
        window = rng.integers(0, 99, gamma + 1)
        targets = rng.integers(0, 99, gamma + 1)
        targets[:accepted] = window[1 : accepted + 1]
        ones = np.ones(gamma, np.float32)
        top = [Top(np.zeros((n, 1), np.int64), np.ones((n, 1), np.float32)) for n in (gamma, gamma + 1)]
        if made:
            window[0] = made[-1].emitted[-1]
        step = Step(
            index, position, window, ones, ones, None, targets, accepted, targets[: accepted + 1], seen,
            np.ones(seen.shape, np.float32), experts, *top, draft_ms=1.0, verify_ms=1.0,
        )  # fmt: skip
        made.append(step)
        position += accepted + 1
    ids = np.append(rng.integers(0, 99, prompt - 1), 0)[: prompt - 1]
    seen = routed(prompt - 1, topic)
    text = Text(
        target="made up", draft="made up", mode="greedy", temperature=None, top_k=None, top_p=None,
        gamma=str(gamma), fan=None, seed=seed, stop_ids=(), prompt_id=None, prompt=None, text=None,
        finish_reason="length", versions={},
    )  # fmt: skip
    return Trace.of(text, geometry, 99, Prefill(ids, seen, np.ones(seen.shape, np.float32), 1.0), made)


def timed(trace: Trace, names: list[str], budgets: list[str], gamma: int | None = None) -> None:
    profile = profile_of(trace)
    start = process_time()
    replay(trace, "cpu-only", budgets[0], costs=COSTS, gamma=gamma)
    print(f"  events worked out once: {process_time() - start:.3f} s, a replay of cpu-only included")
    passes, whole_s = 0, 0.0
    for name in names:
        start, windows, tps = process_time(), 0, []
        for budget in budgets:
            result = replay(trace, name, budget, costs=COSTS, gamma=gamma, profile=profile)
            windows += result.windows
            tps.append(result.tps_modelled)
        seconds, events = process_time() - start, windows * trace.geometry.layers
        passes, whole_s = passes + events, whole_s + seconds
        print(
            f"  {name:20s} {events / seconds:8.0f} events/s, {1e6 * seconds / events:6.1f} µs each; "
            f"modelled TPS {min(tps):.2f} to {max(tps):.2f}"
        )
    print(f"  together             {passes / whole_s:8.0f} events/s; {whole_s:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--profile", action="store_true", help="where the time goes, for the large geometry")
    parser.add_argument("--trace", help="a recorded trace for the sweep, its first 64 steps")
    parser.add_argument("--steps", type=int, default=64)
    options = parser.parse_args()
    everyone = list(POLICIES)

    print(f"48 layers × 128 experts, top 8, γ = 8, {options.steps} steps, budget 17 %:")
    large = made_up(Geometry(48, 128, 8), 8, options.steps)
    timed(large, everyone, ["17%"])

    small = Trace.load(options.trace)[:64] if options.trace else made_up(Geometry(8, 64, 4), 8, 64)
    print(f"20 budgets × 3 policies, {small.geometry}, {len(small)} steps:")
    budgets = [f"{share}%" for share in range(5, 101, 5)]
    swept = [name for name in ("on-demand", "recency", "spac-joint") if name in POLICIES]
    timed(small, swept, budgets)

    if options.profile:
        for name in ("spac-joint", "recency"):
            if name in POLICIES:
                with cProfile.Profile() as profiler:
                    replay(large, name, "17%", costs=COSTS)
                pstats.Stats(profiler).sort_stats("tottime").print_stats(18)


if __name__ == "__main__":
    main()
