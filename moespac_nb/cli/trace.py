"""`moespac record`: a prompt, decoded into a trace file. `moespac trace`: what is in one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.exceptions import MoespacError
from .decode import decoding_arguments, prompt_of, sampling_of
from .model_options import draft_of, models_of
from .output import check_file, print_json

if TYPE_CHECKING:
    from ..trace.trace import Trace


def record_arguments(parser: argparse.ArgumentParser) -> None:
    decoding_arguments(parser)
    parser.add_argument(
        "--dense", type=int, metavar="G", help="draft G tokens at every position, for any γ up to G"
    )
    parser.add_argument("--scores", action="store_true", help="record the routers' scores too")
    parser.add_argument(
        "--sensors", default="", metavar="NAMES", help="and what they see: draft-gates,next-gate"
    )
    parser.add_argument("--redact", action="store_true", help="leave the prompt out of the file")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the trace to write, an .npz file"
    )


def record(options: argparse.Namespace) -> int:
    """Decode, write the file, and say what is in it; interrupted, it writes nothing."""
    from ..trace.editing import redact

    check_file("--out", options.out)
    trace = recorded(options)
    if options.redact:
        trace = redact(trace)
    trace.save(options.out)
    _print(trace, options.out, options.json)
    return 0


def recorded(options: argparse.Namespace) -> Trace:
    """What was asked for, decoded to its end."""
    from ..decoder.recording import record

    sampling, prompt, _ = sampling_of(options), prompt_of(options), draft_of(options)
    target, draft = models_of(options)
    return record(
        target,
        prompt,
        draft=draft,
        gamma=options.gamma,
        dense=options.dense,
        sampling=sampling,
        scores=options.scores,
        channels=[name for name in options.sensors.split(",") if name],
        seed=options.seed,
        max_new_tokens=options.max_new_tokens,
        stop_strings=options.stop,
        prompt_id=None if options.domain is None else f"{options.domain}/{options.number}",
    )


def trace_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", metavar="FILE|DOMAIN", help="a file that `moespac record --out` wrote, or what is bundled"
    )
    parser.add_argument("--mode", help="of a domain: greedy or sample (default: both)")
    parser.add_argument("--kind", help="of a domain: plain or dense (default: both)")
    parser.add_argument("--half", help="of a domain: tune or report (default: both)")


def trace(options: argparse.Namespace) -> int:
    from ..datasets.prompts import DOMAINS
    from ..trace.trace import Trace

    path = Path(options.what)
    if options.what in DOMAINS and not path.exists():
        return _show_domain(options)
    if given := [name for name in ("mode", "kind", "half") if getattr(options, name) is not None]:
        raise MoespacError(f"--{given[0]} was given with a file; expected: with one of {', '.join(DOMAINS)}")
    _print(Trace.load(path), path, options.json)
    return 0


def _show_domain(options: argparse.Namespace) -> int:
    """Every bundled trace of the domain, or those that were asked for."""
    from ..datasets.traces import MODES, Bundled, list_traces, load_trace

    modes, kinds = ((given,) if given else None for given in (options.mode, options.kind))
    there = [(one.mode, "dense" if one.dense else "plain") for one in list_traces(options.what)]
    wanted = [(mode, kind) for mode in modes or MODES for kind in kinds or ("plain", "dense")]
    shown = [pair for pair in wanted if pair in there] or wanted  # none there: the first says so
    figures = [
        describe(
            load_trace(options.what, mode, dense=kind == "dense", half=options.half),
            Bundled(options.what, mode, kind == "dense").path,
        )
        for mode, kind in shown
    ]
    if options.json:
        print_json({"domain": options.what, "traces": figures})
    else:
        print("\n\n".join(map(_in_words, figures)))
    return 0


def _print(trace: Trace, path: Path, as_json: bool) -> None:
    figures = describe(trace, path)
    if as_json:
        print_json(figures)
    else:
        print(_in_words(figures))


def describe(trace: Trace, path: Path) -> dict[str, Any]:
    """What is in a trace and how local it is, as plain values."""
    from dataclasses import asdict

    from ..trace.locality import locality

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
        "channels": {name: channel.rows for name, channel in trace.channels.items()},
        "locality": locality(trace),
    }


def _in_words(figures: dict[str, Any]) -> str:
    geometry, local = figures["geometry"], figures["locality"]
    lines = [f"{figures['file']}: {figures['file_bytes']:,} bytes"]
    texts = figures["texts"]
    lines += [_text_in_words(text) for text in texts[:1]]
    if len(texts) > 1:
        prompts = ", ".join(str(text["prompt_id"]) for text in texts[1:])
        lines.append(f"           and {len(texts) - 1} more texts, of the prompts {prompts}")
    lines += [
        f"experts    {geometry['layers']} layers of {geometry['experts']}, {geometry['top_k']} a token",
        f"recorded   {figures['steps']} steps, {figures['committed_tokens']} committed, "
        f"{figures['drafted_tokens']} drafted, {figures['verified_positions']} verified positions",
        f"beside     router scores: {'yes' if figures['router_scores'] else 'no'}; "
        f"channels: {', '.join(figures['channels']) or 'none'}",
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
    kind = (
        f"γ = {text['gamma']}" if text["gamma_max"] is None else f"a dense trace of γ ≤ {text['gamma_max']}"
    )
    mode = text["mode"] if text["mode"] == "greedy" else f"sampled at T = {text['temperature']}"
    mode += "".join(
        f", {name} = {text[name]}" for name in ("top_k", "top_p", "min_p") if text[name] is not None
    )
    if text["processors"]:
        mode += f", logits through {', '.join(text['processors'])}"
    prompt = "redacted" if text["redacted"] else text["prompt_id"] or "an own one"
    return (
        f"text       {text['target']}, draft {text['draft'] or 'none'}; {mode}, {kind}, seed {text['seed']}; "
        f"prompt {prompt}, {text['prompt_tokens']} tokens; ended by {text['finish_reason'] or 'interrupt'}"
    )
