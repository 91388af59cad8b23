"""What replaces a model's own methods while it is offloaded, and what it then refuses.

One thread computes at a time, for a whole forward of the model or for a lone layer, so that no slot is
overwritten under another thread's layer. Saving, moving, loading, copying or pickling the model would meet
meta tensors in place of its experts: it gets the true weights, or is refused before anything changes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial, update_wrapper
from typing import Any, TypeAlias

import torch

from ..utils.exceptions import InvalidInputError, MoespacError

__all__ = ["StandIn", "StandIns", "run_of"]


Away: TypeAlias = Sequence[tuple[Any, Mapping[str, torch.nn.Parameter]]]  # experts modules, what is not there


class StandIn:
    """Replace a module's method during a run; afterwards call the module's own, or that of the next run.

    Parameters
    ----------
    run : Run
        Says whether it is open, and has the lock.
    own : callable
        The module's own method.
    instead : callable
        What to call during the run.
    before : object
        The attribute that was there, if any.
    """

    def __init__(self, run: Any, own: Callable[..., Any], instead: Callable[..., Any], before: Any) -> None:
        self.run, self.own, self._instead, self.before = run, own, instead, before
        self.successor: StandIn | None = None
        update_wrapper(self, own)  # callers inspect its signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the replacement, or the own method once the run has ended."""
        with self.run.passing:
            if self.run.is_open:
                return self._instead(*args, **kwargs)
        return (self.successor or self.own)(*args, **kwargs)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        """Refuse to copy or pickle the model."""
        raise _refusal("be copied or pickled", "state_dict(), which holds all its weights")


class StandIns:
    """Put up and take down all stand-ins of one run.

    Parameters
    ----------
    run : Run
        Passed to each stand-in.
    experts : sequence of (module, parameters)
        Each layer's experts, with the parameters that the run keeps elsewhere.
    """

    def __init__(self, run: Any, experts: Away) -> None:
        self._run = run
        self._experts = experts
        self._put: list[tuple[Any, str, StandIn]] = []

    def put(self, module: Any, name: str, instead: Callable[..., Any] | None = None) -> None:
        """Replace a module's method; without `instead` threads take turns in the method itself."""
        there = vars(module).get(name)
        earlier = there if isinstance(there, StandIn) else None
        own, before = (earlier.own, earlier.before) if earlier else (getattr(module, name), there)
        stands = StandIn(self._run, own, instead or own, before)
        self._put.append((module, name, stands))
        setattr(module, name, stands)
        if earlier:
            earlier.successor = stands

    def guard(self, model: Any) -> None:
        """Replace all methods that would meet a meta tensor instead of an expert."""
        for module, kept in self._experts:
            self.put(module, "_save_to_state_dict", partial(_save, module, kept))
        for module in _holders(model, [module for module, _ in self._experts]):
            self.put(module, "_load_from_state_dict", _refuse_to_load)
            self.put(module, "_apply", partial(self._apply, module))

    def back(self) -> None:
        """Restore the methods of before, but for what a user has put on top."""
        for module, name, stands in self._put:
            if vars(module).get(name) is stands:
                if stands.before is None:
                    delattr(module, name)
                else:
                    setattr(module, name, stands.before)
        self.drop()

    def drop(self) -> None:
        """Leave them to another run."""
        self._put = []

    def _apply(self, module: Any, function: Callable[[Any], Any], recurse: bool = True) -> Any:
        """Stand in for what `to`, `half`, `cuda` and the like call: nothing changes, or it is refused."""
        rest = [*module.parameters(), *module.buffers()] if recurse else []
        kinds = {(tensor.dtype, tensor.device) for tensor in rest if not tensor.is_meta}
        experts_device = self._run.torch_device
        kinds |= {(weight.dtype, experts_device) for _, kept in self._experts for weight in kept.values()}
        for dtype, device in kinds:
            probe = torch.empty(1, dtype=dtype, device=device)
            memory = probe.data_ptr()
            if function(probe) is not probe or probe.data_ptr() != memory:
                raise _refusal(
                    "be moved or get another dtype", "the model in that dtype before it is offloaded"
                )
        return module


def run_of(modules: Iterable[Any]) -> Any:
    """Return the run that offloads a model with any of these modules, or None."""
    stand_ins = (vars(module).get("_apply") for module in modules)
    return next((item.run for item in stand_ins if isinstance(item, StandIn)), None)


def _holders(model: Any, inner: list[Any]) -> Iterator[Any]:
    """Yield the modules that are, or hold, any of these."""
    named = list(model.named_modules())
    names = [name for name, module in named if module in inner]
    for name, module in named:
        if any(name in ("", inner_name) or inner_name.startswith(f"{name}.") for inner_name in names):
            yield module


def _save(module: Any, kept: Mapping[str, torch.nn.Parameter], *args: Any, **kwargs: Any) -> None:
    whole = copy.copy(module)
    whole._parameters = {**module._parameters, **kept}
    type(module)._save_to_state_dict(whole, *args, **kwargs)


def _refuse_to_load(*_args: Any, **_kwargs: Any) -> None:
    raise _refusal("load weights", "load_state_dict on the model itself")


def _refusal(what: str, expected: str) -> MoespacError:
    return InvalidInputError(
        f"an offloaded model cannot {what}, as its experts are away; expected: {expected}; to have the model "
        "whole again, leave the block or call moespac_nb.offloaded(model).close()"
    )
