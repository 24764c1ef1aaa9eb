from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from penstock.stores.finished import EMPTY_S, Due, finished_in, is_due, names_of_finished
from penstock.stores.segment import HEAD
from penstock.stores.segment_writer import SegmentWriter
from tests.stores.logs import WALL_S, logged, write_segment

DUE = Due(size_bytes=1000, age_s=3600.0)


def aged(path: Path, age_s: float) -> Path:
    os.utime(path, (WALL_S - age_s, WALL_S - age_s))
    return path


def test_a_segment_is_finished_when_nobody_has_it(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "segments")
    writer.append(b"x", WALL_S)
    assert finished_in(tmp_path / "segments", WALL_S, print) == []
    writer.close()
    assert len(finished_in(tmp_path / "segments", WALL_S, print)) == 1


def test_an_empty_one_may_just_have_been_made(tmp_path: Path) -> None:
    path = write_segment(tmp_path, "0")
    path.write_bytes(b"")
    aged(path, EMPTY_S - 1.0)
    assert finished_in(path.parent, WALL_S, print) == []
    assert finished_in(path.parent, WALL_S + 1.0, print) == [path]


def test_one_that_its_writer_takes_right_after_it_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_segment(tmp_path, "0")
    path.write_bytes(b"")
    aged(path, 0.0)
    close = os.close

    def begin(file: int) -> None:
        close(file)
        path.write_bytes(HEAD)

    monkeypatch.setattr(os, "close", begin)
    assert finished_in(path.parent, WALL_S, print) == []
    assert path.stat().st_size > 0


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "gone.segment").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.segment").mkdir()
    told: list[str] = []
    assert finished_in(tmp_path, WALL_S, told.append) == []
    assert told == [
        "folder.segment: is no file, and left alone",
        "gone.segment: is no file, and left alone",
    ]
    assert not is_due(tmp_path, WALL_S, DUE)


def test_one_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "busy.segment").symlink_to(sys.executable)  # what runs cannot be written
    told: list[str] = []
    assert finished_in(tmp_path, WALL_S, told.append) == []
    assert len(told) == 1
    assert told[0].startswith("busy.segment: cannot be opened: ")


@pytest.mark.parametrize(("age_s", "due"), [(3599.0, False), (3600.0, True)])
def test_due_by_the_oldest(tmp_path: Path, age_s: float, due: bool) -> None:
    aged(write_segment(tmp_path, "0", logged("a")), age_s)
    aged(write_segment(tmp_path, "1", logged("b")), 0.0)
    assert is_due(tmp_path / "segments", WALL_S, DUE) is due


def test_due_by_their_size(tmp_path: Path) -> None:
    path = aged(write_segment(tmp_path, "0", *(logged(str(i)) for i in range(10))), 0.0)
    assert 500 < path.stat().st_size < 1000
    assert not is_due(path.parent, WALL_S, DUE)
    aged(write_segment(tmp_path, "1", *(logged(str(i)) for i in range(10))), 0.0)
    assert is_due(path.parent, WALL_S, DUE)
    assert not is_due(tmp_path / "none", WALL_S, DUE)


def test_what_was_left_makes_nothing_due(tmp_path: Path) -> None:
    path = aged(write_segment(tmp_path, "0", logged("a")), 3600.0)
    names = names_of_finished(path.parent, WALL_S)
    assert names == {"0.segment"}
    assert not is_due(path.parent, WALL_S, DUE, left=names)
    aged(write_segment(tmp_path, "1", logged("b")), 3600.0)
    assert is_due(path.parent, WALL_S, DUE, left=names)
