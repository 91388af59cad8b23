"""`moespac record`: a prompt, decoded into a trace file. `moespac trace`: what is in one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.defaults import GAMMA
from .decode_options import DecodeOptions
from .output import check_file, show, warned, working

if TYPE_CHECKING:
    from ..trace.trace import Trace

__all__ = ["describe", "record", "record_prompt", "trace"]


CACHE_SHARES = 0.08, 0.125, 0.17, 0.25, 0.5
CACHES = {"lru": "LRU", "belady": "the best possible, as if one knew"}


def record(
    how: DecodeOptions,
    out: Path,
    dense: int | None = None,
    scores: bool = False,
    channels: str = "",
    redact: bool = False,
    json: bool = False,
) -> int:
    """Decode one prompt into a trace file, and show what is in it.

    Nothing is written if the decode is interrupted.

        moespac record --domain chat --dense 8 --mode sample --out chat.npz
    """
    from ..trace.editing import redact as redacted

    check_file("--out", out, quiet=json)
    names = [name for name in channels.split(",") if name]
    trace = record_prompt(how, dense=dense, scores=scores, channels=names)
    if redact:
        trace = redacted(trace)
    trace.save(out)
    figures = describe(trace, out)
    show(_in_words(figures), figures, json)
    return 0


def record_prompt(how: DecodeOptions, **recorded: Any) -> Trace:
    """Decode the prompt to its end; recorded: what `decoder.record` keeps beside."""
    from ..decoder.recording import record

    sampling, prompt, _ = how.sampling(), how.text(), how.drafter()
    target, draft = how.models()
    with working("decoding"):
        return record(
            target,
            prompt,
            draft=draft,
            gamma=GAMMA if how.gamma is None else how.gamma,
            sampling=sampling,
            seed=how.seed,
            max_new_tokens=how.max_new_tokens,
            stop_strings=how.stop or None,
            prompt_id=None if how.domain is None else f"{how.domain}/{how.prompt_index}",
            **recorded,
        )


def trace(
    name: str,
    mode: str | None = None,
    dense: bool | None = None,
    half: str | None = None,
    hit_rates: bool = False,
    json: bool = False,
) -> int:
    """Show what a trace file, a domain or synthetic routing holds.

    moespac trace chat.npz --hit-rates

    moespac trace math --mode sample --dense

    moespac trace synthetic:gpt-oss-20b,tokens=500,texts=4,seed=1
    """
    from ..datasets.prompts import DOMAINS
    from ..datasets.traces import list_traces, load_trace
    from ..trace.locality import hit_curves

    of_domain = list_traces(name) if name in DOMAINS else ()
    chosen = [one for one in of_domain if mode in (None, one.mode) and dense in (None, one.dense)]
    if chosen:
        traces = [
            (load_trace(name, one.mode, dense=one.dense, half=half), one.path)  # type: ignore[arg-type]
            for one in chosen
        ]
    else:  # a file, or what is not bundled and is refused
        with warned(quiet=True):  # what an import warns of are the trace's notes
            traces = [(load_trace(name, mode, dense=dense, half=half), Path(name))]  # type: ignore[arg-type]
    figures = [describe(*one) for one in traces]
    if hit_rates:
        with working("replaying caches"):
            for one, (loaded, _) in zip(figures, traces, strict=True):
                one["hit_curves"] = hit_curves(loaded)
    document = {"domain": name, "traces": figures} if chosen else figures[0]
    show("\n\n".join(map(_in_words, figures)), document, json)
    return 0


def describe(trace: Trace, path: Path) -> dict[str, Any]:
    """Return what is in a trace and how local it is, as plain values."""
    from dataclasses import asdict

    from ..trace.locality import locality

    return {
        "file": str(path),
        "file_bytes": path.stat().st_size if path.exists() else None,  # None of what was generated
        "geometry": asdict(trace.geometry),
        "vocabulary": trace.vocabulary,
        "texts": [
            {
                **asdict(text),
                "steps": int(trace.text_steps[number]),
                "prompt_tokens": int(trace.text_prompt[number]) + 1,
            }
            for number, text in enumerate(trace.texts)
        ],
        "steps": len(trace),
        "committed_tokens": len(trace.committed_ids),
        "drafted_tokens": len(trace.draft_probs),
        "verified_positions": len(trace.window),
        "token_ids": trace.has_tokens,
        "gate_weights": trace.gate_weights is not None,
        "router_scores": trace.scores is not None,
        "channels": {name: channel.rows for name, channel in trace.channels.items()},
        "notes": list(trace.notes),
        "locality": locality(trace),
    }


def _in_words(figures: dict[str, Any]) -> str:
    geometry, local, texts = figures["geometry"], figures["locality"], figures["texts"]
    size = figures["file_bytes"]
    lines = [f"{figures['file']}: {'generated' if size is None else f'{size:,} bytes'}"]
    lines += [_text_in_words(text) for text in texts[:1]]
    if len(texts) > 1:
        prompts = [text["prompt_id"] for text in texts[1:] if text["prompt_id"] is not None]
        of_prompts = f", of the prompts {', '.join(prompts)}" if prompts else ""
        lines.append(f"           and {len(texts) - 1} more texts{of_prompts}")
    lines += [
        f"experts    {geometry['layers']} layers of {geometry['experts']}, {geometry['top_k']} a token",
        f"recorded   {figures['steps']} steps, {figures['committed_tokens']} committed, "
        f"{figures['drafted_tokens']} drafted, {figures['verified_positions']} verified positions",
        f"beside     router scores: {'yes' if figures['router_scores'] else 'no'}; "
        f"channels: {', '.join(figures['channels']) or 'none'}",
    ]
    lacking = [name.replace("_", " ") for name in ("token_ids", "gate_weights") if not figures[name]]
    if lacking:
        lines.append(f"lacking    {', '.join(lacking)}: the log that was imported has none")
    lines += [f"note       {note}" for note in figures["notes"]]
    if local["acceptance_rate"] is not None:
        rates = " ".join(f"{rate:.2f}" for rate in local["acceptance_by_offset"])
        lines.append(
            f"accepted   {local['acceptance_rate']:.0%} of drafted tokens; 1st, 2nd, … of a window: {rates}"
        )
    if local["overlap"] is not None:
        lines.append(
            f"overlap    {local['overlap']:.0%} of a committed token's experts serve the next one too; "
            f"shuffled {local['overlap_shuffled']:.0%}"
        )
        layers = local["overlap_by_layer"]
        low, high = min(layers), max(layers)
        where = f"layer {layers.index(low)} least, {low:.0%}; layer {layers.index(high)} most, {high:.0%}"
        lines.append(f"           {where}")
    if local["distinct_experts_in_a_row"]:
        means = " ".join(f"{mean:.1f}" for mean in local["distinct_experts_in_a_row"])
        lines.append(f"in a row   1, 2, … tokens use so many experts a layer: {means}")
    if local["acceptance_rate"] is not None:
        means = " ".join(f"{mean:.1f}" for mean in local["distinct_experts_by_gamma"])
        lines.append(f"a window   asks for so many experts a layer, γ = 0, 1, …: {means}")
    if curves := figures.get("hit_curves"):
        shares = " ".join(f"{100 * share:5.3g}%" for share in CACHE_SHARES)
        lines.append(f"hit rates  slots for so many of a layer's experts: {shares}")
        for name, about in CACHES.items():
            held = [max(1, round(share * geometry["experts"])) for share in CACHE_SHARES]
            rates = " ".join(f"{curves[name][slots]:6.0%}" for slots in held) if curves[name] else "none"
            lines.append(f"           {about:<39} {rates}")
    return "\n".join(lines)


def _text_in_words(text: dict[str, Any]) -> str:
    if text["imported"]:
        return (
            f"text       {text['target']}, imported from {text['imported']}; {text['steps']} steps without a "
            f"draft after {text['prompt_tokens'] - 1} prompt positions"
        )
    kind = (
        f"γ = {text['gamma']}" if text["gamma_max"] is None else f"a dense trace of γ ≤ {text['gamma_max']}"
    )
    if text["draft"] is None and text["mode"] != "greedy" and text["temperature"] is None:
        return (
            f"text       {text['target']}, routing alone: no draft; seed {text['seed']}; "
            f"{text['steps']} steps after {text['prompt_tokens'] - 1} prompt positions"
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
