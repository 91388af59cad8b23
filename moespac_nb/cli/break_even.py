"""`moespac break-even`: how often a prefetch must be right to pay for itself."""

from __future__ import annotations

import math

from ..utils.defaults import MACHINE, MODEL
from .output import print_json, print_table

__all__ = ["break_even"]

HIDDEN_SHARES = 0.0, 0.25, 0.5, 0.75, 0.9, 1.0
MISSES = {"cpu": "CPU lane", "load": "copied, waited for"}


def break_even(
    machine: str = MACHINE,
    model: str = MODEL,
    positions: int = 1,
    shared_bus: bool = False,
    json: bool = False,
) -> int:
    """Show how often a prefetch must be right to pay.

    Modelled. A lower bound: what is evicted for a prefetch may be missed, and that is not counted.

        moespac break-even --machine rtx4090 --positions 4
        moespac break-even --shared-bus --json
    """
    from ..hardware.break_even import break_even_precision
    from ..hardware.costs import cost_model

    costs = cost_model(machine, model, shared_bus=shared_bus)
    precisions = {
        miss: [
            float(break_even_precision(costs, share, positions=positions, miss=miss))  # type: ignore[arg-type]
            for share in HIDDEN_SHARES
        ]
        for miss in MISSES
    }
    if json:
        print_json(
            {
                "machine": machine, "model": model, "positions": positions, "shared_bus": shared_bus,
                "copy_s": costs.copy_s(), "gpu_s": costs.gpu_s(positions), "cpu_s": costs.cpu_s(positions),
                "hidden_share": list(HIDDEN_SHARES),
                "precision": {
                    miss: [share if math.isfinite(share) else None for share in shares]
                    for miss, shares in precisions.items()
                },
            }
        )  # fmt: skip
        return 0
    print(
        f"{model} on {machine}, modelled{', bus shared' if shared_bus else ''}; an expert that serves "
        f"{positions} position{'s' if positions > 1 else ''} takes {1e3 * costs.gpu_s(positions):.3g} ms in "
        f"a slot, {1e3 * costs.cpu_s(positions):.3g} on the CPU lane, {1e3 * costs.copy_s():.3g} to copy"
    )
    columns = "a miss is", *(f"{share:.0%} hidden" for share in HIDDEN_SHARES)
    rows = [(MISSES[miss], *map(_in_words, shares)) for miss, shares in precisions.items()]
    print_table(columns, rows)
    return 0


def _in_words(precision: float) -> str:
    return f"{precision:.0%}" if precision <= 1 else "never"
