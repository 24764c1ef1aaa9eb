from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from penstock.supervisor import process as module
from penstock.supervisor.process import LINK_GRACE_S, WorkerProcess, start_process
from penstock.supervisor.worker import WorkerLost
from tests.supervisor.crews import command, plan
from tests.support import ManualClock, nothing_loose, settle
from tests.waiting import until


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def no_questions(verb: str, payload: Any) -> Any:  # noqa: ANN401
    raise NotImplementedError(verb)


Starting = Callable[..., Awaitable[WorkerProcess]]


@pytest.fixture
async def starting(clock: ManualClock) -> AsyncIterator[Starting]:
    started: list[WorkerProcess] = []

    async def start(mode: str = "plain", index: int = 0) -> WorkerProcess:
        one = await start_process(index, command(mode), [], clock=clock, answer=no_questions)
        started.append(one)
        return one

    async with nothing_loose():
        yield start
        for one in started:
            one.kill("the test is over")
            await one.wait()
        await settle()


async def test_it_is_spoken_to(starting: Starting) -> None:
    one = await starting()
    assert one.alive
    assert await one.worker.prepare(plan()) == ()
    report = await one.worker.report()
    assert (report.pid, report.generation) == (one.pid, 0)


async def test_ctrl_c_does_not_reach_it(starting: Starting) -> None:
    one = await starting()
    assert os.getpgid(one.pid) == one.pid != os.getpgid(0)


async def test_it_ends_when_it_is_told_to(starting: Starting) -> None:
    one = await starting()
    await one.worker.report()
    one.terminate()
    assert await one.wait() == "exited with status 0"
    assert not one.alive
    one.terminate()
    one.kill("too late")
    assert await one.wait() == "exited with status 0"


async def test_it_is_killed(starting: Starting) -> None:
    one = await starting("stubborn")
    asking = asyncio.ensure_future(one.worker.prepare(plan("hang")))
    await one.worker.report()
    one.kill("did not answer flip within 10 s")
    one.kill("another reason")
    assert await one.wait() == "did not answer flip within 10 s and was killed"
    with pytest.raises(WorkerLost):
        await asking


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (signal.SIGKILL, "was killed by SIGKILL"),
        (signal.SIGSEGV, "was killed by SIGSEGV"),
        (signal.SIGRTMIN + 3, f"was killed by signal {signal.SIGRTMIN + 3}"),
    ],
)
async def test_how_it_ended_is_told(starting: Starting, number: int, how: str) -> None:
    one = await starting()
    os.kill(one.pid, number)
    assert await one.wait() == how


async def test_a_status_is_told(starting: Starting) -> None:
    assert await (await starting("exiting")).wait() == "exited with status 3"


async def test_it_ends_of_what_it_was_to_be_killed_for(starting: Starting) -> None:
    one = await starting("exiting")
    one._why = "did not answer flip within 10 s"
    assert await one.wait() == "did not answer flip within 10 s and ended"


async def test_several_may_wait_and_leave(starting: Starting) -> None:
    one = await starting()
    waiting = [asyncio.ensure_future(one.wait()) for _ in range(3)]
    await settle()
    waiting[0].cancel()
    await settle()
    one.kill("x")
    assert await waiting[1] == await waiting[2] == "x and was killed"


async def test_who_hangs_up_and_lives_on_is_killed(starting: Starting, clock: ManualClock) -> None:
    one = await starting("hanging up")
    await until(lambda: clock.timers)
    await clock.elapse(LINK_GRACE_S)
    how = await one.wait()
    assert how == "could not be spoken to (the other side closed the link) and was killed"


async def test_who_was_told_to_end_is_not_killed_for_hanging_up(
    starting: Starting, clock: ManualClock
) -> None:
    one = await starting("hanging up")
    one.leaving = True
    await until(lambda: clock.timers)
    await clock.elapse(LINK_GRACE_S)
    assert one.alive


async def test_nothing_of_it_stays_open(starting: Starting) -> None:
    await (await starting("exiting")).wait()
    await settle()
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        await (await starting("exiting")).wait()
        await settle()
    assert sorted(os.listdir("/proc/self/fd")) == before


async def test_a_program_that_is_not_there(clock: ManualClock) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        await start_process(0, ["/no/such/program"], [], clock=clock, answer=no_questions)
    assert sorted(os.listdir("/proc/self/fd")) == before


async def test_who_gives_up_connecting_leaves_no_process(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[WorkerProcess] = []

    async def cancelled(self: WorkerProcess, ours: socket.socket, answer: object) -> None:
        started.append(self)
        raise asyncio.CancelledError

    monkeypatch.setattr(WorkerProcess, "connect", cancelled)
    with pytest.raises(asyncio.CancelledError):
        await start_process(0, command(), [], clock=clock, answer=no_questions)
    assert await started[0].wait() == "the supervisor gave up connecting to it and was killed"


async def test_where_there_are_no_pidfds_a_thread_waits(
    starting: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    one = await starting()
    os.kill(one.pid, signal.SIGKILL)
    assert await one.wait() == "was killed by SIGKILL"


def test_a_loop_that_ended_before_the_thread_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    waited: list[object] = []
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    reap = WorkerProcess._wait_in_thread

    def noting(self: WorkerProcess, loop: asyncio.AbstractEventLoop) -> None:
        reap(self, loop)
        waited.append(self)

    monkeypatch.setattr(module.WorkerProcess, "_wait_in_thread", noting)

    async def watch() -> None:
        WorkerProcess(0, process, ManualClock())

    asyncio.run(watch())
    process.communicate(b"\n")
    while not waited:
        os.sched_yield()
