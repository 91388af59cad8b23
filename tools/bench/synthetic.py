"""Time to generate synthetic traces.

python -m tools.bench.synthetic [--tokens N] [--repeats N]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from moespac_nb.datasets.synthetic import list_synthetic, synthetic_trace


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tokens", type=int, default=500, help="decoded tokens of one text (default 500)")
    parser.add_argument("--repeats", type=int, default=5, help="with other seeds each (default 5)")
    options = parser.parse_args()
    for synthetic in list_synthetic():
        times = []
        for seed in range(options.repeats + 1):
            start = time.process_time()
            trace = synthetic_trace(synthetic.model, tokens=options.tokens, texts=1, seed=seed)
            times.append(time.process_time() - start)
        first, rest = times[0], times[1:]
        shape = trace.geometry
        print(
            f"{synthetic}: {options.tokens} tokens of {shape.layers} × {shape.experts}, top {shape.top_k}: "
            f"first {first:.2f} s, then {np.median(rest):.2f} s of processor time (median of {len(rest)})"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
