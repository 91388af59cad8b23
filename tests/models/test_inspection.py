"""A model is inspected in one walk, and an offload hands the result down."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from moespac_nb.models.inspection import inspect_model
from moespac_nb.offloading.session import offload
from tools.support import tiny_models as tiny


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[torch.nn.Module]:
    """The modules that somebody asked for all modules within them, once for each time."""
    walked: list[torch.nn.Module] = []
    own = torch.nn.Module.named_modules

    def named_modules(self: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        walked.append(self)
        return own(self, *args, **kwargs)

    tiny.pair()  # making it walks, too
    monkeypatch.setattr(torch.nn.Module, "named_modules", named_modules)
    return walked


def test_one_walk_finds_experts_gates_and_sizes(walks: list[torch.nn.Module]) -> None:
    model, _ = tiny.pair()
    info = inspect_model(model)
    assert walks.count(model) == 1
    assert len(info.layers) == len(info.experts) == len(info.gates) == info.shape.layers == 4
    assert info.parameters == sum(weight.numel() for weight in model.parameters())
    assert info.expert_parameters == sum(w.numel() for m in info.experts for w in m.parameters())


def test_what_is_no_model_has_no_experts() -> None:
    assert inspect_model(None).experts == ()


@pytest.mark.parametrize("policy", ["spac-joint", "on-demand"])
def test_offloading_inspects_a_model_once(walks: list[torch.nn.Module], policy: str) -> None:
    model, _ = tiny.pair()
    with offload(model, "25%", policy=policy):
        # The inspection, the modules whose methods are replaced, and the device that `model.device` looks up.
        assert walks.count(model) == 3
