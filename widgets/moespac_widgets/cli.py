"""`moespac dashboard`: one decode as a page that needs neither kernel nor network."""

from __future__ import annotations

from pathlib import Path

from moespac_nb.cli.decode_options import DecodeOptions
from moespac_nb.cli.output import check_file, show, warned, working
from moespac_nb.cli.trace import record_prompt
from moespac_nb.utils.defaults import BUDGET, MACHINE, MODEL, POLICY
from moespac_nb.utils.exceptions import InvalidInputError

ENDINGS = (".html", ".htm")


def dashboard(
    how: DecodeOptions,
    html: Path,
    name: str | None = None,
    policy: str = POLICY,
    budget: str = BUDGET,
    machine: str = MACHINE,
    model: str = MODEL,
    expert_usage: Path | None = None,
    json: bool = False,
) -> int:
    """Write a decode as a page to look through, offline.

    Rounds, demand, placement, timeline and budget, of a recorded trace or of a prompt that is decoded first.

        moespac dashboard math --gamma 4 --html math.html
        moespac dashboard --prompt "Once upon a time" --html tale.html
    """
    if html.suffix.lower() not in ENDINGS or not html.parent.is_dir() or html.is_dir():
        raise InvalidInputError(
            f"--html is {str(html)!r}; expected: a file that ends in .html, in a folder that is there"
        )
    check_file("--html", html, quiet=json)
    decoded = how.prompt is not None or how.domain is not None
    if decoded is (name is not None) or (how.model_path is not None and not decoded):
        raise InvalidInputError(
            "expected: a DOMAIN or FILE to show, or a prompt to decode: --prompt or --domain, and "
            "--model-path for a model of your own"
        )
    from moespac_nb.trace.trace import Trace

    from .views.dashboard import Dashboard

    with warned(quiet=json) as warnings:
        trace = record_prompt(how) if decoded else name
        with working("replaying, for half a minute or so"):
            # Of a trace that is there, γ is the longest unless it is given.
            page = Dashboard(
                trace,
                policy,
                budget,
                machine=machine,
                model=model,
                expert_usage=None if expert_usage is None else Trace.load(expert_usage),
                gamma=None if decoded else how.gamma,
            )
            page.to_html(html)
    size = html.stat().st_size
    words = f"{page.title}\nwritten   {html}, {size:,} bytes: open it in a browser"
    show(words, {"html": str(html), "bytes": size, "title": page.title, "warnings": warnings}, json)
    return 0
