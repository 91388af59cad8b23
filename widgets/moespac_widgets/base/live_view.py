"""The base of every live widget: data sent once, a small state that both sides share, a few commands.

A widget is a subclass that names its front-end file and its state, and packs its data:

    class Demand(LiveView):
        SCRIPT, TEXTS = "demand.js", ("demand",)
        step = view_trait(0)

        def __init__(self, trace, *, step=0):
            super().__init__(data={"counts": pack(trace.counts)},
                             limits={"step": (0, len(trace) - 1)}, step=step)

        def answer_refine(self, step):     # what the front end's host.ask("refine", {step}) waits for
            return {"counts": pack(...)}

`docs/gallery.md` describes the front end's side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote

import anywidget
import traitlets

from moespac_nb import MoespacError
from moespac_nb.utils.exceptions import InvalidInputError, did_you_mean

from .assets import Words, bundle, catalogue, style
from .cell_lifecycle import remember
from .display import StaticView
from .fallback import fallback_html
from .page import write_page
from .serialize import split

__all__ = ["LiveView", "view_trait", "within"]

Limit = tuple[int, int] | list[str]  # the least and most value, or the words


def view_trait(default: int | str) -> Any:
    """Declare a part of the state that a reader changes.

    It is in the view code, shared with the browser, and checked against its limit.

    Parameters
    ----------
    default : int or str
        The value before one is given.
    """
    return _ViewTrait(default).tag(sync=True, view=True)


class _ViewTrait(traitlets.Any):
    allow_none = False

    def validate(self, obj: LiveView, value: Any) -> Any:
        return obj.checked(self.name, value)


class LiveView(StaticView, anywidget.AnyWidget):
    """Base of the live widgets.

    Parameters
    ----------
    data : mapping
        Arrays packed by `pack`, and whatever JSON holds. Sent once.
    limits : mapping
        For each view trait its least and most value, or the list of its words.
    title : Words or str, optional
        None takes the catalogue's "title." and the first of TEXTS.
    notices : iterable of Words or str
        What a reader must know: that a part was left out, for example.
    **state : int or str
        The first values of the view traits.

    Attributes
    ----------
    SCRIPT : str
        The widget's front-end file.
    TEXTS : tuple of str
        First parts of the catalogue's keys that the front end uses.

    Raises
    ------
    MoespacError
        If a value of `state` is out of its limit.
    """

    SCRIPT: ClassVar[str]
    TEXTS: ClassVar[tuple[str, ...]]  # first parts of the catalogue's keys

    _data = traitlets.Dict().tag(sync=True)
    _texts = traitlets.Dict().tag(sync=True)
    _title = traitlets.Unicode().tag(sync=True)
    _notices = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _parts = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _limits = traitlets.Dict().tag(sync=True)
    _linked = traitlets.Dict().tag(sync=True)  # by trait the ids of the views that the browser moves along
    _error = traitlets.Unicode().tag(sync=True)
    _kernel = traitlets.Bool(True).tag(sync=True)

    def __init_subclass__(cls, **options: Any) -> None:
        if "SCRIPT" in cls.__dict__:
            cls._esm, cls._css = bundle(cls.SCRIPT), style(cls.SCRIPT)
        super().__init_subclass__(**options)

    def __init__(
        self,
        *,
        data: Mapping[str, Any],
        limits: Mapping[str, Limit],
        title: Words | str | None = None,
        notices: Iterable[Words | str] = (),
        **state: int | str,
    ) -> None:
        self._bounds = dict(limits)
        for name, value in state.items():
            self.checked(name, value)
        self._catalogue = catalogue("title", "notice", "static")
        super().__init__(
            _data=dict(data),
            _title=self._read(title or Words(f"title.{self.TEXTS[0]}")),
            _texts=catalogue("base", *self.TEXTS),
            _notices=[self._read(notice) for notice in notices],
            _parts=self.view_names(),
            _limits={name: list(limit) for name, limit in limits.items()},
            **state,
        )
        self.on_msg(self._on_message)
        self.observe(lambda _: setattr(self, "_error", ""), self.view_names())
        remember(self)

    def add_notices(self, notices: Iterable[Words | str]) -> None:
        """Show more notices above the view, before those that it has already.

        Parameters
        ----------
        notices : iterable of Words or str
            One paragraph each.
        """
        self._notices = [*map(self._read, notices), *self._notices]

    def _read(self, words: Words | str) -> str:
        return words.read(self._catalogue) if isinstance(words, Words) else words

    @classmethod
    def view_names(cls) -> list[str]:
        """Return the names of the view traits in the order of their declaration."""
        declared = [name for kind in reversed(cls.__mro__) for name in vars(kind)]
        return [name for name in declared if name in cls.class_traits(view=True)]

    @property
    def view_code(self) -> str:
        """The present view as text: what "copy this view" copies and `restore_view` takes."""
        return "&".join(f"{name}={quote(str(getattr(self, name)))}" for name in self.view_names())

    def restore_view(self, code: str) -> None:
        """Show the view that a view code stands for.

        Parameters
        ----------
        code : str
            What `view_code` was, or a part of it.

        Raises
        ------
        MoespacError
            If a name or value in it is unknown; nothing is changed then.
        """
        changes: dict[str, Any] = {}
        for name, written in parse_qsl(code.strip(), keep_blank_values=True):
            if name not in self._bounds:
                raise InvalidInputError(
                    f"the view code names {name!r}; expected: {', '.join(self._bounds)}"
                    f"{did_you_mean(name, self._bounds)}"
                )
            value: Any = written
            if isinstance(getattr(self, name), int) and written.lstrip("-").isdigit():
                value = int(written)
            changes[name] = self.checked(name, value)
        if not changes:
            raise InvalidInputError(f"the view code is {code!r}; expected: one such as {self.view_code!r}")
        with self.hold_sync():
            for name, value in changes.items():
                setattr(self, name, value)

    def to_html(self, path: str | Path) -> Path:
        """Write the view as a page with the same front end that needs neither kernel nor network.

        Parameters
        ----------
        path : str or Path
            The page to write, a name that ends in .html.

        Returns
        -------
        Path
            The same path.
        """
        return write_page(path, [self])

    def close(self) -> None:
        """Close the widget and its layout, which ipywidgets would keep."""
        layout, was_open = self.layout, self.comm is not None
        super().close()
        if was_open:
            layout.close()

    def caption(self) -> str:
        """Return the title, for a heading outside the view."""
        return self._title

    def state_in_words(self) -> list[tuple[str, str]]:
        """Return what is chosen in the view, a name and a value each."""
        shown = ((name, getattr(self, name)) for name in self.view_names())
        return [(name, str(value)) for name, value in shown if value != -1]  # -1: none

    def fallback_html(self) -> str:
        """Return the view as a picture, for a place that runs no script."""
        state = {name: getattr(self, name) for name in self.view_names()}
        return fallback_html(self.SCRIPT, self._data, state, self._catalogue)

    def page_data(self) -> Mapping[str, Any]:
        """Return the data of a page: what was sent, and what the widget would ask a kernel for."""
        return self._data

    def page_state(self) -> dict[str, Any]:
        """Return what the front end reads on a page, which has no kernel."""
        shared = ("_title", "_texts", "_notices", "_parts", "_limits", *self.view_names())
        state = {name: getattr(self, name) for name in shared}
        return {**state, "_data": self.page_data(), "_kernel": False, "_error": ""}

    def answer_ping(self) -> None:
        """Answer the front end's question whether a kernel is there."""

    def handle(self, command: str, values: Mapping[str, Any]) -> Any:
        """Answer a command of the front end by calling the method `answer_<command>`.

        Parameters
        ----------
        command : str
            The command's name.
        values : mapping
            The method's arguments.

        Raises
        ------
        MoespacError
            If there is no such command.
        """
        method = getattr(self, f"answer_{command}", None)
        if method is None:
            raise InvalidInputError(f"there is no command {command!r}")
        return method(**values)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take state from the browser; an invalid value is shown there, not swallowed by the messaging.

        Parameters
        ----------
        sync_data : dict
            Values by trait.
        """
        try:
            super().set_state(sync_data)
        except Exception as problem:
            self._error = _in_words(problem)

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        try:
            buffers: list[memoryview] = []
            value = split(self.handle(content["command"], content["values"]), buffers)
            self.send({"answer": content["ask"], "value": value}, buffers)
        except Exception as problem:
            self.send({"answer": content.get("ask"), "error": _in_words(problem)})

    def checked(self, name: str, value: Any) -> Any:
        """Return the value if it is within its trait's limit.

        Parameters
        ----------
        name : str
            A view trait.
        value : int or str
            The value.

        Raises
        ------
        MoespacError
            If the value is not within the limit.
        """
        return within(name, value, self._bounds[name])


def within(name: str, value: Any, limit: Limit) -> Any:
    """Return the value if it is within the limit.

    Parameters
    ----------
    name : str
        The value's name, for the error.
    value : int or str
        The value.
    limit : tuple of int or list of str
        The least and most value, or the words.

    Raises
    ------
    MoespacError
        If the value is not within the limit.

    Examples
    --------
    >>> within("step", 3, (0, 9))
    3
    """
    if isinstance(limit, tuple):
        least, most = limit
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not least <= value <= most:
            none = ", -1 for none" if least == -1 else ""
            raise InvalidInputError(f"{name} is {value!r}; expected: {max(least, 0)} to {most}{none}")
    elif value not in limit:
        raise InvalidInputError(
            f"{name} is {value!r}; expected: {', '.join(limit)}{did_you_mean(value, limit)}"
        )
    return value


def _in_words(problem: Exception) -> str:
    """Return the error as text; anything but a MoespacError is a fault of ours, and keeps its type's name."""
    return str(problem) if isinstance(problem, MoespacError) else f"{type(problem).__name__}: {problem}"
