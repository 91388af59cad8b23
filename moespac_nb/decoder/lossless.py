"""Check that a greedy text is the target's own: equal to `generate`'s, or different only at a near tie.

In float32 a pass over nine positions rounds so little otherwise than one over each that the texts are equal.
In half precision it rounds more than the distance between the two best logits sometimes is, and either token
is as much the target's own. A token within ε of the best is such a near tie; any other difference is a fault.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from .decoding import Decoding

__all__ = ["Check", "Mismatch", "check_lossless"]

# ε in steps of the dtype at the best logit. Measured on the bundled pair, windows of 2 to 48 positions
# against one at a time: in float32 no logit of 1,845 positions moved by more than 19 steps, and no token was
# another; in bfloat16 13 tokens of 4,764 were, at most 4.2 steps below the best; in float16 none of 2,901
# was, and 99 of 100 positions moved by no more than 16 steps.
UNITS = {"float32": 32.0, "bfloat16": 8.0, "float16": 16.0}


@dataclass(frozen=True)
class Mismatch:
    """Where the text first differs from the target's own by more than rounding.

    Attributes
    ----------
    position : int
        Index in the new tokens.
    emitted_id, target_id : int or None
        The two tokens there; None where one of the texts has ended.
    top_two_logit_margin : float
        Distance between the target's two best logits at that position.
    """

    position: int
    emitted_id: int | None
    target_id: int | None
    top_two_logit_margin: float


@dataclass(frozen=True)
class Check:
    """The result of `check_lossless`.

    Attributes
    ----------
    dtype : str
        What the target computes in.
    epsilon : float
        Largest ε of the text's positions: logits nearer than that are a near tie.
    near_ties : int
        Positions of the text where the target's two best logits are that near.
    decided : int or None
        The first near tie where the text and `generate` differ, as an index in the new tokens; None where the
        texts are equal.
    mismatch : Mismatch or None
        None where the text is the target's own.
    """

    dtype: str
    epsilon: float
    near_ties: int
    decided: int | None
    mismatch: Mismatch | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as nested dicts, for JSON."""
        return asdict(self)

    def in_words(self) -> str:
        """Return the result as a phrase."""
        if self.mismatch is not None:
            return "BROKEN"
        if self.decided is None:
            own = "the target's own text"
        else:
            own = f"the target's own text up to a near tie at new token {self.decided}, its choice beyond"
        return f"checked: {own} ({self.dtype}, near ties: {self.near_ties})"


def check_lossless(decoding: Decoding) -> Check:
    """Compare a finished greedy text with the target's `generate`, and with its logits along the text.

    Parameters
    ----------
    decoding : Decoding
        A greedy decode that has ended.

    Returns
    -------
    Check
        `mismatch` is None where the text is the target's own.

    Examples
    --------
    >>> from moespac_nb import decode, load_pair
    >>> target, draft = load_pair()
    >>> decoding = decode(target, "Once upon a time", draft=draft, max_new_tokens=8)
    >>> steps = list(decoding)
    >>> check_lossless(decoding).in_words()
    "checked: the target's own text (float32, near ties: 0)"
    """
    import torch

    model, emitted, prompt = decoding.model, decoding.new_ids, decoding.prompt_ids
    own = _generated(decoding)
    with torch.inference_mode():
        ids = torch.tensor([[*prompt, *emitted]], device=model.device)
        raw = model(ids, logits_to_keep=len(emitted) + 1).logits[0]
        logits = decoding.processors(ids[0].tolist(), raw).float()
    dtype = raw.dtype
    best = logits.topk(2).values
    margins, near = (best[:, 0] - best[:, 1]).tolist(), _near(best[:, 0], dtype).tolist()
    behind = (best[:-1, 0] - logits[:-1].gather(-1, ids[0, len(prompt) :, None])[:, 0]).tolist()
    first = next((i for i, (a, b) in enumerate(zip(emitted, own, strict=False)) if a != b), None)
    wrong = next((i for i, gap in enumerate(behind) if gap > near[i]), None) if first is not None else None
    if first is None and len(emitted) != len(own):
        wrong = min(len(emitted), len(own))  # one of the two ended where the other went on
    mismatch = None
    if wrong is not None:
        at_ends = [ids[wrong] if wrong < len(ids) else None for ids in (emitted, own)]
        if first is not None and wrong > first:  # beyond a near tie there is no other text to compare with
            at_ends[1] = int(logits[wrong].argmax())
        mismatch = Mismatch(wrong, at_ends[0], at_ends[1], margins[wrong])
    return Check(
        dtype=_name(dtype),
        epsilon=max(near[:-1]),
        near_ties=sum(margin <= width for margin, width in zip(margins[:-1], near[:-1], strict=True)),
        decided=first if mismatch is None else None,
        mismatch=mismatch,
    )


def _generated(decoding: Decoding) -> list[int]:
    """Let the target `generate` greedily, with the decode's stops."""
    import torch

    model = decoding.model
    ids = torch.tensor([decoding.prompt_ids], device=model.device)
    stops: dict[str, Any] = {"eos_token_id": sorted(decoding.stops.ids) or None}
    if decoding.stops.strings:
        stops |= {"stop_strings": list(decoding.stops.strings), "tokenizer": decoding.tokenizer}
    with torch.inference_mode():
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=decoding.max_new_tokens,
            **stops,
        )
    new: list[int] = out[0, ids.shape[1] :].tolist()
    return new


def _near(best: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return how near to the best logit another must be for rounding to decide, at each position."""
    import torch

    return UNITS[_name(dtype)] * torch.finfo(dtype).eps * best.abs().clamp(min=1.0)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
