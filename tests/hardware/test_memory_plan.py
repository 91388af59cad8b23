"""Does it fit: the subtraction adds up, and the advice is true."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moespac_nb.cli import main as cli
from moespac_nb.hardware.machine import list_machines, load_machine
from moespac_nb.hardware.memory_plan import plan_memory
from moespac_nb.hardware.model import list_model_specs, load_model_spec
from moespac_nb.utils.exceptions import InvalidInputError
from tests.helpers.small_profiles import MACHINE, MODEL

any_machine = st.sampled_from(list_machines())
any_model = st.sampled_from(list_model_specs())


@given(any_machine, any_model, st.integers(1, 1024), st.booleans())
def test_the_items_and_what_is_left_are_the_device_s_memory(machine, model, context, draft) -> None:
    plan = plan_memory(machine, model, context=context, draft=draft)
    assert sum(plan.taken_bytes.values()) + plan.left_bytes == load_machine(machine).memory_bytes
    assert min(plan.taken_bytes.values()) >= 0
    assert (plan.taken_bytes["draft"] > 0) == draft == (plan.draft is not None)
    assert plan.budget_bytes == plan.slots * plan.expert_bytes <= max(0, plan.left_bytes)
    if plan.slots < plan.all_experts:
        assert plan.left_bytes < plan.budget_bytes + plan.expert_bytes


@given(any_machine, any_model, st.integers(1, 512))
def test_a_longer_context_and_a_draft_never_leave_more(machine, model, context) -> None:
    plan = plan_memory(machine, model, context=context)
    assert plan_memory(machine, model, context=2 * context).left_bytes < plan.left_bytes
    assert plan_memory(machine, model, context=context, draft=False).left_bytes > plan.left_bytes


def test_every_item_by_hand() -> None:
    plan = plan_memory(MACHINE, MODEL, context=100)
    assert plan.taken_bytes == {
        "reserved": 1000,
        "dense": 2 * (2 * 540 + 2 * 800 + 2 * 500),  # layers with experts, dense ones, embedding and head
        "kv_cache": 100 * 2 * 4 * 16,
        "draft": 1000 + 100 * 12 + 300,
        "workspace": 2 * 512 * (8 * 10 + 3 * 1 * 10 + 2 * 20) + 4 * 16 * 50,
    }
    assert (plan.left_bytes, plan.slots, plan.budget_bytes) == (1840, 3, 1800)  # of 182,300
    assert (plan.share, plan.fits_device, plan.fits_host, plan.fits) == (3 / 8, True, True, True)
    assert (plan.expert_bytes, plan.all_experts_bytes) == (600, 4800)
    less = plan_memory(replace(MACHINE, host_memory_bytes=4799), MODEL, context=100)
    assert (less.fits_device, less.fits_host, less.fits) == (True, False, False)


def test_the_paper_s_target_on_its_card_by_hand() -> None:
    plan = plan_memory("rtx4090", "qwen3-30b-a3b", context=8192)
    attention_and_router, embedding = 18_874_368 + 2048 * 128, 151_936 * 2048
    assert plan.taken_bytes == {
        "reserved": 2**30,
        "dense": 2 * (48 * attention_and_router + 2 * embedding),
        "kv_cache": 48 * 2 * 2 * 512 * 8192,  # keys and values of 512 numbers of 2 bytes
        "draft": 4_411_230_000 + 8192 * 147_456 + 200_000_000,
        "workspace": 2 * 512 * (8 * 2048 + 3 * 8 * 768 + 2 * 9216) + 4 * 16 * 151_936,
    }
    assert plan.slots == (24 * 2**30 - sum(plan.taken_bytes.values())) // 9_437_184
    assert plan.host_memory_bytes == 64 * 2**30


@pytest.mark.parametrize(
    ("name", "draft_bytes", "kv_bytes"),
    [
        ("mixtral-8x7b", 4_073_320_000 + 200_000_000, 131_072),  # its embedding is there, and is not read
        # 2 layers of 6 + 6 heads of 32 and 3 matrices of 512, and the tied embedding, in 16 bits
        ("bundled-pair", 2 * (2 * 192 * (18 * 32 + 3 * 512) + 4096 * 192) + 2 * 512 * 8 * 192, 768),
    ],
)
def test_a_draft_s_memory_by_hand(name: str, draft_bytes: int, kv_bytes: int) -> None:
    draft = load_model_spec(name).draft
    assert draft is not None
    assert draft.memory_bytes(0) == draft_bytes
    assert draft.memory_bytes(100) == draft_bytes + 100 * kv_bytes


def test_the_paper_s_17_percent_fit_on_its_card() -> None:
    plan = plan_memory("rtx4090", "qwen3-30b-a3b", context=2048)
    assert plan.fits
    assert 0.17 < plan.share < 0.36


def test_advice_is_what_following_it_gives() -> None:
    plan = plan_memory("laptop4060", "deepseek-v2-lite", context=8192)
    assert not plan.fits_device
    assert plan.slots == 0
    alone = plan_memory("laptop4060", "deepseek-v2-lite", context=8192, draft=False)
    assert f"no draft: {alone.slots} slots, {alone.share:.0%} of the experts" in plan.advice
    four = plan_memory("laptop4060", "deepseek-v2-lite-4bit", context=2048, draft=False)
    assert f"all of these: {four.slots} slots, {four.share:.0%} of the experts" in plan.advice


def test_advice_that_gives_no_slot_more_is_left_out() -> None:
    rest = sum(plan_memory(MACHINE, MODEL, context=2049).taken_bytes.values())
    plan = plan_memory(replace(MACHINE, memory_bytes=rest + 3 * 600), MODEL, context=2049)
    assert plan.slots == 3
    assert [line.split(":")[0] for line in plan.advice] == ["no draft", "all of these"]  # no shorter context


def test_there_is_no_advice_where_everything_fits() -> None:
    plan = plan_memory("h100", "olmoe-1b-7b")
    assert plan.share == 1
    assert plan.advice == ()


def test_experts_that_fit_no_host_do_not_fit() -> None:
    plan = plan_memory("t4", "mixtral-8x7b")
    assert plan.fits_device
    assert not plan.fits_host
    assert not plan.fits
    assert plan.advice[-1].startswith("nothing above makes it fit; a machine with more host memory")


def test_a_host_s_size_does_not_matter_if_all_are_on_the_device() -> None:
    tiny_host = replace(load_machine("h100"), host_memory_bytes=1)
    assert plan_memory(tiny_host, "olmoe-1b-7b").fits
    assert not plan_memory(replace(tiny_host, memory_bytes=8 * 2**30), "olmoe-1b-7b", draft=False).fits


@pytest.mark.parametrize("context", [0, -1, 40961, 1.5, True])
def test_a_context_that_the_model_cannot_read_is_refused(context) -> None:
    with pytest.raises(InvalidInputError, match=f"context is {context}; expected: 1 to 40960"):
        plan_memory("rtx4090", "qwen3-30b-a3b", context=context)


def test_a_draft_that_is_in_no_profile_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="olmoe-1b-7b has no draft in its profile"):
        plan_memory("rtx4090", replace(load_model_spec("olmoe-1b-7b"), draft=None))


ASKED = ["fit", "--machine", "rtx4090", "--model", "qwen3-30b-a3b", "--context", "8192"]


def test_the_command_prints_the_subtraction(capsys) -> None:
    assert cli.main(ASKED) == 0
    out = capsys.readouterr().out
    found = plan_memory("rtx4090", "qwen3-30b-a3b", context=8192)
    assert "modelled" in out
    assert f"fits: {found.slots:,} slots" in out
    first, *rest = [float(number) for number in re.findall(r"(-?[\d.]+) GiB$", out, flags=re.MULTILINE)]
    assert sum(rest) == pytest.approx(first, abs=0.05)  # five rows, each rounded to 0.01


def test_the_command_speaks_json(capsys) -> None:
    assert cli.main([*ASKED, "--no-draft", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["slots"] == plan_memory("rtx4090", "qwen3-30b-a3b", context=8192, draft=False).slots
    assert found["fits"] is True
    assert found["draft"] is None


def test_the_command_takes_the_paper_s_setting_unless_told_otherwise(capsys) -> None:
    assert cli.main(["fit", "--json"]) == 0
    plan = plan_memory("rtx4090", "qwen3-30b-a3b")
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(plan.as_dict()))


def test_the_command_says_plainly_that_it_does_not_fit(capsys) -> None:
    asked = ["fit", "--machine", "laptop4060", "--model", "deepseek-v2-lite"]
    assert cli.main(asked) == 1
    out = capsys.readouterr().out
    assert "does not fit: not one expert of 17.3 MB has room" in out
    assert "no draft: " in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--machine", "rtx409"], "did you mean 'rtx4090'"),
        (["--model", "qwen3"], "model is 'qwen3'; expected: bundled-pair"),
        (["--context", "0"], "context is 0; expected: 1 to 40960"),
    ],
)
def test_bad_input_to_the_command_is_refused(capsys, change, message) -> None:
    assert cli.main([*ASKED, *change]) == 2
    assert message in capsys.readouterr().err
