"""Download of public captures: from a local server, resumed, checked, and never half there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from moespac_nb import MoespacError
from moespac_nb.datasets import captures
from moespac_nb.datasets.captures import fetch_capture, list_captures
from moespac_nb.utils.exceptions import MissingDataError
from tests.helpers.capture_server import CONTENT, Server, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as (server, registry):
        monkeypatch.setattr(captures, "list_captures", lambda: registry)
        yield server


def test_a_capture_is_downloaded_with_progress(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = fetch_capture("made-up", tmp_path / "new", lambda *there: seen.append(there))
    assert path == tmp_path / "new" / "made-up.jsonl"
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["made-up.jsonl"]
    assert seen == sorted(seen)
    assert len(seen) > 2
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_file_that_is_there_is_not_downloaded_again(server: Server, tmp_path: Path) -> None:
    fetch_capture("made-up", tmp_path)
    fetch_capture("made-up", tmp_path)
    assert len(server.asked) == 1


def test_another_file_of_the_name_is_kept_and_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "made-up.jsonl").write_bytes(b"mine")
    with pytest.raises(MoespacError, match=r"expected: 300,000 bytes.*delete made-up\.jsonl"):
        fetch_capture("made-up", tmp_path)
    assert (tmp_path / "made-up.jsonl").read_bytes() == b"mine"
    assert server.asked == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_broke_off_goes_on(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.break_after, server.ranges = 100_000, ranges
    with pytest.raises(
        MissingDataError, match=r"cannot be downloaded .*try again, \d+ of 300,000 bytes are kept"
    ):
        fetch_capture("made-up", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["made-up.jsonl.part"]
    kept = (tmp_path / "made-up.jsonl.part").stat().st_size
    assert 0 < kept <= 100_000
    server.break_after = None
    assert fetch_capture("made-up", tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={kept}-"]
    assert [path.name for path in tmp_path.iterdir()] == ["made-up.jsonl"]


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"?", CONTENT + b"more", b"not found"])
def test_a_file_with_another_checksum_is_refused_and_nothing_stays(
    server: Server, tmp_path: Path, content: bytes
) -> None:
    server.content = content
    with pytest.raises(MoespacError, match=r"expected|broke off"):
        fetch_capture("made-up", tmp_path)
    assert not (tmp_path / "made-up.jsonl").exists()


def test_a_wrong_checksum_leaves_no_part_behind(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"?"
    with pytest.raises(MoespacError, match=r"checksum .*expected: 300,000 bytes"):
        fetch_capture("made-up", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_and_what_has_no_name_is_said(server: Server, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"gone cannot be downloaded .*404"):
        fetch_capture("gone", tmp_path)
    with pytest.raises(MoespacError, match="did you mean 'made-up'"):
        fetch_capture("make-up", tmp_path)


def test_a_folder_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MoespacError, match="cannot be written"):
        fetch_capture("made-up", tmp_path / "file")


def test_every_entry_of_the_registry_is_pinned_and_licensed() -> None:
    for capture in list_captures():
        assert capture.commit in capture.address
        assert (len(capture.commit), len(capture.sha256)) == (40, 64)
        assert capture.licence
        assert 0 < capture.bytes < 2**30
        assert capture.address.startswith("https://")
    assert len({capture.file_name for capture in list_captures()}) == len(list_captures())


def test_a_damaged_registry_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "captures.toml").write_text('[one]\nwhat = "no address"\n')
    monkeypatch.setattr(captures, "data_path", lambda name: tmp_path / name)
    with pytest.raises(MoespacError, match=r"captures\.toml is damaged"):
        list_captures.__wrapped__()
