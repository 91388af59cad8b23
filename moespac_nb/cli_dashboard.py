"""`moespac dashboard`: one decode as a page that needs neither kernel nor network."""

from __future__ import annotations

import argparse
import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from .cli_budget import given, warned
from .errors import MoespacError

ENDINGS = (".html", ".htm")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for. Values are checked by the code that uses them, so that all say the same."""
    parser.add_argument(
        "what", metavar="DOMAIN|FILE", help="what is bundled of a domain, or a file of `moespac record`"
    )
    parser.add_argument("--html", type=Path, required=True, metavar="FILE", help="the page to write")
    parser.add_argument("--policy", metavar="NAME", help="recency, … (default spac-joint)")
    parser.add_argument("--budget", metavar="SIZE", help="25%%, 512MiB, … (default 25%%)")
    parser.add_argument("--machine", metavar="NAME|FILE", help="rtx4090, …, or a .toml file")
    parser.add_argument("--model-profile", metavar="NAME|FILE", help="qwen3-30b-a3b, …, or a .toml file")
    parser.add_argument("--gamma", type=int, help="of a fan: the draft length (default: the longest)")


def run(options: argparse.Namespace) -> int:
    """Check, replay, write, then say where it is."""
    path = options.html
    if path.suffix.lower() not in ENDINGS or not path.parent.is_dir() or path.is_dir():
        raise MoespacError(
            f"--html is {str(path)!r}; accepted: a file that ends in .html, in a folder that is there"
        )
    asked = given(options, "policy", "budget", "machine", "model_profile", "gamma")
    with warned(quiet=options.json) as said:
        dashboard = _dashboard()(options.what, **asked)
        dashboard.to_html(path)
    if options.json:
        about = {"html": str(path), "bytes": path.stat().st_size, "title": dashboard.title, "warnings": said}
        print(json.dumps(about, indent=2, ensure_ascii=False))
    else:
        print(f"{dashboard.title}\nwritten   {path}, {path.stat().st_size:,} bytes: open it in a browser")
    return 0


def _dashboard() -> Any:
    """What shows registers itself under this name: what computes must not import it."""
    found = entry_points(group="moespac.views", name="dashboard")
    if not found:
        raise MoespacError(
            "moespac dashboard has no widgets to write; accepted: an installation with moespac_widgets; "
            "install moespac-nb again: python -m pip install ."
        )
    return next(iter(found)).load()
