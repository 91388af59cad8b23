"""Trace files: what is saved is what is loaded, and no file, however hostile, does anything but say so."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from moespac_nb.trace import npz as trace_file
from moespac_nb.trace.npz import LIMIT_BYTES, SCHEMA, read, write
from moespac_nb.trace.schema import COLUMNS, Channel
from moespac_nb.trace.trace import Trace
from moespac_nb.utils import files as whole_file
from moespac_nb.utils.exceptions import MoespacError
from tests.helpers.traces.strategies import ANY_TRACE, one_text, with_extras

TRACE = with_extras(one_text(4, sampled=True, steps=3), 0)
shared_folder = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "trace.npz"
    TRACE.save(path)
    return path.read_bytes()


def entries(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(parts: list[tuple[str, bytes]] | dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in parts.items() if isinstance(parts, dict) else parts:
            archive.writestr(name, data)
    return out.getvalue()


def npy(array: np.ndarray, **options) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, **options)
    return out.getvalue()


def header(content: bytes) -> dict:
    return json.loads(np.load(io.BytesIO(content))["header.json"].tobytes())


def with_header(content: bytes, text: str) -> bytes:
    return packed(entries(content) | {"header.json.npy": npy(np.frombuffer(text.encode(), np.uint8))})


def refused(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(MoespacError, match=message) as caught:
        Trace.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@given(ANY_TRACE)
@shared_folder
def test_what_is_saved_is_what_is_loaded(tmp_path, trace):
    trace.save(tmp_path / "trace.npz")
    loaded = Trace.load(tmp_path / "trace.npz")
    assert loaded == trace
    assert all(array.dtype == trace.columns[name].dtype for name, array in loaded.columns.items())


def test_the_same_trace_is_the_same_file(tmp_path, whole):
    TRACE.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == whole


def test_numpy_alone_can_read_the_columns(tmp_path, whole):
    with np.load(io.BytesIO(whole), allow_pickle=False) as arrays:
        assert np.array_equal(arrays["experts"], TRACE.experts)
        assert set(arrays) == {*COLUMNS, "header.json", "channels.next_gate", "channels.table"}
    assert header(whole)["schema"] == SCHEMA


def rounded(trace: Trace, bits: int) -> Trace:
    """The same with every float that may be any, rounded to 2^-bits."""
    names = ("gate_weights", "prompt_gate_weights", "target_top_probs", "draft_top_probs", "scores")
    columns = {name: array for name, array in trace.columns.items() if name in names}
    return replace(
        trace, **{name: np.ldexp(np.rint(np.ldexp(array, bits)), -bits) for name, array in columns.items()}
    )


@given(ANY_TRACE, st.integers(0, 20))
@shared_folder
def test_what_is_rounded_is_what_is_loaded(tmp_path, trace, bits):
    even = rounded(trace, bits)
    even.save(tmp_path / "trace.npz")
    assert Trace.load(tmp_path / "trace.npz") == even


def test_rounded_numbers_and_small_ones_lie_in_bytes(tmp_path):
    # A zero with a sign is no n / 2^bits; nor is what has more bits than a column may have.
    one = rounded(TRACE, 7)
    signed, large = np.abs(one.scores), one.target_top_probs.copy()
    signed.flat[0], large.flat[0] = -0.0, 2**-17
    one = replace(one, scores=signed, target_top_probs=large, draft_top_probs=one.draft_top_probs * 0)
    one.save(tmp_path / "trace.npz")
    with np.load(tmp_path / "trace.npz") as arrays:
        stored = {name: arrays[name].dtype.name for name in arrays.files}
    bits = header((tmp_path / "trace.npz").read_bytes())["bits"]
    assert {"gate_weights": 7, "prompt_gate_weights": 7, "draft_top_probs": 0}.items() <= bits.items()
    assert {stored[name] for name in (*bits, "experts", "score_experts", "window", "gamma")} == {"uint8"}
    assert not bits.keys() & {"scores", "target_top_probs", "draft_probs"}
    assert {stored[name] for name in ("scores", "target_top_probs", "draft_probs")} == {"float32"}
    assert Trace.load(tmp_path / "trace.npz") == one


def test_a_channel_lies_in_bytes_and_names_nobody_as_before(tmp_path):
    picks = np.full((len(TRACE.window), 2, 3), 5, np.int16)
    picks[0] = -1
    one = replace(TRACE, channels={"next-gate": Channel("verified", picks)})
    one.save(tmp_path / "trace.npz")
    assert np.load(tmp_path / "trace.npz")["channels.next-gate"].dtype == np.int8
    assert Trace.load(tmp_path / "trace.npz") == one


def older(header: dict[str, Any], schema: int) -> str:
    """The header as it was before schema 3."""
    names = {"token_strings": "pieces", "channels": "sensors"}
    texts = [{("fan" if n == "gamma_max" else n): v for n, v in text.items()} for text in header["texts"]]
    members = header | {"schema": schema, "texts": texts}
    return json.dumps({names.get(name, name): value for name, value in members.items()})


def older_entries(whole: bytes) -> dict[str, bytes]:
    return {name.replace("channels.", "sensor."): data for name, data in entries(whole).items()}


def test_a_file_of_the_first_schema_is_read(tmp_path, whole):
    first = header(whole)
    del first["bits"]
    arrays = {f"{name}.npy": npy(array) for name, array in TRACE.columns.items()}
    arrays |= {f"sensor.{name}.npy": npy(channel.values) for name, channel in TRACE.channels.items()}
    file = with_header(packed(older_entries(whole) | arrays), older(first, 1))
    (tmp_path / "trace.npz").write_bytes(file)
    assert np.load(tmp_path / "trace.npz")["experts"].dtype == np.int16
    assert Trace.load(tmp_path / "trace.npz") == TRACE


def test_a_file_of_the_second_schema_is_read(tmp_path, whole):
    file = with_header(packed(older_entries(whole)), older(header(whole), 2))
    (tmp_path / "trace.npz").write_bytes(file)
    assert Trace.load(tmp_path / "trace.npz") == TRACE


def test_an_empty_trace_can_be_kept(tmp_path):
    TRACE[:0].save(tmp_path / "empty.npz")
    assert Trace.load(tmp_path / "empty.npz") == TRACE[:0]


# writing


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, whole):
    path = tmp_path / "trace.npz"
    path.write_bytes(whole)

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(whole_file.os, "fsync", full)
    with pytest.raises(MoespacError, match="cannot be written: no space left"):
        one_text(9).save(path)
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(trace_file, "_pack", interrupt)
    with pytest.raises(KeyboardInterrupt):
        TRACE.save(tmp_path / "trace.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MoespacError, match=r"nowhere.*trace\.npz: the trace cannot be written"):
        TRACE.save(tmp_path / "nowhere" / "trace.npz")


def test_what_could_not_be_read_again_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(trace_file, "LIMIT_BYTES", 1000)
    with pytest.raises(MoespacError, match="larger than 1000 bytes; save it in parts"):
        write(TRACE, tmp_path / "trace.npz")
    assert list(tmp_path.iterdir()) == []


# reading


def changes_nothing_or_is_refused(path: Path, content: bytes, place: int, flipped: int) -> None:
    changed = bytearray(content)
    changed[place] ^= flipped
    path.write_bytes(changed)
    refusal = ""
    try:
        loaded = Trace.load(path)
    except MoespacError as error:
        refusal = str(error)
    assert refusal.startswith(f"{path}: ") if refusal else loaded == TRACE


def test_any_one_byte_changed_is_an_error_or_changes_nothing(tmp_path, whole):
    @given(st.integers(0, len(whole) - 1), st.integers(1, 255))
    @example(0, 1)
    @example(len(whole) - 1, 255)
    @settings(max_examples=250)
    def try_one(place: int, flipped: int) -> None:
        changes_nothing_or_is_refused(tmp_path / "trace.npz", whole, place, flipped)

    try_one()


@pytest.mark.full
def test_every_one_byte_changed_is_an_error_or_changes_nothing(tmp_path, whole):
    for place in range(len(whole)):
        for flipped in (1, 0x80, 0xFF):
            changes_nothing_or_is_refused(tmp_path / "trace.npz", whole, place, flipped)


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, whole):
    for length in [0, 1, 21, 22, len(whole) // 3, len(whole) // 2, len(whole) - 22, len(whole) - 1]:
        refused(tmp_path / "trace.npz", whole[:length], "not a whole trace file")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(MoespacError, match=r"none\.npz: there is no such file"):
        Trace.load(tmp_path / "none.npz")
    with pytest.raises(MoespacError, match=r"cannot be read"):
        Trace.load(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"not a zip", b"\x93NUMPY\x01\x00", pickle.dumps({"experts": 1}), npy(np.zeros(3))],
)
def test_foreign_files_are_refused(tmp_path, content):
    refused(tmp_path / "trace.npz", content, "not a whole trace file")


def test_a_foreign_npz_is_refused(tmp_path):
    refused(tmp_path / "a.npz", packed({"weights.npy": npy(np.zeros(3))}), "unexpected entry 'weights.npy'")
    refused(
        tmp_path / "b.npz", packed({"experts.npy": npy(np.zeros(3))}), "header.json is missing: not a trace"
    )


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("harm_was_done"),))


@pytest.mark.parametrize("name", ["experts", "header.json", "channels.table"])
def test_a_pickle_inside_is_never_opened(tmp_path, monkeypatch, whole, name):
    monkeypatch.chdir(tmp_path)
    array = np.array([Harmful()], object)
    content = packed(entries(whole) | {f"{name}.npy": npy(array, allow_pickle=True)})
    refused(tmp_path / "trace.npz", content, f"{name} is an array of object; expected: ")
    refused(
        tmp_path / "raw.npz",
        packed(entries(whole) | {f"{name}.npy": pickle.dumps(Harmful())}),
        f"{name} is damaged",
    )
    assert not Path("harm_was_done").exists()


def test_a_bomb_that_states_its_size_is_not_unpacked(tmp_path, whole):
    path = tmp_path / "bomb.npz"
    zeros = npy(np.zeros((3_000_000, 1, 1), np.int16))
    path.write_bytes(packed(entries(whole) | {"experts.npy": zeros}))
    assert path.stat().st_size < 20_000
    with pytest.raises(MoespacError, match=r"unpack to 60.* bytes; expected: at most 1000000"):
        read(path, Trace, limit_bytes=10**6)
    assert LIMIT_BYTES == 2**30


def test_a_bomb_that_widens_in_memory_is_not_unpacked(tmp_path, whole):
    path = tmp_path / "bomb.npz"
    zeros = npy(np.zeros((3_000_000, 1, 1), np.uint8))
    path.write_bytes(packed(entries(whole) | {"experts.npy": zeros}))
    with pytest.raises(MoespacError, match=r"up to experts, take 60.* bytes; expected: at most 4000000"):
        read(path, Trace, limit_bytes=4 * 10**6)


def patched_size(content: bytes, name: str, size: int) -> bytes:
    """The zip directory lies about how large an entry is."""
    changed = bytearray(content)
    place = changed.rindex(b"PK\x01\x02", 0, changed.rindex(b"\x00" + name.encode()))
    assert changed[place + 46 :].startswith(name.encode())
    struct.pack_into("<L", changed, place + 24, size)
    return bytes(changed)


def test_a_bomb_that_hides_its_size_is_not_unpacked(tmp_path, whole, monkeypatch):
    small = len(entries(whole)["experts.npy"])
    bomb = npy(np.zeros((3_000_000, 2, 2), np.int16))
    content = patched_size(packed(entries(whole) | {"experts.npy": bomb}), "experts.npy", 10_000)
    refused(
        tmp_path / "a.npz",
        content,
        r"experts is of shape \(3000000, 2, 2\).*zip directory lists .*expected: the same",
    )
    # A directory and an array header that agree, and a stream that goes on and on.
    start = entries(whole)["experts.npy"]
    content = patched_size(
        packed(entries(whole) | {"experts.npy": start + bytes(10**7)}), "experts.npy", small
    )
    unpacked = []
    honest = zlib.decompressobj

    class Counting:
        def __init__(self, *args):
            self.inner = honest(*args)

        def decompress(self, data, most=0):
            out = self.inner.decompress(data, most)
            unpacked.append(len(out))
            return out

        def __getattr__(self, name):
            return getattr(self.inner, name)

    monkeypatch.setattr(zipfile.zlib, "decompressobj", Counting)
    refused(tmp_path / "b.npz", content, "experts is damaged .*CRC")
    assert max(unpacked) < 100_000


def test_a_shape_beyond_all_memory_is_refused(tmp_path, whole):
    text = b"{'descr': '<i2', 'fortran_order': False, 'shape': (4611686018427387904, 4, 4), }"
    text += b" " * (117 - len(text)) + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
    refused(tmp_path / "trace.npz", packed(entries(whole) | {"experts.npy": array}), "experts is of shape")


@pytest.mark.parametrize(
    "name",
    [
        "../../experts.npy",
        "/etc/experts.npy",
        "channels.../up.npy",
        "C:\\experts.npy",
        "experts",
        "x.npy",
        ".npy",
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, whole, name):
    content = packed(entries(whole) | {name: npy(np.zeros(1, np.int16))})
    refused(tmp_path / "trace.npz", content, "unexpected entry")
    assert [path.name for path in tmp_path.iterdir()] == ["trace.npz"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice_is_refused(tmp_path, whole):
    parts = [*entries(whole).items(), ("experts.npy", npy(TRACE.experts))]
    refused(tmp_path / "trace.npz", packed(parts), "duplicate entry 'experts'")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_packings_are_refused(tmp_path, whole, method):
    refused(tmp_path / "trace.npz", packed(entries(whole), method), r"is packed by method \d+")


@pytest.mark.parametrize("name", [name for name, column in COLUMNS.items() if not column.optional])
def test_a_missing_column_is_named(tmp_path, whole, name):
    parts = entries(whole)
    del parts[f"{name}.npy"]
    refused(tmp_path / "trace.npz", packed(parts), f": {name} is missing")


def test_a_missing_and_an_unlisted_sensor_are_named(tmp_path, whole):
    parts = entries(whole)
    refused(
        tmp_path / "a.npz",
        packed(parts | {"channels.x.npy": parts["channels.table.npy"]}),
        "channels.x is not in",
    )
    del parts["channels.table.npy"]
    refused(tmp_path / "b.npz", packed(parts), "channels.table is missing")


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (
            TRACE.experts[:-1],
            {},
            r"experts is of shape \(\d+, 2, 2\); expected: \(\d+, 2, 2\), a row for each",
        ),
        (TRACE.experts[:, :1], {}, "experts is of shape"),
        (TRACE.experts.astype(np.int64), {}, "experts is an array of int64; expected: int16"),
        (TRACE.experts + np.int16(9), {}, r"experts is \d+; expected: 0 to 5"),
        (np.asfortranarray(TRACE.experts), {}, "experts is Fortran-ordered"),
        (TRACE.experts, {"version": (2, 0)}, r"experts is npy of version \(2, 0\)"),
        (np.zeros(4, [("a", "i2")]), {}, "experts is an array of"),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path, whole, array, options, message):
    refused(tmp_path / "trace.npz", packed(entries(whole) | {"experts.npy": npy(array, **options)}), message)


def test_an_array_of_the_other_byte_order_is_read(tmp_path, whole):
    swapped = npy(TRACE.experts.astype(">i2"))
    (tmp_path / "trace.npz").write_bytes(packed(entries(whole) | {"experts.npy": swapped}))
    assert Trace.load(tmp_path / "trace.npz") == TRACE


def test_a_newer_schema_is_named_as_such(tmp_path, whole):
    newer = json.dumps(header(whole) | {"schema": SCHEMA + 1, "geometry": "of another kind"})
    said = f"schema is {SCHEMA + 1}, this version reads {SCHEMA}; update"
    refused(tmp_path / "trace.npz", with_header(whole, newer), said)


def test_what_traces_did_not_always_hold_comes_back_too(tmp_path, whole):
    said = {"min_p": 0.1, "stop_strings": ("\n\n", "ü"), "processors": ("MinLengthLogitsProcessor",)}
    assert not said.keys() & header(whole)["texts"][0].keys()
    trace = replace(TRACE, texts=(replace(TRACE.texts[0], **said),))
    trace.save(tmp_path / "trace.npz")
    assert Trace.load(tmp_path / "trace.npz") == trace != TRACE


def set_in(*path):
    """The header with one value changed; the last of the path is the value."""

    def change(whole_header: dict) -> dict:
        *way, name, value = path
        place = whole_header
        for step in way:
            place = place[step]
        place[name] = value
        return whole_header

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_in("format", "other"), "format is not 'moespac trace'"),
        (set_in("schema", 0), "schema is 0; expected: 1 or 2"),
        (set_in("schema", True), "schema is True"),
        (set_in("schema", "1"), "schema is '1'"),
        (set_in("vocabulary", "many"), "vocabulary is missing or no int"),
        (set_in("vocabulary", 5), "token_strings is 5; expected: a whole number from 0 to 4"),
        (set_in("geometry", [2, 6, 2]), "geometry is missing or no dict"),
        (
            set_in("geometry", "layers", 3),
            r"prompt_experts is of shape \(\d+, 2, 2\); expected: \(\d+, 3, 2\)",
        ),
        (set_in("geometry", "top_k", 2.0), "geometry.top_k is 2.0"),
        (set_in("geometry", "depth", 2), "geometry.depth is missing or unknown"),
        (set_in("texts", {}), "texts is missing or no list"),
        (set_in("texts", 0, "words"), "0 is missing or no dict"),
        (set_in("texts", 0, "seed", "x"), r"texts\[0\].seed is 'x'; expected: int"),
        (set_in("texts", 0, "stop_ids", 3), "stop_ids is missing or no list"),
        (set_in("texts", 0, "stop_ids", ["x"]), r"texts\[0\].stop_ids is 'x'"),
        (set_in("texts", 0, "stop_strings", "x"), "stop_strings is missing or no list"),
        (set_in("texts", 0, "processors", 3), "processors is missing or no list"),
        (set_in("texts", 0, "min_p", "x"), r"texts\[0\].min_p is 'x'"),
        (set_in("texts", 0, "colour", "x"), r"texts\[0\].colour is missing or unknown"),
        (
            set_in("texts", 0, "gamma_max", 2),
            "committed disagrees at step 0; expected: accepted . 1, in a dense trace 1",
        ),
        (set_in("token_strings", "-1", "x"), "token_strings has '-1'"),
        (set_in("token_strings", "9" * 5000, "x"), "token_strings has '999"),
        (set_in("token_strings", "3", ["x"]), "token_strings.3 is"),
        (set_in("channels", []), "channels is missing or no dict"),
        (set_in("channels", "table", "steps"), "channels.table.rows is 'steps'"),
        (set_in("channels", "table", "verified"), "channels.table is of shape"),
        (set_in("bits", []), "bits is missing or no dict"),
        (set_in("bits", "gate_weights", 17), "bits.gate_weights is 17; expected: 0 to 16"),
        (set_in("bits", "gate_weights", -1), "bits.gate_weights is -1"),
        (set_in("bits", "gate_weights", True), "bits.gate_weights is True"),
        (set_in("bits", "gate_weights", 8), "gate_weights is an array of float32; expected: uint8 or int8"),
        (set_in("bits", "experts", 8), "bits has 'experts'; expected: columns of floats"),
        (set_in("bits", "nobody's", 8), 'bits has "nobody\'s"'),
    ],
)
def test_a_header_that_makes_no_sense_names_the_field(tmp_path, whole, change, message):
    refused(tmp_path / "trace.npz", with_header(whole, json.dumps(change(header(whole)))), message)


def test_a_dense_trace_with_a_hole_names_file_and_field(tmp_path):
    path = tmp_path / "dense.npz"
    one_text(5, gamma_max=3, steps=8).save(path)
    content = path.read_bytes()
    holed = np.load(path)["step_position"].copy()
    holed[4:] += 1
    changed = packed(entries(content) | {"step_position.npy": npy(holed)})
    refused(path, changed, "step_position disagrees at step 4; .* there is a hole before it")


def test_tokens_and_routing_that_disagree_in_length_name_file_and_field(tmp_path, whole):
    for name in ("window", "experts", "gate_weights", "channels.next_gate"):
        array = np.load(io.BytesIO(whole))[name]
        changed = packed(entries(whole) | {f"{name}.npy": npy(np.concatenate([array, array[:1]]))})
        refused(tmp_path / "trace.npz", changed, f": {name} is of shape .*expected: ")


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, "[]", "null", '{"schema": 1}', '{"seed": ' + "9" * 9999]
)
def test_a_header_that_is_no_json_of_ours_is_refused(tmp_path, whole, text):
    refused(tmp_path / "trace.npz", with_header(whole, text), "header.json")


def test_a_header_of_bytes_that_are_no_text_is_refused(tmp_path, whole):
    binary = npy(np.full(9, 255, np.uint8))
    refused(
        tmp_path / "trace.npz", packed(entries(whole) | {"header.json.npy": binary}), "header.json is no JSON"
    )
    large = npy(np.zeros(trace_file.LIMIT_HEADER_BYTES, np.uint8))
    refused(tmp_path / "trace.npz", packed(entries(whole) | {"header.json.npy": large}), "header.json has 67")
