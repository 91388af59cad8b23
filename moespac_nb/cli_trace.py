"""`moespac record`: a prompt, decoded into a trace file. `moespac trace`: what is in one."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_decode import decoding_arguments, models_of, prompt_of, sampling_of
from .errors import MoespacError

if TYPE_CHECKING:
    from .trace import Trace


def record_arguments(parser: argparse.ArgumentParser) -> None:
    decoding_arguments(parser)
    parser.add_argument(
        "--fan", type=int, metavar="G", help="draft G tokens at every position, for any γ up to G"
    )
    parser.add_argument("--redact", action="store_true", help="leave the prompt out of the file")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the trace to write, an .npz file"
    )


def record(options: argparse.Namespace) -> int:
    """Decode, write the file, and say what is in it; interrupted, it writes nothing."""
    from .recording import record as recorded

    if not options.out.parent.is_dir():
        raise MoespacError(f"--out is {str(options.out)!r}; accepted: a file in a folder that is there")
    sampling, prompt = sampling_of(options), prompt_of(options)
    target, draft = models_of(options)
    trace = recorded(
        target,
        prompt,
        draft=draft,
        gamma=options.gamma,
        fan=options.fan,
        sampling=sampling,
        seed=options.seed,
        max_new_tokens=options.max_new_tokens,
        prompt_id=None if options.domain is None else f"{options.domain}/{options.number}",
    )
    if options.redact:
        trace = trace.redacted()
    trace.save(options.out)
    _print(trace, options.out, options.json)
    return 0


def trace_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("show",), help="print what is in it and its locality figures")
    parser.add_argument("file", metavar="FILE", help="a file that `moespac record --out` wrote")


def trace(options: argparse.Namespace) -> int:
    from .prompts import DOMAINS
    from .trace import Trace

    path = Path(options.file)
    if options.file in DOMAINS and not path.exists():
        raise MoespacError(
            f"{options.file} is a domain, and no trace is bundled with this version; accepted: a file, "
            f"which this makes: moespac record --domain {options.file} --out {options.file}.npz"
        )
    _print(Trace.load(path), path, options.json)
    return 0


def _print(trace: Trace, path: Path, as_json: bool) -> None:
    figures = describe(trace, path)
    print(json.dumps(figures, ensure_ascii=False, indent=2) if as_json else _in_words(figures))


def describe(trace: Trace, path: Path) -> dict[str, Any]:
    """What is in a trace and how local it is, as plain values."""
    from dataclasses import asdict

    from .locality import locality

    return {
        "file": str(path),
        "file_bytes": path.stat().st_size,
        "geometry": asdict(trace.geometry),
        "vocabulary": trace.vocabulary,
        "texts": [
            {
                **asdict(text),
                "steps": int(trace.text_steps[i]),
                "prompt_tokens": int(trace.text_prompt[i]) + 1,
            }
            for i, text in enumerate(trace.texts)
        ],
        "steps": len(trace),
        "committed_tokens": len(trace.committed_ids),
        "drafted_tokens": len(trace.draft_probs),
        "verified_positions": len(trace.window),
        "router_scores": trace.scores is not None,
        "sensors": {name: sensor.rows for name, sensor in trace.sensors.items()},
        "locality": locality(trace),
    }


def _in_words(figures: dict[str, Any]) -> str:
    geometry, local = figures["geometry"], figures["locality"]
    lines = [f"{figures['file']}: {figures['file_bytes']:,} bytes"]
    lines += [_text_in_words(text) for text in figures["texts"]]
    lines += [
        f"experts    {geometry['layers']} layers of {geometry['experts']}, {geometry['top_k']} a token",
        f"recorded   {figures['steps']} steps, {figures['committed_tokens']} committed, "
        f"{figures['drafted_tokens']} drafted, {figures['verified_positions']} verified positions",
        f"beside     router scores: {'yes' if figures['router_scores'] else 'no'}; "
        f"sensors: {', '.join(figures['sensors']) or 'none'}",
    ]
    if local["acceptance_rate"] is not None:
        each = " ".join(f"{rate:.2f}" for rate in local["acceptance_by_offset"])
        lines.append(
            f"accepted   {local['acceptance_rate']:.0%} of drafted tokens; 1st, 2nd, … of a window: {each}"
        )
    if local["overlap"] is not None:
        lines.append(
            f"overlap    {local['overlap']:.0%} of a committed token's experts serve the next one too; "
            f"shuffled {local['overlap_shuffled']:.0%}"
        )
    if local["distinct_experts_by_gamma"]:
        each = " ".join(f"{mean:.1f}" for mean in local["distinct_experts_by_gamma"])
        lines.append(f"a window   asks for so many experts a layer, γ = 0, 1, …: {each}")
    return "\n".join(lines)


def _text_in_words(text: dict[str, Any]) -> str:
    kind = f"γ = {text['gamma']}" if text["fan"] is None else f"a fan of γ ≤ {text['fan']}"
    mode = text["mode"] if text["mode"] == "greedy" else f"sampled at T = {text['temperature']}"
    prompt = "redacted" if text["redacted"] else text["prompt_id"] or "an own one"
    return (
        f"text       {text['target']}, draft {text['draft'] or 'none'}; {mode}, {kind}, seed {text['seed']}; "
        f"prompt {prompt}, {text['prompt_tokens']} tokens; ended by {text['finish_reason'] or 'interrupt'}"
    )
