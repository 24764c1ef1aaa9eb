"""A server's own compacting: when it is begun, what becomes of failures, and how it ends."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from penstock.cli import compacting as module
from penstock.cli.compacting import (
    ANYWAY_S,
    BUSY,
    CHECK_S,
    Compacting,
    Ended,
    by_command,
    command_of,
    compacting,
    main,
)
from penstock.core import families
from penstock.core.clock import SystemClock
from penstock.core.measures import Measures
from penstock.stores.compact_rules import alone
from penstock.stores.finished import Due
from penstock.stores.sinks import LogPlaces
from tests.gateway.opening import ROOT
from tests.stores.logs import by_files, logged, write_segment
from tests.supervisor.fakes import Said
from tests.support import ManualClock, settle

OK = Ended(0)
BOUND_S = 30.0


class Watched:
    """A log that is watched by a clock moved by hand, and how its runs end."""

    def __init__(self, folder: Path, *, installed: bool = True) -> None:
        self.clock = ManualClock()
        self.log = Said()
        self.ends: list[Ended | OSError] = []
        self.runs = 0
        self.looked = asyncio.Event()
        self.compacting = Compacting(
            folder,
            due=Due(size_bytes=1, age_s=1e9),
            run=self.run,
            installed=installed,
            clock=self.clock,
            log=self.log,
        )
        self.task = asyncio.ensure_future(self.compacting.keep_on())

    async def run(self) -> Ended:
        self.runs += 1
        end = self.ends.pop(0) if self.ends else OK
        if isinstance(end, OSError):
            raise end
        return end

    async def after(self, seconds: float) -> int:
        """Return how many runs there have been once time has passed, and what is due is done."""
        await settle()
        self.clock.advance(seconds)
        await settle()
        async with asyncio.timeout(BOUND_S):  # a thread looks at the folder
            while not self.task.done() and not self.clock.timers:
                await settle()
        return self.runs

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


@pytest.fixture
def due(tmp_path: Path) -> Path:
    write_segment(tmp_path, "0", logged("a"))
    return tmp_path


async def test_what_is_due_is_compacted(due: Path) -> None:
    watched = Watched(due)
    assert await watched.after(CHECK_S - 1.0) == 0
    assert await watched.after(1.0) == 1
    (due / "segments" / "0.segment").unlink()
    assert await watched.after(CHECK_S) == 1
    assert list(watched.compacting.readings()) == [
        (families.PREDICTION_LOG_COMPACTIONS, ("done",), 1),
        (families.PREDICTION_LOG_COMPACTIONS, ("failed",), 0),
    ]
    await watched.close()


async def test_where_there_is_no_log_nothing_is_done(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "none")
    assert await watched.after(ANYWAY_S) == 0
    await watched.close()


async def test_now_and_then_it_is_done_anyway_for_what_is_old(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    assert await watched.after(CHECK_S) == 0
    assert await watched.after(ANYWAY_S) == 1
    assert await watched.after(CHECK_S) == 1
    await watched.close()


async def test_failures_are_said_once_counted_and_tried_again_ever_later(due: Path) -> None:
    watched = Watched(due)
    watched.ends = [
        Ended(1, "warning\nthe disk is full\n"),
        Ended(1, "the disk is full"),
        OSError(12, "no memory"),
        Ended(-9),
        Ended(BUSY),
        Ended(0, "a sentence\nanother one"),
    ]
    for number in range(4):
        assert await watched.after(CHECK_S * 2.0**number - 1.0) == number
        assert await watched.after(1.0) == number + 1
    assert watched.compacting.failed == 4
    failed = "error: the prediction log could not be compacted"
    assert watched.log.lines == [
        "warning: warning",
        f"{failed} [why: the disk is full]",
        f"{failed} [why: it could not be started: no memory]",
        f"{failed} [why: it ended with status -9]",
    ]
    assert await watched.after(CHECK_S * 16.0) == 5
    assert watched.compacting.done == 0
    assert await watched.after(CHECK_S * 16.0) == 6
    assert (watched.compacting.done, watched.compacting.failed) == (1, 4)
    assert watched.log.lines[-2:] == ["warning: a sentence", "warning: another one"]
    await watched.close()


async def test_what_a_run_has_left_is_said_once_and_makes_no_other_due(due: Path) -> None:
    watched = Watched(due)
    left = Ended(0, "0.segment: is left as it is")
    watched.ends = [left, left]
    assert await watched.after(CHECK_S) == 1
    assert await watched.after(CHECK_S) == 1
    write_segment(due, "1", logged("b"))
    assert await watched.after(CHECK_S) == 2
    assert watched.log.lines == ["warning: 0.segment: is left as it is"]
    assert watched.compacting.done == 2
    await watched.close()


async def test_a_folder_that_cannot_be_looked_at_is_a_failed_run(
    due: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*what: object, **more: object) -> bool:
        raise PermissionError(13, "Permission denied")

    watched = Watched(due)
    with monkeypatch.context() as patched:
        patched.setattr(module, "is_due", refuse)
        assert await watched.after(CHECK_S) == 0
    assert watched.compacting.failed == 1
    assert watched.log.has("could not be compacted", "it cannot be looked at: Permission denied")
    assert await watched.after(CHECK_S * 2.0) == 1
    await watched.close()


async def test_without_what_it_needs_that_is_said_once(due: Path) -> None:
    watched = Watched(due, installed=False)
    await watched.after(CHECK_S)
    assert watched.task.done()
    assert watched.runs == 0
    (line,) = watched.log.lines
    assert "its segments stay as they are; with penstock[log] installed" in line


async def test_without_what_it_needs_nothing_is_said_where_nothing_is_due(tmp_path: Path) -> None:
    watched = Watched(tmp_path, installed=False)
    await watched.after(ANYWAY_S)
    assert watched.log.lines == []
    await watched.close()


# --- the command ---------------------------------------------------------------------


async def test_a_command_ends_and_says_why() -> None:
    program = "import sys; print('out'); print('why', file=sys.stderr); sys.exit(3)"
    assert await by_command((sys.executable, "-c", program))() == Ended(3, "why\n")


async def test_a_command_that_says_much_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SAID_BYTES", 10)
    program = "import sys; print('x' * 99 + '123456789', file=sys.stderr)"
    assert await by_command((sys.executable, "-c", program))() == Ended(0, "123456789\n")


async def test_a_command_that_takes_too_long_is_ended() -> None:
    ended = await by_command((sys.executable, "-c", "input()"), 0.0)()
    assert ended == Ended(-1, "it was ended after 0 s")


async def test_a_run_is_ended_with_the_server(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    os.mkfifo(told)
    program = f"import os, signal; open({str(told)!r}, 'w').write(str(os.getpid())); signal.pause()"
    task = asyncio.ensure_future(by_command((sys.executable, "-c", program))())
    pid = int(await asyncio.to_thread(told.read_text))
    task.cancel()
    await asyncio.wait([task])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_server_has_its_log_compacted(due: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_S", 0.0)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    places = LogPlaces(str(due), keep_days=1e6, due=Due(size_bytes=1))
    log, measures = Said(), Measures()
    async with compacting(places, clock=SystemClock(), log=log, measures=measures):
        async with asyncio.timeout(BOUND_S):
            while not by_files(due):
                await settle()
    assert log.lines == []
    async with compacting(LogPlaces(), clock=SystemClock(), log=log, measures=measures):
        pass


async def test_that_nobody_looks_any_more_is_said(
    due: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*what: object, **more: object) -> bool:
        raise RuntimeError("a fault")

    monkeypatch.setattr(module, "CHECK_S", 0.0)
    monkeypatch.setattr(module, "is_due", fault)
    log, measures = Said(), Measures()
    before = asyncio.all_tasks()
    async with compacting(LogPlaces(str(due)), clock=SystemClock(), log=log, measures=measures):
        await asyncio.wait(asyncio.all_tasks() - before)
    assert log.lines == ["error: the prediction log was not compacted any more [error: a fault]"]


def test_the_command(due: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = command_of(due, 1e6)
    assert command[:4] == (sys.executable, "-P", "-m", "penstock.cli.compacting")
    arguments = command[4:]
    with alone(due):
        assert main(arguments) == BUSY
    assert main(arguments) == 0
    assert sum(by_files(due).values()) == 1
    write_segment(due, "1", logged("b"), b"nonsense")
    assert main(arguments) == 0
    assert main((str(due / "none"), "30")) == 1
    assert capsys.readouterr().err.splitlines() == [
        "1.segment: 1 records cannot be read; the segment is kept in damaged/",
        f"the prediction log in {due / 'none'} cannot be compacted: no such file or directory; its "
        "segments stay, and the next run goes on from here",
    ]
