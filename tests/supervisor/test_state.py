from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.supervisor.journal import StateCorrupt
from penstock.supervisor.overlay import Change, Event
from penstock.supervisor.state import (
    NoState,
    StateDirectory,
    StateInUse,
    base_folder,
    default_folder,
    open_state,
)
from tests.supervisor.disk import a_full_disk

EVENT = Event(
    kind="set",
    time="2025-06-15T12:00:00.000Z",
    who="anna",
    generation=2,
    changes=(Change(path="a.b", old=1, new=2, base=1),),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "new" / "state"


@pytest.fixture
def state(folder: Path) -> Iterator[StateDirectory]:
    state = open_state(folder)
    assert isinstance(state, StateDirectory)
    yield state
    state.close()


# --- where -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "base"),
    [
        ({"HOME": "/h"}, "/h/.local/state/penstock"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/s"}, "/s/penstock"),
        ({"HOME": "/h", "XDG_STATE_HOME": ""}, "/h/.local/state/penstock"),
        ({"HOME": "/h", "XDG_STATE_HOME": "relative"}, "/h/.local/state/penstock"),
        ({"HOME": ""}, None),
        ({"HOME": "relative"}, None),
        ({}, None),
    ],
)
def test_base_folder(environment: dict[str, str], base: str | None) -> None:
    assert base_folder(environment) == (None if base is None else Path(base))


def test_a_server_s_folder_tells_its_spec_and_its_port() -> None:
    home = {"HOME": "/h"}
    one = default_folder(home, Path("/a/penstock.yaml"), 8000)
    assert one == Path("/h/.local/state/penstock/penstock-7df76569-8000")
    assert one != default_folder(home, Path("/b/penstock.yaml"), 8000)
    assert one != default_folder(home, Path("/a/penstock.yaml"), 8001)
    assert default_folder({}, Path("/a/penstock.yaml"), 8000) is None


def test_a_folder_that_is_named_is_taken_as_it_is() -> None:
    environment = {"HOME": "/h", "PENSTOCK_STATE_DIR": "/var/lib/p"}
    assert default_folder(environment, Path("/a/penstock.yaml"), 8000) == Path("/var/lib/p")


def test_a_long_name_is_no_longer_than_a_folder_s_may_be() -> None:
    found = default_folder({"HOME": "/h"}, Path("/a") / ("🌊" * 62 + ".yaml"), 65535)
    assert found is not None
    assert len(os.fsencode(found.name)) < 255


# --- what it keeps -----------------------------------------------------------------------


def test_a_new_one_is_for_its_user_only(state: StateDirectory, folder: Path) -> None:
    assert (state.folder, state.refusal, state.cut) == (str(folder), "", "")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {one.name: one.stat().st_mode & 0o777 for one in folder.iterdir()} == {
        "lock": 0o600,
        "overlay.jsonl": 0o600,
    }


def test_it_keeps_events_over_a_restart(folder: Path) -> None:
    for events in ([], [EVENT], [EVENT, EVENT]):
        state = open_state(folder)
        assert list(state.events) == events
        state.append([EVENT])
        state.close()


def test_a_torn_line_is_told(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "overlay.jsonl").write_text('{"kind":')
    state = open_state(folder)
    assert "the last line (1) is torn" in state.cut
    state.close()


def test_a_corrupt_log_leaves_it_to_others(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "overlay.jsonl").write_text("nope\nnope\n")
    for _ in range(2):  # the second one is not kept out by the first one's lock
        with pytest.raises(StateCorrupt, match="line 1 cannot be read"):
            open_state(folder)


# --- whose it is -------------------------------------------------------------------------


def test_a_second_server_is_told_the_first_one_s_process(
    state: StateDirectory, folder: Path
) -> None:
    with pytest.raises(StateInUse) as raised:
        open_state(folder)
    assert raised.value.message == (
        f"{folder} is in use by the server with the process id {os.getpid()}; stop that one, or "
        "give this one another --state-dir"
    )


def test_the_next_server_may_have_it(folder: Path) -> None:
    for _ in range(3):
        state = open_state(folder)
        assert (folder / "lock").read_text() == f"{os.getpid()}\n"
        state.close()


def test_a_killed_server_leaves_it_to_the_next(folder: Path) -> None:
    held = (
        "import sys, os, signal\n"
        "from pathlib import Path\n"
        "from penstock.supervisor.state import open_state\n"
        "state = open_state(Path(sys.argv[1]))\n"
        "os.write(1, b'!')\n"
        "signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", held, folder], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.read(1) == b"!"
        with pytest.raises(StateInUse, match=f"process id {server.pid};"):
            open_state(folder)
        server.kill()
        server.wait()
    open_state(folder).close()


def test_processes_that_are_started_do_not_hold_it(state: StateDirectory, folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        state.close()
        open_state(folder).close()
        child.communicate(b"\n")
    state._lock = os.open(os.devnull, os.O_RDONLY)  # for the fixture to close
    state._journal._fd = os.open(os.devnull, os.O_RDONLY)


# --- no place to keep anything -----------------------------------------------------------


def test_no_home() -> None:
    state = open_state(None)
    assert isinstance(state, NoState)
    assert state.refusal.startswith("there is no state directory, as the environment has no HOME")


@pytest.mark.parametrize("part", ["new", "new/state", "new/state/lock", "new/state/overlay.jsonl"])
def test_what_cannot_be_used(tmp_path: Path, part: str, folder: Path) -> None:
    """A file where a folder must be, or a folder where a file must be."""
    there = tmp_path / part
    if part.startswith("new/state/"):
        there.mkdir(parents=True)
    else:
        there.parent.mkdir(exist_ok=True)
        there.touch()
    for _ in range(2):
        state = open_state(folder)
        assert isinstance(state, NoState)
        assert state.refusal.startswith(f"the state directory {folder} cannot be used: ")
        assert state.refusal.endswith("; give another --state-dir")


def test_a_disk_that_is_full_from_the_start(folder: Path) -> None:
    with a_full_disk(0):
        state = open_state(folder)
    assert isinstance(state, NoState)
    assert "cannot be used: file too large" in state.refusal
    open_state(folder).close()  # nothing holds it


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is read-only for all")
def test_a_folder_that_is_read_only_even_for_root() -> None:
    state = open_state(Path("/proc/self/penstock"))
    assert isinstance(state, NoState)
    assert "cannot be used" in state.refusal


def test_what_is_not_kept_is_remembered() -> None:
    state = NoState("why")
    assert (state.folder, state.refusal, state.cut, state.events) == (None, "why", "", ())
    state.append([EVENT])
    assert list(state.events) == [EVENT]
    state.append([EVENT] * 20_000)
    assert len(state.events) == 10_000
    state.close()
