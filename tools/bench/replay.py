"""How fast a replay is: (step, layer) events a second, and a sweep of budgets and policies.
Seconds are the process's own, so that what else the machine does counts little.

python -m tools.bench.replay [--profile] [--trace FILE]

A made-up trace with locality, see tools/support/synthetic_trace.py, stands in where no file is given.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
from time import process_time

from moespac_nb.hardware.costs import Costs
from moespac_nb.policies import POLICIES
from moespac_nb.simulation.replay import replay
from moespac_nb.trace.locality import expert_usage
from moespac_nb.trace.step import MoEShape
from moespac_nb.trace.trace import Trace
from tools.support.synthetic_trace import made_up

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
    planning_s=1e-3,
)


def timed(trace: Trace, names: list[str], budgets: list[str], timeline: bool = True) -> None:
    profile = expert_usage(trace)
    start = process_time()
    replay(trace, "cpu-only", budgets[0], costs=COSTS)
    print(f"  events worked out once: {process_time() - start:.3f} s, a replay of cpu-only included")
    passes, whole_s = 0, 0.0
    for name in names:
        start, windows, tps = process_time(), 0, []
        for budget in budgets:
            result = replay(trace, name, budget, costs=COSTS, expert_usage=profile, timeline=timeline)
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
    large = made_up(MoEShape(48, 128, 8), 8, options.steps)
    timed(large, everyone, ["17%"])

    small = Trace.load(options.trace)[:64] if options.trace else made_up(MoEShape(8, 64, 4), 8, 64)
    print(f"20 budgets × 3 policies, {small.geometry}, {len(small)} steps, no timelines kept:")
    budgets = [f"{share}%" for share in range(5, 101, 5)]
    swept = [name for name in ("on-demand", "recency", "spac-joint") if name in POLICIES]
    timed(small, swept, budgets, timeline=False)

    if options.profile:
        for name in ("spac-joint", "recency"):
            if name in POLICIES:
                with cProfile.Profile() as profiler:
                    replay(large, name, "17%", costs=COSTS)
                pstats.Stats(profiler).sort_stats("tottime").print_stats(18)


if __name__ == "__main__":
    main()
