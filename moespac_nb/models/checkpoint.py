"""Check that a model's files hold what its config.json says, by their headers, before any weight is read.

A safetensors file says at its beginning which tensors it holds, of what shape, and where they end. Tensors
without numbers are made of that and taken through transformers' own conversion into the model, so that what
is compared is what would be loaded: fused experts, renamed weights, tied ones.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..utils.exceptions import InvalidInputError, MissingDataError

__all__ = ["check_checkpoint", "in_a_line", "without_bars", "without_numbers"]

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
_MOST_HEADER_BYTES = 100_000_000  # as the format has it
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")
_EXPERT = re.compile(r"(.*\.experts\.)(\d+)(\..*)")


_THESE = "expected: the config that these files were saved with"
_AGAIN = "fetch or save the model again"


class Stored(NamedTuple):
    """A tensor, as a file's header describes it.

    Attributes
    ----------
    file : str
        Name of the file.
    shape : tuple of int
    """

    file: str
    shape: tuple[int, ...]


def check_checkpoint(folder: Path) -> None:
    """Check that a folder's files are whole and make up the model of its config.

    Other formats than safetensors are left to transformers, and so are quantised weights: of those only the
    files are checked.

    Parameters
    ----------
    folder : Path
        With a config.json and the model's weights.

    Raises
    ------
    InvalidInputError
        If a file is damaged, or does not fit the others.
    MissingDataError
        If a file is missing that the index lists.
    """
    stored = _stored(folder)
    if not stored:
        return
    try:
        model = without_numbers(folder, local_files_only=True)
    except Exception as error:  # a config may fail its model anywhere
        raise InvalidInputError(
            f"{folder / 'config.json'} does not make a model: {in_a_line(error)}"
        ) from error
    if getattr(model.config, "quantization_config", None) is None:
        _compare(model, stored)


def in_a_line(error: Exception) -> str:
    """Return the message of another library's exception, in one line of at most 300 characters."""
    return " ".join(str(error).split())[:300] or repr(error)


def _stored(folder: Path) -> dict[str, Stored]:
    """Describe all tensors of the folder's weight files."""
    index = folder / INDEX
    if not index.is_file():
        return _header(folder / SINGLE) if (folder / SINGLE).is_file() else {}
    try:
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = sorted(set(listed.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            f"{index} is no index of weights: {error!r}; fetch or save it again"
        ) from error
    if missing := [name for name in files if not (folder / name).is_file()]:
        raise MissingDataError(
            f"{folder / missing[0]} is missing, of {len(files)} files that {INDEX} lists; fetch or save it "
            "again"
        )
    stored = {name: held for file in files for name, held in _header(folder / file).items()}
    for name, file in listed.items():
        if name not in stored:
            raise InvalidInputError(
                f"{folder / file} does not hold {name}, which {INDEX} lists; fetch or save it again"
            )
    return stored


def _header(path: Path) -> dict[str, Stored]:
    """Read what a safetensors file holds; it must end where its header says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = struct.unpack("<Q", start)[0] if len(start := file.read(8)) == 8 else math.inf
        written = file.read(int(length)) if length <= min(size - 8, _MOST_HEADER_BYTES) else b""
    try:
        tensors = {name: held for name, held in json.loads(written).items() if name != "__metadata__"}
        stored = {name: Stored(path.name, tuple(map(int, held["shape"]))) for name, held in tensors.items()}
        ends = {name: 8 + len(written) + held["data_offsets"][1] for name, held in tensors.items()}
        end = max(ends.values(), default=8 + len(written))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise InvalidInputError(
            f"{path} is no safetensors file, or its beginning is damaged; fetch it again"
        ) from error
    if end != size:
        cut = next((f", {name} is cut off" for name, last in ends.items() if last > size), "")
        raise InvalidInputError(f"{path} has {size} bytes, its header says {end}{cut}; fetch it again")
    return stored


def _check_experts(stored: Mapping[str, Stored]) -> None:
    """Refuse experts of which only some weights are there."""
    held: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for name in stored:
        if parts := _EXPERT.fullmatch(name):
            held[parts[1]][parts[3]].add(int(parts[2]))
    for layer, weights in held.items():
        every = set().union(*weights.values())
        for weight, experts in weights.items():
            if lacking := sorted(every - experts):
                raise InvalidInputError(
                    f"no file holds {layer}{lacking[0]}{weight}, though other weights of expert "
                    f"{lacking[0]} are there; {_AGAIN}"
                )


def without_numbers(name: str | Path, **where: Any) -> Any:
    """Make the model of a config on the meta device, in the dtype it says.

    No code that comes with a model is run.

    Parameters
    ----------
    name : str or Path
        A folder, or a name on the hub.
    **where
        Passed to transformers, to find the config.

    Returns
    -------
    transformers.PreTrainedModel
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(name, trust_remote_code=False, **where)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def _compare(model: Any, stored: Mapping[str, Stored]) -> None:
    """Raise what loading would report, in sentences."""
    import torch

    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import convert_and_load_state_dict_in_model
        from transformers.modeling_utils import LoadStateDictConfig

        how = LoadStateDictConfig(
            dtype=model.dtype, device_map={"": "meta"}, weight_mapping=get_model_conversion_mapping(model)
        )
        empty = {
            name: torch.empty(held.shape, dtype=model.dtype, device="meta") for name, held in stored.items()
        }
        with without_bars():
            found = convert_and_load_state_dict_in_model(model, empty, how)[0]
        model._adjust_missing_and_unexpected_keys(found)
    except (ImportError, TypeError, AttributeError):
        return  # another version loads in another way: its own report will have to do
    if found.missing_keys or found.conversion_errors:
        _check_experts(stored)
    for problem in _problems(model, stored, found):
        raise InvalidInputError(problem)


def _problems(model: Any, stored: Mapping[str, Stored], found: Any) -> Iterator[str]:
    """Yield what transformers' report on loading comes to, the most telling first."""
    config = model.config.get_text_config()
    layers, own = config.num_hidden_layers, {_layer(name)[0] for name in model.state_dict()}
    # Only of the model's own stacks of layers: a vision tower, say, has others.
    numbers = {name: number for name in stored for stack, number in [_layer(name)] if stack in own}
    held = max(numbers.values(), default=-1) + 1
    tied = {*model.all_tied_weights_keys, *found.conversion_errors}
    missing = sorted(set(found.missing_keys) - tied, key=_in_order)
    if missing and 0 < held < layers:
        yield f"config.json says {layers} layers, the files hold {held}: no file holds {missing[0]}; {_THESE}"
    beyond = layers + (getattr(config, "num_nextn_predict_layers", None) or 0)
    for name in sorted(found.unexpected_keys, key=_in_order):
        stack, number = _layer(name)
        if stack in own and number >= beyond:
            where = stored[name].file if name in stored else "a file"
            yield f"config.json says {layers} layers, but {where} holds {name}; {_THESE}"
    for name, there, expected in sorted(found.mismatched_keys, key=lambda key: _in_order(key[0])):
        shapes = (
            f"{tuple(there)} in {stored[name].file if name in stored else 'its files'} and {tuple(expected)}"
        )
        yield f"{name} has the shape {shapes} by config.json; {_THESE}"
    for name in sorted(found.conversion_errors, key=_in_order):
        if odd := _odd_one(name, stored):
            yield f"the tensors of {name} do not fit together: {odd}; {_AGAIN}"
    if missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        yield f"no file holds {missing[0]}{more}, which the model of config.json has; {_AGAIN}"


def _layer(name: str) -> tuple[str, int]:
    """Split off the stack of layers that a tensor is of and its layer's number; -1 for none."""
    part = _LAYER.search(name)
    return (name[: part.start(1)], int(part[1])) if part else ("", -1)


def _odd_one(name: str, stored: Mapping[str, Stored]) -> str:
    """Name the tensor beside a fused one whose shape differs from the others'."""
    above = name.rsplit(".", 1)[0] + "."
    alike: dict[str, list[str]] = defaultdict(list)
    for key in sorted((key for key in stored if key.startswith(above)), key=_in_order):
        alike[re.sub(r"\.\d+\.", ".*.", key[len(above) - 1 :])].append(key)
    for keys in alike.values():
        shapes = [stored[key].shape for key in keys]
        usual = max(shapes, key=shapes.count)
        for key, shape in zip(keys, shapes, strict=True):
            if shape != usual:
                return f"{key} has the shape {shape} in {stored[key].file}, others {usual}"
    return ""


def _in_order(name: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in name.split("."))


@contextmanager
def without_bars() -> Iterator[None]:
    """Hide the progress bars of transformers while the block runs."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
