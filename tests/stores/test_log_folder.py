"""The log's key, and how long segments are kept."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from penstock.stores.log_folder import drop_old_segments, key_of
from penstock.stores.segment import END, HEAD, framed
from penstock.stores.segment_writer import SegmentWriter, segments_in
from tests.stores.ends import packed
from tests.supervisor.disk import a_full_disk

DAY_S = 86400.0
NOW_S = 1_750_000_000.0


def test_the_key_is_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    key = key_of(folder)
    assert len(key) == 32
    assert key_of(folder) == key
    assert key_of(tmp_path / "other" / "log") != key
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["key"]


def test_of_several_processes_the_first_ones_key_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def late(made: Path, path: Path) -> None:
        path.write_bytes(b"the other's".ljust(32))
        link(made, path)

    monkeypatch.setattr(os, "link", late)
    assert key_of(tmp_path) == b"the other's".ljust(32)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("held", [0, 31, 33, 65])
def test_a_file_of_another_size_is_no_key(tmp_path: Path, held: int) -> None:
    (tmp_path / "key").write_bytes(b"k" * held)
    with pytest.raises(OSError, match=f"/key has {held} bytes, and the key of a log has 32: put"):
        key_of(tmp_path)


def test_a_key_of_which_the_disk_takes_a_part_is_none(tmp_path: Path) -> None:
    with a_full_disk(8), pytest.raises(OSError, match="has 8 bytes"):
        key_of(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(key_of(tmp_path)) == 32


def test_no_key_where_there_can_be_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="irectory"):
        key_of(tmp_path / "file" / "log")


def test_segments_that_are_too_old_are_dropped(tmp_path: Path) -> None:
    for days in (1, 29, 31):
        path = tmp_path / f"{days}.segment"
        path.write_bytes(HEAD + END)
        os.utime(path, (NOW_S - days * DAY_S,) * 2)
    writer = SegmentWriter(tmp_path)
    writer.append(framed(packed("one")), 0.0)
    (open_one,) = (path for path in segments_in(tmp_path) if path.stem.startswith("1970"))
    os.utime(open_one, (0.0, 0.0))
    (tmp_path / "gone.segment").symlink_to(tmp_path / "nowhere")
    for days in (1, 31):
        never_one = tmp_path / f"{days}.segment.new"
        never_one.write_bytes(b"")
        os.utime(never_one, (NOW_S - days * DAY_S,) * 2)
    assert drop_old_segments(tmp_path, NOW_S) == 2
    assert [path.name for path in tmp_path.glob("*.new")] == ["1.segment.new"]
    left = {path.name for path in segments_in(tmp_path)}
    assert left == {"1.segment", "29.segment", open_one.name}
    writer.close()
    os.utime(open_one, (0.0, 0.0))
    assert drop_old_segments(tmp_path, NOW_S, 30.0) == 1
