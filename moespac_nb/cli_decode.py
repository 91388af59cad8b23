"""`moespac decode`: one prompt through the bundled pair, its text as it comes and its figures at the end."""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import MoespacError

if TYPE_CHECKING:
    from .decoding import Decoding
    from .sampling import Sampling

LOSSLESS_BROKEN, INTERRUPTED = 1, 130


def arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for. Values are checked by the code that uses them, so that all say the same."""
    decoding_arguments(parser)
    parser.add_argument(
        "--check-lossless",
        action=argparse.BooleanOptionalAction,
        help="compare with the target's own generate (default: if greedy; takes as long again)",
    )


def decoding_arguments(parser: argparse.ArgumentParser) -> None:
    """Which prompt, and how it is decoded."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--domain", help="a bundled prompt: mcq, chat, math, code, instruct, news or qa")
    source.add_argument("--prompt", metavar="TEXT", help="your own prompt")
    parser.add_argument("--number", type=int, default=0, help="which of its prompts (default %(default)s)")
    parser.add_argument("--mode", default="greedy", help="greedy or sample (default %(default)s)")
    parser.add_argument("--temperature", type=float, default=0.8, help="of sampling (default %(default)s)")
    parser.add_argument("--top-k", type=int, help="sample among the k likeliest tokens")
    parser.add_argument("--top-p", type=float, help="sample among the likeliest tokens that hold this much")
    parser.add_argument(
        "--gamma", type=int, default=8, help="draft length γ, 0 for none (default %(default)s)"
    )
    parser.add_argument("--draft", default="model", help="model, ngram or none (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all randomness (default %(default)s)")
    parser.add_argument("--max-new-tokens", type=int, default=128, help="(default %(default)s)")


def run(options: argparse.Namespace) -> int:
    """Decode and print; 1 where the text is not the target's own, 130 where it was interrupted."""
    sampling = sampling_of(options)
    if options.check_lossless and sampling.mode != "greedy":
        raise MoespacError(
            "--check-lossless was given with --mode sample; accepted: with --mode greedy, as a sampled "
            "text has no other to equal"
        )
    prompt = prompt_of(options)
    decoding = _start(prompt, sampling, options)
    with suppress(KeyboardInterrupt):  # what is committed is whole, and is reported
        _stream(decoding, quiet=options.json)
    interrupted = decoding.finish_reason in (None, "interrupted")
    wanted = sampling.mode == "greedy" if options.check_lossless is None else options.check_lossless
    mismatch = None
    checked: bool | None = None
    if wanted and not interrupted:
        mismatch = first_mismatch(decoding)
        checked = mismatch is None
    figures = {
        "prompt": prompt,
        "text": decoding.text,
        "mode": sampling.mode,
        "draft": options.draft,
        "gamma": options.gamma,
        "seed": options.seed,
        **decoding.summary(),
        "lossless_checked": checked,
        "mismatch": None if mismatch is None else vars(mismatch),
    }
    print(json.dumps(figures, ensure_ascii=False, indent=2) if options.json else _in_words(figures))
    if mismatch is not None:
        return LOSSLESS_BROKEN
    return INTERRUPTED if interrupted else 0


def sampling_of(options: argparse.Namespace) -> Sampling:
    from .sampling import Sampling

    return Sampling(options.mode, options.temperature, options.top_k, options.top_p)


def prompt_of(options: argparse.Namespace) -> str:
    """The text that was given, or the bundled one that was named."""
    from .prompts import prompts

    if options.domain is None:
        return str(options.prompt)
    of_domain = prompts(options.domain)
    if not 0 <= options.number < len(of_domain):
        raise MoespacError(
            f"--number is {options.number}; accepted for {options.domain}: 0 to {len(of_domain) - 1}"
        )
    return str(of_domain[options.number].prompt)


def models_of(options: argparse.Namespace) -> tuple[Any, Any]:
    """The bundled target, and the draft that was asked for."""
    import torch

    from .drafts import NgramDraft
    from .models import load_pair

    if options.draft not in ("model", "ngram", "none"):
        raise MoespacError(f"--draft is {options.draft!r}; accepted: model, ngram or none")
    # The bundled models' matrices are too small to share out: on a busy machine, threads that wait for one
    # another made decoding twenty times slower.
    torch.set_num_threads(1)
    target, draft = load_pair()
    return target, {"model": draft, "ngram": NgramDraft(), "none": None}[options.draft]


def _start(prompt: str, sampling: Sampling, options: argparse.Namespace) -> Decoding:
    from .decoding import decode

    target, draft = models_of(options)
    return decode(
        target,
        prompt,
        draft=draft,
        gamma=options.gamma,
        sampling=sampling,
        max_new_tokens=options.max_new_tokens,
        seed=options.seed,
    )


def _stream(decoding: Decoding, quiet: bool) -> None:
    """Print the text as it grows; a letter whose bytes are not all there yet waits for the rest."""
    printed = 0
    for _step in decoding:
        if quiet:
            continue
        text = decoding.text
        whole = len(text.rstrip("\ufffd")) if decoding.finish_reason is None else len(text)
        print(text[printed:whole], end="", flush=True)
        printed = max(printed, whole)
    if not quiet:
        print(flush=True)


@dataclass(frozen=True)
class Mismatch:
    """Where the text first differs from the target's own."""

    position: int  # in the new tokens, from 0
    emitted_id: int | None  # None where one of the two had ended
    target_id: int | None
    top_two_logit_margin: float  # of the target at that position; tiny means that rounding decided


def first_mismatch(decoding: Decoding) -> Mismatch | None:
    """Compares the emitted ids with the target's own greedy `generate`; None where they are the same."""
    import torch

    model, emitted = decoding.model, decoding.new_ids
    ids = torch.tensor([decoding.prompt_ids], device=model.device)
    with torch.inference_mode():
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=len(emitted)
        )
        own = out[0, ids.shape[1] :].tolist()
        if own == emitted:
            return None
        pairs = zip(emitted, own, strict=False)
        position = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(emitted), len(own)))
        best = model(out[:, : ids.shape[1] + position], logits_to_keep=1).logits[0, -1].float().topk(2).values
    return Mismatch(
        position,
        emitted[position] if position < len(emitted) else None,
        own[position] if position < len(own) else None,
        float(best[0] - best[1]),
    )


def _in_words(figures: dict[str, Any]) -> str:
    """The line of figures below the text."""
    lossless = {None: "not checked", True: "checked: the target's own text", False: "BROKEN"}
    rate, speed = figures["acceptance_rate"], figures["tokens_per_second_measured"]
    parts = [
        f"{figures['new_tokens']} tokens in {figures['steps']} steps",
        f"γ = {figures['gamma']}",
        "nothing drafted" if rate is None else f"{rate:.0%} of drafted tokens accepted",
        f"{figures['tokens_per_step'] or 0:.2f} tokens a step",
        f"{speed or 0:.1f} tokens a second (measured)",
        f"ended by {figures['finish_reason'] or 'interrupt'}",
        f"lossless {lossless[figures['lossless_checked']]}",
    ]
    lines = ["— " + " · ".join(parts)]
    if figures["mismatch"] is not None:
        lines.append(
            "the text differs from the target's own at new token {position}: {emitted_id} for {target_id}, "
            "where its top two logits lie {top_two_logit_margin:.2g} apart".format(**figures["mismatch"])
        )
    return "\n".join(lines)
