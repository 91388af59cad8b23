"""The public names: all of them at the top level, loaded when they are asked for."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import moespac_nb

METHOD = re.findall(
    r"\w+",
    """
    load_pair load_model load_prompts load_trace list_traces DOMAINS
    decode record Sampling NgramDraft AdaptiveGamma Trace Step Prefill
    make_sensor SENSORS make_estimator RULES evaluate_predictors
    Balancer Joint PerLayer PerExpert
    Engine Scheduler VirtualDevice HostDevice CudaDevice
    get_policy compose_policy POLICIES replay offload offloaded
    load_machine list_machines load_model_spec list_model_specs plan_memory cost_model
    MoespacError
""",
)


def imports_from_rooms(source: str) -> set[str]:
    """What a piece of Python imports from a room of `moespac_nb` although the top level offers it."""
    return {
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("moespac_nb.")
        for alias in node.names
        if alias.name in moespac_nb.__all__
    }


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_the_names_of_the_method_are_public() -> None:
    assert set(METHOD) <= set(moespac_nb.__all__)


def test_importing_the_package_loads_no_model_library() -> None:
    code = "import sys, moespac_nb; print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    assert run_python(code).strip() == "set()"


def test_no_room_bears_the_name_of_a_public_function(root: Path) -> None:
    rooms = {path.name for path in (root / "moespac_nb").iterdir() if path.is_dir()}
    assert rooms & set(moespac_nb.__all__) == set()


def test_every_public_name_is_there_and_is_listed() -> None:
    for name in moespac_nb.__all__:
        assert getattr(moespac_nb, name) is not None
        assert name in dir(moespac_nb)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="lode_pair"):
        moespac_nb.lode_pair  # noqa: B018


@pytest.mark.parametrize("folder", ["notebooks", "docs"])
def test_readers_see_the_public_names_alone(root: Path, folder: str) -> None:
    sources = {path.name: path.read_text("utf-8") for path in (root / folder).glob("*.py")}
    for path in [*(root / folder).glob("*.md"), root / "README.md"]:
        blocks = re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        sources[path.name] = "\n".join(blocks)
    guilty = {name: imports_from_rooms(source) for name, source in sources.items()}
    assert {name: found for name, found in guilty.items() if found} == {}


def test_an_import_from_a_room_is_seen() -> None:
    code = "from moespac_nb.simulation.replay import replay, replay_texts"
    assert imports_from_rooms(code) == {"moespac_nb.simulation.replay.replay"}
