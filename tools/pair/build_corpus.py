"""Build the corpus: texts, tokenizer, token streams, held-out prompts.

    python -m tools.pair.build_corpus            # needs apt-get, dpkg-deb and `pip install rdata`

A tokenizer that is there already is kept, so that checkpoints stay good when texts change.
Writes build/corpus/<domain>.<natural|templated>.<train|held-out>.npy, data/pair/tokenizer.json,
data/prompts/<domain>.jsonl and build/corpus/card.json (sources with licence and checksum, sizes).
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm

from tools.pair.corpus import chat, code, instruct, math, mcq, news, qa, sources
from tools.pair.corpus.document import Document
from tools.pair.corpus.texts import Texts

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "corpus"
DOMAINS = {"mcq": mcq, "chat": chat, "math": math, "code": code, "instruct": instruct, "news": news, "qa": qa}
SPLITS = ("train", "held-out")
TEMPLATED_CHARACTERS = {"train": 6_000_000, "held-out": 150_000}
VOCABULARY = 4096
END, PAD = "<|end|>", "<|pad|>"
PROMPTS = {"tune": 16, "report": 16}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    (ROOT / "data/pair").mkdir(parents=True, exist_ok=True)
    (ROOT / "data/prompts").mkdir(parents=True, exist_ok=True)

    card = {"seed": seed, "sources": sources.fetch(BUILD / "sources"), "streams": {}}
    streams = {}
    for split in SPLITS:
        texts = Texts(BUILD / "sources", split)
        for domain in tqdm(DOMAINS, desc=f"{split} documents"):
            for kind, documents in _documents(domain, texts, seed).items():
                if documents:
                    streams[domain, kind, split] = documents

    kept = ROOT / "data/pair/tokenizer.json"
    tokenizer = Tokenizer.from_file(str(kept)) if kept.exists() else _train_tokenizer(streams, seed)
    tokenizer.save(str(kept))
    end = tokenizer.token_to_id(END)
    for (domain, kind, split), documents in tqdm(streams.items(), desc="tokens"):
        ids = [
            np.array([*e.ids, end], np.uint16) for e in tokenizer.encode_batch([d.text for d in documents])
        ]
        stream = np.concatenate(ids)
        np.save(BUILD / f"{domain}.{kind}.{split}.npy", stream)
        card["streams"][f"{domain}.{kind}.{split}"] = {
            "documents": len(documents),
            "characters": sum(len(d.text) for d in documents),
            "tokens": len(stream),
        }
    for domain in DOMAINS:
        _write_prompts(domain, streams, tokenizer, seed)
    (BUILD / "card.json").write_text(json.dumps(card, indent=1))
    print(json.dumps(card["streams"], indent=1))


def _documents(domain: str, texts: Texts, seed: int) -> dict[str, list[Document]]:
    """Natural and templated documents of one domain in a seeded order."""
    module, rng = DOMAINS[domain], random.Random(f"{seed} {domain} {texts.split}")
    natural = list(module.natural(texts))
    rng.shuffle(natural)
    return {
        "natural": natural,
        "templated": list(_up_to(TEMPLATED_CHARACTERS[texts.split], module.templated(texts, rng))),
    }


def _up_to(characters: int, documents: Iterator[Document]) -> Iterator[Document]:
    for document in documents:
        yield document
        characters -= len(document.text)
        if characters <= 0:
            return


def _train_tokenizer(streams: dict, seed: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    sample: list[str] = []
    rng = random.Random(seed)
    for (_, _, split), documents in streams.items():
        if split == "train":
            chosen = rng.sample(documents, len(documents))
            sample += [d.text for d in _up_to(1_500_000, iter(chosen))]
    tokenizer.train_from_iterator(sample, trainer)
    return tokenizer


def _write_prompts(domain: str, streams: dict, tokenizer: Tokenizer, seed: int) -> None:
    """Held-out prompts, natural and templated in turn where the domain has both."""
    rng = random.Random(f"prompts {seed} {domain}")
    kinds = [k for k in ("natural", "templated") if (domain, k, "held-out") in streams]
    pools = [iter(rng.sample(d, len(d))) for d in (streams[domain, k, "held-out"] for k in kinds)]
    fits = [filter(lambda d: _fits(d, tokenizer), pool) for pool in pools]
    total = sum(PROMPTS.values())
    in_turn = (document for group in zip(*fits, strict=False) for document in group)
    chosen = list(islice({d.prompt: d for d in in_turn}.values(), total))  # no prompt twice
    if len(chosen) < total:
        raise SystemExit(f"{domain}: only {len(chosen)} held-out prompts fit, {total} needed.")
    rng.shuffle(chosen)
    with (ROOT / f"data/prompts/{domain}.jsonl").open("w", encoding="utf-8") as file:
        for number, document in enumerate(chosen):
            # White space joins with what follows into one token: a prompt that ends in it reads as an end.
            prompt = document.prompt.rstrip()
            row = {
                "id": f"{domain}-{number:02d}",
                "domain": domain,
                "half": "tune" if number < PROMPTS["tune"] else "report",
                "prompt": prompt,
                "reference": document.text[len(prompt) :],
                "source": document.source,
                "templated": document.templated,
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _fits(document: Document, tokenizer: Tokenizer) -> bool:
    prompt, reference = (len(tokenizer.encode(t).ids) for t in (document.prompt, document.reference))
    return 12 <= prompt <= 200 and 32 <= reference <= 400


if __name__ == "__main__":
    main()
