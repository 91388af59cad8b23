"""Exercises of notebook 01: right answers pass, and each common mistake is shown its smallest case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moespac_exercises.lessons.the_memory_wall import pays_from
from moespac_nb.hardware.costs import cost_model
from moespac_nb.hardware.memory_plan import plan_memory
from moespac_nb.hardware.model import list_model_specs, load_model_spec
from tests.helpers.jupyter.lessons import answer_tests


def lru(asked: list[int], slots: int) -> int:
    held: list[int] = []
    found = 0
    for expert in asked:
        found += expert in held
        held = [*(other for other in held if other != expert), expert][-slots:]
    return found


def first_in_first_out(asked: list[int], slots: int) -> int:
    held: list[int] = []
    found = 0
    for expert in asked:
        found += expert in held
        held = held if expert in held else [*held, expert][-slots:]
    return found


RIGHT: dict[str, Callable[..., Any]] = {
    "01.1": lambda hidden, width, bits: 3 * hidden * width * bits / 8,
    "01.2": lambda n, size, per_s, flops: max(size / per_s, n * size / flops),
    "01.3": pays_from,
    "01.4": lambda memory, taken, expert, experts: min(max(0, memory - taken) // expert, experts),
    "01.5": lru,
}


WRONG = [
    ("01.1", lambda hidden, width, bits: 3 * hidden * width * bits, "eight of them are a byte"),
    ("01.1", lambda hidden, width, bits: hidden * width * bits / 8, "a gate, an up and a down"),
    ("01.1", lambda hidden, width, bits: 2 * hidden * width * bits / 8, "hidden size 1, width 1"),
    ("01.2", lambda n, size, per_s, flops: size / per_s + n * size / flops, "one after the other"),
    ("01.2", lambda n, size, per_s, flops: n * size / per_s, "which of them is waited for"),
    ("01.2", lambda n, size, per_s, flops: size / per_s, "To read takes 0.5 s, to compute 1 s"),
    ("01.3", lambda cost: 1, "copying and computing takes"),
    ("01.3", lambda cost: 0, "It does pay"),
    ("01.3", lambda cost: 1.5, "Asked is a whole number"),
    ("01.3", lambda cost: cost.copy_s() < cost.cpu_s(1), "Asked is a whole number"),
    ("01.4", lambda memory, taken, expert, experts: max(0, memory - taken) / expert, "Half an expert"),
    ("01.4", lambda memory, taken, expert, experts: (memory - taken) // expert, "returned"),
    ("01.4", lambda memory, taken, expert, experts: memory // expert, "are left"),
    ("01.5", lambda asked, slots: len(asked), "for [0] and 1 slot(s) it returned 1"),
    ("01.5", lambda asked, slots: len(asked) - len(set(asked)), "There are fewer"),
    ("01.5", lambda asked, slots: 0, "for [0, 0] and 1 slot(s) it returned 0. "),
    ("01.5", first_in_first_out, "for [0, 1, 0, 2, 0] and 2 slot(s)"),
]
test_right, test_wrong = answer_tests(RIGHT, WRONG)


def test_what_the_notebook_says_in_words() -> None:
    for name in list_model_specs():
        model = load_model_spec(name)
        assert model.all_experts * model.expert_parameters / model.parameters > 0.85  # "nearly everything"
    cost = cost_model("rtx4090", "qwen3-30b-a3b")
    assert cost.copy_s() > max(cost.gpu_s(1), cost.cpu_s(1))  # "the dotted line lies above both"
    assert cost.gpu_s(2) == cost.gpu_s(1)  # "a second position costs nothing"
    assert plan_memory("rtx4090", "qwen3-30b-a3b", context=1024).share > 0.21  # "so it is optimistic"
