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
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..utils.exceptions import InvalidInputError, MissingDataError

__all__ = ["check_checkpoint", "without_bars", "without_numbers"]

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
_MOST_HEADER_BYTES = 100_000_000  # as the format has it
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")
_EXPERT = re.compile(r"(.*\.experts\.)(\d+)(\..*)")


class Stored(NamedTuple):
    """A tensor, as a file's header describes it."""

    file: str
    shape: tuple[int, ...]


def check_checkpoint(folder: Path) -> None:
    """Raise `MoespacError` unless the folder's files are whole and make up the model of its config.

    Other formats than safetensors are left to transformers, and so are quantised weights: of those only the
    files are checked.
    """
    stored = _stored(folder)
    if not stored:
        return
    try:
        model = without_numbers(folder, local_files_only=True)
    except Exception as error:  # a config may fail its model anywhere
        reason = " ".join(str(error).split())[:300]
        raise InvalidInputError(
            f"{folder / 'config.json'} does not make a model: {reason or repr(error)}"
        ) from error
    if getattr(model.config, "quantization_config", None) is None:
        _compare(model, stored)


def _stored(folder: Path) -> dict[str, Stored]:
    """All tensors of the folder's weight files."""
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
        ends = 8 + len(written) + max((held["data_offsets"][1] for held in tensors.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise InvalidInputError(
            f"{path} is no safetensors file, or its beginning is damaged; fetch it again"
        ) from error
    if ends != size:
        cut = next(
            (name for name, held in tensors.items() if 8 + len(written) + held["data_offsets"][1] > size),
            None,
        )
        last = f", {cut} is cut off" if cut else ""
        raise InvalidInputError(f"{path} has {size} bytes, its header says {ends}{last}; fetch it again")
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
                    f"{lacking[0]} are there; fetch or save the model again"
                )


def without_numbers(name: str | Path, **where: Any) -> Any:
    """Return the model of a config on the meta device, in the dtype it says.

    `where` is passed to transformers, to find the config. No code that comes with a model is run.
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
    config = model.config.get_text_config()
    layers, own = config.num_hidden_layers, _stacks(model.state_dict())
    held = {number for name in stored if (number := _layer(name, own)) is not None}
    missing = sorted(
        set(found.missing_keys) - {*model.all_tied_weights_keys, *found.conversion_errors}, key=_in_order
    )
    predicting = getattr(config, "num_nextn_predict_layers", None) or 0
    beyond = [
        name
        for name in sorted(found.unexpected_keys, key=_in_order)
        if (_layer(name, own) or 0) >= layers + predicting
    ]
    if missing and held and max(held) + 1 < layers:
        raise InvalidInputError(
            f"config.json says {layers} layers, the files hold {max(held) + 1}: no file holds {missing[0]}; "
            "expected: the config that these files were saved with"
        )
    if beyond:
        name = beyond[0]
        where = f"{stored[name].file} holds {name}" if name in stored else f"the files hold {name}"
        raise InvalidInputError(
            f"config.json says {layers} layers, but {where}; expected: the config that these files were "
            "saved with"
        )
    if found.mismatched_keys:
        name, there, expected = min(found.mismatched_keys, key=lambda key: _in_order(key[0]))
        where = stored[name].file if name in stored else "its files"
        raise InvalidInputError(
            f"{name} has the shape {tuple(there)} in {where} and {tuple(expected)} by config.json; "
            "expected: the config that these files were saved with"
        )
    for name in sorted(found.conversion_errors, key=_in_order):
        if odd := _odd_one(name, stored):
            raise InvalidInputError(
                f"the tensors of {name} do not fit together: {odd}; fetch or save the model again"
            )
    if missing:
        raise InvalidInputError(
            f"no file holds {missing[0]}{f' and {len(missing) - 1} more' if missing[1:] else ''}, which the "
            "model of config.json has; fetch or save it again"
        )


def _stacks(names: Iterable[str]) -> set[str]:
    """What comes before the layers' numbers; a vision tower's, say, differs from a text model's."""
    return {name[: part.start(1)] for name in names if (part := _LAYER.search(name))}


def _layer(name: str, stacks: Collection[str]) -> int | None:
    part = _LAYER.search(name)
    return int(part[1]) if part and name[: part.start(1)] in stacks else None


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
