from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from penstock.supervisor.watch import LONGEST_RETRY_S, RETRY_S, Seen, Watch
from tests.supervisor.fakes import Said
from tests.support import ManualClock
from tests.waiting import until

OLD: Seen = (1, 10, 7, 0)
NEW: Seen = (2, 10, 7, 0)
NEWER: Seen = (3, 10, 7, 0)


def judged(*seen: Seen) -> tuple[list[bool], Said]:
    said = Said()
    watch = Watch("penstock.yaml", said, ManualClock())
    found = []
    for one in seen:
        found.append(watch.judge(one))
        if found[-1]:
            watch.taken()
    return found, said


def test_nothing_changes() -> None:
    found, said = judged(OLD, OLD, OLD)
    assert (found, said.lines) == ([False] * 3, [])


def test_a_change_is_told_once_when_it_has_come_to_rest() -> None:
    assert judged(OLD, NEW, NEW, NEW)[0] == [False, False, True, False]


def test_a_file_that_is_being_written_has_not_come_to_rest() -> None:
    assert judged(OLD, NEW, NEWER, NEWER)[0] == [False, False, False, True]


def test_a_change_taken_back_before_it_came_to_rest_is_none() -> None:
    assert judged(OLD, NEW, OLD, OLD)[0] == [False, False, False, False]


def test_a_second_change() -> None:
    assert judged(OLD, NEW, NEW, NEWER, NEWER)[0] == [False, False, True, False, True]


def test_a_file_that_is_gone_is_told_once() -> None:
    found, said = judged(OLD, None, None, None)
    assert found == [False] * 4
    assert said.lines == ["warning: penstock.yaml is gone; what was served goes on being served"]


def test_a_file_that_comes_back_as_it_was_is_no_change() -> None:
    assert judged(OLD, None, OLD, OLD)[0] == [False] * 4


def test_a_file_that_comes_back_changed_is_a_change() -> None:
    assert judged(OLD, None, NEW, NEW)[0] == [False, False, False, True]


def test_a_file_that_is_gone_again_is_told_again() -> None:
    assert len(judged(OLD, None, OLD, OLD, None)[1].lines) == 2


def test_a_file_that_never_was_there() -> None:
    found, said = judged(None, None, NEW, NEW)
    assert (found, said.lines) == ([False, False, False, True], [])


@pytest.mark.parametrize("way", ["replaced", "appended", "touched"])
async def test_a_file_that_changes(tmp_path: Path, way: str) -> None:
    path = tmp_path / "penstock.yaml"
    path.write_text("one")
    watch = Watch(str(path), Said(), ManualClock())
    assert not await watch.look()
    if way == "replaced":  # by one of the same size and time
        other = tmp_path / "other"
        other.write_text("two")
        found = path.stat()
        os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
        other.replace(path)
    elif way == "appended":
        with path.open("a") as file:
            file.write("more")
    else:
        os.utime(path, ns=(1, 1))
    assert [await watch.look() for _ in range(2)] == [False, True]
    watch.taken()
    assert not await watch.look()


async def test_a_folder_that_is_swapped_as_kubernetes_does(tmp_path: Path) -> None:
    """The file is a link into `..data`, which is a link to a folder of a version."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "penstock.yaml").write_text(version)
    (tmp_path / "..data").symlink_to("v1")
    path = tmp_path / "penstock.yaml"
    path.symlink_to("..data/penstock.yaml")
    watch = Watch(str(path), Said(), ManualClock())
    assert not await watch.look()
    (tmp_path / "..new").symlink_to("v2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert [await watch.look() for _ in range(2)] == [False, True]
    watch.taken()
    assert not await watch.look()


async def test_a_file_that_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "penstock.yaml"
    path.write_text("one")
    said = Said()
    watch = Watch(str(path), said, ManualClock())
    await watch.look()
    path.unlink()
    assert [await watch.look() for _ in range(2)] == [False, False]
    assert said.lines == [f"warning: {path} is gone; what was served goes on being served"]


# --- what was refused --------------------------------------------------------------------


async def test_what_was_refused_is_tried_ever_later() -> None:
    clock = ManualClock()
    watch = Watch("penstock.yaml", Said(), clock)
    for seen in (OLD, NEW):
        assert not watch.judge(seen)
    pauses: list[float] = []
    for _ in range(9):
        pauses.append(0.0)
        while not watch.judge(NEW):
            clock.advance(RETRY_S)
            pauses[-1] += RETRY_S
        watch.refused()
    assert pauses == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, LONGEST_RETRY_S, LONGEST_RETRY_S]


async def test_what_was_refused_and_is_changed_is_tried_at_once() -> None:
    watch = Watch("penstock.yaml", Said(), ManualClock())
    found = []
    for seen in (OLD, NEW, NEW, NEW, NEWER, NEWER):
        found.append(watch.judge(seen))
        if found[-1]:
            assert not watch.tried
            watch.refused()
            assert watch.tried
    assert found == [False, False, True, False, False, True]


async def test_what_was_refused_and_is_taken_back_is_not_tried() -> None:
    clock = ManualClock()
    watch = Watch("penstock.yaml", Said(), clock)
    for seen in (OLD, NEW, NEW):
        watch.judge(seen)
    watch.refused()
    clock.advance(LONGEST_RETRY_S)
    assert not any(watch.judge(OLD) for _ in range(3))


# --- a disk that hangs -------------------------------------------------------------------


async def test_a_disk_that_hangs_is_told_once() -> None:
    goes_on = threading.Event()
    clock, said = ManualClock(), Said()
    watch = Watch("no/such/file", said, clock)
    hanging = asyncio.ensure_future(watch._disk.ask(goes_on.wait))
    await until(lambda: watch._disk._asking)
    for _ in range(3):
        assert not await watch.look()
    assert (watch._looks, said.lines) == (
        0,
        [
            "warning: no/such/file cannot be looked at: the disk has not answered what it was "
            "asked before"
        ],
    )
    goes_on.set()
    await hanging
    assert not await watch.look()
    assert (watch._looks, len(said.lines)) == (1, 1)
