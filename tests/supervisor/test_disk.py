from __future__ import annotations

import asyncio
import threading

import pytest

from penstock.supervisor.disk import ANSWER_S, Disk, DiskHangs
from tests.support import ManualClock, nothing_loose
from tests.waiting import until


class Hanging:
    """What is asked of a disk that hangs until it is told to go on."""

    def __init__(self) -> None:
        self.calls = 0
        self.begun = threading.Event()
        self.goes_on = threading.Event()

    def __call__(self) -> str:
        self.calls += 1
        self.begun.set()
        self.goes_on.wait()
        return "late"


async def test_what_is_asked_is_answered() -> None:
    clock = ManualClock()
    disk = Disk(clock)
    async with nothing_loose():
        for number in range(3):
            assert await disk.ask(lambda: number) == number  # noqa: B023
    assert clock.timers == 0


async def test_what_it_raises_is_raised() -> None:
    disk = Disk(ManualClock())
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await disk.ask(lambda: 1 / 0)


async def test_while_it_hangs_nothing_else_is_asked() -> None:
    clock, hanging = ManualClock(), Hanging()
    disk = Disk(clock)
    asking = asyncio.ensure_future(disk.ask(hanging))
    await until(hanging.begun.is_set)
    await clock.elapse(ANSWER_S)
    with pytest.raises(DiskHangs, match="the disk has not answered within 10 s"):
        await asking
    for _ in range(5):
        with pytest.raises(DiskHangs, match="has not answered what it was asked before"):
            await disk.ask(hanging)
    assert hanging.calls == 1
    hanging.goes_on.set()
    await until(lambda: not disk._asking)
    assert await disk.ask(lambda: "again") == "again"


async def test_who_leaves_leaves_nothing_but_the_thread() -> None:
    clock, hanging = ManualClock(), Hanging()
    disk = Disk(clock)
    asking = asyncio.ensure_future(disk.ask(hanging))
    await until(hanging.begun.is_set)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert clock.timers == 0
    hanging.goes_on.set()
    await until(lambda: not disk._asking)


def test_the_end_does_not_wait_for_it() -> None:
    hanging = Hanging()

    async def ask() -> None:
        asking = asyncio.ensure_future(Disk(ManualClock()).ask(hanging))
        await until(hanging.begun.is_set)
        asking.cancel()

    asyncio.run(ask())
    (thread,) = [one for one in threading.enumerate() if one.name.endswith("(_work)")]
    hanging.goes_on.set()
    thread.join()  # it finds its loop closed, and says nothing
