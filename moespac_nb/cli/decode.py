"""`moespac decode`: one prompt through a model, its text as it comes and its figures at the end."""

from __future__ import annotations

import argparse
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ..decoder.lossless import check_lossless
from ..utils.exceptions import MoespacError
from .model_options import draft_of, model_arguments, models_of
from .options import given, machine_arguments, warned
from .output import print_json

if TYPE_CHECKING:
    from ..decoder.decoding import Decoding
    from ..decoder.sampling import Sampling
    from ..offloading.session import Run

LOSSLESS_BROKEN, INTERRUPTED = 1, 130
UNDER_A_BUDGET = ("policy", "device", "machine", "model", "accounting")
MACHINE = "rtx4090"
GAMMA = 8


def arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for. Values are checked by the code that uses them, so that all say the same."""
    decoding_arguments(parser)
    parser.add_argument(
        "--budget", metavar="SIZE", help="for experts: 25%%, 512MiB, 2000000 (bytes), … (default: no limit)"
    )
    parser.add_argument("--policy", metavar="NAME", help="under a budget: recency, … (default spac-joint)")
    parser.add_argument("--device", help="under a budget: virtual, host or cuda (default virtual)")
    machine_arguments(parser)
    parser.add_argument(
        "--check-lossless",
        action=argparse.BooleanOptionalAction,
        help="compare with the target's own generate, in its dtype and up to near ties (default: if greedy; "
        "takes as long again)",
    )


def decoding_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Which models and prompt, and how it is decoded. required: a prompt must be given."""
    model_arguments(parser)
    source = parser.add_mutually_exclusive_group(required=required)
    source.add_argument("--domain", help="a bundled prompt: mcq, chat, math, code, instruct, news or qa")
    source.add_argument("--prompt", metavar="TEXT", help="your own prompt")
    parser.add_argument("--number", type=int, default=0, help="which of its prompts (default %(default)s)")
    parser.add_argument("--mode", default="greedy", help="greedy or sample (default %(default)s)")
    parser.add_argument("--temperature", type=float, default=0.8, help="of sampling (default %(default)s)")
    parser.add_argument("--top-k", type=int, help="sample among the k likeliest tokens")
    parser.add_argument("--top-p", type=float, help="sample among the likeliest tokens that hold this much")
    parser.add_argument(
        "--min-p", type=float, help="sample no token of less than this share of the likeliest"
    )
    parser.add_argument(
        "--stop", action="append", metavar="TEXT", help="end once the text has this in it; may be given again"
    )
    parser.add_argument(
        "--gamma", type=int, default=GAMMA, help=f"draft length γ, 0 for none (default {GAMMA})"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all randomness (default %(default)s)")
    parser.add_argument("--max-new-tokens", type=int, default=128, help="(default %(default)s)")


def run(options: argparse.Namespace) -> int:
    """Decode and print; 1 where the text is not the target's own, 130 where it was interrupted."""
    from ..decoder.speculative import decode

    sampling = sampling_of(options)
    if options.check_lossless and sampling.mode != "greedy":
        raise MoespacError(
            "--check-lossless was given with --mode sample; expected: with --mode greedy, as a sampled "
            "text has no other to equal"
        )
    if options.budget is None and (alone := given(options, *UNDER_A_BUDGET)):
        raise MoespacError(
            f"--{next(iter(alone)).replace('_', '-')} was given without --budget; expected: with it, such as "
            "--budget 25%"
        )
    prompt, drafting = prompt_of(options), draft_of(options)
    if (
        drafting not in ("model", "ngram", "none")
        and options.accounting == "device-equal"
        and not options.model
    ):
        raise MoespacError(
            "--accounting device-equal was given with a draft of your own, whose bytes it does not know; "
            "expected: with the bundled draft, with --model, or slots-equal"
        )
    target, draft = models_of(options)
    with warned(quiet=options.json) as said:
        run = _offloaded(target, options)
    with run or nullcontext():
        decoding = (run.decode if run else partial(decode, target))(
            prompt,
            draft=draft,
            gamma=options.gamma,
            sampling=sampling,
            max_new_tokens=options.max_new_tokens,
            seed=options.seed,
            stop_strings=options.stop,
        )
        with suppress(KeyboardInterrupt):  # what is committed is whole, and is reported
            _stream(decoding, quiet=options.json)
    interrupted = decoding.finish_reason in (None, "interrupted")
    wanted = sampling.mode == "greedy" if options.check_lossless is None else options.check_lossless
    check = check_lossless(decoding) if wanted and not interrupted else None
    mismatch = None if check is None else check.mismatch
    figures = {
        "prompt": prompt,
        "text": decoding.text,
        "mode": sampling.mode,
        "sampling": None if sampling.mode == "greedy" else vars(sampling),
        "model": options.model_path,
        "draft": drafting,
        "gamma": options.gamma,
        "seed": options.seed,
        **decoding.summary(),
        "lossless_checked": None if check is None else mismatch is None,
        "mismatch": None if mismatch is None else vars(mismatch),
        "lossless": None if check is None else check.as_dict(),
        "offload": None if run is None else _under_budget(run, options, said),
    }
    if options.json:
        print_json(figures)
    else:
        print(_in_words(figures, "not checked" if check is None else check.in_words()))
    if mismatch is not None:
        return LOSSLESS_BROKEN
    return INTERRUPTED if interrupted else 0


def sampling_of(options: argparse.Namespace) -> Sampling:
    from ..decoder.sampling import Sampling

    return Sampling(options.mode, options.temperature, options.top_k, options.top_p, options.min_p)


def prompt_of(options: argparse.Namespace) -> str:
    """The text that was given, or the bundled one that was named."""
    from ..datasets.prompts import load_prompts

    if options.domain is None:
        return str(options.prompt)
    of_domain = load_prompts(options.domain)
    if not 0 <= options.number < len(of_domain):
        raise MoespacError(
            f"--number is {options.number}; expected for {options.domain}: 0 to {len(of_domain) - 1}"
        )
    return str(of_domain[options.number].prompt)


def _offloaded(target: Any, options: argparse.Namespace) -> Run | None:
    """The target under the budget that was asked for; None without one."""
    if options.budget is None:
        return None
    from ..offloading.session import offload

    asked = given(options, "policy", "device")
    machine = options.machine or MACHINE
    return offload(
        target,
        _charged(target, options),
        gamma=options.gamma,
        machine=machine,
        model_spec=options.model,
        **asked,
    )


def _charged(target: Any, options: argparse.Namespace) -> str | int:
    """The budget as it was given, or what is left of it once the draft is paid for."""
    from ..hardware.budget import allot, check_accounting
    from ..hardware.model import load_model_spec
    from ..hardware.scaling import scale_to_trace
    from ..models.inspection import inspect_model
    from ..offloading.own_spec import spec_from_model

    if check_accounting(options.accounting or "slots-equal") == "slots-equal":
        return str(options.budget)
    # On a real device experts are as large as they are, whatever model they stand for.
    real = options.model is None or options.device in ("host", "cuda")
    sizes = (
        spec_from_model(target)
        if real
        else scale_to_trace(load_model_spec(options.model), inspect_model(target).shape)
    )
    charged = allot(options.accounting, options.budget, sizes, draft=draft_of(options) == "model")
    if not charged.fits:
        raise MoespacError(
            f"budget is {options.budget!r} and the draft takes {charged.draft_bytes} bytes of it; accepted "
            "under device-equal: more than that, or --draft none"
        )
    return charged.budget_bytes


def _under_budget(run: Run, options: argparse.Namespace, said: list[str]) -> dict[str, Any]:
    """What the run came to, and on what."""
    from ..hardware.model import load_model_spec
    from ..hardware.scaling import scaling_notes

    profile = options.model and load_model_spec(options.model)
    scaled = scaling_notes(profile, run.geometry) if profile else ()
    return {
        "budget": options.budget,
        "accounting": options.accounting or "slots-equal",
        "machine": options.machine or MACHINE,
        "model": profile.name if profile else None,
        "notes": [note.replace("the trace has", "this one has") for note in scaled],
        "warnings": said,
        "label": run.label,
        **run.summary(),
    }


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


def _in_words(figures: dict[str, Any], lossless: str) -> str:
    """The line of figures below the text."""
    rate, speed = figures["acceptance_rate"], figures["tokens_per_second_measured"]
    parts = [
        f"{figures['new_tokens']} tokens in {figures['steps']} steps",
        f"γ = {figures['gamma']}",
        "nothing drafted" if rate is None else f"{rate:.0%} of drafted tokens accepted",
        f"{figures['tokens_per_step'] or 0:.2f} tokens a step",
        f"{speed or 0:.1f} tokens a second (measured)",
        f"ended by {figures['finish_reason'] or 'interrupt'}",
        f"lossless {lossless}",
    ]
    lines = ["— " + " · ".join(parts)]
    if figures["routing_unread"] is not None:
        lines.append(f"its experts were not seen: {figures['routing_unread']}")
    if figures["offload"] is not None:
        lines += _budget_in_words(figures["offload"])
    if figures["mismatch"] is not None:
        lines.append(
            "the text differs from the target's own at new token {position}: {emitted_id} for {target_id}, "
            "where its top two logits lie {top_two_logit_margin:.2g} apart".format(**figures["mismatch"])
        )
    return "\n".join(lines)


def _budget_in_words(of: dict[str, Any]) -> list[str]:
    """What the experts' budget came to; every time says whether it is modelled or measured."""
    speed = of[f"tokens_per_second_{of['label']}"]
    size = f"as if {of['model']}" if of["model"] else "its experts' own size"
    on = (
        f"modelled: {of['machine']}, {size}"
        if of["label"] == "modelled"
        else f"measured here, on {of['device']}"
    )
    parts = [
        f"budget {of['budget']}, {of['accounting']}: {of['slots']} slots, {of['policy']}",
        f"{speed or 0:.1f} tokens a second ({on})",
        f"{of['hit_rate'] or 0:.0%} of experts ready, {of['late_rate'] or 0:.0%} late",
        f"{of['cpu_share'] or 0:.0%} of the work on the CPU lane",
        f"{(of['bytes_per_token'] or 0) / 1e6:.2f} MB copied a token",
    ]
    return ["— " + " · ".join(parts), *(f"  scaled: {note}" for note in of["notes"])]
