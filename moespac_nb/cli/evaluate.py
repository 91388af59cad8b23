"""`moespac evaluate`: how well each sensor and rule predicts the next window's experts, at equal bytes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from ..utils.exceptions import MoespacError
from .output import print_json

if TYPE_CHECKING:
    from ..estimator.evaluation import PredictionScores
    from ..estimator.sensors import Sensor
    from ..policies.timing import PolicyOverhead
    from ..trace.step import MoEShape
    from ..trace.trace import Trace
    from ..trace.windows import RoutedTokens

    Figures = Mapping[tuple[str, str], PredictionScores]  # by sensor and rule

MOMENTS = {"verified": "after verifying", "drafted": "after drafting", "layer": "a layer ahead"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        nargs="*",
        metavar="DOMAIN|FILE",
        help="bundled traces by their domain, or trace files (default: all domains)",
    )
    parser.add_argument(
        "--gamma",
        type=int,
        default=4,
        help="draft length, in a dense trace (default %(default)s)",
    )
    parser.add_argument("--mode", default="greedy", help="greedy or sample, of domains (default %(default)s)")
    parser.add_argument("--kind", default="dense", help="dense or plain, of domains (default %(default)s)")
    parser.add_argument(
        "--share", default="25%", help="of a layer's experts, how many are named (default %(default)s)"
    )
    parser.add_argument("--levels", type=int, default=4, metavar="K", help="of utility (default %(default)s)")
    parser.add_argument(
        "--rule", default="evidence", help="which rule's recall to print by domain (default %(default)s)"
    )
    parser.add_argument("--timing", action="store_true", help="measure too what each costs in time")


def run(options: argparse.Namespace) -> int:
    from ..estimator.evaluation import EVIDENCE
    from ..estimator.utility import RULES

    if options.rule not in (EVIDENCE, *RULES):
        raise MoespacError(f"--rule is {options.rule!r}; expected: {EVIDENCE}, {', '.join(RULES)}")
    report = Report(options)
    if options.json:
        print_json(report.as_dict())
    else:
        print(report.in_words())
    return 0


class Report:
    """All figures of one call."""

    def __init__(self, options: argparse.Namespace) -> None:
        from ..datasets.prompts import DOMAINS
        from ..estimator.evaluation import evaluate_predictors
        from ..trace.windows import verified_tokens

        traces = {name: _trace(name, options) for name in dict.fromkeys(options.what or DOMAINS)}
        self.geometry = _one_geometry(traces)
        self.options = options
        self.size = _size(options.share, self.geometry.experts)
        halves = {name: _halves(trace) for name, trace in traces.items()}
        fitted = {name: verified_tokens(trace, halves[name][0]) for name, trace in traces.items()}
        self.sensors, self.left_out = _sensors(traces, fitted)
        self.texts = {name: [len(half) for half in halves[name]] for name in traces}
        self.figures: dict[str, Figures] = {
            name: evaluate_predictors(
                trace,
                {label: make(name) for label, make in self.sensors.items()},
                self.size,
                texts=halves[name][1],
                gamma=options.gamma,
                K=options.levels,
            )
            for name, trace in traces.items()
        }
        self.known = {
            label: MOMENTS[make(next(iter(traces))).available_at] for label, make in self.sensors.items()
        }
        self.timing = _timing(self.geometry, options.gamma) if options.timing else []

    def as_dict(self) -> dict[str, Any]:
        return {
            "geometry": asdict(self.geometry),
            "named_per_layer": self.size,
            "gamma": self.options.gamma,
            "levels": self.options.levels,
            "texts_tune_and_report": self.texts,
            "known": self.known,
            "left_out": self.left_out,
            "by_domain": {
                name: [
                    {"sensor": sensor, "rule": rule, **asdict(found)}
                    for (sensor, rule), found in figures.items()
                ]
                for name, figures in self.figures.items()
            },
            "mean": [
                {
                    "sensor": sensor,
                    "rule": rule,
                    **{figure: self.mean(figure, sensor, rule) for figure in FIGURES},
                }
                for sensor, rule in next(iter(self.figures.values()))
            ],
            "timing": [
                {"at": at, "gamma": self.options.gamma, **asdict(row)}
                for at, rows in self.timing
                for row in rows
            ],
        }

    def mean(self, figure: str, sensor: str, rule: str) -> float:
        """Over domains, each weighing the same."""
        return float(mean(getattr(figures[sensor, rule], figure) for figures in self.figures.values()))

    def in_words(self) -> str:
        rules = list(dict.fromkeys(rule for _, rule in next(iter(self.figures.values()))))
        windows = sum(next(iter(figures.values())).windows for figures in self.figures.values())
        tuned, reported = (sum(texts[half] for texts in self.texts.values()) for half in (0, 1))
        shape = self.geometry
        lines = [
            f"{self.size} of {shape.experts} experts named in each of {shape.layers} layers, in "
            f"{windows} windows of {reported} texts; fitted on {tuned} others",
            f"γ = {self.options.gamma} in a dense trace; utility 0..{self.options.levels}; chance "
            f"{self.size / shape.experts:.3f}",
        ]
        if self.left_out:
            lines.append(f"left out, as these traces lack what they need: {', '.join(self.left_out)}")
        over = f"mean of {len(self.figures)}" if len(self.figures) > 1 else next(iter(self.figures))
        for figure, meaning in FIGURES.items():
            rows = {s: [self.mean(figure, s, rule) for rule in rules] for s in self.sensors}
            lines += ["", f"{figure}: {meaning}; {over}", *_table(rows, rules, self.known)]
        if len(self.figures) > 1:
            rows = {
                sensor: [figures[sensor, self.options.rule].recall for figures in self.figures.values()]
                for sensor in self.sensors
            }
            names = [Path(name).stem for name in self.figures]
            lines += ["", f"recall by {self.options.rule}, each", *_table(rows, names, self.known)]
        for at, timed in self.timing:
            gamma = self.options.gamma
            lines += ["", f"µs a window at {at}, γ = {gamma}: measured here; modelled, as replays charge it"]
            lines += [
                f"{row.name:<20}{row.measured_s * 1e6:>9.1f}{row.charged_s * 1e6:>9.1f}" for row in timed
            ]
        return "\n".join(lines)


FIGURES = {
    "accuracy": "experts rightly named or rightly not, of all",
    "precision": "named experts that were needed, of the named",
    "recall": "named experts that were needed, of the needed",
    "work": "the window's pairs of position and expert that named experts serve, of all",
}


def _table(
    rows: Mapping[str, Sequence[float]], columns: Sequence[str], known: Mapping[str, str]
) -> list[str]:
    wide = [max(len(column), 5) + 2 for column in columns]
    head = "".join(f"{column:>{width}}" for column, width in zip(columns, wide, strict=True))
    return [
        f"{'sensor':<20}{'known':<16}{head}",
        *(
            f"{sensor:<20}{known[sensor]:<16}"
            + "".join(f"{value:>{width}.3f}" for value, width in zip(values, wide, strict=True))
            for sensor, values in rows.items()
        ),
    ]


def _trace(name: str, options: argparse.Namespace) -> Trace:
    from ..datasets.prompts import DOMAINS
    from ..datasets.traces import load_trace

    if name not in DOMAINS or Path(name).exists():
        return load_trace(name)
    return load_trace(name, mode=options.mode, dense=options.kind == "dense")


def _one_geometry(traces: Mapping[str, Trace]) -> MoEShape:
    (first, trace), *others = traces.items()
    shape = trace.geometry
    for name, other in others:
        if other.geometry != shape:
            raise MoespacError(
                f"{name} is of {other.geometry}, {first} of {shape}; expected: traces of one model"
            )
    if not shape.layers:
        raise MoespacError(f"{first} is of a dense model; expected: a trace of one with experts")
    return shape


def _size(share: str, experts: int) -> int:
    from ..hardware.budget import parse_budget

    accepted = f"--share is {share!r}; expected: above 0% and up to 100% of a layer's experts, such as 25%"
    try:
        of_all = parse_budget(share).share
    except MoespacError:
        raise MoespacError(accepted) from None
    if of_all is None:
        raise MoespacError(accepted)
    return max(1, round(of_all * experts))


def _halves(trace: Trace) -> tuple[list[int], list[int]]:
    """Texts to fit on, texts to report on: bundled prompts by their halves, others as they come."""
    from ..datasets.prompts import DOMAINS, load_prompts

    half_of = {f"{domain}/{n}": p.half for domain in DOMAINS for n, p in enumerate(load_prompts(domain))}
    halves = [half_of.get(text.prompt_id or "") for text in trace.texts]
    if None in halves or "report" not in halves:
        halves = ["tune" if 2 * n < len(halves) - 1 else "report" for n in range(len(halves))]
    return [n for n, half in enumerate(halves) if half == "tune"], [
        n for n, half in enumerate(halves) if half == "report"
    ]


def _sensors(
    traces: Mapping[str, Trace], fitted: Mapping[str, RoutedTokens]
) -> tuple[dict[str, Callable[[str], Sensor]], list[str]]:
    """By what it is called, what makes a sensor for the trace of a name; and those that cannot be made."""
    from ..estimator.sensors import SENSORS, make_sensor

    geometry = _one_geometry(traces)
    able: dict[str, Callable[[str], Sensor]] = {}
    left_out = []
    for name, kind in SENSORS.items():
        lacking = kind.channel and any(kind.channel not in trace.channels for trace in traces.values())
        if lacking or (kind.fitted and not any(len(rows.tokens) for rows in fitted.values())):
            left_out.append(name)
        else:
            # Learned once; what it goes on to learn from one trace is not carried into the next.
            able[name] = partial(_copied, make_sensor(name, geometry, *fitted.values()))
    if len(traces) > 1 and all(len(rows.tokens) for rows in fitted.values()):
        able["popularity, own"] = lambda trace: make_sensor("popularity", geometry, fitted[trace])
    able["token-table, blank"] = lambda _trace: make_sensor("token-table", geometry)
    return able, left_out


def _copied(learned: Sensor, _trace: str) -> Sensor:
    return deepcopy(learned)


def _timing(geometry: MoEShape, gamma: int) -> list[tuple[str, list[PolicyOverhead]]]:
    from ..policies.timing import measure_overhead
    from ..trace.step import MoEShape

    at = dict.fromkeys((geometry, MoEShape(48, 128, 8)))  # of these traces, and of the paper's model
    return [(f"{one.layers} × {one.experts}", measure_overhead(one, gamma)) for one in at]
