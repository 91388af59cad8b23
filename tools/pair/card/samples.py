"""What the pair writes, to be read; and how much it repeats itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moespac_nb import DOMAINS
from moespac_nb.datasets.prompts import Prompt
from tools.pair.card.decodes import GAMMAS, MODES, Decodes
from tools.pair.card.markdown import fenced, paragraphs, prose, section, table
from tools.pair.card.streams import grouped, label, stream_of, with_means

GRAM = 4
SHOWN = 2  # texts a domain
PROMPT_END_CHARACTERS = 240


def measure(traces: Decodes, asked: Sequence[Prompt]) -> dict[str, Any]:
    return {"distinct_grams": _distinct(traces, asked), "texts": _texts(traces, asked)}


def distinct_share(ids: Sequence[int], gram: int = GRAM) -> float | None:
    """Different runs of `gram` tokens, of all such runs; None where none fits."""
    runs = [tuple(ids[i : i + gram]) for i in range(len(ids) - gram + 1)]
    return len(set(runs)) / len(runs) if runs else None


def _distinct(traces: Decodes, asked: Sequence[Prompt]) -> dict[str, Any]:
    """By stream and mode, mean over texts."""
    found: dict[str, Any] = {}
    for mode in MODES:
        pairs = zip(asked, traces[mode, GAMMAS[0]], strict=True)
        for stream, of_stream in grouped(pairs, lambda pair: stream_of(pair[0])).items():
            shares = [distinct_share(trace.committed_ids.tolist()) for _, trace in of_stream]
            found.setdefault(stream, {})[mode] = float(np.mean([s for s in shares if s is not None]))
    return found


def _texts(traces: Decodes, asked: Sequence[Prompt]) -> list[dict[str, str]]:
    """The first prompts of each domain, with what each mode makes of them."""
    texts = []
    for domain in DOMAINS:
        mine = [i for i, prompt in enumerate(asked) if prompt.domain == domain][:SHOWN]
        for i in mine:
            written = {mode: traces[mode, GAMMAS[0]][i].texts[0].text for mode in MODES}
            texts.append(
                {"id": asked[i].id, "stream": stream_of(asked[i]), "prompt": asked[i].prompt, **written}
            )
    return texts


def show(samples: Mapping[str, Any]) -> str:
    rows = with_means({s: [by_mode[m] for m in MODES] for s, by_mode in samples["distinct_grams"].items()})
    return paragraphs(
        section(
            "Repetition",
            f"Different {GRAM}-grams of tokens among all that a text has: 1 says nothing twice.",
            table([f"distinct {GRAM}-grams", *MODES], [[n, *(f"{x:.2f}" for x in v)] for n, v in rows]),
        ),
        section(
            "Samples",
            prose("""
                The first report prompts of each domain, not picked: the end of the prompt, then what the
                pair goes on with.
            """),
        ),
        *(_show_text(text) for text in samples["texts"]),
    )


def _show_text(text: Mapping[str, str]) -> str:
    prompt = text["prompt"]
    end = prompt if len(prompt) <= PROMPT_END_CHARACTERS else "…" + prompt[-PROMPT_END_CHARACTERS:]
    parts = [f"**{label(text['stream'])}**, `{text['id']}`, ends:", fenced(end)]
    for mode in MODES:
        parts += [f"{mode}:", fenced(text[mode])]
    return paragraphs(*parts)
