"""Budget lab: what memory, draft length, link, machine, model and policy are worth in tokens a second."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from moespac_nb import Trace
from moespac_nb.hardware.budget import check_accounting
from moespac_nb.hardware.machine import Machine, list_machines, load_machine
from moespac_nb.hardware.memory_plan import plan_memory
from moespac_nb.hardware.model import ModelSpec, list_model_specs, load_model_spec
from moespac_nb.hardware.scaling import scaling_notes, whole_model_factors
from moespac_nb.policies import POLICIES, Policy, get_policy
from moespac_nb.simulation.replay import replay
from moespac_nb.simulation.result import Result
from moespac_nb.trace.transforms.counterfactual import improve_draft
from moespac_nb.utils.defaults import ACCOUNTING, BUDGET, MACHINE, MODEL, POLICY
from moespac_nb.utils.exceptions import InvalidInputError

from ...base.live_view import LiveView, view_trait
from ..replays import beginning, percent
from ..trace_rounds import acceptance

__all__ = ["BudgetLab", "Setting"]

POINTS = (5, 10, 17, 25, 35, 50, 70, 100)  # percent: where the curve is replayed
COARSE = (*POINTS[::2], 100)  # what is replayed at once, and for the curves of a page
LINKS = {"×¼": 0.25, "×½": 0.5, "×1": 1.0, "×2": 2.0, "×4": 4.0}
MISTAKES = {"all": 0.0, "¾": 0.25, "½": 0.5, "¼": 0.75, "none": 1.0}  # left to the draft, and forgiven
EVENTS = 2000  # pairs of window and layer that a replay takes at most: about a tenth of a second
RECORDED = "as recorded"
PARTS = ("draft_s", "planning_s", "dense_s", "experts_s", "cpu_wait_s", "link_wait_s")
FIGURES = (
    "tps_modelled", "hit_rate", "late_rate", "bytes_per_token", "cpu_share", "tokens", "windows", "ttft_s",
)  # fmt: skip


class Setting(NamedTuple):
    """Everything but the budget: the choices that one curve belongs to."""

    machine: str
    model: str
    link: str
    policy: str
    gamma: str
    mistakes: str

    @property
    def key(self) -> str:
        """The setting as one string, which the front end asks by."""
        return "|".join(self)


class BudgetLab(LiveView):
    """Show what memory, draft length, link, machine, model and policy are worth; or guess first.

    The browser draws straight lines between replays at a few budgets; the kernel replays the budget that the
    reader stops at. A page holds the replays around the view that it was written from, and no others.

    Parameters
    ----------
    trace : Trace
        A recorded decode, which is replayed.
    budget : str
        The share of all experts that has slots: "17%"; whole per cents, which the slider moves by.
    gamma : int, optional
        The draft length to replay a dense trace with; None takes its longest.
    mistakes : {"all", "¾", "½", "¼", "none"}
        How many of its mistakes the draft of a dense trace keeps; see `improve_draft`.
    link : {"×¼", "×½", "×1", "×2", "×4"}
        The link's bandwidth, as a multiple of the machine's own.
    machine, model, policy : str, optional
        What is chosen at first, by name.
    beside : str
        Another policy whose curve is drawn too, or "none".
    ask : {"show", "guess"}
        "guess" hides the answer until a guess is committed.
    guess : int
        A guess in tokens a second; 0 for none.
    step : int
        The window to mark among the times of all windows; -1 leaves them out.
    machines, models, policies : iterable, optional
        What can be chosen; the default is everything bundled.
    expert_usage : ndarray or Trace, optional
        How often other texts used each expert. Policies that need it cannot be chosen without it.
    accounting : str
        How a draft model's memory is counted, as in `replay`.
    context : int
        The number of tokens for which the KV cache is sized.
    events : int
        The most pairs of window and layer that a replay takes. Of a longer trace the beginning is replayed,
        and the widget says so.

    Raises
    ------
    MoespacError
        If a name is unknown, no model can read `context` tokens, or a value is out of range.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> lab = BudgetLab(load_trace("math")[:20], budget="25%", machines=["rtx3060"], models=["mixtral-8x7b"])
    >>> lab.setting.machine, lab.setting.policy
    ('rtx3060', 'spac-joint')
    """

    SCRIPT, TEXTS = "budget_lab.js", ("lab", "lanes")

    budget = view_trait(percent(BUDGET))  # percent of all experts
    gamma = view_trait(RECORDED)
    mistakes = view_trait("all")  # of the draft's, those that are left
    link = view_trait("×1")  # bandwidth, of the machine's own
    machine = view_trait(MACHINE)
    model = view_trait(MODEL)
    policy = view_trait(POLICY)
    beside = view_trait("none")  # another policy, whose curve is drawn too
    ask = view_trait("show")
    guess = view_trait(0)  # tokens a second; 0 for none
    step = view_trait(-1)  # the window that is marked, beside other views of the same decode

    def __init__(
        self,
        trace: Trace,
        *,
        budget: str = BUDGET,
        gamma: int | None = None,
        mistakes: str = "all",
        link: str = "×1",
        machine: str | None = None,
        model: str | None = None,
        policy: str | None = None,
        beside: str = "none",
        ask: str = "show",
        guess: int = 0,
        step: int = -1,
        machines: Iterable[Machine | str | Path] = (),
        models: Iterable[ModelSpec | str | Path] = (),
        policies: Iterable[Policy | str] = (),
        expert_usage: np.ndarray | Trace | None = None,
        accounting: str = ACCOUNTING,
        context: int = 1024,
        events: int = EVENTS,
    ) -> None:
        share = percent(budget)
        self._trace, notices = beginning(trace, events)
        self._expert_usage, self._context = expert_usage, context
        self._accounting = check_accounting(accounting)
        self._machines = {spec.name: spec for spec in map(load_machine, machines or list_machines())}
        profiles = map(load_model_spec, models or list_model_specs())
        self._models = {spec.name: spec for spec in profiles if spec.context >= context}
        self._policies = {choice.name: choice for choice in _policies(policies, expert_usage)}
        if not self._models:
            raise InvalidInputError(f"context is {context}; expected: what one of the models can read")
        gammas = self._gammas()
        if gamma is not None and str(gamma) not in gammas:
            raise InvalidInputError(f"gamma is {gamma}; expected: {', '.join(gammas)}, what was recorded")
        self._least = math.ceil(100 / (trace.geometry.layers * trace.geometry.experts))
        self._replayed: dict[str, dict[str, list[float]]] = {}
        start = Setting(
            _or_first(machine, MACHINE, self._machines),
            _or_first(model, MODEL, self._models),
            link,
            _or_first(policy, POLICY, self._policies),
            gammas[-1] if gamma is None else str(gamma),
            mistakes,
        )
        self._with_windows = step != -1
        left = ["all"] if RECORDED in gammas else list(MISTAKES)
        better = {share: improve_draft(self._trace, MISTAKES[share]) for share in left[1:]}
        self._drafts = {"all": self._trace, **better}
        drafted = {
            f"{share}|{length}": acceptance(self._drafts[share], None if length == RECORDED else int(length))
            for share, length in product(left, gammas)
        }
        limits: dict[str, Any] = {
            "budget": (self._least, 100),
            "gamma": gammas,
            "mistakes": left,
            "link": list(LINKS),
            "machine": list(self._machines),
            "model": list(self._models),
            "policy": list(self._policies),
            "beside": ["none", *self._policies],
            "ask": ["show", "guess"],
            "guess": (0, 10**6),
            "step": (0 if self._with_windows else -1, drafted[f"all|{start.gamma}"]["windows"] - 1),
        }
        self._bounds = limits
        for name, value in {**start._asdict(), "budget": share, "beside": beside}.items():
            self.checked(name, value)
        super().__init__(
            data={
                "figures": [*FIGURES, *PARTS],
                "points": self._points(),
                "links": LINKS,
                "accounting": accounting,
                "policies": {name: choice.about for name, choice in self._policies.items()},
                "machines": {name: _described(spec) for name, spec in self._machines.items()},
                "notes": {name: scaling_notes(spec, trace.geometry) for name, spec in self._models.items()},
                "larger": {
                    name: whole_model_factors(spec, trace.geometry) for name, spec in self._models.items()
                },
                "drafted": drafted,
                "own_gamma": start.gamma,
                "fits": self._fits(),
                "grid": {
                    setting.key: self.answer_replays(setting.key, self._coarse(share))
                    for setting in (start, *([start._replace(policy=beside)] if beside != "none" else []))
                },
            },
            limits=limits,
            notices=notices,
            budget=share,
            beside=beside,
            ask=ask,
            guess=guess,
            step=step,
            **start._asdict(),
        )

    @property
    def setting(self) -> Setting:
        """Everything but the budget, as the view shows it now."""
        return Setting(self.machine, self.model, self.link, self.policy, self.gamma, self.mistakes)

    @property
    def result(self) -> Result:
        """The replay that the present view stands for, with its timeline."""
        return self._replay(self.setting, self.budget, timeline=True)

    def answer_replays(self, key: str, budgets: Sequence[int]) -> dict[str, list[float]]:
        """Return the figures at some budgets, each replayed once, followed by each window's time.

        Parameters
        ----------
        key : str
            A setting, as `Setting.key` writes it.
        budgets : sequence of int
            Percent of all experts.

        Returns
        -------
        dict of str to list of float
            By budget the values of FIGURES and PARTS, then milliseconds a window where a step is marked.
        """
        setting = Setting(*key.split("|"))
        for name, value in setting._asdict().items():
            self.checked(name, value)
        replayed = self._replayed.setdefault(key, {})
        for budget in budgets:
            if str(self.checked("budget", budget)) not in replayed:
                result = self._replay(setting, budget)
                replayed[str(budget)] = _figures(result) + (_windows_ms(result) if self._with_windows else [])
        return {str(budget): replayed[str(budget)] for budget in budgets}

    def page_data(self) -> Mapping[str, Any]:
        """Return what can be chosen without a kernel: see `_page_settings`."""
        coarse = self._coarse(self.budget)
        grid = {choice.key: self.answer_replays(choice.key, coarse) for choice in self._page_settings()}
        now = self.setting.key
        return {**self._data, "grid": grid | {now: self.answer_replays(now, self._points() + coarse)}}

    def _page_settings(self) -> Iterator[Setting]:
        """Every policy with every draft length; and one by one every other link, machine, model and draft."""
        now = self.setting
        for policy_name, gamma in product(self._policies, self._gammas()):
            yield now._replace(policy=policy_name, gamma=gamma)
        others: dict[str, Iterable[str]] = {
            "link": LINKS, "machine": self._machines, "model": self._models, "mistakes": self._drafts,
        }  # fmt: skip
        for name, values in others.items():
            for value in values:
                if value != getattr(now, name):
                    yield now._replace(**{name: value})

    def _replay(self, setting: Setting, budget: int, timeline: bool = False) -> Result:
        machine = self._machines[setting.machine]
        return replay(
            self._drafts[setting.mistakes],
            self._policies[setting.policy],
            f"{budget}%",
            machine=replace(machine, link_bytes_per_s=LINKS[setting.link] * machine.link_bytes_per_s),
            model=self._models[setting.model],
            gamma=None if setting.gamma == RECORDED else int(setting.gamma),
            accounting=self._accounting,
            context=self._context,
            expert_usage=self._expert_usage,
            timeline=timeline,
        )

    def _points(self) -> list[int]:
        return sorted({max(self._least, point) for point in POINTS})

    def _coarse(self, budget: int) -> list[int]:
        return sorted({budget, *(max(self._least, point) for point in COARSE)})

    def _gammas(self) -> list[str]:
        """Return the draft lengths that the trace has for every step."""
        gamma_maxima = [text.gamma_max for text in self._trace.texts]
        shortest = min((gamma for gamma in gamma_maxima if gamma is not None), default=0)
        return [RECORDED] if None in gamma_maxima else [str(gamma) for gamma in range(shortest + 1)]

    def _fits(self) -> dict[str, Any]:
        """Return what each machine has beside each model's experts; with its draft, and without."""
        plans = {}
        for machine, model, draft in product(self._machines.values(), self._models.values(), (True, False)):
            plan = plan_memory(machine, model, context=self._context, draft=draft and model.draft is not None)
            plans[f"{machine.name}|{model.name}|{'draft' if draft else 'plain'}"] = {
                "memory_bytes": plan.memory_bytes,
                "taken_bytes": dict(plan.taken_bytes),
                "expert_bytes": plan.expert_bytes,
                "all_experts": plan.all_experts,
                "share": plan.share,
                "fits_host": plan.fits_host,
            }
        return plans


def _policies(names: Iterable[Policy | str], expert_usage: Any) -> list[Policy]:
    """Return the policies of these names, or all that can be replayed without more being known."""
    chosen = [get_policy(name) for name in names]
    return chosen or [
        policy for policy in POLICIES.values() if expert_usage is not None or not policy.needs_expert_usage
    ]


def _or_first(name: str | None, usual: str, among: Mapping[str, Any]) -> str:
    return name if name is not None else usual if usual in among else next(iter(among))


def _described(machine: Machine) -> dict[str, Any]:
    return {"about": machine.about, "label": machine.label, "link_bytes_per_s": machine.link_bytes_per_s}


def _figures(result: Result) -> list[float]:
    values = [getattr(result, name) for name in FIGURES] + [getattr(result.parts, name) for name in PARTS]
    return [float(f"{value:.6g}") for value in values]


def _windows_ms(result: Result) -> list[float]:
    return [float(f"{1e3 * (end - begin):.4g}") for begin, end in result.windows_s]
