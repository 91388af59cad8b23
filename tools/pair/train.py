"""Train the bundled pair: a mixture-of-experts target, then a dense draft distilled from it.

    python -m tools.pair.train target --steps 2000      # resumes from its checkpoint when there is one
    python -m tools.pair.train draft --steps 650
    python -m tools.pair.train export                   # fp16 safetensors and configs into data/pair

Needs the corpus of `build_corpus.py`. Every step draws its batch from (seed, step) alone, so a
resumed run sees the same data as an uninterrupted one. Checkpoints (build/pair) hold weights and
optimiser state as safetensors, written to a temporary file and renamed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

ROOT = Path(__file__).resolve().parents[2]
CORPUS, BUILD, PAIR = ROOT / "build/corpus", ROOT / "build/pair", ROOT / "data/pair"

# How much of a domain's text is natural; the rest comes from its generator.
NATURAL_SHARE = {"mcq": 0.0, "chat": 0.4, "math": 0.0, "code": 1.0, "instruct": 0.5, "news": 0.6, "qa": 0.5}
TOKENS_PER_STEP = 4096
CONTEXT = 1024
WINDOWS = ((0.95, CONTEXT), (0.7, 512), (0.0, 256))  # from which share of the steps on, tokens a window
# Weight of the balancing loss, summed over layers: about Qwen3's own, 0.001 x (top 8) / (48 layers).
BALANCE = 0.0002
BALANCE_MEMORY = 0.95  # shares are averaged over about 20 batches: a domain may keep to its own experts
OWN_EVERY = 2  # the draft sees people's text every second step, between them the target's own
PEAK_RATE = {"target": 2e-3, "draft": 3e-3}

_COMMON = {
    "vocab_size": 4096,
    "hidden_size": 192,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 32,
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": True,
    "eos_token_id": 0,
    "pad_token_id": 1,
    "bos_token_id": None,
}


def target_config() -> Qwen3MoeConfig:
    return Qwen3MoeConfig(
        **_COMMON,
        intermediate_size=512,
        num_hidden_layers=8,
        num_experts=64,
        num_experts_per_tok=4,
        moe_intermediate_size=48,
        norm_topk_prob=True,
    )


def draft_config() -> Qwen3Config:
    return Qwen3Config(**_COMMON, intermediate_size=512, num_hidden_layers=2)


class Streams:
    """Random windows of the corpus, domains in equal shares."""

    def __init__(self, split: str):
        self.tokens = {
            p.name.removesuffix(f".{split}.npy"): np.load(p, mmap_mode="r")
            for p in CORPUS.glob(f"*.{split}.npy")
        }
        if not self.tokens:
            raise SystemExit(f"No corpus in {CORPUS}: run `python -m tools.pair.build_corpus` first.")

    def batch(self, seed: int, step: int, length: int) -> Tensor:
        """Token ids (windows, length + 1) of TOKENS_PER_STEP in all."""
        rng, domains = np.random.default_rng((seed, step)), list(NATURAL_SHARE)
        rows = [
            self.window(rng, domains[rng.integers(len(domains))], length)
            for _ in range(TOKENS_PER_STEP // length)
        ]
        return torch.from_numpy(np.stack(rows))

    def window(self, rng: np.random.Generator, domain: str, length: int) -> np.ndarray:
        """Token ids (length + 1,) from a random place of a domain's text, natural or templated."""
        kind = "natural" if rng.random() < NATURAL_SHARE[domain] else "templated"
        stream = self.tokens[f"{domain}.{kind}"]
        start = rng.integers(len(stream) - length - 1)
        return stream[start : start + length + 1].astype(np.int64)


class OwnText:
    """Text of the target's own (`own_text.py`), domains in equal shares; there may be none."""

    def __init__(self) -> None:
        self.windows = [np.load(p, mmap_mode="r") for p in sorted(CORPUS.glob("*.own.npy"))]

    def batch(self, seed: int, step: int) -> Tensor:
        """Token ids (windows, length + 1) of TOKENS_PER_STEP in all."""
        rng, length = np.random.default_rng((seed, step)), self.windows[0].shape[1] - 1
        chosen = [self.windows[rng.integers(len(self.windows))] for _ in range(TOKENS_PER_STEP // length)]
        return torch.from_numpy(np.stack([w[rng.integers(len(w))] for w in chosen]).astype(np.int64))


class BalancingLoss:
    """Sum over layers of experts x (share of tokens routed to each) . (mean probability of each).

    Per layer, not pooled over layers as in transformers: a pooled loss lets one layer collapse
    while the others make up for it. Over many batches, not within one, as the models of Qwen3 are
    balanced: what must be even is the whole corpus, not each text.
    """

    def __init__(self, model: nn.Module):
        self.probabilities: list[Tensor] = []
        self.shares: list[Tensor] = []
        self.average: Tensor | None = None
        for layer in model.model.layers:
            layer.mlp.gate.register_forward_hook(self._hook)

    def _hook(self, _gate: nn.Module, _inputs: tuple, outputs: tuple[Tensor, Tensor, Tensor]) -> None:
        logits, _, chosen = outputs
        self.shares.append(torch.bincount(chosen.flatten(), minlength=logits.shape[-1]) / chosen.numel())
        self.probabilities.append(logits.float().softmax(-1).mean(0))

    def take(self) -> tuple[Tensor, Tensor]:
        """(loss, shares (layers, experts)) of the last forward pass."""
        probabilities, shares = torch.stack(self.probabilities), torch.stack(self.shares)
        self.drop()
        old = shares if self.average is None else self.average
        self.average = BALANCE_MEMORY * old + (1 - BALANCE_MEMORY) * shares
        return shares.shape[1] * (self.average * probabilities).sum(), shares

    def drop(self) -> None:
        """Forget the last forward pass, as when the model was only evaluated."""
        self.probabilities.clear(), self.shares.clear()


def window(step: int, steps: int) -> int:
    """Tokens a window: attention is a third of a step at 512, so most steps look less far."""
    return next(length for share, length in WINDOWS if step >= share * steps)


def rate(step: int, steps: int, peak: float) -> float:
    """Warm up, hold, and fall linearly to nothing over the last 40 %."""
    return peak * min(1.0, (step + 1) / 100, (steps - step) / (0.4 * steps))


def optimiser(model: nn.Module) -> torch.optim.AdamW:
    matrices = [p for n, p in model.named_parameters() if p.ndim >= 2]
    others = [p for n, p in model.named_parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), fused=True)


def save_checkpoint(path: Path, model: nn.Module, opt: torch.optim.AdamW, step: int, seconds: float) -> None:
    tensors = {}
    for name, parameter in model.named_parameters():
        tensors[f"weight.{name}"] = parameter.detach()
        for key, value in opt.state.get(parameter, {}).items():
            tensors[f"{key}.{name}"] = value
    partial = path.with_suffix(".part")
    save_file(tensors, partial, metadata={"step": str(step), "seconds": str(seconds)})
    os.replace(partial, path)


def load_checkpoint(path: Path, model: nn.Module, opt: torch.optim.AdamW | None = None) -> tuple[int, float]:
    """Fill model (and optimiser); returns steps done and seconds spent so far."""
    if not path.exists():
        return 0, 0.0
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"weight.{name}"])
            if opt is not None:
                opt.state[parameter] = {k: tensors[f"{k}.{name}"] for k in ("step", "exp_avg", "exp_avg_sq")}
    return int(metadata["step"]), float(metadata["seconds"])


def new_model(role: str) -> nn.Module:
    if role == "draft":
        return Qwen3ForCausalLM(draft_config())
    model = Qwen3MoeForCausalLM(target_config())
    model.set_experts_implementation("grouped_mm")
    return model


@torch.no_grad()
def held_out_loss(model: nn.Module, windows: int = 4, length: int = 512) -> dict[str, float]:
    """Loss in nats a token on held-out text, by domain and kind."""
    losses = {}
    for name, stream in sorted(Streams("held-out").tokens.items()):
        starts = np.linspace(0, len(stream) - length - 2, windows).astype(int)
        ids = torch.from_numpy(np.stack([stream[s : s + length + 1] for s in starts]).astype(np.int64))
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        losses[name] = nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten()).item()
    return losses


def train(role: str, steps: int, seed: int, folder: Path = BUILD) -> None:
    """folder: where its checkpoint and its log are kept."""
    torch.manual_seed(seed)
    model, checkpoint = new_model(role), folder / f"{role}.safetensors"
    teacher = None
    if role == "draft":
        teacher = new_model("target").eval().requires_grad_(False)
        if not load_checkpoint(BUILD / "target.safetensors", teacher)[0]:
            raise SystemExit("The draft is distilled from the target: train the target first.")
    opt, streams = optimiser(model), Streams("train")
    own = OwnText() if role == "draft" else None
    balancing = BalancingLoss(model) if role == "target" else None
    done, seconds = load_checkpoint(checkpoint, model, opt)
    folder.mkdir(parents=True, exist_ok=True)
    log = (folder / f"{role}.jsonl").open("a")
    bar = tqdm(range(done, steps), initial=done, total=steps, desc=role, mininterval=5)
    began, smooth = time.monotonic() - seconds, None
    for step in bar:
        if own is not None and own.windows and step % OWN_EVERY:
            ids = own.batch(seed, step)
        else:
            ids = streams.batch(seed, step, window(step, steps))
        for group in opt.param_groups:
            group["lr"] = rate(step, steps, PEAK_RATE[role])
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=ids[:, :-1], use_cache=False).logits
            if teacher is not None:
                with torch.no_grad():
                    wanted = teacher(input_ids=ids[:, :-1], use_cache=False).logits
        loss = nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        total = loss
        if teacher is not None:
            total = 0.1 * loss + 0.9 * nn.functional.kl_div(
                logits.flatten(0, 1).float().log_softmax(-1),
                wanted.flatten(0, 1).float().log_softmax(-1),
                log_target=True,
                reduction="batchmean",
            )
        entry: dict = {"step": step + 1, "loss": loss.item(), "total": total.item()}
        if balancing is not None:
            balance, shares = balancing.take()
            total = loss + BALANCE * balance
            entry |= {"busiest": shares.max().item() * shares.shape[1], "unused": int((shares == 0).sum())}
        if not math.isfinite(entry["loss"]):
            raise SystemExit(
                f"The loss is {entry['loss']} at step {step}; the last checkpoint is in {checkpoint}."
            )
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        smooth = entry["loss"] if smooth is None else 0.98 * smooth + 0.02 * entry["loss"]
        bar.set_postfix_str(f"loss {smooth:.3f}", refresh=False)
        if (step + 1) % 200 == 0 or step + 1 == steps:
            seconds = time.monotonic() - began
            save_checkpoint(checkpoint, model, opt, step + 1, seconds)
            model.eval()
            entry |= {"seconds": seconds, "held_out": held_out_loss(model)}
            if balancing is not None:
                balancing.drop()
            model.train()
        log.write(json.dumps(entry) + "\n")
        log.flush()


def export() -> None:
    """Write both models as fp16 safetensors beside the tokenizer."""
    PAIR.mkdir(parents=True, exist_ok=True)
    for role in ("target", "draft"):
        model = new_model(role)
        step, seconds = load_checkpoint(BUILD / f"{role}.safetensors", model)
        if not step:
            raise SystemExit(f"No checkpoint of the {role} in {BUILD}: train it first.")
        tensors = {n: p.detach().half().contiguous() for n, p in model.named_parameters()}
        partial = PAIR / f"{role}.part"
        save_file(
            tensors, partial, metadata={"format": "pt", "steps": str(step), "seconds": f"{seconds:.0f}"}
        )
        os.replace(partial, PAIR / f"{role}.safetensors")
        config = {k: v for k, v in model.config.to_diff_dict().items() if not k.startswith("_")}
        (PAIR / f"{role}.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
        millions = sum(t.numel() for t in tensors.values()) / 1e6
        print(f"{role}: {millions:.2f} M parameters, {step} steps, {seconds / 60:.0f} min")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("target", "draft", "export"))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    export() if args.what == "export" else train(args.what, args.steps, args.seed)


if __name__ == "__main__":
    main()
