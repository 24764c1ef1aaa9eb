"""What stands in a log while a compactor is at work: each record once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from penstock.stores import log_view, manifests
from penstock.stores.log_view import view_of
from penstock.stores.parquet import compact_log
from penstock.stores.segment import framed
from penstock.stores.segment_writer import SegmentWriter
from tests.stores.logs import WALL_S, by_reader, logged, some_log, write_segment


class Crash(BaseException):
    """The process is killed."""


def compact(folder: Path, until: str = "") -> None:
    def step(name: str) -> None:
        if name == until:
            raise Crash

    with suppress(Crash):
        compact_log(folder, WALL_S, 30.0, lambda sentence: None, step)


def once(do: Callable[[], object]) -> Callable[..., object]:
    """Return what does it at its first call only."""
    left = [do]

    def doing(*arguments: object) -> None:
        if left:
            left.pop()()

    return doing


@pytest.mark.parametrize("until", ["", "commit", "publish 1", "delete 1", "done"])
@pytest.mark.parametrize("reading", ["_tables", "_files"])
def test_a_compactor_that_is_quicker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reading: str, until: str
) -> None:
    """It goes some of its way between two looks of the reader."""
    ids = some_log(tmp_path, 3)
    before = once(lambda: compact(tmp_path, until))
    usual: Callable[..., object] = getattr(log_view, reading)

    def slow(*arguments: object) -> object:
        before()
        return usual(*arguments)

    monkeypatch.setattr(log_view, reading, slow)
    view = view_of(tmp_path, lambda sentence: None)
    in_files = sum(pq.read_metadata(path).num_rows for path in view.files)
    assert len(view.live) + in_files == len(ids)
    assert by_reader(tmp_path) == Counter(ids)
    compact(tmp_path)
    assert by_reader(tmp_path) == Counter(ids)


def test_a_manifest_that_is_done_with_as_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = some_log(tmp_path, 3)
    compact(tmp_path, "done")
    before, usual = once(lambda: compact(tmp_path)), manifests.manifest_at

    def slow(path: Path) -> object:
        before()
        return usual(path)

    monkeypatch.setattr(log_view, "manifest_at", slow)
    assert by_reader(tmp_path) == Counter(ids)


def test_what_changes_all_the_time_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_segment(tmp_path, "0", logged("a"))
    monkeypatch.setattr(log_view, "_files", lambda *_: manifests_more(tmp_path))
    assert len(view_of(tmp_path, print).live) == 1


def manifests_more(folder: Path) -> list[Path]:
    (folder / "manifests").mkdir(exist_ok=True)
    number = len(list((folder / "manifests").iterdir()))
    (folder / "manifests" / f"{number}.json").write_bytes(b"nonsense")
    return []


def test_a_segment_that_is_being_written(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "segments")
    writer.append(framed(b"\x93\x01\xa1a\xa7primary") + framed(b"torn")[:-1], WALL_S)
    warnings: list[str] = []
    assert by_reader(tmp_path, warnings) == Counter(["a"])
    assert warnings == []
    writer.close()


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    write_segment(tmp_path, "0", logged("a"), b"nonsense", logged("b", status=2**40))
    compact(tmp_path, "nothing")
    write_segment(tmp_path, "1", logged("c"), b"nonsense", logged("d", status=2**40))
    day = tmp_path / "parquet" / "route=a" / "day=1970-01-02"
    (day / "folder.parquet").mkdir()
    (day / "gone.parquet").symlink_to(tmp_path / "nowhere")
    (day / "short.parquet").write_bytes(b"PA")
    warnings: list[str] = []
    assert by_reader(tmp_path, warnings) == Counter(["a", "c"])
    assert warnings == [
        "1.segment: 2 records cannot be read",
        "folder.parquet: cannot be read: it is no file",
        "short.parquet: cannot be read: invalid argument",
    ]


def test_nothing(tmp_path: Path) -> None:
    view = view_of(tmp_path, print)
    assert (len(view.live), view.files) == (0, ())
