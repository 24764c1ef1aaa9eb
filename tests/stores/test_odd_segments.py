"""What is called a segment and is no file: it is left alone, by whoever looks, and holds nobody up.

To open a named pipe is to wait until somebody writes to it.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.stores.finished import Due, finished_in, is_due
from penstock.stores.log_folder import SEGMENTS, drop_old_segments
from penstock.stores.manifests import MANIFESTS
from penstock.stores.parquet import compact_log
from penstock.stores.postgresql.outbox import Bounds, Outbox
from penstock.stores.postgresql.reader import OutboxReader
from penstock.stores.read_log import Follower, newest
from penstock.stores.recovery import recovered
from penstock.stores.segment_writer import segments_in
from tests.stores.logs import WALL_S, by_files, by_reader, logged, write_segment

NAMES = ("00000101T000000-1-a.segment", "99991231T235959-1-a.segment")


def a_socket(path: Path) -> None:
    """Leave a socket's name in a folder: by way of the folder, as names of sockets are short."""
    here = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)


ODD: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "socket": a_socket,
    "folder": Path.mkdir,
    "to a device": lambda path: path.symlink_to("/dev/null"),
    "to nothing": lambda path: path.symlink_to("nowhere"),
    "to itself": lambda path: path.symlink_to(path.name),
}


@pytest.fixture(params=ODD)
def odd(request: pytest.FixtureRequest) -> Callable[[Path], object]:
    return ODD[request.param]


@pytest.fixture
def log(tmp_path: Path, odd: Callable[[Path], object]) -> Path:
    """A log of one record, with what is odd before and behind it."""
    write_segment(tmp_path, "20000101T000000-1-a", logged("one"))
    for name in NAMES:
        odd(tmp_path / SEGMENTS / name)
    return tmp_path


def fails(sentence: str) -> None:
    raise AssertionError(sentence)


def test_none_of_them_is_a_segment(log: Path) -> None:
    assert [path.name for path in segments_in(log / SEGMENTS)] == ["20000101T000000-1-a.segment"]


def test_a_link_to_a_segment_is_one(tmp_path: Path) -> None:
    path = write_segment(tmp_path, "a", logged("one"))
    (tmp_path / SEGMENTS / "b.segment").symlink_to(path)
    assert len(segments_in(tmp_path / SEGMENTS)) == 2


def test_a_query(log: Path) -> None:
    warnings: list[str] = []
    assert by_reader(log, warnings) == Counter(["one"])
    assert warnings == []


def test_the_newest_and_what_comes(log: Path) -> None:
    told = newest(log, 10, lambda record: True, fails)
    assert [record.record_id for record in told] == ["one"]
    follower = Follower(log, fails)
    assert [record.record_id for record in follower.more()] == ["one"]
    passing = Follower(log, fails)
    passing.pass_over()
    write_segment(log, "20000102T000000-1-a", logged("two"))
    assert [record.record_id for record in passing.more()] == ["two"]


def test_recovery(log: Path) -> None:
    assert list(recovered(log / SEGMENTS)) == []


def test_compacting(log: Path) -> None:
    assert is_due(log / SEGMENTS, WALL_S, Due(size_bytes=1))
    assert len(finished_in(log / SEGMENTS, WALL_S, lambda sentence: None)) == 1
    warnings: list[str] = []
    done, _ = compact_log(log, WALL_S, 30.0, warnings.append)
    assert warnings == [f"{name}: is no file, and left alone" for name in NAMES]
    assert (done.records, done.segments, done.damaged) == (1, 1, 0)
    assert by_files(log) == Counter(["one"])
    assert all(os.path.lexists(log / SEGMENTS / name) for name in NAMES)
    assert not is_due(log / SEGMENTS, WALL_S, Due(size_bytes=1))


def test_retention(log: Path) -> None:
    in_a_hundred_years_s = (log / SEGMENTS).stat().st_mtime + 100 * 366 * 86_400
    assert drop_old_segments(log / SEGMENTS, in_a_hundred_years_s) == 1
    assert all(os.path.lexists(log / SEGMENTS / name) for name in NAMES)


def test_an_outbox(log: Path) -> None:
    outbox = Outbox(log)
    outbox.path.parent.mkdir()
    (log / SEGMENTS).rename(outbox.path)
    assert [one.path.name for one in outbox.segments()] == ["20000101T000000-1-a.segment"]
    reader = OutboxReader(outbox, warn=fails)
    batch = reader.next_batch()
    assert len(batch.payloads) == 1
    reader.bound(Bounds(max_bytes=1), WALL_S)
    assert not list(outbox.segments())


@pytest.mark.parametrize("place", ["parquet/route=a/day=1970-01-02", MANIFESTS])
def test_what_is_called_a_file_or_a_manifest(
    tmp_path: Path, odd: Callable[[Path], object], place: str
) -> None:
    write_segment(tmp_path, "a", logged("one"))
    (tmp_path / place).mkdir(parents=True)
    odd(tmp_path / place / ("a.json" if place == MANIFESTS else "a.parquet"))
    assert by_reader(tmp_path, []) == Counter(["one"])
    compact_log(tmp_path, WALL_S, 30.0, fails)
    assert by_reader(tmp_path, []) == Counter(["one"])
