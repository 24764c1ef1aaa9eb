"""Segments written: one after the other, and over a disk that is full."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from pathlib import Path

import pytest

from penstock.stores.recovery import recovered
from penstock.stores.segment import SegmentReader, framed
from penstock.stores.segment_writer import SegmentWriter, owned, segments_in
from tests.stores.ends import packed
from tests.supervisor.disk import a_full_disk

WALL_S = 1_750_000_000.0


def payloads(folder: Path) -> list[list[bytes]]:
    return [list(SegmentReader(path).payloads()) for path in segments_in(folder)]


def test_nothing_is_made_before_there_is_something_to_write(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "log" / "segments")
    assert not writer.is_open
    writer.close()
    assert list(tmp_path.iterdir()) == []
    assert segments_in(tmp_path / "log" / "segments") == []


def test_frames_are_there_as_soon_as_they_have_been_added(tmp_path: Path) -> None:
    folder = tmp_path / "log" / "segments"
    writer = SegmentWriter(folder)
    writer.append(framed(packed("one")) + framed(packed("two")), WALL_S)
    writer.append(framed(packed("three")), WALL_S + 9)
    assert payloads(folder) == [[packed("one"), packed("two"), packed("three")]]
    (path,) = segments_in(folder)
    assert path.name.startswith(f"20250615T150640-{os.getpid()}-")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for one in (folder, folder.parent):
        assert stat.S_IMODE(one.stat().st_mode) == 0o700
    writer.close()
    assert payloads(folder) == [[packed("one"), packed("two"), packed("three")]]
    reader = SegmentReader(path)
    list(reader.payloads())
    assert reader.closed


def test_a_large_segment_is_closed(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, max_bytes=100)
    for number in range(4):
        writer.append(framed(packed(str(number) * 37)), WALL_S + number)
    assert [len(one) for one in payloads(tmp_path)] == [2, 2]
    assert not writer.is_open


def test_what_a_process_writes_is_its_own_until_it_is_closed(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.append(framed(packed("one")), WALL_S)
    (path,) = segments_in(tmp_path)
    with owned(path) as file:
        assert file is None
    writer.close()
    with owned(path) as file:
        assert file is not None


def test_what_does_not_fit_on_the_disk_is_not_there_in_part(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.append(framed(packed("one")), WALL_S)
    with a_full_disk(100), pytest.raises(OSError, match="large"):
        writer.append(framed(packed("x" * 400)), WALL_S)
    assert payloads(tmp_path) == [[packed("one")]]
    writer.append(framed(packed("two")), WALL_S + 1)
    writer.close()
    assert payloads(tmp_path) == [[packed("one")], [packed("two")]]  # no file may be that large


def test_a_disk_that_has_room_again_gets_the_rest_of_the_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SegmentWriter(tmp_path)
    writer.append(framed(packed("one")), WALL_S)
    write = os.write

    def half(file: int, content: memoryview) -> int:
        if len(content) < 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, content[: len(content) // 2])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space"):
            writer.append(framed(packed("two")), WALL_S)
    assert payloads(tmp_path) == [[packed("one")]]
    writer.append(framed(packed("two")), WALL_S)
    writer.close()
    assert payloads(tmp_path) == [[packed("one"), packed("two")]]


def test_nobody_sees_a_segment_before_it_is_this_process_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    lock = fcntl.flock

    def flock(file: int, operation: int) -> None:  # another process starts in between
        with monkeypatch.context() as patched:
            patched.setattr(fcntl, "flock", lock)
            told.extend(recovered(tmp_path))
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    writer = SegmentWriter(tmp_path)
    writer.append(framed(packed("one")), WALL_S)
    writer.close()
    assert told == []
    assert payloads(tmp_path) == [[packed("one")]]


def test_a_segment_that_cannot_be_begun_leaves_nothing(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    with a_full_disk(8), pytest.raises(OSError, match="large"):
        writer.append(framed(packed("one")), WALL_S)
    assert (writer.is_open, segments_in(tmp_path)) == (False, [])
    writer.append(framed(packed("one")), WALL_S)
    writer.close()
    assert payloads(tmp_path) == [[packed("one")]]


def test_a_segment_that_is_deleted_is_left_and_what_was_in_it_counted(tmp_path: Path) -> None:
    folder = tmp_path / "log" / "segments"
    writer = SegmentWriter(folder)
    writer.append(framed(packed("one")) + framed(packed("two")), WALL_S)
    writer.append(framed(packed("three")), WALL_S)
    shutil.rmtree(tmp_path / "log")
    writer.append(framed(packed("four")), WALL_S)
    assert payloads(folder) == [[packed("four")]]
    assert writer.gone == 3
    (path,) = segments_in(folder)
    path.unlink()
    writer.close()
    assert writer.gone == 4
    writer.append(framed(packed("five")), WALL_S)
    writer.close()
    assert payloads(folder) == [[packed("five")]]
    assert writer.gone == 4


def test_one_that_is_moved_is_closed_and_nothing_has_gone(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    writer = SegmentWriter(folder)
    writer.append(framed(packed("one")), WALL_S)
    folder.rename(tmp_path / "moved")
    writer.append(framed(packed("two")), WALL_S)
    (path,) = segments_in(tmp_path / "moved")
    reader = SegmentReader(path)
    assert (list(reader.payloads()), reader.closed) == ([packed("one")], True)
    assert payloads(folder) == [[packed("two")]]
    assert writer.gone == 0
    (tmp_path / "elsewhere").mkdir()
    for path in segments_in(folder):
        path.rename(tmp_path / "elsewhere" / path.name)
    folder.rmdir()
    folder.write_text("in the way")
    with pytest.raises(FileExistsError):
        writer.append(framed(packed("three")), WALL_S)


def test_where_nothing_can_be_taken_back_another_segment_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: int, size: int) -> None:
        raise OSError("no")

    writer = SegmentWriter(tmp_path)
    writer.append(framed(packed("one")), WALL_S)
    with monkeypatch.context() as patched, a_full_disk(100):
        patched.setattr(os, "ftruncate", refuse)
        with pytest.raises(OSError, match="large"):
            writer.append(framed(packed("x" * 400)), WALL_S)
    writer.append(framed(packed("two")), WALL_S + 1)
    writer.close()
    assert payloads(tmp_path) == [[packed("one")], [packed("two")]]


def test_a_close_that_fails_leaves_what_was_written(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.append(framed(packed("one")), WALL_S)
    with a_full_disk(20):
        writer.close()
    assert not writer.is_open
    assert payloads(tmp_path) == [[packed("one")]]
