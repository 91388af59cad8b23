"""`moespac decode`: one prompt through a model, its text as it comes and its figures at the end."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..decoder.lossless import check_lossless
from ..utils.defaults import ACCOUNTING, GAMMA, MACHINE, POLICY
from ..utils.exceptions import InvalidInputError
from .decode_options import DRAFTS, DecodeOptions
from .output import show, warned, working

if TYPE_CHECKING:
    from ..decoder.decoding import Decoding
    from ..decoder.lossless import Check
    from ..offloading.run import Run

__all__ = ["decode"]

LOSSLESS_BROKEN, INTERRUPTED = 1, 130


@dataclass(frozen=True)
class OffloadOptions:
    """A budget, and what can be said beside one."""

    budget: str | None = None
    policy: str | None = None
    machine: str | None = None
    model: str | None = None
    accounting: str | None = None
    expert_usage: Path | None = None
    device: str | None = None

    def check(self, drafter: str) -> None:
        """Refuse what makes no sense together, before anything is loaded."""
        for option in fields(self):
            if self.budget is None and getattr(self, option.name) is not None:
                name = option.name.replace("_", "-")
                raise InvalidInputError(
                    f"--{name} was given without --budget; expected: with it, such as --budget 25%"
                )
        if drafter not in DRAFTS and self.accounting == "device-equal" and not self.model:
            raise InvalidInputError(
                "--accounting device-equal was given with a draft of your own, whose bytes it does not know; "
                "expected: with the bundled draft, with --model, or slots-equal"
            )

    def offload(self, target: Any, drafter: str, gamma: int) -> Run | None:
        """Put the target under the budget; without one, return None."""
        if self.budget is None:
            return None
        from ..offloading.session import offload
        from ..trace.trace import Trace

        return offload(
            target,
            str(self.budget),
            policy=self.policy or POLICY,
            device=self.device or "virtual",
            machine=self.machine or MACHINE,
            model_spec=self.model,
            accounting=self.accounting or ACCOUNTING if drafter == "model" else ACCOUNTING,
            expert_usage=None if self.expert_usage is None else Trace.load(self.expert_usage),
            gamma=gamma,
        )

    def figures(self, run: Run, warnings: list[str]) -> dict[str, Any]:
        """Return what the run came to, and on what."""
        from ..hardware.model import load_model_spec
        from ..hardware.scaling import scaling_notes

        spec = load_model_spec(self.model) if self.model else None
        notes = scaling_notes(spec, run.geometry) if spec else ()
        return {
            "budget": self.budget,
            "accounting": self.accounting or ACCOUNTING,
            "machine": self.machine or MACHINE,
            "model": spec.name if spec else None,
            "notes": [note.replace("the trace has", "this one has") for note in notes],
            "warnings": warnings,
            "label": run.label,
            **run.summary(),
        }


def decode(
    how: DecodeOptions, under: OffloadOptions, check_lossless: bool | None = None, json: bool = False
) -> int:
    """Decode one prompt speculatively, under a budget or without.

    Prints the text as it comes, then its figures. Ends with 1 if a greedy text is not the target's own.

        moespac decode --domain math --budget 25% --model qwen3-30b-a3b
        moespac decode --prompt "Once upon a time" --mode sample --seed 3
    """
    from ..decoder.speculative import decode as decode_prompt

    sampling, gamma = how.sampling(), GAMMA if how.gamma is None else how.gamma
    greedy = sampling.mode == "greedy"
    if check_lossless and not greedy:
        raise InvalidInputError(
            "--check-lossless was given with --mode sample; expected: with --mode greedy, as a sampled text "
            "has no other to equal"
        )
    prompt, drafter = how.text(), how.drafter()
    under.check(drafter)
    target, draft = how.models()
    with warned(quiet=json) as warnings:
        run = under.offload(target, drafter, gamma)
    with run or nullcontext():
        decoding = (run.decode if run else partial(decode_prompt, target))(
            prompt,
            draft=draft,
            gamma=gamma,
            sampling=sampling,
            max_new_tokens=how.max_new_tokens,
            seed=how.seed,
            stop_strings=how.stop or None,
        )
        with suppress(KeyboardInterrupt):  # what is committed is whole, and is reported
            _stream(decoding, quiet=json)
    interrupted = decoding.finish_reason in (None, "interrupted")
    wanted = greedy if check_lossless is None else check_lossless
    lossless = _compared(decoding) if wanted and not interrupted else None
    mismatch = None if lossless is None else lossless.mismatch
    figures = {
        "prompt": prompt,
        "text": decoding.text,
        "mode": sampling.mode,
        "sampling": None if greedy else vars(sampling),
        "model": how.model_path,
        "draft": drafter,
        "gamma": gamma,
        "seed": how.seed,
        **decoding.summary(),
        "lossless_checked": None if lossless is None else mismatch is None,
        "mismatch": None if mismatch is None else vars(mismatch),
        "lossless": None if lossless is None else lossless.as_dict(),
        "offload": None if run is None else under.figures(run, warnings),
    }
    words = _in_words(figures, "not checked" if lossless is None else lossless.in_words())
    show(words, figures, json)
    if mismatch is not None:
        return LOSSLESS_BROKEN
    return INTERRUPTED if interrupted else 0


def _compared(decoding: Decoding) -> Check:
    with working("comparing with the target's own text"):
        return check_lossless(decoding)


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
    """Return the lines of figures below the text."""
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
    """Return what the budget came to; every time says whether it is modelled or measured."""
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
