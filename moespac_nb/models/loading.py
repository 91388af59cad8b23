"""Load models to decode with: the bundled pair, or any causal language model of a folder or hub name.

The results are plain transformers models in eval mode, each with its tokenizer as `model.tokenizer`. Nothing
is downloaded unless asked for, and no code that comes with a model is ever run.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..datasets.files import MANIFEST, data_path, verify_checksums
from ..utils.exceptions import InvalidInputError, MoespacError
from ..utils.validation import warn
from .checkpoint import check_checkpoint, in_a_line, without_numbers
from .compat import check_versions

DTYPES = ("float32", "bfloat16", "float16")
AUTO = "auto"  # the checkpoint's own
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def load_pair(dtype: Any = "float32", verify: bool = True) -> tuple[Any, Any]:
    """Load the bundled target and draft.

    Parameters
    ----------
    dtype : str or torch.dtype
        What they compute in: "float32", "bfloat16" or "float16". They are stored in half precision.
    verify : bool
        Compare the files with their checksums first.

    Returns
    -------
    target, draft : transformers.PreTrainedModel

    Raises
    ------
    InvalidInputError
        If a file is missing or damaged.

    Examples
    --------
    >>> target, draft = load_pair()
    >>> target.config.num_hidden_layers, draft.config.num_hidden_layers
    (8, 2)
    """
    check_versions()
    from transformers import PreTrainedTokenizerFast

    dtype = _checked_dtype(dtype, DTYPES)
    if verify:
        problems = [p for p in verify_checksums() if p.file == MANIFEST or p.file.startswith("pair/")]
        if problems:
            raise InvalidInputError("the bundled pair cannot be used: " + "; ".join(map(str, problems)))
    tokenizer_path = str(data_path("pair/tokenizer.json"))
    target, draft = (_bundled_model(name, dtype) for name in ("target", "draft"))
    target.tokenizer = draft.tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=tokenizer_path, eos_token="<|end|>", pad_token="<|pad|>"
    )
    return target, draft


def _bundled_model(name: str, dtype: str) -> Any:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    config_path, weights_path = data_path(f"pair/{name}.json"), data_path(f"pair/{name}.safetensors")
    try:
        config = AutoConfig.for_model(**json.loads(config_path.read_text(encoding="utf-8")))
        with no_init_weights():  # leaves the caller's random state alone, and is quicker
            model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
        model.tie_weights()
        missing, unexpected = model.load_state_dict(load_file(weights_path), strict=False)
        wrong = sorted(set(missing) - set(model.all_tied_weights_keys)) + unexpected
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"{weights_path} and {config_path.name} do not make a model: {error}"
        ) from error
    if wrong:
        raise InvalidInputError(f"{weights_path} does not fit {config_path.name}: {', '.join(wrong[:3])} …")
    model.name_or_path = f"the bundled {name}"
    return model.eval()


def load_model(
    path_or_hub_name: str | Path, *, dtype: Any = AUTO, device: str = "cpu", download: bool = False
) -> Any:
    """Load a causal language model in safetensors format, with its tokenizer.

    Parameters
    ----------
    path_or_hub_name : str or Path
        A folder with a config.json, or `owner/name` as on the Hugging Face hub.
    dtype : str or torch.dtype
        What it computes in; "auto" takes the checkpoint's own.
    device : str
        Where to put it, as in `model.to`.
    download : bool
        Download what is not on this machine yet; otherwise only local files are used.

    Returns
    -------
    transformers.PreTrainedModel

    Raises
    ------
    InvalidInputError
        If files are missing or do not belong to their config, before any weight is read.

    Examples
    --------
    >>> model = load_model("allenai/OLMoE-1B-7B-0924", download=True)  # doctest: +SKIP
    """
    check_versions()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dtype = _checked_dtype(dtype, (AUTO, *DTYPES))
    name, is_folder = checked_name(path_or_hub_name)
    where: dict[str, Any] = {"local_files_only": is_folder or not download, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **where)
        if is_folder or not download:  # else files may have yet to be fetched, and loading reports on them
            check_checkpoint(Path(name) if is_folder else _downloaded_folder(name))
        model, report = AutoModelForCausalLM.from_pretrained(
            name, **where, use_safetensors=True, dtype=dtype, output_loading_info=True
        )
    except MoespacError as error:
        raise InvalidInputError(f"the model {name!r} cannot be loaded: {error}") from error
    except Exception as error:  # a folder may fail a tokenizer or a model anywhere
        raise _not_loaded(f"the model {name!r} cannot be loaded", error, is_folder or download) from error
    for what in ("missing_keys", "mismatched_keys"):
        if wrong := sorted(map(str, report[what])):
            raise InvalidInputError(
                f"the model {name!r} cannot be loaded: {wrong[0]} is among its {what.replace('_', ' ')}; "
                "expected: a folder whose files hold all weights of its config.json"
            )
    model.tokenizer = tokenizer
    return model.to(device).eval()


def model_of_config(path_or_hub_name: str | Path, *, download: bool = False) -> Any:
    """Make a model without weights of its config.json alone: to ask for its sizes.

    Parameters
    ----------
    path_or_hub_name : str or Path
        As for `load_model`.
    download : bool
        Download the config if it is not on this machine yet.

    Returns
    -------
    transformers.PreTrainedModel
        On the meta device.

    Raises
    ------
    InvalidInputError
        If there is no such config, or it makes no model.
    """
    name, is_folder = checked_name(path_or_hub_name)
    try:
        return without_numbers(name, local_files_only=is_folder or not download)
    except Exception as error:
        raise _not_loaded(f"the config of {name!r} cannot be read", error, is_folder or download) from error


def checked_name(path_or_hub_name: str | Path) -> tuple[str, bool]:
    """Return a folder or hub name, and whether it is a folder.

    Raises
    ------
    InvalidInputError
        If it is neither, or the folder has no config.json.
    """
    name = str(path_or_hub_name)
    is_folder = name != "" and Path(name).is_dir()
    if is_folder and not (Path(name) / "config.json").is_file():
        raise InvalidInputError(f"{name!r} has no config.json; expected: a folder that save_pretrained wrote")
    if not is_folder and not _HUB_NAME.fullmatch(name):
        raise InvalidInputError(
            f"model is {name!r}; expected: a folder with a config.json, or a hub name such as "
            "'allenai/OLMoE-1B-7B-0924'"
        )
    return name, is_folder


def _not_loaded(what: str, error: Exception, is_here: bool) -> InvalidInputError:
    advice = "" if is_here else "; to fetch it, pass download=True"
    return InvalidInputError(f"{what}: {in_a_line(error)}{advice}")


def _downloaded_folder(name: str) -> Path:
    from transformers.utils import cached_file

    return Path(str(cached_file(name, "config.json", local_files_only=True))).parent


def tokenizer_of(model: Any) -> Any | None:
    """Return the tokenizer that came with a model, its `model.tokenizer`, or None."""
    return getattr(model, "tokenizer", None)


def context_of(model: Any) -> int:
    """Return how many tokens a sequence of a model may have."""
    return int(model.config.get_text_config().max_position_embeddings)


def lossless_to(model: Any) -> int | None:
    """Return up to how many tokens a pass over several positions equals one pass each.

    None stands for any number. Sparse attention chooses `index_topk` of the cached tokens; with fewer there
    is nothing to choose.
    """
    limit = getattr(model.config.get_text_config(), "index_topk", None)
    return limit if isinstance(limit, int) else None


def warn_of_sparse_attention(model: Any, longest: int) -> None:
    """Warn if a text may have more tokens than `lossless_to`.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    longest : int
        Tokens that prompt and text may have.
    """
    limit = lossless_to(model)
    if limit is not None and longest > limit:
        warn(
            f"{type(model).__name__} attends to {limit} tokens that it picks, and may pick others in a pass "
            f"of more positions: beyond {limit} tokens (this text may have {longest}) what is decoded need "
            "not be generate's own text"
        )


def vocabulary_of(model: Any) -> int:
    """Return the number of a model's token ids."""
    return int(model.config.get_text_config().vocab_size)


def tokens_of(model: Any) -> int:
    """Return how many ids, from 0, a model's tokenizer knows; without a tokenizer, the vocabulary."""
    tokenizer = tokenizer_of(model)
    named = vocabulary_of(model) if tokenizer is None else 1 + max(tokenizer.get_vocab().values(), default=-1)
    return min(named, vocabulary_of(model))


def check_is_whole_model(name: str, model: Any) -> None:
    """Check that an argument is a transformers model.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    model : object
        What was given.

    Raises
    ------
    InvalidInputError
        If it is anything else; the message names a model inside a wrapper.
    """
    if hasattr(getattr(model, "config", None), "get_text_config"):
        return
    inner = dict(model.named_children()) if hasattr(model, "named_children") else {}
    child_name = next((f".{child}" for child, module in inner.items() if hasattr(module, "config")), None)
    advice = f"; it wraps one: pass its {child_name}" if child_name else ""
    raise InvalidInputError(f"{name} is a {type(model).__name__}; expected: a transformers model{advice}")


def check_same_tokenizer(target: Any, draft: Any) -> None:
    """Check that each id means the same token to both models.

    With one tokenizer, models may have vocabularies padded to different sizes.

    Raises
    ------
    InvalidInputError
        If it does not, or if sizes differ and there is no tokenizer to tell.
    """
    ours, theirs = tokenizer_of(target), tokenizer_of(draft)
    if ours is None or theirs is None:
        size, draft_size = vocabulary_of(target), vocabulary_of(draft)
        if size != draft_size:
            raise InvalidInputError(
                f"target {_name(target)} has a vocabulary of {size}, draft {_name(draft)} one of "
                f"{draft_size}; expected: a draft with the target's own tokenizer, which each model has as "
                "model.tokenizer where sizes differ"
            )
        return
    ids, draft_ids = (ours.get_vocab(), theirs.get_vocab()) if ours is not theirs else ({}, {})
    if ids != draft_ids:
        token = min(dict(ids.items() ^ draft_ids.items()))
        raise InvalidInputError(
            f"target {_name(target)} and draft {_name(draft)} have different tokenizers: {token!r} is "
            f"{ids.get(token)} in one and {draft_ids.get(token)} in the other; "
            "expected: a draft with the target's own tokenizer"
        )


def _name(model: Any) -> str:
    return repr(getattr(model, "name_or_path", "") or type(model).__name__)


def _checked_dtype(dtype: Any, expected: tuple[str, ...]) -> str:
    name = str(dtype).removeprefix("torch.")  # of a torch.dtype too
    if name not in expected:
        raise InvalidInputError(f"dtype is {dtype!r}; expected: {', '.join(expected)}")
    return name
