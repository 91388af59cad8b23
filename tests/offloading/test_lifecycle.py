"""An offloaded model between its beginning and its end: found again, saved whole, changed by nobody."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

import moespac_nb
from moespac_nb.decoder.callbacks import DecodeCallback
from moespac_nb.decoder.speculative import decode
from moespac_nb.models.inspection import inspect_model
from moespac_nb.models.routing import observe
from moespac_nb.offloading.session import offload, offloaded
from moespac_nb.utils.exceptions import MoespacError
from tests.helpers.offload_cases import SLOW_CPU
from tools.support import tiny_models as tiny
from tools.support.tiny_moe import (
    ARCHITECTURES,
    PROMPT,
    QWEN,
    TOKENS,
    Untouched,
    begun,
    decoded,
    plain_text,
    plainly,
)

NAMES = sorted(ARCHITECTURES)


def test_a_run_that_was_let_go_is_found_again_and_ended(model, draft):
    assert offloaded(model) is None
    assert decoded(offload(model, "25%").decode, draft).new_ids == plain_text(QWEN)
    gc.collect()
    run = moespac_nb.offloaded(model)
    assert run is offloaded(model.model) is offloaded(torch.nn.ModuleList([model]))
    assert run.counters.miss > 0
    run.close()
    assert offloaded(model) is None
    assert offloaded("a name") is None


def test_a_notebook_s_cell_may_run_twice(model, draft):
    runs = []
    for budget in ("25%", "50%"):
        run = offload(model, budget)
        assert decoded(run.decode, draft).new_ids == plain_text(QWEN)
        runs.append(run)
    assert offloaded(model) is runs[1]
    assert [run.slots for run in runs] == [6, 12]
    with pytest.raises(MoespacError, match="this run is closed"):
        runs[0].decode(PROMPT)
    with offload(model, "25%") as run:
        assert decoded(run.decode, draft).new_ids == plain_text(QWEN)


def test_wrong_arguments_do_not_end_the_run_there_is(model):
    run = offload(model, "25%")
    for wrong in ({"budget": "lots"}, {"policy": "no such"}, {"in_flight": 0}, {"device": "gpu"}):
        with pytest.raises(MoespacError):
            offload(model, **{"budget": "25%", **wrong})
        assert offloaded(model) is run
    run.close()


def test_a_run_in_its_block_is_ended_by_that_alone(model):
    with offload(model, "25%") as run:
        with pytest.raises(MoespacError, match=r"moespac_nb\.offloaded\(model\)\.close\(\) first"):
            offload(model, "50%")
        assert offloaded(model) is run
        offloaded(model).close()
        with offload(model, "50%") as other:
            assert offloaded(model) is other
        with pytest.raises(MoespacError, match="this run is closed"), run:
            pass


@pytest.mark.parametrize("device", ["virtual", "host"])
def test_a_model_forgotten_with_its_run_is_gone(device):
    model = tiny.moe(layers=2)
    run = offload(model, "25%", device=device)
    list(run.decode(PROMPT, max_new_tokens=2))
    gone = weakref.ref(model), weakref.ref(run), weakref.ref(run._store)
    del model, run
    gc.collect()
    assert [each() for each in gone] == [None] * 3


@pytest.mark.parametrize("device", ["virtual", "host"])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_within_the_block_is_the_whole_model(
    model: Any, name: str, device: str, tmp_path: Any
) -> None:
    own = {key: weight.clone() for key, weight in model.state_dict().items()}
    file = io.BytesIO()
    with offload(model, "25%", device=device, policy="on-demand", costs=SLOW_CPU):
        tiny.generated(model, PROMPT, 2)
        assert same(model.state_dict(), own)
        assert same(model.model.state_dict(prefix="model."), own, whole=False)
        assert all(weight.requires_grad for weight in model.state_dict(keep_vars=True).values())
        torch.save(model.state_dict(), file)
        model.save_pretrained(tmp_path)
    file.seek(0)
    assert same(torch.load(file), own)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert same(again.state_dict(), own)


def same(ours: Any, own: Any, whole: bool = True) -> bool:
    assert not whole or list(ours) == list(own)
    return all(not weight.is_meta and torch.equal(weight, own[key]) for key, weight in ours.items())


def other_weights(model: Any) -> Any:
    return {name: torch.zeros_like(weight, device="cpu") for name, weight in model.state_dict().items()}


CHANGES: dict[str, Callable[[Any], object]] = {
    "load_state_dict": lambda model: model.load_state_dict(other_weights(model)),
    "load into the inside": lambda model: model.model.load_state_dict(other_weights(model.model)),
    "load into a layer": lambda model: model.model.layers[0].load_state_dict(
        other_weights(model.model.layers[0])
    ),
    "load experts": lambda model: (
        inspect_model(model).experts[0].load_state_dict(other_weights(inspect_model(model).experts[0]))
    ),
    "half": lambda model: model.half(),
    "bfloat16": lambda model: model.bfloat16(),
    "double": lambda model: model.double(),
    "to a dtype": lambda model: model.to(torch.float16),
    "to a device": lambda model: model.to("meta"),
    "half of the inside": lambda model: model.model.half(),
    "half of a layer": lambda model: model.model.layers[0].half(),
    "share_memory": lambda model: model.share_memory(),
    "deepcopy": copy.deepcopy,
    "deepcopy of a layer": lambda model: copy.deepcopy(model.model.layers[0]),
    "pickle": pickle.dumps,
    "torch.save of the model": lambda model: torch.save(model, io.BytesIO()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_would_leave_half_a_model_is_refused(model: Any, draft: Any, change: str) -> None:
    with offload(model, "25%") as run:
        with pytest.raises(MoespacError, match=r"an offloaded model cannot .*; expected: .* leave the block"):
            CHANGES[change](model)
        assert decoded(run.decode, draft).new_ids == plain_text(QWEN)


def test_what_changes_nothing_may_be_asked_for(model, draft):
    with offload(model, "25%") as run:
        assert model.to("cpu") is model.float() is model.to(torch.float32) is model
        assert model.eval() is model
        assert decoded(run.decode, draft).new_ids == plain_text(QWEN)


def test_after_the_block_all_of_it_works_again():
    model = tiny.moe(layers=2)
    with offload(model, "25%"):
        pass
    again = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    model.load_state_dict(other_weights(model))
    assert not any(weight.any() for weight in model.state_dict().values())
    assert tiny.generated(again.half().float(), PROMPT, 3) == tiny.generated(again, PROMPT, 3)


def test_whether_experts_are_to_be_trained_may_be_said_within():
    model = tiny.moe(layers=2)
    with offload(model, "25%"):
        model.requires_grad_(False)
    assert not any(weight.requires_grad for weight in model.parameters())


def test_experts_with_a_forward_of_somebody_s_own_are_refused():
    model = tiny.moe(layers=2)
    experts = inspect_model(model).experts[1]
    own = experts.forward
    experts.forward = lambda *args, **kwargs: own(*args, **kwargs)
    untouched = Untouched(model)
    with pytest.raises(MoespacError, match="experts with a forward of somebody's own"):
        offload(model, "25%")
    untouched.check()


def test_forwards_put_on_top_within_the_block_are_honoured():
    model = tiny.moe(layers=2)
    plain = tiny.generated(model, PROMPT, 6)
    called: list[str] = []

    def logging(module: Any, name: str) -> None:
        inner = module.forward

        def logger(*args: Any, **kwargs: Any) -> Any:
            called.append(name)
            return inner(*args, **kwargs)

        module.forward = logger

    with offload(model, "25%", policy="on-demand") as run:
        logging(inspect_model(model).experts[0], "experts")
        logging(model, "model")
        assert tiny.generated(model, PROMPT, 6) == plain
        assert run.counters.miss > 0
        within = len(called)
    assert within == 12
    assert tiny.generated(model, PROMPT, 6) == plain
    assert len(called) == 2 * within


def test_a_forward_wrapped_before_the_block_is_called_and_stays():
    model = tiny.moe(layers=2)
    plain = tiny.generated(model, PROMPT, 6)
    called: list[int] = []
    inner = model.forward

    def mine(*args: Any, **kwargs: Any) -> Any:
        called.append(1)
        return inner(*args, **kwargs)

    model.forward = mine
    with offload(model, "25%"):
        assert len(decode(model, PROMPT, max_new_tokens=6).prompt_ids) == len(PROMPT)
        model(torch.tensor([PROMPT]))
    assert called == [1]
    assert model.forward is mine
    del model.forward
    assert tiny.generated(model, PROMPT, 6) == plain


class Wrapper(torch.nn.Module):
    """As DataParallel is: what it wraps is in `module`, and nothing else is known of it."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


@pytest.mark.parametrize(
    "use",
    [
        lambda model: offload(model, "25%"),
        lambda model: decode(model, PROMPT),
        lambda model: moespac_nb.record(model, PROMPT),
        lambda model: observe(model, PROMPT),
        lambda model: decode(tiny.pair()[0], PROMPT, draft=model),
    ],
    ids=["offload", "decode", "record", "observe", "draft"],
)
def test_a_wrapped_model_is_refused_and_what_to_pass_is_named(use: Callable[[Any], object]):
    with pytest.raises(MoespacError, match=r"is a Wrapper; expected: .*; it wraps one: pass its \.module"):
        use(Wrapper(tiny.pair()[0]))


def test_a_typo_lists_no_policy_that_would_be_refused(model):
    with pytest.raises(MoespacError, match="policy is 'next-window-oracel'") as refused:
        offload(model, "25%", policy="next-window-oracel")
    assert "next-window-oracle" not in str(refused.value)
    assert "recency" in str(refused.value)


class Told(DecodeCallback):
    """Notes what it is told of."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_prefill_start(self, positions: int, /) -> None:
        self.heard.append(f"prompt {positions}")

    def on_prefill_end(self, _prefill: Any, /) -> None:
        self.heard.append("read")

    def on_step_start(self, _token: int, /) -> None:
        self.heard.append("window")

    def on_draft_token(self, token: int, /) -> None:
        self.heard.append(str(token))

    def on_draft_end(self) -> None:
        self.heard.append("draft")

    def on_verify(self, step: Any, /) -> None:
        self.heard.append(f"step {step.index}")

    def on_abort(self) -> None:
        self.heard.append("broke off")


def test_a_callback_hears_all_and_changes_no_counts(model: Any, draft: Any) -> None:
    ours, theirs = Told(), Told()
    decoded(plainly(model), draft, callbacks=theirs)
    with offload(model, "25%", policy="on-demand") as run:
        decoding = decoded(run.decode, draft)
    with offload(model, "25%", policy="on-demand") as other:
        decoded(other.decode, draft, callbacks=ours)
    assert ours.heard == theirs.heard
    assert len(ours.heard) > 10
    assert other.summary() == run.summary()
    assert other.counters == run.counters
    assert other.timeline == run.timeline
    assert run.summary()["tokens"] == len(decoding.new_ids) == TOKENS


def test_a_callback_that_raises_ends_the_round_for_the_run_too(model, draft):

    class Stops(Told):
        raises = True

        def on_draft_end(self) -> None:
            if self.raises:
                raise OSError("enough")
            super().on_draft_end()

    with offload(model, "25%", policy="on-demand") as run:
        mine = Stops()
        decoding = begun(run.decode, draft, callbacks=mine)
        with pytest.raises(OSError, match="enough"):
            next(decoding)
        assert mine.heard[-1] == "broke off"
        mine.raises = False
        list(decoding)
    assert decoding.new_ids == plain_text(QWEN)
    assert run.summary()["tokens"] == TOKENS


@pytest.mark.parametrize("device", ["virtual", "host"])
def test_the_target_may_be_its_own_draft(model, device):
    with offload(model, "25%", policy="on-demand", device=device, costs=SLOW_CPU) as run:
        decoding = decoded(run.decode, model)
        phases = run._driver.scheduler
    assert decoding.new_ids == plain_text(QWEN)
    summary = run.summary()
    assert summary["tokens"] == TOKENS
    # Each window's verification is the decode's, and each token that was drafted a pass apart.
    assert phases.decode.counters.pairs == sum(step.experts.size for step in decoding.steps)
    assert phases.prefill.counters.pairs == decoding.prefill.experts.size
    assert phases.other.counters.pairs >= sum(step.gamma for step in decoding.steps) * 3 * 2
    for name in ("hit_rate", "late_rate", "cpu_share", "bytes_per_token", f"stall_share_{run.label}"):
        assert summary[name] is not None
    assert summary["bytes_per_token"] > 0


def test_other_forwards_between_two_rounds_are_counted_apart(model, draft):
    with offload(model, "100%", policy="on-demand", costs=SLOW_CPU) as run:
        decoding = begun(run.decode, draft)
        for _step in decoding:
            model(torch.tensor([PROMPT]))
        phases = run._driver.scheduler
    assert phases.decode.counters.pairs == sum(step.experts.size for step in decoding.steps)
    assert phases.other.counters.pairs == len(decoding.steps) * len(PROMPT) * 3 * 2
