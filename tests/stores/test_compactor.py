"""Compacting, and a crash at every step of it: nothing is lost, nothing is there twice."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from penstock.stores import compactor as module
from penstock.stores import parquet
from penstock.stores.compact_rules import CannotCompact
from penstock.stores.compactor import Compacted
from penstock.stores.parquet import compact_log
from penstock.stores.segment import framed
from penstock.stores.segment_writer import SegmentWriter, segments_in
from tests.gateway.opening import ROOT
from tests.stores.logs import (
    WALL_S,
    by_files,
    by_reader,
    in_files,
    logged,
    some_log,
    write_segment,
)
from tests.supervisor.disk import a_full_disk

KEEP_DAYS = 30.0


class Crash(BaseException):
    """The process is killed: nothing that follows is done."""


def compact(
    folder: Path, warnings: list[str] | None = None, crash_at: int = -1
) -> tuple[Compacted, list[str]]:
    """Compact; return what was done, and the steps that were taken."""
    steps: list[str] = []

    def step(name: str) -> None:
        if len(steps) == crash_at:
            raise Crash(name)
        steps.append(name)

    told = [] if warnings is None else warnings
    done, _ = compact_log(folder, WALL_S, KEEP_DAYS, told.append, step)
    return done, steps


def is_clean(folder: Path) -> bool:
    left = [*(folder / "manifests").glob("*"), *(folder / "compacting").glob("*")]
    return not left and not segments_in(folder / "segments")


# --- what it makes -------------------------------------------------------------------


def test_files_by_route_and_day(tmp_path: Path) -> None:
    ids = some_log(tmp_path, 7)
    warnings: list[str] = []
    done, _ = compact(tmp_path, warnings)
    assert (done.segments, done.records, done.damaged) == (4, len(ids), 1)
    assert by_files(tmp_path) == by_reader(tmp_path) == Counter(ids)
    files = [one.relative_to(tmp_path / "parquet") for one in tmp_path.rglob("*.parquet")]
    assert {one.parts[0] for one in files} == {"route=a", "route=b"}
    assert {one.parts[1] for one in files} == {"day=1970-01-02", "day=1970-01-03"}
    assert done.files == len(files) == 4
    assert is_clean(tmp_path)
    assert compact(tmp_path)[0] == Compacted()
    assert warnings == ["3.segment: its last 15 bytes are torn; the segment is kept in damaged/"]
    assert [one.name for one in (tmp_path / "damaged").iterdir()] == ["3.segment"]


def test_only_the_owner_reads_them(tmp_path: Path) -> None:
    some_log(tmp_path, 7)
    compact(tmp_path)
    for path in (tmp_path / "parquet").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)


def test_many_segments_are_compacted_in_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BATCH_BYTES", 1000)
    for number in range(4):
        write_segment(tmp_path, str(number), *(logged(f"{number}-{i}") for i in range(9)))
    done, steps = compact(tmp_path)
    assert (done.segments, done.records, done.files) == (4, 36, 4)
    assert steps.count("commit") == 4
    assert len(by_files(tmp_path)) == 36
    monkeypatch.setattr(module, "MAX_BATCH_SEGMENTS", 2)
    for number in range(3):
        write_segment(tmp_path, f"more-{number}", logged(f"more-{number}"))
    assert compact(tmp_path)[1].count("commit") == 2


def test_an_empty_log(tmp_path: Path) -> None:
    assert compact(tmp_path)[0] == Compacted()
    write_segment(tmp_path, "0")
    assert compact(tmp_path)[0] == Compacted(segments=1)
    assert is_clean(tmp_path)


# --- a crash -------------------------------------------------------------------------


def nothing(folder: Path, rng: random.Random) -> None:
    pass


def spoil_files(folder: Path, rng: random.Random) -> None:
    """What was being written is torn, or filled with what it is not."""
    for path in [*(folder / "compacting").rglob("*.parquet"), *folder.glob("manifests/*.new")]:
        spoil(path, rng)


def spoil_manifests(folder: Path, rng: random.Random) -> None:
    for path in folder.glob("manifests/*"):
        spoil(path, rng)


def spoil(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    part = rng.randrange(len(content) or 1)
    path.write_bytes(rng.choice([content[:part], rng.randbytes(len(content)), b""]))


@pytest.mark.parametrize("spoiled", [nothing, spoil_files, spoil_manifests])
def test_a_crash_at_every_step(
    tmp_path: Path, spoiled: Callable[[Path, random.Random], None]
) -> None:
    seen: set[str] = set()
    for crash_at in range(1000):
        folder, rng = tmp_path / str(crash_at), random.Random(crash_at)
        ids = some_log(folder, crash_at % 3)
        try:
            seen.update(step.split()[0] for step in compact(folder, crash_at=crash_at)[1])
            break
        except Crash:
            pass
        assert by_reader(folder) == Counter(ids)  # at no moment is a record nowhere, or twice
        spoiled(folder, rng)
        write_segment(folder, "9", logged("more"), logged("other", route="b"))
        ids += ["more", "other"]
        try:
            compact(folder, crash_at=rng.randrange(30))
        except Crash:
            assert spoiled is spoil_files or by_reader(folder) == Counter(ids)
        compact(folder)
        assert by_files(folder) == by_reader(folder) == Counter(ids)
        assert is_clean(folder)
    steps = {"read", "write", "sync", "manifest", "commit", "publish", "delete", "keep", "done"}
    assert steps <= seen


PROGRAM = """
import os, sys
from pathlib import Path
from penstock.stores.parquet import compact_log

def step(name):
    if name == sys.argv[2]:
        os._exit(9)

compact_log(Path(sys.argv[1]), 259200.0, 30.0, print, step)
"""


@pytest.mark.parametrize("step", ["write", "sync", "commit", "publish 1", "delete 1", "done"])
def test_a_process_that_is_killed(tmp_path: Path, step: str) -> None:
    ids = some_log(tmp_path, 1)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), step]
    assert subprocess.run(command, env=environment, check=False).returncode == 9
    assert by_reader(tmp_path) == Counter(ids)
    compact(tmp_path)
    assert by_files(tmp_path) == by_reader(tmp_path) == Counter(ids)
    assert is_clean(tmp_path)


def test_what_counts_is_on_the_disk_before_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files and folders are synced before the commit, and again before a segment is deleted."""
    some_log(tmp_path, 1)
    synced: set[str] = set()
    usual = os.fsync

    def noted(file: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{file}"))
        usual(file)

    def step(name: str) -> None:
        if name == "manifest":
            made = list((tmp_path / "compacting").rglob("*"))
            assert len(made) > 8
            assert {*map(str, made), str(tmp_path / "compacting")} <= synced
            synced.clear()
        if name == "commit":
            assert {str(path) for path in (tmp_path / "manifests").iterdir()} <= synced
        if name == "publish 0":
            assert str(tmp_path / "manifests") in synced
        if name == "delete 0":
            made = [one for one in (tmp_path / "parquet").rglob("*") if one.is_dir()]
            assert {*map(str, made), str(tmp_path / "parquet")} <= synced

    monkeypatch.setattr(os, "fsync", noted)
    compact_log(tmp_path, WALL_S, KEEP_DAYS, lambda sentence: None, step)


# --- who else is at it ---------------------------------------------------------------


def test_what_is_being_written_is_left(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "segments")
    writer.append(framed(b"\x92\x01\xa1a"), WALL_S)
    assert compact(tmp_path)[0] == Compacted()
    writer.close()
    assert compact(tmp_path)[0].segments == 1


def test_a_segment_that_goes_away_meanwhile(tmp_path: Path) -> None:
    gone = write_segment(tmp_path, "0", logged("gone"))
    write_segment(tmp_path, "1", logged("there"))

    def step(name: str) -> None:
        if name == "read 0.segment":
            gone.unlink()

    done, _ = compact_log(tmp_path, WALL_S, KEEP_DAYS, print, step)
    assert done.segments == 1
    assert by_files(tmp_path) == Counter(["there"])


def test_all_segments_go_away_meanwhile(tmp_path: Path) -> None:
    path = write_segment(tmp_path, "0", logged("gone"))

    def step(name: str) -> None:
        if name.startswith("read"):
            path.unlink()

    done, _ = compact_log(tmp_path, WALL_S, KEEP_DAYS, print, step)
    assert done == Compacted()
    assert is_clean(tmp_path)


def test_a_segment_that_goes_away_before_it_is_looked_at(tmp_path: Path) -> None:
    assert list(module._batches([tmp_path / "gone.segment"])) == []


# --- what cannot be read -------------------------------------------------------------


def test_what_can_be_read_of_a_damaged_segment_is_compacted_and_the_rest_kept(
    tmp_path: Path,
) -> None:
    path = write_segment(
        tmp_path,
        "0",
        logged("a"),
        b"nonsense",
        logged("b"),
        logged("up", route="../../up"),
        logged("late", time_us=2**62),
        logged("seed", seed=-1),
        logged("wide", generation=2**63),
    )
    content = path.read_bytes()
    warnings: list[str] = []
    done, _ = compact(tmp_path, warnings)
    assert (done.records, done.damaged) == (3, 1)
    assert by_files(tmp_path) == Counter(["a", "b", "seed"])
    assert warnings == [
        "0.segment: 4 records cannot be read; the segment is kept in damaged/",
    ]
    assert (tmp_path / "damaged" / "0.segment").read_bytes() == content


def test_a_file_that_is_no_segment_is_kept(tmp_path: Path) -> None:
    (tmp_path / "segments").mkdir()
    (tmp_path / "segments" / "0.segment").write_text("another file altogether")
    warnings: list[str] = []
    assert compact(tmp_path, warnings)[0] == Compacted(segments=1, damaged=1)
    assert warnings[0].startswith("0.segment: it cannot be read: ")
    assert (tmp_path / "damaged" / "0.segment").exists()


def test_the_segment_of_a_later_version_is_left_for_it(tmp_path: Path) -> None:
    path = write_segment(tmp_path, "0", b"\x92\x63\xa1a")
    write_segment(tmp_path, "1", logged("mine"))
    warnings: list[str] = []
    assert compact(tmp_path, warnings)[0].segments == 1
    assert segments_in(tmp_path / "segments") == [path]
    assert warnings == [
        "0.segment: its 1 records are of another version of Penstock; the segment is left as it "
        "is, for that version"
    ]
    assert compact(tmp_path)[0] == Compacted()


def test_the_segment_of_another_format_is_left_for_it(tmp_path: Path) -> None:
    path = write_segment(tmp_path, "0", logged("its"))
    path.write_bytes(path.read_bytes().replace(b"penstock-log 2", b"penstock-log 3"))
    warnings: list[str] = []
    assert compact(tmp_path, warnings)[0] == Compacted()
    assert segments_in(tmp_path / "segments") == [path]
    assert warnings == [
        "0.segment: it is of another version of Penstock; the segment is left as it is, for that "
        "version"
    ]


def test_what_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "segments" / "0.segment").mkdir(parents=True)
    write_segment(tmp_path, "1", logged("mine"))
    warnings: list[str] = []
    assert compact(tmp_path, warnings)[0].segments == 1
    assert warnings == ["0.segment: is no file, and left alone"]


# --- a disk without room -------------------------------------------------------------


def test_a_full_disk_leaves_all_as_it_was(tmp_path: Path) -> None:
    ids = some_log(tmp_path, 2)
    before = segments_in(tmp_path / "segments")
    with a_full_disk(3000), pytest.raises(CannotCompact, match="too large; its segments stay"):
        compact(tmp_path)
    assert segments_in(tmp_path / "segments") == before
    assert list((tmp_path / "compacting").iterdir()) == []
    assert by_reader(tmp_path) == Counter(ids)
    compact(tmp_path)
    assert by_files(tmp_path) == Counter(ids)


def test_a_full_disk_while_much_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MAX_BUFFERED_BYTES", 1000)
    ids = some_log(tmp_path, 2)
    for limit in range(0, 6000, 500):
        with a_full_disk(limit), suppress(CannotCompact):
            compact(tmp_path)
        assert by_reader(tmp_path) == Counter(ids)
    compact(tmp_path)
    assert by_files(tmp_path) == Counter(ids)
    assert is_clean(tmp_path)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotCompact, match="no such file"):
        compact(tmp_path / "nowhere")
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "x.new").mkdir()
    with pytest.raises(CannotCompact, match="directory"):
        compact(tmp_path)


# --- what others read ----------------------------------------------------------------


def test_columns_in_the_files(tmp_path: Path) -> None:
    record = logged("a", seed=255, input=[[1.5, None]], trail=(("model:svc", 0.0, 1.5),))
    write_segment(tmp_path, "0", record)
    compact(tmp_path)
    names = ("route", "day", "time", "seed", "input", "trail", "arms")
    (row,) = in_files(tmp_path, ", ".join(f"CAST({name} AS VARCHAR)" for name in names))
    assert row == (
        "a",
        "1970-01-02",
        "1970-01-02 00:00:00+00",
        "00000000000000ff",
        "[[1.5,null]]",
        "[{'name': 'model:svc', 'start_ms': 0.0, 'elapsed_ms': 1.5}]",
        None,
    )
