"""What one token's experts are worth to the next: overlap, cache hits, experts of a window, loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from moespac_nb.trace.cache_bounds import belady_hits, lru_hits, one_hot
from moespac_nb.trace.editing import concatenate
from moespac_nb.trace.locality import (
    committed_experts,
    distinct_by_gamma,
    distinct_in_a_row,
    overlap_by_layer,
)
from moespac_nb.trace.step import MoEShape
from tools.pair.card.decodes import GAMMAS, MODES, Decodes
from tools.pair.card.markdown import paragraphs, prose, section, table
from tools.pair.card.streams import grouped, with_means

READ = "held-out text"  # beside the modes of decoding: what the target only reads
POLICIES = {"LRU": lru_hits, "Belady": belady_hits}
SHARES = (0.10, 0.17, 0.25, 0.50)  # of a layer's experts that a cache holds
NO_LIMIT = "room for all"
SHARE_OF_LOADS = 0.25
MOST_GAMMA = 12
Texts = Mapping[str, Mapping[str, Sequence[np.ndarray]]]  # by mode and stream: (tokens, layers, k)


def decoded_texts(traces: Decodes, streams: Sequence[str]) -> dict[str, dict[str, list[np.ndarray]]]:
    """Routing of what each mode decoded at the first γ, prompts left out. streams: of each prompt."""
    texts = {}
    for mode in MODES:
        routed = [committed_experts(trace, 0) for trace in traces[mode, GAMMAS[0]]]
        pairs = grouped(zip(streams, routed, strict=True), lambda pair: pair[0])
        texts[mode] = {stream: [experts for _, experts in of_stream] for stream, of_stream in pairs.items()}
    return texts


def measure(texts: Texts, traces: Decodes, geometry: MoEShape) -> dict[str, Any]:
    return {
        "overlap": {mode: overlaps(by_stream, geometry) for mode, by_stream in texts.items()},
        "hit_rate": {
            mode: hit_rates(by_stream, geometry) for mode, by_stream in tqdm(texts.items(), desc="caches")
        },
        "experts_of_a_window": _experts_of_a_window(texts, traces, geometry),
        "loads_a_token": loads(traces, geometry),
    }


def overlaps(by_stream: Mapping[str, Sequence[np.ndarray]], geometry: MoEShape) -> dict[str, Any]:
    """By stream: share of a token's experts that serve the next too, and with tokens shuffled, by layer."""
    found = {stream: overlap_by_layer(texts, geometry.experts) for stream, texts in by_stream.items()}
    return {
        stream: {"in_order_by_layer": pair[0].tolist(), "shuffled_by_layer": pair[1].tolist()}
        for stream, pair in found.items()
        if pair
    }


def hit_rates(by_stream: Mapping[str, Sequence[np.ndarray]], geometry: MoEShape) -> dict[str, Any]:
    """By stream and policy: a rate a share, and the one rate of a cache that holds all, whatever its policy.

    An event is a token; each text begins with empty caches.
    """
    rates: dict[str, Any] = {}
    for stream, texts in by_stream.items():
        used = [one_hot(experts, geometry.experts) for experts in texts]
        asked = sum(int(events.sum()) for events in used)
        rates[stream] = {
            name: [sum(int(hits(u, slots_of(s, geometry)).sum()) for u in used) / asked for s in SHARES]
            for name, hits in POLICIES.items()
        }
        rates[stream][NO_LIMIT] = [1 - sum(int(u.any(axis=0).sum()) for u in used) / asked]
    return rates


def slots_of(share: float, geometry: MoEShape) -> int:
    return round(share * geometry.experts)


def _experts_of_a_window(texts: Texts, traces: Decodes, geometry: MoEShape) -> dict[str, Any]:
    """By mode, from γ = 0 on: mean experts a layer of γ + 1 tokens in a row, and of the windows recorded."""
    rows: dict[str, Any] = {}
    for mode, by_stream in texts.items():
        every = [text for of_stream in by_stream.values() for text in of_stream]
        rows[mode] = {"in a row": distinct_in_a_row(every, geometry.experts, MOST_GAMMA + 1)}
        if mode in MODES:
            rows[mode]["as verified"] = distinct_by_gamma(concatenate(traces[mode, GAMMAS[-1]]))
    return rows


def loads(traces: Decodes, geometry: MoEShape) -> dict[str, Any]:
    """By mode, γ (0 is plain decoding) and policy: experts that a committed token has a layer load.

    An event is what one pass verifies, rejected positions too.
    """
    slots, by_mode = slots_of(SHARE_OF_LOADS, geometry), {}
    for mode in MODES:
        plain = [one_hot(committed_experts(trace, 0), geometry.experts) for trace in traces[mode, GAMMAS[0]]]
        by_gamma = {"0": _loads(plain, sum(map(len, plain)), slots)}
        for gamma in GAMMAS:
            passes = [trace.counts > 0 for trace in traces[mode, gamma]]
            tokens = sum(int(trace.committed.sum()) for trace in traces[mode, gamma])
            by_gamma[str(gamma)] = _loads(passes, tokens, slots)
        by_mode[mode] = by_gamma
    return by_mode


def _loads(used: Sequence[np.ndarray], tokens: int, slots: int) -> dict[str, float]:
    asked, layers = sum(int(u.sum()) for u in used), used[0].shape[1]
    return {
        name: (asked - sum(int(hits(u, slots).sum()) for u in used)) / (tokens * layers)
        for name, hits in POLICIES.items()
    }


def show(reuse: Mapping[str, Any], geometry: MoEShape, expert_bytes: int) -> str:
    return paragraphs(
        _show_overlap(reuse["overlap"]),
        _show_hit_rates(reuse["hit_rate"], geometry),
        _show_windows(reuse["experts_of_a_window"], geometry),
        _show_loads(reuse["loads_a_token"], geometry, expert_bytes),
    )


def _show_overlap(overlap: Mapping[str, Any]) -> str:
    """Streams that were measured in every mode, then the layers."""
    sides = ("in_order_by_layer", "shuffled_by_layer")
    streams = [
        s for s in next(iter(overlap.values())) if all(s in by_stream for by_stream in overlap.values())
    ]
    if not streams:
        return ""
    values = {s: [np.mean(overlap[m][s][side]) for m in overlap for side in sides] for s in streams}
    head = [x for mode in overlap for x in (mode, "shuffled")]
    by_layer = [
        [f"{mode}, {kind}", *(f"{x:.2f}" for x in np.mean([v[side] for v in overlap[mode].values()], axis=0))]
        for mode in overlap
        for side, kind in zip(sides, ("in order", "shuffled"), strict=True)
    ]
    return section(
        "Overlap of consecutive tokens",
        prose("""
            Share of a token's experts that serve the next one too, and the same with each text's tokens
            shuffled: what popular experts alone would give. Where greedy text loops (see Repetition), few
            experts serve all of it: its shuffled share is high, and its cache figures flatter. Held-out
            text is only read.
        """),
        table(["overlap", *head], [[n, *(f"{x:.2f}" for x in row)] for n, row in with_means(values)]),
        "By layer, mean of all streams, the templated ones among them ‡:",
        table(["layer", *map(str, range(len(by_layer[0]) - 1))], by_layer),
    )


def _show_hit_rates(rates: Mapping[str, Any], geometry: MoEShape) -> str:
    head = [f"{name} {share:.0%}" for name in POLICIES for share in SHARES] + [NO_LIMIT]
    parts = []
    for mode, by_stream in rates.items():
        rows = with_means(
            {s: [x for name in (*POLICIES, NO_LIMIT) for x in v[name]] for s, v in by_stream.items()}
        )
        parts.append(table([f"hit rate, {mode}", *head], [[n, *(f"{x:.2f}" for x in v)] for n, v in rows]))
    slots = ", ".join(str(slots_of(share, geometry)) for share in SHARES)
    return section(
        "Hit rates of a cache",
        prose(f"""
            One cache a layer with room for {slots} of its {geometry.experts} experts. An event is one
            token; all its experts come in, and only then is the cache trimmed, so it may drop what was
            just used. Every text starts with empty caches; its prompt is left out. Belady knows the
            future: no policy has more hits.
        """),
        prose(f"""
            The rule is that of a public study of Qwen3-30B-A3B (gajsanders/moe-trace, findings 004–007;
            25 prompts, 3,225 tokens, 8 of 128 experts a token), which published LRU 0.81 and 0.92, Belady
            0.89 and 0.93 with room for 25 and 50 % of the experts. Ours differ: a token has
            {geometry.top_k} of {geometry.experts} experts, the model is far smaller, and the texts are
            shorter, so that first uses, which no cache can hit, weigh more. The engine of this project
            keeps another rule: what a window needs is pinned until the layer is through, and the prompt
            warms it.
        """),
        *parts,
    )


def _show_windows(windows: Mapping[str, Any], geometry: MoEShape) -> str:
    missed = 1 - geometry.top_k / geometry.experts
    chance = [geometry.experts * (1 - missed ** (gamma + 1)) for gamma in range(MOST_GAMMA + 1)]
    rows = [
        [f"{mode}, {how} ‡", *(f"{x:.1f}" for x in means)]
        for mode, by_kind in windows.items()
        for how, means in by_kind.items()
    ]
    rows.append(["tokens routed at random", *(f"{x:.1f}" for x in chance)])
    full = [row + ["–"] * (MOST_GAMMA + 2 - len(row)) for row in rows]
    return section(
        "Experts of a window",
        prose(f"""
            Mean number of different experts a layer that a window of γ + 1 positions asks for, of
            {geometry.experts}. *In a row*: consecutive tokens of a text, as a window whose drafted tokens
            are all right. *As verified*: windows of the decodes at γ = {GAMMAS[-1]}, wrong drafts among
            them.
        """),
        table(["γ", *map(str, range(MOST_GAMMA + 1))], full),
    )


def _show_loads(loads: Mapping[str, Any], geometry: MoEShape, expert_bytes: int) -> str:
    gammas = [0, *GAMMAS]
    head = [f"{name}, γ = {gamma}" for name in POLICIES for gamma in gammas]
    rows = [
        [f"{mode} ‡", *(f"{by_gamma[str(gamma)][name]:.2f}" for name in POLICIES for gamma in gammas)]
        for mode, by_gamma in loads.items()
    ]
    return section(
        "What speculation loads",
        prose(f"""
            Experts loaded a committed token and layer, {expert_bytes / 1e3:.0f} kB each as stored, with
            room for {slots_of(SHARE_OF_LOADS, geometry)} of {geometry.experts}; here an event is a pass,
            rejected positions included, and γ = 0 is plain decoding. Rejected positions fetch experts as
            well: where more is loaded than at γ = 0, speculation gains by fewer passes and by time to
            copy ahead, not by fewer bytes.
        """),
        table(["experts loaded", *head], rows),
    )
