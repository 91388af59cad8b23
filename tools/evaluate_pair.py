"""Measure the bundled pair: writes data/pair/card.json and the figures of data/README.md.

    python tools/evaluate_pair.py [--prompts 4] [--tokens 64]

Held-out loss needs the corpus of `build_corpus.py` and is left as it was without it.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from moespac_nb import DOMAINS, Sampling, decode, load_pair, prompts
from moespac_nb.foretelling import recall_by_predictor, use_shares
from moespac_nb.routing import geometry, observe

ROOT = Path(__file__).resolve().parent.parent
CARD = ROOT / "data/pair/card.json"
CORPUS_CARD = ROOT / "build/corpus/card.json"
README = ROOT / "data/README.md"
FIGURES, END = "<!-- figures: written by tools/evaluate_pair.py -->", "<!-- end of figures -->"
MODES = {"greedy": Sampling(), "sample 0.8": Sampling("sample", temperature=0.8)}
GAMMAS = (4, 8)
NAMED_SHARE = 0.25  # of a layer's experts that each predictor may name


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=4, help="of each domain's report half")
    parser.add_argument("--tokens", type=int, default=64, help="decoded for each prompt")
    args = parser.parse_args()
    torch.set_num_threads(1)  # so small a model gains nothing from more
    target, draft = load_pair(verify=False)
    card: dict[str, Any] = json.loads(CARD.read_text()) if CARD.exists() else {}
    card["parameters"] = {
        n: sum(p.numel() for p in m.parameters()) for n, m in (("target", target), ("draft", draft))
    }
    if losses := held_out_losses(target, draft):
        card["held_out_loss_nats"] = losses
    shares = popularity(target)
    card["expert_use"] = expert_use(shares)
    card["settings"] = {
        "prompts_a_domain": args.prompts,
        "tokens_a_prompt": args.tokens,
        "named_share": NAMED_SHARE,
    }
    card["acceptance"], card["foretelling_recall"] = decodes(target, draft, shares, args.prompts, args.tokens)
    if CORPUS_CARD.exists():
        card["sources"] = json.loads(CORPUS_CARD.read_text())["sources"]
    write(CARD, json.dumps(card, indent=1) + "\n")
    before, _, rest = README.read_text().partition(FIGURES)
    write(README, f"{before}{FIGURES}\n{figures(card)}\n{END}{rest.partition(END)[2]}")
    print(f"{CARD}\n{README}")


def write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)


def held_out_losses(target: Any, draft: Any) -> dict[str, dict[str, float]]:
    """Nats a token by stream of the corpus, both models."""
    from train_pair import CORPUS, held_out_loss

    if not list(CORPUS.glob("*.held-out.npy")):
        return {}
    both = [held_out_loss(model, windows=16) for model in (target, draft)]
    return {name: {"target": both[0][name], "draft": both[1][name]} for name in both[0]}


def popularity(target: Any) -> dict[str, np.ndarray]:
    """How often each expert is used by the tune half of each domain, (layers, experts)."""
    shares = {}
    for domain in tqdm(DOMAINS, desc="popularity"):
        ids = [target.tokenizer(p.text)["input_ids"][:512] for p in prompts(domain, half="tune")]
        shares[domain] = use_shares((observe(target, i)[0] for i in ids), geometry(target).experts)
    return shares


def expert_use(shares: dict[str, np.ndarray]) -> dict[str, Any]:
    """Dead experts, imbalance, and how far apart the domains' routing lies."""
    overall = np.mean(list(shares.values()), axis=0)
    distances = [_jensen_shannon(shares[a], shares[b]) for a in shares for b in shares if a < b]
    return {
        "dead_experts": int((overall == 0).sum()),
        "busiest_over_mean": float(overall.max() * overall.shape[1]),
        "domain_distance_bits": {
            "least": min(distances),
            "mean": float(np.mean(distances)),
            "most": max(distances),
        },
    }


def _jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Mean over layers, in bits."""

    def entropy(x: np.ndarray) -> np.ndarray:
        return -(x * np.log2(np.where(x > 0, x, 1))).sum(axis=1)

    return float((entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2).mean())


def decodes(
    target: Any, draft: Any, shares: dict[str, np.ndarray], count: int, tokens: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Acceptance by mode, γ and domain; foretelling by mode, domain and predictor, at the first γ."""
    overall = np.mean(list(shares.values()), axis=0)
    size = round(NAMED_SHARE * geometry(target).experts)
    acceptance: dict[str, Any] = {}
    foretelling: dict[str, Any] = {}
    for mode, sampling in MODES.items():
        for gamma in GAMMAS:
            for domain in tqdm(DOMAINS, desc=f"{mode}, γ = {gamma}"):
                known = {"overall popularity": overall, "this domain's popularity": shares[domain]}
                accepted = drafted = 0
                recalls = []
                for seed, prompt in enumerate(prompts(domain, half="report")[:count]):
                    run = decode(
                        target, prompt.prompt, draft=draft, gamma=gamma, sampling=sampling, seed=seed,
                        max_new_tokens=tokens, stop_ids=(),
                    )  # fmt: skip
                    steps = list(run)
                    assert run.prefill is not None
                    accepted += sum(step.accepted for step in steps)
                    drafted += sum(step.gamma for step in steps)
                    recalls.append(recall_by_predictor(run.prefill, steps, size, known))
                acceptance.setdefault(mode, {}).setdefault(str(gamma), {})[domain] = accepted / drafted
                if gamma == GAMMAS[0]:
                    mean = {n: float(np.mean([r[n] for r in recalls])) for n in recalls[0]}
                    foretelling.setdefault(mode, {})[domain] = mean
    return acceptance, foretelling


def figures(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    settings, use = card["settings"], card["expert_use"]
    bits = use["domain_distance_bits"]
    lines = [
        "Measured by `python tools/evaluate_pair.py`, a small sample: "
        f"{settings['prompts_a_domain']} prompts of the report half a domain, "
        f"{settings['tokens_a_prompt']} tokens each.",
        "Loss is in nats a token on held-out text; recall is the share of the next window's experts among "
        f"{settings['named_share']:.0%} of a layer's experts named beforehand, at γ = {GAMMAS[0]}.",
        "",
    ]
    if "held_out_loss_nats" in card:
        lines += ["| held-out text | target | draft |", "| --- | --- | --- |"]
        lines += [
            f"| {n} | {v['target']:.2f} | {v['draft']:.2f} |" for n, v in card["held_out_loss_nats"].items()
        ]
    lines += ["", "| acceptance | " + " | ".join(DOMAINS) + " |", "| --- |" + " --- |" * len(DOMAINS)]
    for mode, by_gamma in card["acceptance"].items():
        for gamma, by_domain in by_gamma.items():
            lines.append(
                f"| {mode}, γ = {gamma} | " + " | ".join(f"{by_domain[d]:.2f}" for d in DOMAINS) + " |"
            )
    for mode, by_domain in card["foretelling_recall"].items():
        names = list(by_domain[DOMAINS[0]])
        lines += ["", f"| recall, {mode} | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
        for domain in DOMAINS:
            lines.append(f"| {domain} | " + " | ".join(f"{by_domain[domain][n]:.3f}" for n in names) + " |")
        means = [np.mean([by_domain[d][n] for d in DOMAINS]) for n in names]
        lines.append("| mean | " + " | ".join(f"{m:.3f}" for m in means) + " |")
    lines += [
        "",
        f"Experts that the tune half never uses: {use['dead_experts']}; "
        f"the busiest serves {use['busiest_over_mean']:.1f} times the mean.",
        f"Routing differs between two domains by {bits['least']:.2f} to {bits['most']:.2f} bits "
        f"(Jensen-Shannon, mean over layers; mean of all pairs {bits['mean']:.2f}).",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
