"""`moespac dashboard`: one decode as a page that needs neither kernel nor network."""

from __future__ import annotations

import argparse
from pathlib import Path

from moespac_nb.cli.command import Command
from moespac_nb.cli.decode import GAMMA, decoding_arguments
from moespac_nb.cli.options import given, warned
from moespac_nb.cli.output import check_file, print_json
from moespac_nb.cli.trace import recorded
from moespac_nb.utils.exceptions import MoespacError

ENDINGS = (".html", ".htm")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for. Values are checked by the code that uses them, so that all say the same."""
    parser.add_argument(
        "what",
        nargs="?",
        metavar="DOMAIN|FILE",
        help="what is bundled of a domain, or a file of `moespac record`; or a prompt is decoded, see below",
    )
    parser.add_argument("--html", type=Path, required=True, metavar="FILE", help="the page to write")
    parser.add_argument("--policy", metavar="NAME", help="recency, … (default spac-joint)")
    parser.add_argument("--budget", metavar="SIZE", help="25%%, 512MiB, 2000000 (bytes), … (default 25%%)")
    parser.add_argument("--machine", metavar="NAME|FILE", help="rtx4090, …, or a .toml file")
    parser.add_argument("--model", metavar="NAME|FILE", help="qwen3-30b-a3b, …, or a .toml file")
    decoding_arguments(parser, required=False)
    # Of a trace that is there, γ is a dense trace's, and the longest unless it is given.
    parser.set_defaults(gamma=None, dense=None, scores=False, sensors="")


def run(options: argparse.Namespace) -> int:
    """Check, replay, write, then say where it is."""
    path = options.html
    if path.suffix.lower() not in ENDINGS or not path.parent.is_dir() or path.is_dir():
        raise MoespacError(
            f"--html is {str(path)!r}; expected: a file that ends in .html, in a folder that is there"
        )
    check_file("--html", path)
    decoded = options.prompt is not None or options.domain is not None
    if decoded is (options.what is not None) or (options.model_path is not None and not decoded):
        raise MoespacError(
            "expected: a DOMAIN or FILE to show, or a prompt to decode: --prompt or --domain, and "
            "--model-path for a model of your own"
        )
    asked = given(options, "policy", "budget", "machine", "model", *(() if decoded else ("gamma",)))
    from .views.dashboard import Dashboard

    if decoded and options.gamma is None:
        options.gamma = GAMMA
    with warned(quiet=options.json) as said:
        dashboard = Dashboard(recorded(options) if decoded else options.what, **asked)
        dashboard.to_html(path)
    if options.json:
        about = {"html": str(path), "bytes": path.stat().st_size, "title": dashboard.title, "warnings": said}
        print_json(about)
    else:
        print(f"{dashboard.title}\nwritten   {path}, {path.stat().st_size:,} bytes: open it in a browser")
    return 0


DASHBOARD = Command(
    "dashboard",
    "a decode as a page to look through: rounds, demand, placement, timeline, budget",
    arguments,
    run,
)
