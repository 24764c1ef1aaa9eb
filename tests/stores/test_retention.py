from __future__ import annotations

import os
from pathlib import Path

from penstock.stores.retention import Dropped, drop_old
from tests.stores.logs import logged, write_segment

DAY_S = 86_400.0
NOW_S = 40 * DAY_S  # 1970-02-10T00:00:00


def a_file(folder: Path, route: str, day: str) -> Path:
    path = folder / "parquet" / f"route={route}" / f"day={day}" / "x-0.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    return path


def test_whole_days_go_once_all_of_them_is_old(tmp_path: Path) -> None:
    old = a_file(tmp_path, "a", "1970-01-10")
    new = a_file(tmp_path, "a", "1970-01-11")
    alone = a_file(tmp_path, "b", "1970-01-01")
    strange = a_file(tmp_path, "a", "never")
    assert drop_old(tmp_path, NOW_S - 1.0, 30.0, print) == Dropped(1, 1)
    assert old.exists()
    assert drop_old(tmp_path, NOW_S, 30.0, print) == Dropped(1, 1)
    assert not old.parent.exists()
    assert not alone.parent.parent.exists()
    assert new.exists()
    assert strange.exists()


def test_segments_and_what_was_damaged_go_by_their_age(tmp_path: Path) -> None:
    paths = [write_segment(tmp_path, str(number), logged("a")) for number in range(2)]
    (tmp_path / "damaged").mkdir()
    for number, path in enumerate(paths):
        kept = tmp_path / "damaged" / path.name
        kept.write_bytes(b"")
        for one in (path, kept):
            os.utime(one, (NOW_S, NOW_S - (29 + 2 * number) * DAY_S))
    assert drop_old(tmp_path, NOW_S, 30.0, print) == Dropped(segments=1, damaged=1)
    assert paths[0].exists()
    assert (tmp_path / "damaged" / "0.segment").exists()


def test_what_cannot_be_deleted_is_told(tmp_path: Path) -> None:
    path = a_file(tmp_path, "a", "1970-01-01")
    (path.parent / "folder").mkdir()
    told: list[str] = []
    assert drop_old(tmp_path, NOW_S, 30.0, told.append).days == 0
    assert "day=1970-01-01: cannot be deleted: " in told[0]


def test_what_was_damaged_and_cannot_be_deleted_is_told(tmp_path: Path) -> None:
    kept = tmp_path / "damaged"
    (kept / "0-folder").mkdir(parents=True)
    (kept / "1-nowhere").symlink_to(tmp_path / "nowhere")
    (kept / "2.segment").write_bytes(b"")
    for name in ("0-folder", "2.segment"):
        os.utime(kept / name, (0.0, 0.0))
    told: list[str] = []
    assert drop_old(tmp_path, NOW_S, 30.0, told.append) == Dropped(damaged=1)
    assert [sentence.rpartition("/")[2].partition(": ")[0] for sentence in told] == [
        "0-folder",
        "1-nowhere",
    ]
    assert all(": cannot be deleted: " in sentence for sentence in told)


def test_nothing_there(tmp_path: Path) -> None:
    assert drop_old(tmp_path, NOW_S, 30.0, print) == Dropped()
