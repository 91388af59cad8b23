"""A profile of this machine, measured by the clock and written as the bundled ones are.

moespac calibrate --out my_machine.toml
"""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ..utils.exceptions import InvalidInputError
from ..utils.files import atomic_write
from .measurement import Effort, measure_cuda, measure_host, measure_host_as_device

__all__ = ["Calibration", "as_dict", "calibrate", "check_path", "to_toml", "write_machine"]

LAYERS, EXPERTS, GAMMA = 48, 128, 8  # of the paper's target and draft: the planning that is timed
QUICK = Effort(buffer_bytes=256 * 2**20, experts=12, repeats=5)
THOROUGH = Effort(buffer_bytes=512 * 2**20, experts=24, repeats=15)


@dataclass(frozen=True)
class Calibration:
    """Constants of this machine.

    Parameters
    ----------
    about : str
        What the machine is, in words.
    on : str
        The date.
    versions : str
        Of the packages that it was measured with.
    values : mapping of str to float
        The constants, by the keys of a profile and in their units.
    how : mapping of str to str
        Where each comes from: "measured: …" or "assumption: …".
    """

    about: str
    on: str
    versions: str
    values: Mapping[str, float]
    how: Mapping[str, str]


def calibrate(*, planning_s: Callable[[int], float], quick: bool = False) -> Calibration:
    """Measure this machine. Needs torch.

    Parameters
    ----------
    planning_s : callable
        Measures the policy's planning of one window: takes the number of repeats and returns seconds; see
        `policies.timing.measure_planning_s`.
    quick : bool, default False
        Measure for some seconds instead of about a minute.

    Returns
    -------
    Calibration

    Examples
    --------
    >>> from moespac_nb.policies.timing import measure_planning_s
    >>> calibration = calibrate(planning_s=measure_planning_s)  # doctest: +SKIP
    """
    import numpy as np
    import torch

    effort, has_cuda = QUICK if quick else THOROUGH, torch.cuda.is_available()
    with torch.inference_mode():
        readings = measure_host(effort)
        readings |= measure_cuda(effort) if has_cuda else measure_host_as_device(effort, readings)
    readings["policy.plan_ms"] = (
        1e3 * planning_s(effort.repeats),
        f"measured: estimator and fast balancer, {LAYERS} layers of {EXPERTS} experts, γ = {GAMMA}, "
        "made-up routing",
    )
    device = torch.cuda.get_device_name() if has_cuda else "no CUDA"
    return Calibration(
        about=f"this machine: {platform.system()} {platform.machine()}, {device}",
        on=datetime.date.today().isoformat(),
        versions=f"moespac-nb {metadata.version('moespac-nb')}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, numpy {np.__version__}, {torch.get_num_threads()} threads"
        + (", quick" if quick else ""),
        values={key: value for key, (value, _) in readings.items()},
        how={key: how for key, (_, how) in readings.items()},
    )


def to_toml(calibration: Calibration) -> str:
    """Return the profile in TOML, with a line for each constant, as `load_machine` reads it.

    Parameters
    ----------
    calibration : Calibration

    Returns
    -------
    str

    Examples
    --------
    >>> how = {"link.alpha_ms": "measured: a small copy"}
    >>> print(to_toml(Calibration("mine", "2026-11-28", "1.0", {"link.alpha_ms": 0.25}, how)))
    about = "mine"
    experts_in = "host"
    <BLANKLINE>
    [measured]
    on = "2026-11-28"
    versions = "1.0"
    <BLANKLINE>
    [link]
    alpha_ms = { value = 0.25, measured = "a small copy" }
    <BLANKLINE>
    """
    lines = [f"about = {_quoted(calibration.about)}", 'experts_in = "host"', ""]
    lines += ["[measured]", f"on = {_quoted(calibration.on)}", f"versions = {_quoted(calibration.versions)}"]
    table = ""
    for key, value in sorted(calibration.values.items()):
        above, name = key.split(".")
        if above != table:
            lines += ["", f"[{above}]"]
            table = above
        origin, words = calibration.how[key].split(": ", 1)
        lines.append(f"{name} = {{ value = {float(f'{value:.6g}')!r}, {origin} = {_quoted(words)} }}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # A JSON string is a TOML string, but for one character that JSON leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def check_path(path: Path) -> None:
    """Raise InvalidInputError unless a profile can be written at a path and read again from it."""
    if path.suffix != ".toml" or not path.parent.is_dir():
        raise InvalidInputError(
            f"the profile's path is {str(path)!r}; expected: a .toml file in a folder that is there"
        )


def write_machine(calibration: Calibration, path: Path) -> None:
    """Write the profile, the whole file or none; it then loads by its path wherever a machine is named.

    Parameters
    ----------
    calibration : Calibration
    path : Path
        A .toml file; one that exists is replaced.

    Raises
    ------
    InvalidInputError
        If it is none, or its folder is not there.
    MoespacError
        If the operating system refuses.
    """
    check_path(path)
    with atomic_write(path, "the machine's profile") as file:
        file.write(to_toml(calibration).encode())


def as_dict(calibration: Calibration) -> dict[str, Any]:
    """Return everything as plain values."""
    return asdict(calibration)
