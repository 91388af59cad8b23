"""What the figures share: a camera for slides, and a layout for light and dark pages."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import plotly.io

from moespac_nb.utils.exceptions import InvalidInputError

__all__ = ["INK", "Figure", "on_any_page"]

FORMATS = ("svg", "png")
INK = "#808080"  # readable on the light and on the dark theme


class Figure(go.Figure):
    """A plotly figure whose camera, in the mode bar, saves a picture for slides, as SVG or PNG.

    Examples
    --------
    >>> Figure().saving("png").config
    {'toImageButtonOptions': {'format': 'png', 'scale': 3}}
    """

    def saving(self, kind: str) -> Figure:
        """Choose what the camera writes, and return the figure.

        Parameters
        ----------
        kind : {"svg", "png"}
            PNG is written at three times the size.

        Raises
        ------
        MoespacError
            If the kind is another one.
        """
        if kind not in FORMATS:
            raise InvalidInputError(f"kind is {kind!r}; expected: {', '.join(FORMATS)}")
        self._camera = kind
        return self

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of plotly.js, beside data and layout."""
        camera = getattr(self, "_camera", FORMATS[0])
        return {"toImageButtonOptions": {"format": camera, "scale": 3 if camera == "png" else 1}}

    def show(self, *args: Any, **options: Any) -> None:
        """Show the figure, with the camera's configuration.

        Parameters
        ----------
        *args, **options : Any
            As plotly takes them.
        """
        super().show(*args, **{"config": self.config, **options})

    def to_html(self, *args: Any, **options: Any) -> Any:
        """Return the figure as HTML, with the camera's configuration.

        Parameters
        ----------
        *args, **options : Any
            As plotly takes them.
        """
        return super().to_html(*args, **{"config": self.config, **options})

    def write_html(self, *args: Any, **options: Any) -> None:
        """Write the figure as HTML, with the camera's configuration.

        Parameters
        ----------
        *args, **options : Any
            As plotly takes them.
        """
        super().write_html(*args, **{"config": self.config, **options})

    def _ipython_display_(self) -> None:
        if plotly.io.renderers.render_on_display and plotly.io.renderers.default:
            self.show()
        else:
            super()._ipython_display_()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **options: Any) -> Any:
        return super()._repr_mimebundle_(include, exclude, **{"config": self.config, **options})


def on_any_page(figure: go.Figure, sentence: str, height: int, **layout: Any) -> go.Figure:
    """Make the ground clear, for light and dark pages, and put a sentence above.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        Is changed.
    sentence : str
        What the figure shows, in words.
    height : int
        In pixels.
    **layout : Any
        More of plotly's layout.

    Returns
    -------
    plotly.graph_objects.Figure
        The same figure.

    Examples
    --------
    >>> on_any_page(go.Figure(go.Bar(y=[1, 2])), "Two bars", 200).layout.title.text
    'Two bars'
    """
    clear = "rgba(0,0,0,0)"
    figure.update_layout(
        title={"text": sentence, "font": {"size": 14}},
        height=height,
        paper_bgcolor=clear,
        plot_bgcolor=clear,
        font={"color": INK},
        **layout,
    )
    return figure
