"""Measure the bundled pair: writes data/pair/card.json and the figures of data/README.md.

    python -m tools.pair.evaluate                  # some minutes on one core
    python -m tools.pair.evaluate --tables-only    # measure nothing; take up what train_seeds.py reports

Stopped and run again, it goes on with the decodes it has not done. Held-out loss needs the corpus of
`build_corpus.py`; without it the card keeps those it has of the same weights.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from moespac_nb import DOMAINS, load_pair
from moespac_nb.datasets.files import digest
from moespac_nb.models.inspection import inspect_model
from moespac_nb.trace.step import MoEShape
from moespac_nb.utils.files import atomic_write
from tools.pair.card import acceptance, losses, recall, reuse, samples, seeds, use
from tools.pair.card.decodes import GAMMAS, decodes, fingerprint
from tools.pair.card.markdown import paragraphs, prose
from tools.pair.card.readings import Reading, readings
from tools.pair.card.streams import LEGEND, chosen, grouped, stream_of

ROOT = Path(__file__).resolve().parents[2]
DATA, CORPUS_CARD = ROOT / "data", ROOT / "build/corpus/card.json"
SEEDS_REPORT = ROOT / "build/seeds/report.json"
FIGURES, END = "<!-- figures: written by tools/pair/evaluate.py -->", "<!-- end of figures -->"
STORED_BYTES = 2  # a weight, in half precision
FEWEST_TOKENS = GAMMAS[0] + 2  # so that one window has a next one to predict
PAIR = ("target.safetensors", "draft.safetensors", "tokenizer.json", "target.json", "draft.json")


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    prompts_a_domain: int = 6  # of the report half
    tokens_a_prompt: int = 96
    texts_a_half: int = 16  # read, not decoded, of each domain
    tokens_a_text: int = 512  # prompt included, of which none has more than 200
    loss_windows: int = 16  # a stream


QUICK = Settings(prompts_a_domain=1, tokens_a_prompt=8, texts_a_half=2, tokens_a_text=256, loss_windows=1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=Settings.prompts_a_domain, help="of each report half")
    parser.add_argument(
        "--tokens", type=int, default=Settings.tokens_a_prompt, help="decoded for each prompt"
    )
    parser.add_argument("--quick", action="store_true", help="next to nothing of everything, to try the tool")
    parser.add_argument("--tables-only", action="store_true", help="write the tables of the card as it is")
    parser.add_argument("--card", type=Path, default=DATA / "pair/card.json")
    parser.add_argument("--readme", type=Path, default=DATA / "README.md", help="its figures are replaced")
    parser.add_argument("--decodes", type=Path, default=ROOT / "build/card", help="kept until all is done")
    args = parser.parse_args()
    if args.prompts < 1 or args.tokens < FEWEST_TOKENS:
        parser.error(
            f"--prompts is {args.prompts}, --tokens {args.tokens}; expected: from 1, from {FEWEST_TOKENS}"
        )
    settings = QUICK if args.quick else Settings(args.prompts, args.tokens)
    readme = args.readme.read_text(encoding="utf-8")
    if FIGURES not in readme or END not in readme:
        parser.error(f"{args.readme} lacks the lines {FIGURES!r} and {END!r}; put the figures between them")
    old = json.loads(args.card.read_text(encoding="utf-8")) if args.card.exists() else {}
    if args.tables_only and "reuse" not in old:
        parser.error(f"{args.card} holds no card of this command; leave --tables-only out to measure")
    kept = args.decodes / made_of(settings)
    card = old if args.tables_only else measure(settings, old, kept)
    if SEEDS_REPORT.exists():
        card["seeds"] = json.loads(SEEDS_REPORT.read_text(encoding="utf-8"))
    text = as_json(card)
    write(args.card, text)
    before, _, rest = readme.partition(FIGURES)
    write(args.readme, f"{before}{FIGURES}\n{figures(json.loads(text))}\n{END}{rest.partition(END)[2]}")
    if not args.tables_only:
        shutil.rmtree(kept)
    print(f"{args.card}\n{args.readme}")


def measure(settings: Settings, old: dict[str, Any], kept: Path) -> dict[str, Any]:
    """The card. old: the one before, whose losses hold as long as the weights are the same."""
    torch.set_num_threads(1)  # so small a model gains nothing from more
    target, draft = load_pair(verify=False)
    shape = inspect_model(target).shape
    weights = {name: digest(DATA / "pair" / name) for name in PAIR}
    found = losses.measure(target, draft, settings.loss_windows)
    if found is None and old.get("sha256") == weights:
        found = old["held_out_loss_nats"]

    texts = [
        p for d in DOMAINS for half in ("tune", "report") for p in chosen(d, half, settings.texts_a_half)
    ]
    read = readings(target, texts, settings.tokens_a_text)
    counts = counts_of(read, shape)
    shares = recall.popularity(counts_of([r for r in read if r.half == "tune"], shape))

    asked = [p for domain in DOMAINS for p in chosen(domain, "report", settings.prompts_a_domain)]
    code = [
        *(ROOT / "moespac_nb").glob("*.py"),
        *(DATA / "prompts").iterdir(),
        ROOT / "tools/pair/card/decodes.py",
    ]
    key = fingerprint(code, weights, settings)
    traces = decodes(target, draft, asked, settings.tokens_a_prompt, kept / key)
    streams = [stream_of(prompt) for prompt in asked]
    by_mode = reuse.decoded_texts(traces, streams) | {reuse.READ: gone_on(read, settings.tokens_a_prompt)}
    corpus = json.loads(CORPUS_CARD.read_text(encoding="utf-8")) if CORPUS_CARD.exists() else old
    return {
        "parameters": {
            n: sum(p.numel() for p in m.parameters()) for n, m in (("target", target), ("draft", draft))
        },
        "geometry": asdict(shape),
        "expert_bytes": STORED_BYTES
        * sum(p.numel() for p in inspect_model(target).experts[0].parameters())
        // shape.experts,
        "sha256": weights,
        "sources": corpus.get("sources"),
        "settings": asdict(settings),
        "held_out_loss_nats": found,
        "acceptance": acceptance.measure(traces, asked),
        "expert_use": use.measure(counts),
        "reuse": reuse.measure(by_mode, traces, shape),
        "predicting_recall": recall.measure(traces, streams, shares, shape),
        "samples": samples.measure(traces, asked),
        "seeds": old.get("seeds"),
    }


def made_of(settings: Settings) -> str:
    """The decodes' folder: another one for other weights, prompts, code or settings."""
    code = [
        *(ROOT / "moespac_nb").glob("*.py"),
        ROOT / "tools/pair/card/decodes.py",
        ROOT / "tools/pair/card/streams.py",
    ]
    data = [*(DATA / "prompts").iterdir(), *(DATA / "pair" / name for name in PAIR)]
    return fingerprint([*code, *data], settings)


def counts_of(read: list[Reading], shape: MoEShape) -> use.Counts:
    """Of each text, how many tokens went to each expert, by stream."""
    by_stream = grouped(read, lambda reading: reading.stream)
    return {stream: [r.counts(shape.experts) for r in texts] for stream, texts in by_stream.items()}


def gone_on(read: list[Reading], tokens: int) -> dict[str, Any]:
    """Routing of as many tokens as are decoded, in the report half's texts, after their prompts."""
    by_stream = grouped((r for r in read if r.half == "report"), lambda reading: reading.stream)
    return {
        stream: [r.experts[r.prompt_tokens : r.prompt_tokens + tokens] for r in texts]
        for stream, texts in by_stream.items()
    }


def figures(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    settings = card["settings"]
    shape = MoEShape(**card["geometry"])
    return paragraphs(
        prose(f"""
            Measured by `python -m tools.pair.evaluate`: {settings["prompts_a_domain"]} prompts of the
            report half a domain, {settings["tokens_a_prompt"]} tokens each, decoded on past any end;
            beside them up to {2 * settings["texts_a_half"]} held-out texts a domain that the target only
            reads.
        """),
        f"**Marks:** {LEGEND}",
        losses.show(card["held_out_loss_nats"]),
        acceptance.show(card["acceptance"]),
        use.show(card["expert_use"]),
        reuse.show(card["reuse"], shape, card["expert_bytes"]),
        recall.show(card["predicting_recall"]),
        seeds.show(card["seeds"]),
        samples.show(card["samples"]),
    )


def as_json(card: dict[str, Any]) -> str:
    """Indented, but a row of numbers on one line; numbers to four digits after the point."""
    text = json.dumps(_rounded(card), indent=1, ensure_ascii=False)
    # A string holds no line break of its own, so this meets lists of numbers only.
    return re.sub(r"\[\n\s*([-\d.,\se]+?)\s*\]", lambda m: "[" + " ".join(m[1].split()) + "]", text) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(float(value), 4) if isinstance(value, float) else value


def write(path: Path, text: str) -> None:
    with atomic_write(path, "the card") as file:
        file.write(text.encode())


if __name__ == "__main__":
    main()
