"""A text that grows round by round, each token marked by where it came from and what became of it.

Plain HTML in a display that is updated in place, so it needs no widget manager and keeps its last state
when the notebook is saved.
"""

from __future__ import annotations

from html import escape
from typing import Any

from IPython.display import HTML, display

from moespac_nb import MoespacError, Step

# Okabe-Ito hues, and a shape for each kind: no reader has to rely on colour.
_KINDS = {
    "accepted": ("drafted and accepted", "border-bottom:3px solid #009E73"),
    "own": ("the target's own token", "border:2px solid #0072B2;border-radius:3px;font-weight:bold"),
    "rejected": (
        "drafted and rejected",
        "text-decoration:line-through;border-bottom:3px dotted #D55E00;opacity:.75",
    ),
}
_STYLE = (
    "white-space:pre-wrap;line-height:1.9;font-family:var(--jp-code-font-family,monospace);"
    "color:var(--jp-content-font-color1,inherit)"
)


class GrowingText:
    """Shows a decode while it runs.

    >>> view = GrowingText(tokenizer, prompt)        # doctest: +SKIP
    >>> for step in decode(model, prompt, draft=draft):
    ...     view.add(step)
    """

    def __init__(self, tokenizer: Any, prompt: str = "", show: bool = True) -> None:
        if tokenizer is None:
            raise MoespacError("there is no tokenizer to make text with; pass model.tokenizer")
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._tokens: list[str] = []
        self._rounds = self._drafted = self._accepted = self._emitted = 0
        self._handle = display(HTML(self.html()), display_id=True) if show else None

    def add(self, step: Step) -> None:
        """Append a round: accepted tokens, those rejected, then the target's own."""
        emitted = [int(token) for token in step.emitted]
        kept = emitted[: step.accepted]
        self._tokens += [self._span("accepted", token) for token in kept]
        if step.outcome == "corrected":
            self._tokens += [self._span("rejected", int(token)) for token in step.drafted[step.accepted :]]
        self._tokens += [self._span("own", token) for token in emitted[step.accepted :]]
        self._rounds += 1
        self._drafted += step.gamma
        self._accepted += step.accepted
        self._emitted += len(emitted)
        if self._handle is not None:
            self._handle.update(HTML(self.html()))

    def sentence(self) -> str:
        """The state in words."""
        if not self._rounds:
            return "Nothing decoded yet."
        return (
            f"{self._emitted} tokens in {self._rounds} rounds, {self._emitted / self._rounds:.2f} a round; "
            f"{self._accepted} of {self._drafted} drafted tokens accepted."
        )

    def html(self) -> str:
        legend = " &nbsp; ".join(f'<span style="{style}">{name}</span>' for name, style in _KINDS.values())
        return (
            f'<div role="status"><p>{legend}</p><div style="{_STYLE}">'
            f'<span style="opacity:.7">{escape(self._prompt)}</span>{"".join(self._tokens)}</div>'
            f"<p>{self.sentence()}</p></div>"
        )

    def _span(self, kind: str, token: int) -> str:
        name, style = _KINDS[kind]
        # A rejected line break would tear the text apart; it is shown as a sign instead.
        text = self._tokenizer.decode([token])
        shown = escape(text).replace("\n", "↵" if kind == "rejected" else "↵\n")
        return f'<span title="{name}: {escape(repr(text), quote=True)}" style="{style}">{shown}</span>'
