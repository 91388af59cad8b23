"""All options of the commands in one table: each has one name and one help wherever it stands."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from glob import glob
from importlib import import_module
from typing import Annotated, Any, get_args

import typer

from ..utils.defaults import ACCOUNTING, GAMMA, MACHINE, MODEL, POLICY

__all__ = ["with_help"]

# By panel of the help, a parameter's help, behind two spaces that follow what its value is called.
# A test holds the names in here to those of the code.
_PANELS: dict[str | None, dict[str, str]] = {
    None: {
        "name": "DOMAIN|FILE  bundled traces (mcq, chat, math, code, instruct, news, qa), a trace or log, or "
        "synthetic:MODEL, fitted routing of gpt-oss-20b, olmoe-1b-7b or qwen3-30b-a3b",
        "names": "DOMAIN|FILE  bundled traces by their domain, trace files, or synthetic:MODEL; by default "
        "all domains",
        "fetch_trace.name": "NAME  the capture; without one they are listed",
        "to": "FOLDER  where to write the file; by default here",
        "mode": "NAME  greedy or sample",
        "dense": "of a domain: the dense trace, for any γ up to 8, or the plain one",
        "record.dense": "N  draft N tokens at every position, so that any γ up to N can be replayed",
        "half": "NAME  of a domain's texts: tune or report",
        "gamma": "N  draft length γ, of a dense trace; by default the longest",
        "cold": "start each text with empty slots",
        "whole_model": "charge all of the model's layers: the trace's are laid side by side",
        "hit_rates": "simulate caches of experts of every size, too: LRU and the best possible (seconds)",
        "shared_bus": "copies and the CPU lane share the bandwidth of the host's memory",
        "positions": "N  positions that the expert serves when it is used",
        "context": "N  tokens whose keys and values are kept",
        "timeline": "FILE  write what ran when, for ui.perfetto.dev",
        "record.out": "FILE  the trace to write, an .npz file",
        "scores": "record the routers' scores, too",
        "channels": "NAMES  record what sensors see, too: draft-gates,next-gate",
        "redact": "leave the prompt out of the file",
        "no_draft": "leave the named model's draft out",
        "calibrate.out": "FILE  the profile to write, a .toml file, which --machine takes",
        "quick": "some seconds, small buffers: rougher",
        "figure": "NAME  the table to print: accuracy, precision, recall, work or all",
        "rule": "NAME  the rule to print by domain: evidence, paper, paper-real, level, ema or last-count",
        "share": "SHARE  of a layer's experts, how many are named",
        "levels": "N  the highest level K of utility",
        "timing": "measure what each costs in time, too",
        "check_lossless": "compare with the target's own generate, up to near ties; by default if greedy",
        "json": "print one JSON document instead of text",
        "html": "FILE  the page to write",
        "csv": "FILE  write the table there, for a spreadsheet",
        "paths": "FILE|FOLDER  what notebooks wrote: moespac-progress.json",
        "import_.paths": "FILE|FOLDER  logs of one model",
        "import_.out": "FILE  the trace to write, an .npz file",
        "format": "NAME  of the logs: moevm-rows, warp-tokens, router-data, route-csv, vllm-routes, "
        "routed-experts, actives, policylang, atlas or moespac; by default each is recognised",
        "drop": "NAME  what to leave out where it is found: warm-up, duplicates, batched, gaps, one-layer, "
        "last-layer or all; may be given again",
        "experts": "N  how many a layer has, where a log does not say",
    },
    "Model and prompt": {
        "domain": "NAME  a bundled prompt: mcq, chat, math, code, instruct, news or qa",
        "prompt": "TEXT  your own prompt",
        "prompt_index": "N  which prompt of the domain",
        "model_path": "FOLDER|NAME  a model of your own: a folder of save_pretrained, or a name on the hub",
        "download": "fetch a hub model that is not on this machine yet",
        "draft": "WHAT  model (the bundled draft), ngram, none, or with --model-path a folder or name",
        "dtype": "NAME  float32, bfloat16, float16, or with --model-path auto, its own",
    },
    "Decoding": {
        **dict.fromkeys(("decode.mode", "record.mode", "dashboard.mode"), "NAME  greedy or sample"),
        **dict.fromkeys(
            ("decode.gamma", "record.gamma"), f"N  draft length γ, 0 for none; by default {GAMMA}"
        ),
        "temperature": "X  of sampling",
        "top_k": "N  sample among the k likeliest tokens",
        "top_p": "X  sample among the likeliest tokens that hold this much",
        "min_p": "X  sample no token of less than this share of the likeliest",
        "seed": "N  of all randomness",
        "max_new_tokens": "N  where to end at the latest",
        "stop": "TEXT  end once the text has this in it; may be given again",
    },
    "Budget and machine": {
        "budget": "SIZE  memory for experts: a share (25%), a size (512MiB) or bytes",
        "policy": "NAME  cpu-only, on-demand, static-hot, recency, spac-paper or spac-joint",
        "machine": "NAME|FILE  a100, h100, laptop4060, orin, rtx3060, rtx4090, t4, or a .toml file",
        "model": "NAME|FILE  the sizes of deepseek-v2-lite, gpt-oss-20b, mixtral-8x7b, olmoe-1b-7b, "
        "phi-3.5-moe, qwen3-30b-a3b, each also with -4bit, of bundled-pair, or of a .toml file",
        "accounting": "NAME  slots-equal, or device-equal: the draft's memory is part of the budget",
        "expert_usage": "FILE  a trace of other texts, which static-hot counts experts in",
        "device": "NAME  virtual, host or cuda; by default virtual",
    },
}
_HELP = {name: (panel, text) for panel, texts in _PANELS.items() for name, text in texts.items()}
# What a command adds to a parameter's help.
_ALSO = {
    "decode.budget": "by default no limit",
    "decode.policy": f"by default {POLICY}",
    "decode.machine": f"by default {MACHINE}",
    "decode.model": "by default its own sizes",
    "decode.accounting": f"by default {ACCOUNTING}",
    "decode.expert_usage": "by default, for the bundled target, its bundled traces",
    "dashboard.gamma": f"of a prompt {GAMMA}",
    "dashboard.expert_usage": "by default a domain's other half",
    "replay.expert_usage": "by default a domain's other half",
    "evaluate.mode": "of domains",
    "fit.model": f"by default {MODEL}",
    "fit.model_path": "only its config.json is read",
    "dashboard.name": "without one, a prompt is decoded",
    "replay.budget": "several with commas",
    "replay.policy": "or the oracle, next-window-oracle; several with commas",
    "replay.mode": "of domains; by default sample",
    "replay.dense": "by default dense",
    "replay.half": "by default report",
    "trace.mode": "of domains; by default both",
    "trace.dense": "by default both",
    "trace.half": "by default both",
}


def with_help(command: str, parameter: inspect.Parameter) -> inspect.Parameter:
    """Return a command's parameter as typer takes it, with its help, its check and its completion."""
    name = parameter.name
    panel, text = _HELP.get(f"{command}.{name}") or _HELP[name]
    metavar, _, text = text.rpartition("  ")
    details: dict[str, Any] = {
        "metavar": metavar,
        "help": "; ".join(filter(None, (text, _ALSO.get(f"{command}.{name}")))),
        "rich_help_panel": panel,
        "autocompletion": _COMPLETED.get(name),
    }
    kinds = {parameter.annotation, *get_args(parameter.annotation)}
    for kind, expected in {int: "a whole number, such as 8", float: "a number, such as 0.8"}.items():
        if kind in kinds:
            details["parser"] = partial(_parsed, kind, expected)
    if name in ("name", "names", "paths"):
        info = typer.Argument(**details)
    else:
        flag = "--" + name.replace("_", "-")
        info = typer.Option(f"{flag}{_OPPOSITE.get(name, '') if bool in kinds else ''}", **details)
    annotation: Any = Annotated.__class_getitem__((parameter.annotation, info))  # type: ignore[attr-defined]
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=annotation)


_OPPOSITE = {"dense": "/--plain", "check_lossless": "/--no-check-lossless"}


def _parsed(kind: type, expected: str, value: Any) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r}; expected: {expected}") from None


def _completed(module: str, names: str) -> Callable[[str], list[str]]:
    """Return what completes a value: the core's names, which are loaded only then, and files."""

    def complete(incomplete: str) -> list[str]:
        known = getattr(import_module(f"moespac_nb.{module}"), names)
        listed: Iterable[str] = known() if callable(known) else known
        files = glob(f"{incomplete}*") if incomplete else []
        return [*(name for name in listed if name.startswith(incomplete)), *files]

    return complete


_COMPLETED = {
    "policy": _completed("policies", "POLICIES"),
    "machine": _completed("hardware.machine", "list_machines"),
    "model": _completed("hardware.model", "list_model_specs"),
    "domain": _completed("datasets.prompts", "DOMAINS"),
    **dict.fromkeys(("name", "names"), _completed("datasets.files", "trace_names")),
}
