"""Which models a command decodes with: the bundled pair, or any of one's own, with a draft or without."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from ..utils.exceptions import MoespacError
from .options import given

__all__ = ["draft_of", "model_arguments", "models_of", "path_arguments", "told_to_fetch"]

WORDS = ("model", "ngram", "none")


def path_arguments(parser: argparse.ArgumentParser, otherwise: str) -> None:
    """Which model; otherwise: what is taken where none is named."""
    parser.add_argument(
        "--model-path",
        metavar="FOLDER|NAME",
        help=f"a model of your own: a folder that save_pretrained wrote, or owner/name as on the hub "
        f"({otherwise})",
    )
    parser.add_argument(
        "--download", action="store_true", help="fetch a hub model that is not on this machine yet"
    )


def model_arguments(parser: argparse.ArgumentParser) -> None:
    path_arguments(parser, "default: the bundled pair")
    parser.add_argument(
        "--draft",
        metavar="WHAT",
        help="model (the bundled draft), ngram, none, or with --model-path a folder or hub name "
        "(default: model, of your own model none)",
    )
    parser.add_argument(
        "--dtype",
        help="auto (the checkpoint's own), float32, bfloat16 or float16 (default: auto, of the bundled pair "
        "float32)",
    )


def draft_of(options: argparse.Namespace) -> str:
    """What drafts, checked before anything is loaded."""
    if options.draft is not None:
        draft = str(options.draft)
    else:
        draft = "model" if options.model_path is None else "none"
    if options.model_path is None and draft not in WORDS:
        raise MoespacError(
            f"--draft is {draft!r}; expected: model, ngram or none; with --model-path a folder or hub name "
            "too"
        )
    if options.model_path is not None and draft == "model":
        raise MoespacError(
            "--draft is 'model', the bundled draft, which has another tokenizer than a model of your own; "
            "accepted with --model-path: ngram, none, or a folder or hub name"
        )
    return draft


def models_of(options: argparse.Namespace) -> tuple[Any, Any]:
    """The target and the draft that were asked for."""
    import torch

    from ..decoder.drafts import NgramDraft
    from ..models import loading as models

    drafting = draft_of(options)
    if options.model_path is None:
        # The bundled models' matrices are too small to share out: on a busy machine, threads that wait for
        # one another made decoding twenty times slower.
        torch.set_num_threads(1)
        target, draft = models.load_pair(**given(options, "dtype"))
    else:
        for name in {options.model_path, drafting} - {*WORDS}:
            models.checked_name(name)  # both, before one is loaded
        target, draft = _loaded(options.model_path, options), None
    if drafting in ("ngram", "none"):
        return target, NgramDraft() if drafting == "ngram" else None
    return target, draft if drafting == "model" else _loaded(drafting, options)


def _loaded(name: str, options: argparse.Namespace) -> Any:
    from ..models import loading as models
    from ..models.checkpoint import without_bars

    seen = sys.stderr.isatty() and not options.json
    with told_to_fetch(), nullcontext() if seen else without_bars():
        return models.load_model(name, dtype=options.dtype or models.AUTO, download=options.download)


@contextmanager
def told_to_fetch() -> Iterator[None]:
    """What to do about a model that is not here, as it is done on the command line."""
    try:
        yield
    except MoespacError as error:
        raise MoespacError(str(error).replace("pass download=True", "give --download")) from error
