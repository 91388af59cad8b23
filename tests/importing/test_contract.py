"""What every format must keep to: what is written comes back, and bad input ends in a clear error."""

from __future__ import annotations

import gzip
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moespac_nb import MoEShape, Trace
from moespac_nb.importing.formats import FORMATS
from moespac_nb.importing.head import head_of
from moespac_nb.importing.reading import format_of, import_trace
from moespac_nb.importing.sources import text as text_source
from moespac_nb.utils.exceptions import InvalidInputError, MissingDataError, MoespacError, TraceFormatError
from tests.helpers.traces.logs import WRITERS, Routing, Writer, made_up

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(params=sorted(WRITERS))
def writer(request: pytest.FixtureRequest) -> Writer:
    writer = WRITERS[request.param]
    if writer.name.endswith(".parquet") or writer.format == "actives":
        pytest.importorskip("pyarrow", reason="parquet needs pyarrow: pip install moespac-nb[import]")
    return writer


def written(writer: Writer, folder: Path, routing: Routing) -> Path:
    path = folder / writer.name
    writer.write(path, routing)
    return path


def files_of(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def check_comes_back(writer: Writer, routing: Routing, trace: Trace) -> None:
    """Compare a trace with what was written, as far as the format can hold it."""
    assert (trace.geometry.layers, trace.geometry.top_k) == (routing.layers, routing.top_k)
    assert len(trace.texts) == len(routing.texts)
    for number, text in enumerate(routing.texts):
        prefill, steps = trace.prefill(number), slice(*trace.starts["steps"][number : number + 2])
        assert len(prefill.ids) == (max(text.prompt - 1, 0) if writer.has("prompt") else 0)
        experts = np.concatenate([prefill.experts, trace.experts[steps]])
        assert experts.tolist() == [[cell[0] for cell in layers if cell] for layers in text.cells]
        tokens = np.concatenate([prefill.ids, trace.window[steps]])
        if writer.has("tokens"):
            assert tokens.tolist() == text.tokens
        elif writer.format == "router-data":
            assert [trace.token_strings[token] for token in tokens.tolist()] == [f" {t}" for t in text.tokens]
        else:
            assert set(tokens.tolist()) == {-1}
        assert trace.step_position[steps].tolist() == list(range(len(prefill.ids), len(text.cells)))
        if writer.has("weights"):
            assert prefill.gate_weights is not None
            assert trace.gate_weights is not None
            weights = np.concatenate([prefill.gate_weights, trace.gate_weights[steps]])
            expected = np.array([[cell[1] for cell in layers if cell] for layers in text.cells], np.float32)
            assert np.array_equal(weights, expected)
        else:
            assert trace.gate_weights is None
    assert {text.imported for text in trace.texts} == {writer.format}


@given(
    seed=st.integers(0, 2**32 - 1),
    texts=st.integers(1, 3),
    positions=st.integers(1, 9),
    layers=st.integers(2, 4),
    top_k=st.integers(1, 4),
    prompt=st.integers(0, 3),
)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_comes_back(
    writer: Writer,
    tmp_path: Path,
    seed: int,
    texts: int,
    positions: int,
    layers: int,
    top_k: int,
    prompt: int,
) -> None:
    shutil.rmtree(tmp_path / writer.name, ignore_errors=True)
    if writer.format == "routed-experts" and writer.has("prompt"):
        positions, prompt = max(positions, 2), max(1, min(prompt, positions - 1))  # two arrays, none empty
    prompt = min(prompt, positions)
    if writer.format == "vllm-routes" and prompt == positions:
        prompt = 0  # a log of a single pass does not say that it is a prompt
    routing = made_up(seed, texts if writer.has("texts") else 1, positions, layers, 16, top_k, prompt)
    trace = import_trace(written(writer, tmp_path, routing))
    check_comes_back(writer, routing, trace)


def test_the_token_after_a_text_is_not_known(tmp_path: Path) -> None:
    routing = made_up(texts=2, positions=4, prompt=0)
    trace = import_trace(written(WRITERS["policylang"], tmp_path, routing))
    first, second = (text.tokens for text in routing.texts)
    assert trace.committed_ids.tolist() == [*first[1:], -1, *second[1:], -1]
    assert set(trace.target_ids.tolist()) == {-1}


def test_the_format_is_recognised_and_can_be_named(writer: Writer, tmp_path: Path) -> None:
    path = written(writer, tmp_path, made_up())
    assert format_of(head_of(path)) == writer.format
    assert import_trace(path) == import_trace(path, writer.format)


def test_every_format_is_in_the_contract() -> None:
    assert {writer.format for writer in WRITERS.values()} == set(FORMATS)


def test_an_imported_trace_is_saved_and_read_again(writer: Writer, tmp_path: Path) -> None:
    trace = import_trace(written(writer, tmp_path, made_up(texts=2 if writer.has("texts") else 1)))
    trace.save(tmp_path / "own.npz")
    assert Trace.load(tmp_path / "own.npz") == trace == import_trace(tmp_path / "own.npz")


def test_a_gzip_file_is_unpacked(writer: Writer, tmp_path: Path) -> None:
    if not writer.is_text:
        pytest.skip("packed already")
    path = written(writer, tmp_path, made_up())
    packed = tmp_path / f"{writer.name}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert import_trace(packed) == import_trace(path)


def test_several_files_make_one_trace(writer: Writer, tmp_path: Path) -> None:
    paths = []
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        paths.append(written(writer, tmp_path / name, made_up(seed)))
    both, first, second = import_trace(paths), *map(import_trace, paths)
    assert len(both.texts) == 2
    assert np.array_equal(both.experts, np.concatenate([first.experts, second.experts]))


# Bad input. Each message names the file.


def refused(path: Path | list[Path], *, experts: int | None = None, format: str = "auto") -> str:  # noqa: A002
    with pytest.raises(TraceFormatError) as error:
        import_trace(path, format, experts=experts)
    message = str(error.value)
    first = path if isinstance(path, Path) else path[-1]
    assert str(first) in message
    assert "expected" in message
    return message


def test_a_truncated_file_is_refused(writer: Writer, tmp_path: Path) -> None:
    path = written(writer, tmp_path, made_up(positions=40))
    file = files_of(path)[0]
    content = file.read_bytes()
    for share in (0.3, 0.6, 0.95):
        end = int(len(content) * share)
        if path.suffix in (".jsonl", ".csv"):  # where a whole row ends nothing can be told
            end = content.rfind(b"\n", 0, end) + 8
        file.write_bytes(content[:end])
        refused(path)


def test_a_truncated_gzip_is_refused(writer: Writer, tmp_path: Path) -> None:
    if not writer.is_text:
        pytest.skip("packed otherwise")
    path = tmp_path / f"{writer.name}.gz"
    packed = gzip.compress(written(writer, tmp_path, made_up(positions=40)).read_bytes())
    path.write_bytes(packed[: len(packed) // 2])
    refused(path, format=writer.format)


def test_a_gzip_that_is_none_is_refused(writer: Writer, tmp_path: Path) -> None:
    path = written(writer, tmp_path, made_up())
    if path.is_dir():
        pytest.skip("a folder")
    renamed = path.rename(tmp_path / f"{writer.name}.gz")
    assert "gzip" in refused(renamed)


def test_a_renamed_text_file_is_refused(writer: Writer, tmp_path: Path) -> None:
    path = tmp_path / writer.name
    path.write_text("Dear all,\n\nthe log is in the other folder.\n")
    assert "no known format" in refused(path)
    refused(path, format=writer.format)


def test_an_empty_file_is_refused(writer: Writer, tmp_path: Path) -> None:
    path = tmp_path / writer.name
    path.touch()
    refused(path)
    refused(path, format=writer.format)


def test_a_missing_file_is_named(writer: Writer, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=re.escape(str(tmp_path / writer.name))):
        import_trace(tmp_path / writer.name, writer.format)


def test_a_wrong_column_is_named(writer: Writer, tmp_path: Path) -> None:
    path = written(writer, tmp_path, made_up())
    if writer.is_text:
        before, after = ",," if writer.format == "route-csv" else '""'
        key, wrong = (f"{before}{name}{after}" for name in (writer.experts, "wrong"))
        path.write_text(path.read_text().replace(key, wrong))
    elif path.suffix == ".npz":
        with np.load(path) as arrays:
            renamed = {name if name != writer.experts else "wrong": array for name, array in arrays.items()}
        np.savez(path, **renamed)
    else:
        import pyarrow.parquet as pq

        file = next(file for file in files_of(path) if "samples" not in file.parts)
        table = pq.read_table(file)
        pq.write_table(
            table.rename_columns([name.replace(writer.experts, "wrong") for name in table.column_names]), file
        )
    assert writer.experts in refused(path, format=writer.format)


@pytest.mark.parametrize("expert", [-1, 16, 40_000, 2**40])
def test_an_expert_out_of_range_is_refused(writer: Writer, tmp_path: Path, expert: int) -> None:
    if writer.name == "decodes.npz" and not 0 <= expert < 256:
        pytest.skip("the array holds 0 to 255 only")
    if writer.name == "vllm_arrays.npz" and expert > 2**15:
        pytest.skip("the array holds 16 bits only")
    routing = made_up(positions=4, prompt=1).with_cell(0, 2, 1, ([3, expert], [0.5, 0.5]))
    message = refused(written(writer, tmp_path, routing), experts=16)
    assert writer.experts in message
    assert str(expert) in message


def test_the_line_is_named(writer: Writer, tmp_path: Path) -> None:
    if not writer.is_text or writer.format == "router-data":
        pytest.skip("no lines")
    path = written(
        writer, tmp_path, made_up(positions=4, prompt=1).with_cell(0, 2, 1, ([3, 40_000], [0.5, 0.5]))
    )
    lines = [number for number, line in enumerate(path.read_text().splitlines(), 1) if "40000" in line]
    if writer.format == "route-csv":
        lines[0] -= 1  # the first row of the position and layer
    assert f"line {lines[0]}: " in refused(path)


def test_an_expert_twice_is_refused(writer: Writer, tmp_path: Path) -> None:
    routing = made_up(positions=4, prompt=1).with_cell(0, 2, 1, ([3, 3], [0.5, 0.5]))
    assert "once" in refused(written(writer, tmp_path, routing))


def test_a_k_that_changes_is_refused(writer: Writer, tmp_path: Path) -> None:
    if not writer.has("gaps"):
        pytest.skip("an array has one k")
    routing = made_up(positions=4, prompt=1).with_cell(0, 2, 1, ([3, 4, 5], [0.5, 0.3, 0.2]))
    message = refused(written(writer, tmp_path, routing))
    assert writer.experts in message
    assert re.search(r"\b3\b.*\b2\b", message)


def test_a_missing_layer_is_refused_or_left_out(writer: Writer, tmp_path: Path) -> None:
    if not writer.has("gaps"):
        pytest.skip("an array has all layers")
    routing = made_up(positions=6, prompt=1).with_cell(0, 3, 1, None)
    path = written(writer, tmp_path, routing)
    message = refused(path)
    if writer.format == "warp-tokens":
        assert "layers" in message  # its rows say how many there are: no layer can be told missing
        return
    # Where rows have no number, what follows the gap moves up, and the last position lacks the layer.
    unnumbered = writer.format in ("actives", "vllm-routes")
    missing = 5 if unnumbered else 3
    assert re.search(rf"\b{missing}: layer 1 is missing", message)
    assert "gaps" in message
    trace = import_trace(path, drop="gaps")
    assert len(trace) + len(trace.prompt_ids) == 5
    assert len(trace.texts) == (1 if unnumbered else 2)
    assert any(note.startswith("gaps: 1 position") for note in trace.notes)


def test_mixed_models_are_refused(writer: Writer, tmp_path: Path) -> None:
    paths = []
    for name, other in (("a", {}), ("b", {"layers": 4})):
        (tmp_path / name).mkdir()
        paths.append(written(writer, tmp_path / name, made_up(positions=4, prompt=1, **other)))
    refused(paths)
    (tmp_path / "c").mkdir()
    paths[1] = written(writer, tmp_path / "c", made_up(positions=4, prompt=1, top_k=3))
    refused(paths)


def test_a_declared_model_may_not_change(writer: Writer, tmp_path: Path) -> None:
    if "model" not in writer.declares:
        pytest.skip("the format does not name the model")
    paths = []
    for name in ("one", "another"):
        (tmp_path / name).mkdir()
        routing = replace(made_up(positions=4, prompt=1), model=name)
        paths.append(written(writer, tmp_path / name, routing))
    assert "'another" in refused(paths)


def test_the_number_of_experts_is_declared_or_guessed(writer: Writer, tmp_path: Path) -> None:
    path = written(writer, tmp_path, made_up(experts=14, positions=4, prompt=1))
    trace = import_trace(path)
    assert trace.geometry.experts == (14 if "experts" in writer.declares else 16)
    assert any(note.startswith("experts:") for note in trace.notes) is ("experts" not in writer.declares)
    assert import_trace(path, experts=14).geometry.experts == 14


def test_lines_with_numbers_that_are_none_are_refused(writer: Writer, tmp_path: Path) -> None:
    if not writer.is_text or writer.format == "route-csv":
        pytest.skip("no JSON")
    for bad in ("NaN", '"x"', "null", "1.5", "[1]", "{}"):
        path = written(writer, tmp_path, made_up(positions=4, prompt=1))
        number = re.compile(f'("{writer.experts}": ' + r"\[*)\d+")
        path.write_text(number.sub(lambda match, bad=bad: match[1] + bad, path.read_text(), count=1))
        refused(path)


@given(data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_an_error_or_harmless(writer: Writer, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / writer.name
    if not path.exists():
        writer.write(path, made_up(positions=5, prompt=2))
    file = data.draw(st.sampled_from(files_of(path)))
    content = file.read_bytes()
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    file.write_bytes(damaged)
    try:
        trace = import_trace(path, data.draw(st.sampled_from(["auto", writer.format])))
        assert len(trace)
    except MoespacError as error:
        assert writer.name in str(error)  # noqa: PT017  # it need not be one
    finally:
        file.write_bytes(content)


@pytest.mark.parametrize("format", sorted({writer.format for writer in WRITERS.values()}))
def test_a_file_of_another_format_is_refused(writer: Writer, tmp_path: Path, format: str) -> None:  # noqa: A002
    if format == writer.format:
        pytest.skip("the same")
    if format in ("policylang", "actives"):
        pytest.importorskip("pyarrow")
    refused(written(writer, tmp_path, made_up()), format=format)


def test_a_large_json_document_is_read_member_by_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ijson")
    path = written(WRITERS["router_data"], tmp_path, made_up(positions=30))
    whole = import_trace(path)
    monkeypatch.setattr(text_source, "WHOLE_JSON_BYTES", 100)
    assert import_trace(path) == whole
    path.write_bytes(path.read_bytes()[:-500])
    assert "truncated" in refused(path)


@pytest.mark.parametrize("lists", ["list_", "large_list", "fixed"])
def test_parquet_of_any_kind_of_lists_and_prompts(lists: str, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    of = pa.list_(pa.uint8(), 2) if lists == "fixed" else getattr(pa, lists)(pa.uint8())
    experts = [[0, 1], [2, 3], [4, 7], [1, 2]]
    columns = {"prompt_id": ["b", "b", "a", "a"], "token_idx": [0, 0, 0, 0], "layer_idx": [0, 1, 0, 1]}
    pq.write_table(pa.table({**columns, "selected_experts": pa.array(experts, of)}), tmp_path / "t.parquet")
    trace = import_trace(tmp_path / "t.parquet")
    assert trace.geometry == MoEShape(2, 8, 2)
    assert sorted(trace.experts.tolist()) == [[[0, 1], [2, 3]], [[4, 7], [1, 2]]]
    assert len(trace.texts) == 2


@pytest.mark.parametrize(
    ("package", "name"), [("pyarrow.parquet", "policylang_table"), ("ijson", "router_data")]
)
def test_a_missing_package_is_named(
    package: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if package.startswith("pyarrow"):
        pytest.importorskip("pyarrow")
    path = written(WRITERS[name], tmp_path, made_up())
    monkeypatch.setattr(text_source, "WHOLE_JSON_BYTES", 100)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InvalidInputError, match=rf"needs {package.split('.')[0]}.*moespac-nb\[import\]"):
        import_trace(path)


def test_arguments_are_checked(tmp_path: Path) -> None:
    for kwargs in (
        {"path": 5},
        {"path": [5]},
        {"format": "vlm"},
        {"drop": "warmup"},
        {"drop": 3},
        {"experts": 0},
        {"experts": True},
    ):
        with pytest.raises(InvalidInputError, match=next(iter(kwargs))):
            import_trace(**{"path": tmp_path} | kwargs)  # type: ignore[arg-type]
    with pytest.raises(MoespacError, match="at least one"):
        import_trace([])
