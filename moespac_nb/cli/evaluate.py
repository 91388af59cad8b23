"""`moespac evaluate`: how well each sensor and rule predicts the next window's experts, at equal bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from ..utils.defaults import GAMMA
from ..utils.exceptions import InvalidInputError, MoespacError
from .output import print_json, print_table, tracked, working

if TYPE_CHECKING:
    from ..estimator.sensors import Sensor
    from ..trace.step import MoEShape
    from ..trace.trace import Trace
    from ..trace.windows import RoutedTokens

__all__ = ["evaluate"]

MOMENTS = {"verified": "after verifying", "drafted": "after drafting", "layer": "a layer ahead"}
FIGURES = {
    "accuracy": "experts rightly named or rightly not, of all",
    "precision": "named experts that were needed, of the named",
    "recall": "named experts that were needed, of the needed",
    "work": "the window's pairs of position and expert that named experts serve, of all",
}


def evaluate(
    names: list[str] | None = None,
    figure: str = "recall",
    rule: str = "evidence",
    share: str = "25%",
    levels: int = 4,
    gamma: int | None = None,
    mode: str = "greedy",
    dense: bool = True,
    timing: bool = False,
    json: bool = False,
) -> int:
    """Compare how well sensors and rules predict experts.

    Every sensor with every rule, at equal bytes, fitted on other texts than those it is judged on.

        moespac evaluate math --share 10%
        moespac evaluate --mode sample --figure all
    """
    from ..datasets.prompts import DOMAINS
    from ..datasets.traces import load_trace
    from ..estimator.evaluation import EVIDENCE
    from ..estimator.utility import RULES
    from ..utils.validation import check_choice

    check_choice("--rule", rule, (EVIDENCE, *RULES))
    check_choice("--figure", figure, (*FIGURES, "all"))
    of_domains: dict[str, Any] = {"mode": mode, "dense": dense}
    traces = {
        name: load_trace(name, **(of_domains if name in DOMAINS else {}))
        for name in dict.fromkeys(names or DOMAINS)
    }
    report = _evaluated(traces, share, levels, gamma)
    if timing:
        with working("measuring times"):
            report["timing"] = _timed(_one_shape(traces), GAMMA if gamma is None else gamma)
    if json:
        print_json(report)
    else:
        _print(report, [figure] if figure in FIGURES else [*FIGURES], rule)
    return 0


def _evaluated(traces: Mapping[str, Trace], share: str, levels: int, gamma: int | None) -> dict[str, Any]:
    """Return all scores as plain values."""
    from ..estimator.evaluation import evaluate_predictors
    from ..trace.windows import verified_tokens

    shape = _one_shape(traces)
    size = _size(share, shape.experts)
    halves = {name: _halves(trace) for name, trace in traces.items()}
    fitted = {name: verified_tokens(trace, halves[name][0]) for name, trace in traces.items()}
    sensors, left_out = _sensors(traces, fitted)
    scores = {
        name: evaluate_predictors(
            trace,
            {label: make(name) for label, make in sensors.items()},
            size,
            texts=halves[name][1],
            gamma=gamma,
            K=levels,
        )
        for name, trace in tracked(traces.items(), "evaluating")
    }
    pairs = [{"sensor": sensor, "rule": rule} for sensor, rule in next(iter(scores.values()))]
    by_domain = {
        name: [pair | asdict(row) for pair, row in zip(pairs, rows.values(), strict=True)]
        for name, rows in scores.items()
    }
    means = [  # over domains, each weighing the same
        pair | {figure: float(mean(row[figure] for row in rows)) for figure in FIGURES}
        for pair, rows in zip(pairs, zip(*by_domain.values(), strict=True), strict=True)
    ]
    return {
        "geometry": asdict(shape),
        "named_per_layer": size,
        "gamma": gamma,
        "levels": levels,
        "texts_tune_and_report": {name: [len(half) for half in halves[name]] for name in traces},
        "known": {label: MOMENTS[make(next(iter(traces))).available_at] for label, make in sensors.items()},
        "left_out": left_out,
        "by_domain": by_domain,
        "mean": means,
        "timing": [],
    }


def _print(report: dict[str, Any], figures: Sequence[str], rule: str) -> None:
    """Print a table of each figure by rule and, of several domains, one of each by domain."""
    shape, size, domains = report["geometry"], report["named_per_layer"], report["by_domain"]
    windows = sum(rows[0]["windows"] for rows in domains.values())
    fitted, reported = map(sum, zip(*report["texts_tune_and_report"].values(), strict=True))
    gamma = "as recorded, the longest of a dense trace" if report["gamma"] is None else report["gamma"]
    print(
        f"{size} of {shape['experts']} experts named in each of {shape['layers']} layers, in {windows} "
        f"windows of {reported} texts; fitted on {fitted} others\n"
        f"γ {gamma}; utility 0..{report['levels']}; chance {size / shape['experts']:.3f}"
    )
    if report["left_out"]:
        print(f"left out, as these traces lack what they need: {', '.join(report['left_out'])}")
    over = f"mean of {len(domains)}" if len(domains) > 1 else next(iter(domains))
    for figure in figures:
        by_rule = [(row["sensor"], row["rule"], row[figure]) for row in report["mean"]]
        print(f"\n{figure}: {FIGURES[figure]}; {over}")
        _print_by_sensor(by_rule, report["known"])
        if len(domains) > 1:
            print(f"\n{figure} by {rule}, each")
            by_domain = [
                (row["sensor"], Path(name).stem, row[figure])
                for name, rows in domains.items()
                for row in rows
                if row["rule"] == rule
            ]
            _print_by_sensor(by_domain, report["known"])
    for at, rows in groupby(report["timing"], key=itemgetter("at", "gamma")):
        print("\nµs a window at {}, γ = {}: measured here; modelled, as replays charge it".format(*at))
        seconds = [(row["name"], row["measured_s"], row["charged_s"]) for row in rows]
        print_table(
            ["", "measured", "modelled"], [[n, f"{m * 1e6:.1f}", f"{c * 1e6:.1f}"] for n, m, c in seconds]
        )


def _print_by_sensor(cells: Sequence[tuple[str, str, float]], known: Mapping[str, str]) -> None:
    """Print (sensor, column, value) as a table with a row for each sensor."""
    rows: dict[str, list[str]] = {}
    for sensor, _, value in cells:
        rows.setdefault(sensor, [sensor, known[sensor]]).append(f"{value:.3f}")
    columns = dict.fromkeys(column for _, column, _ in cells)
    print_table(["sensor", "known", *columns], list(rows.values()), words=2)


def _one_shape(traces: Mapping[str, Trace]) -> MoEShape:
    (first, trace), *others = traces.items()
    for name, other in others:
        if other.geometry != trace.geometry:
            raise InvalidInputError(
                f"{name} is of {other.geometry}, {first} of {trace.geometry}; expected: traces of one model"
            )
    if not trace.geometry.layers:
        raise InvalidInputError(f"{first} is of a dense model; expected: a trace of one with experts")
    return trace.geometry


def _size(share: str, experts: int) -> int:
    from ..hardware.budget import parse_budget

    try:
        of_all = parse_budget(share).share
    except MoespacError:
        of_all = None
    if of_all is None:
        raise InvalidInputError(
            f"--share is {share!r}; expected: above 0% and up to 100% of a layer's experts, such as 25%"
        )
    return max(1, round(of_all * experts))


def _halves(trace: Trace) -> tuple[list[int], list[int]]:
    """Return texts to fit on and texts to report on: bundled prompts by their halves, others as they come."""
    from ..datasets.prompts import DOMAINS, load_prompts

    half_of = {f"{domain}/{n}": p.half for domain in DOMAINS for n, p in enumerate(load_prompts(domain))}
    halves = [half_of.get(text.prompt_id or "") for text in trace.texts]
    if None in halves or "report" not in halves:
        halves = ["tune" if 2 * n < len(halves) - 1 else "report" for n in range(len(halves))]
    tune, report = ([n for n, half in enumerate(halves) if half == name] for name in ("tune", "report"))
    return tune, report


def _sensors(
    traces: Mapping[str, Trace], fitted: Mapping[str, RoutedTokens]
) -> tuple[dict[str, Callable[[str], Sensor]], list[str]]:
    """Return by name what makes a sensor for the trace of a name, and those that cannot be made."""
    from ..estimator.sensors import SENSORS, make_sensor

    shape = _one_shape(traces)
    makers: dict[str, Callable[[str], Sensor]] = {}
    left_out = []
    for name, kind in SENSORS.items():
        lacking = not all(kind.serves(trace) for trace in traces.values())
        if lacking or (kind.fitted and not any(len(rows.tokens) for rows in fitted.values())):
            left_out.append(name)
        else:
            # Learned once; what it goes on to learn from one trace is not carried into the next.
            makers[name] = partial(_copied, make_sensor(name, shape, *fitted.values()))
    if len(traces) > 1 and all(len(rows.tokens) for rows in fitted.values()):
        makers["popularity, own"] = lambda trace: make_sensor("popularity", shape, fitted[trace])
    if "token-table" in makers:
        makers["token-table, blank"] = lambda _trace: make_sensor("token-table", shape)
    return makers, left_out


def _copied(fitted: Sensor, _trace: str) -> Sensor:
    return deepcopy(fitted)


def _timed(shape: MoEShape, gamma: int) -> list[dict[str, Any]]:
    """Measure what a window costs in time, with the traces' model and with the paper's."""
    from ..policies.timing import measure_overhead
    from ..trace.step import MoEShape

    return [
        {"at": f"{at.layers} × {at.experts}", "gamma": gamma, **asdict(row)}
        for at in dict.fromkeys((shape, MoEShape(48, 128, 8)))
        for row in measure_overhead(at, gamma)
    ]
