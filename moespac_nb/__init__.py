"""Mixture-of-experts decoding under a memory budget, with speculation as a sensor.

Importing this package loads neither torch nor transformers: each public name is imported from its module
when it is first asked for.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .decoding import decode as decode
    from .errors import MoespacError as MoespacError
    from .models import load_model as load_model
    from .models import load_pair as load_pair
    from .offload import offload as offload
    from .offload import offloaded as offloaded
    from .prompts import DOMAINS as DOMAINS
    from .prompts import prompts as prompts
    from .recording import record as record
    from .sampling import Sampling as Sampling
    from .step import Prefill as Prefill
    from .step import Step as Step
    from .trace import Trace as Trace

__version__ = "0.1.0"

_HOME = {
    "DOMAINS": "prompts",
    "MoespacError": "errors",
    "Prefill": "step",
    "Sampling": "sampling",
    "Step": "step",
    "Trace": "trace",
    "decode": "decoding",
    "load_model": "models",
    "load_pair": "models",
    "offload": "offload",
    "offloaded": "offload",
    "prompts": "prompts",
    "record": "recording",
}
__all__ = ["__version__", *_HOME]


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # The import system binds a submodule to its package: `offload` and `prompts` must stay the functions.
        if isinstance(value, ModuleType) and name in _HOME:
            value = getattr(value, name)
        super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


sys.modules[__name__].__class__ = _Package
