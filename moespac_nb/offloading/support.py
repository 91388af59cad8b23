"""Check what can be offloaded, by which policy and on which device, before anything is changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..engine.devices import CudaDevice, Device, HostDevice, VirtualDevice
from ..estimator.sensors import SENSORS
from ..models.gates import Gate, ready_gates
from ..models.inspection import ModelInfo
from ..models.loading import check_is_whole_model
from ..policies import Policy, get_policy
from ..trace.windows import DRAFT_GATES
from ..utils.exceptions import InvalidInputError
from ..utils.validation import check_choice
from .expert_store import expert_parameters

__all__ = ["checked_device", "checked_gates", "checked_modules", "checked_policy"]

DEVICES: dict[str, Callable[[], Device]] = {
    "virtual": VirtualDevice,
    "host": HostDevice,
    "cuda": CudaDevice,
}


def checked_device(device: str | Device) -> Device:
    """Return the device itself, or a new one of that kind."""
    if isinstance(device, Device):
        return device
    return DEVICES[check_choice("device", device, DEVICES)]()


def checked_policy(policy: str | Policy) -> Policy:
    """Return a policy that can decide for a live decode."""
    checked = get_policy(policy, live=True)
    sensor = SENSORS.get(str(getattr(checked.planner, "sensor", None)))
    if sensor is not None and sensor.channel == DRAFT_GATES:
        raise InvalidInputError(
            f"policy {checked.name!r} looks at {DRAFT_GATES!r}, which a live decode does not read; expected: "
            "another sensor, or a replay of a trace with that channel"
        )
    return checked


def checked_gates(model: Any, info: ModelInfo, policy: Policy) -> list[Gate]:
    """Return the gates, ready to be asked a layer ahead; none for a policy that is known not to ask."""
    planner: Any = SENSORS.get(str(getattr(policy.planner, "sensor", None)), policy.planner)
    # A function that makes a planner may make any.
    asks = getattr(planner, "available_at", "layer") == "layer"
    return ready_gates(model, info.gates, f"policy {policy.name!r}") if asks else []


def checked_modules(model: Any, info: ModelInfo, run: Any = None) -> None:
    """Raise `MoespacError` unless the experts can be offloaded, once the run that has them has ended."""
    name = type(model).__name__
    modules, why = info.experts, info.unread
    weights = [expert_parameters(module) for module in modules]
    if not all(weights):
        why = f"{type(modules[0]).__name__} has no tensor with an entry an expert"
    if why is not None:
        raise InvalidInputError(
            f"{name} cannot be offloaded: {why}; expected: models with as many experts in each layer, in one "
            "tensor a layer, that go through transformers' experts interface: Qwen3-MoE, Mixtral, OLMoE, …"
        )
    if not modules:
        raise InvalidInputError(
            f"{name} has no mixture-of-experts layers to offload; expected: a transformers "
            "mixture-of-experts model, such as load_pair()'s first"
        )
    if run is not None:
        if run.in_block or run.model is not model:
            raise InvalidInputError(
                f"this {name} is offloaded already; expected: one run at a time; leave its block or call "
                "moespac_nb.offloaded(model).close() first"
            )
        return
    if any("forward" in vars(module) for module in modules):
        raise InvalidInputError(
            f"{name} has experts with a forward of somebody's own, which slots would pass by; expected: "
            "layers as their class has them; take it off, or use register_forward_hook"
        )
    sizes = {
        tuple((part, weight.shape[1:], weight.dtype) for part, weight in of_layer.items())
        for of_layer in weights
    }
    if len(sizes) > 1:
        raise InvalidInputError(
            f"{name} has experts of {len(sizes)} sizes; expected: equal ones in all layers"
        )
    devices = {weight.device.type for of_layer in weights for weight in of_layer.values()}
    if devices != {"cpu"}:
        raise InvalidInputError(
            f"{name} has experts on {', '.join(sorted(devices))}; expected: on the CPU, see model.to('cpu')"
        )
    check_is_whole_model("model", model)
