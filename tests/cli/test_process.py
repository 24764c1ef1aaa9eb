"""How a process's work is run to its end; what it serves is in `tests/e2e`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, cast

import pytest

from penstock.cli import compacting
from penstock.cli.process import HANG_S, closed, process, run
from penstock.core.clock import SystemClock
from penstock.core.link import Link
from penstock.core.log import Log
from penstock.core.stop import CLOSE_S, CUT_S, END_S, MAX_STOP_S, SHIP_S, WRITE_S, Stop
from penstock.gateway.generations import Generations
from penstock.gateway.tools import tools_for
from penstock.gateway.tracing import RequestTracer
from penstock.stores.finished import Due
from penstock.stores.prediction_log import CLOSE_TIMEOUT_S, PredictionLog
from penstock.stores.sinks import LogPlaces
from penstock.supervisor.processes import KILL_AFTER_S
from penstock.supervisor.remote import RemoteSupervisor
from penstock.supervisor.succession import WRITE_FIRST_S
from tests.gateway.opening import ROOT
from tests.stores.logs import by_files, logged, write_segment
from tests.stores.postgresql.test_shipper import Said
from tests.support import ManualClock, settle

HANGING: Final = """
import asyncio, threading
from penstock.cli.process import run

async def work():
    begun = threading.Event()

    def hang():
        begun.set()
        threading.Event().wait()

    hanging = asyncio.ensure_future(asyncio.to_thread(hang))
    while not begun.is_set():
        await asyncio.sleep(0)
    hanging.cancel()
    print("all is done")

run(work())
print("not reached")
"""


def test_what_is_to_be_done_is_done_and_threads_come_back() -> None:
    done: list[str] = []

    async def work() -> None:
        await asyncio.to_thread(done.append, "in a thread")
        done.append("on the loop")

    run(work())
    assert done == ["in a thread", "on the loop"]


def test_tasks_that_are_left_are_cancelled() -> None:
    left: list[asyncio.Task[bool]] = []

    async def work() -> None:
        left.append(asyncio.ensure_future(asyncio.Event().wait()))

    run(work())
    assert left[0].cancelled()


def test_what_fails_is_raised() -> None:
    async def work() -> None:
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is"):
        run(work())


def test_a_thread_that_hangs_does_not_hold_up_the_end() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=30, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "all is done\n", "")


DEAF: Final = """
import asyncio, contextlib
from penstock.cli.process import run

async def deaf():
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()

async def work():
    global kept
    kept = asyncio.ensure_future(deaf())
    await asyncio.sleep(0)
    print("all is done")

run(work())
print("not reached")
"""


def test_a_task_that_heeds_nobody_does_not_hold_up_the_end() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", DEAF], capture_output=True, text=True, timeout=30, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "all is done\n", "")


def test_what_ends_processes_fits_into_the_whole() -> None:
    killed_s = WRITE_FIRST_S + END_S + 2 * KILL_AFTER_S
    assert killed_s <= SHIP_S
    assert SHIP_S + HANG_S <= MAX_STOP_S


class Closes:
    """Closes when it is let, or fails to; keeps how long it was told that it may take."""

    def __init__(self, *, gate: asyncio.Event | None = None, fails: bool = False) -> None:
        self.told: list[float] = []
        self._gate = gate
        self._fails = fails

    async def close(self, timeout_s: float = 0.0) -> None:
        self.told.append(timeout_s)
        if self._gate is not None:
            await self._gate.wait()
        if self._fails:
            raise RuntimeError("it does not close")


class Tracer:
    """Sends what it has when it is closed."""

    def __init__(self) -> None:
        self.sent = False

    def close(self) -> None:
        self.sent = True


class Closing:
    """Everything that a process closes, and the clock it does so by."""

    def __init__(
        self, generations: Closes, predictions: Closes, tracer: Tracer | None = None
    ) -> None:
        self.clock = ManualClock()
        self.said = Said()
        self.stop = Stop(self.clock)
        tools = tools_for(self.clock, stop=self.stop, tracer=cast("RequestTracer | None", tracer))
        self.task = asyncio.ensure_future(
            closed(
                cast("Generations", generations),
                cast("PredictionLog", predictions),
                tools,
                cast("Log", self.said),
            )
        )


async def test_the_log_has_ten_seconds_where_nothing_else_took_time() -> None:
    log = Closes()
    await Closing(Closes(), log).task
    assert log.told == [CLOSE_TIMEOUT_S]


async def test_traces_are_sent_beside_the_log() -> None:
    tracer = Tracer()
    await Closing(Closes(), Closes(), tracer).task
    assert tracer.sent


async def test_what_does_not_close_leaves_the_log_its_time() -> None:
    gate, log = asyncio.Event(), Closes()
    it = Closing(Closes(gate=gate), log)
    await it.clock.elapse(CLOSE_S - 0.1)
    assert log.told == []
    await it.clock.elapse(0.1)
    await it.task
    assert log.told == [pytest.approx(WRITE_S - CLOSE_S)]
    assert it.said.events == ["error: not all that was served could be closed in time"]
    gate.set()


async def test_a_log_that_does_not_close_is_left() -> None:
    gate = asyncio.Event()
    it = Closing(Closes(), Closes(gate=gate))
    await it.clock.elapse(WRITE_S + CUT_S)
    await it.task
    assert it.said.events == ["error: not all records and spans could be written in time"]
    gate.set()


async def test_what_fails_to_close_keeps_the_log_from_nothing_and_is_raised() -> None:
    log = Closes()
    with pytest.raises(RuntimeError, match="it does not close"):
        await Closing(Closes(fails=True), log).task
    assert len(log.told) == 1


async def never(verb: str, payload: Any) -> Any:  # noqa: ANN401
    raise AssertionError(verb)


async def test_the_first_process_has_the_log_of_all_compacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compacting, "CHECK_S", 0.0)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    write_segment(tmp_path, "0", logged("a"))
    places = LogPlaces(str(tmp_path), keep_days=1e6, due=Due(size_bytes=1))
    clock = SystemClock()
    operator = RemoteSupervisor(Link(never, clock=clock))
    stop = Stop(clock)
    async with process({}, index=1, log=Log(clock), operator=operator, places=places, stop=stop):
        await settle()
    assert by_files(tmp_path) == {}
    async with (
        asyncio.timeout(30.0),
        process({}, index=0, log=Log(clock), operator=operator, places=places, stop=Stop(clock)),
    ):
        while not by_files(tmp_path):
            await settle()
