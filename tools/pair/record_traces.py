"""Record the bundled traces: every domain, greedy and at T = 0.8, plain and dense, into data/traces.

    python -m tools.pair.record_traces --jobs 2

One file for each; each holds the first prompts of both halves. Stopped, it goes on where it was: a file that
the same command made with the same pair stays. The same command makes the same bytes.

Plain recordings draft γ = 8, as the paper does. Dense traces have a γ_max of 8 too:
any γ up to the paper's can be replayed, with two thirds of the positions of a γ_max of 12. Both hold both
sensor channels, and of the 2k experts that a channel names the first k, as many as a sensor counts.

Router scores are in the plain recordings of one domain only, as an example. Nothing in the course or the
engine reads them, and they are a third of a recording; `moespac record --scores` makes more.

Some numbers are rounded, so that they pack well: gate weights to 2^-8, scores to 2^-4 (which experts, and in
which order, is exact), the probabilities of alternatives to 2^-12. The drafted tokens' own probabilities and
uniforms, which decide what is accepted, are exact. Times are left out: a shared machine's say nothing.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from moespac_nb import DOMAINS, MoespacError, Sampling, Trace, load_pair, load_prompts, record
from moespac_nb.datasets.files import data_root, read_manifest
from moespac_nb.datasets.traces import FOLDER, MODES, Bundled
from moespac_nb.trace.editing import concatenate
from tools.pair.manifest import write_manifest

ROOT = Path(__file__).resolve().parents[2]

DATA = ROOT / "data"
GAMMA = DENSE = 8
SAMPLINGS = {"greedy": Sampling(), "sample": Sampling("sample", temperature=0.8)}
SENSORS = ("draft-gates", "next-gate")
SCORED = "math"
BITS = {
    "gate_weights": 8, "prompt_gate_weights": 8, "scores": 4, "target_top_probs": 12, "draft_top_probs": 12
}  # fmt: skip
TIMES = ("prefill_ms", "draft_ms", "verify_ms")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=8, help="of each half (default %(default)s)")
    parser.add_argument("--tokens", type=int, default=64, help="at most, for each (default %(default)s)")
    parser.add_argument("--domains", nargs="+", choices=DOMAINS, default=DOMAINS)
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--out", type=Path, default=DATA / FOLDER, help="(default: data/traces)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    start = perf_counter()
    wanted = [
        Bundled(domain, mode, dense) for domain in args.domains for mode in MODES for dense in (False, True)
    ]
    total = 0
    # A pool of spawned processes, as one that was forked would share torch's threads.
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        runs = [pool.submit(make, one, args.out, args.prompts, args.tokens) for one in wanted]
        for one, run in zip(wanted, runs, strict=True):
            seconds, said = run.result()
            size = (args.out / one.name).stat().st_size
            total += size
            print(f"{one.name:28} {size:10,} bytes  {seconds:6.1f} s  {said}", flush=True)
    print(f"{len(wanted)} files, {total:,} bytes, {perf_counter() - start:.0f} s")
    if args.out.resolve() == (DATA / FOLDER).resolve():
        print(write_manifest(DATA))


def make(one: Bundled, folder: Path, count: int, tokens: int) -> tuple[float, str]:
    """Write a file unless it is there; the seconds it took, and what is in it."""
    start = perf_counter()
    path, made_by = folder / one.name, provenance(count, tokens)
    trace = made_before(path, made_by)
    if trace is None:
        parts = [
            recorded(one, number, tokens)
            for half in ("tune", "report")
            for number in numbers(one.domain, half)[:count]
        ]
        whole = concatenate(parts)
        texts = tuple(replace(text, versions={**text.versions, **made_by}) for text in whole.texts)
        trace = packable(replace(whole, texts=texts))
        trace.save(path)
    said = f"{len(trace.texts)} texts, {len(trace.committed_ids)} tokens, {len(trace.window)} positions"
    return perf_counter() - start, said


def provenance(count: int, tokens: int) -> dict[str, str]:
    """What decides the bytes of a file, beside the versions that every trace names."""
    files = read_manifest(data_root())
    weights = {name: str(files[f"pair/{name}.safetensors"]["sha256"]) for name in ("target", "draft")}
    return {
        "made by": f"tools/pair/record_traces.py --prompts {count} --tokens {tokens}",
        "rounded to 2^-n": ", ".join(f"{name} {bits}" for name, bits in BITS.items()),
        **{f"{name} sha256": digest for name, digest in weights.items()},
    }


def made_before(path: Path, made_by: dict[str, str]) -> Trace | None:
    try:
        trace = Trace.load(path)
    except MoespacError:
        return None
    return trace if all(made_by.items() <= text.versions.items() for text in trace.texts) else None


def numbers(domain: str, half: Any) -> list[int]:
    """Which of the domain's prompts are in the half."""
    return [number for number, prompt in enumerate(load_prompts(domain)) if prompt.half == half]


def recorded(one: Bundled, number: int, tokens: int) -> Trace:
    target, draft = pair()
    return record(
        target,
        load_prompts(one.domain)[number].prompt,
        draft=draft,
        gamma=GAMMA,
        dense=DENSE if one.dense else None,
        sampling=SAMPLINGS[one.mode],
        scores=one.domain == SCORED and not one.dense,
        channels=SENSORS,
        seed=number,
        max_new_tokens=tokens,
        prompt_id=f"{one.domain}/{number}",
    )


@cache
def pair() -> tuple[Any, Any]:
    torch.set_num_threads(1)  # so small a model gains nothing from more
    return load_pair()


def packable(trace: Trace) -> Trace:
    """The same rounded, without times, and with as many experts a channel names as a router takes."""
    rounded = {
        name: np.ldexp(np.rint(np.ldexp(array, BITS[name])), -BITS[name])
        for name, array in trace.columns.items()
        if name in BITS
    }
    untimed = {name: np.full_like(getattr(trace, name), np.nan) for name in TIMES}
    sensors = {
        name: replace(sensor, values=sensor.values[..., : trace.geometry.top_k])
        for name, sensor in trace.channels.items()
    }
    changed: dict[str, Any] = rounded | untimed
    return replace(trace, channels=sensors, **changed)


if __name__ == "__main__":
    main()
