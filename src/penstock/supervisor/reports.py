"""What all workers count, together: also those that did not answer now, and those that ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final, final

from msgspec import Struct

from penstock.core.clock import Clock
from penstock.core.snapshot import Snapshot, merged, without_gauges
from penstock.supervisor.pause import pause
from penstock.supervisor.worker import Report, Worker, WorkerLost

COLLECT_S: Final = 1.0
"""How long a scrape waits for the workers; what they said last counts for those that are late."""

REFRESH_S: Final = 2.0
"""How often worker processes are asked: what one has counted since is lost when it is killed."""


class Latest(Struct, frozen=True, kw_only=True):
    """What a worker said last.

    Attributes:
        index: of the worker.
        fresh: it answered just now.
        report: what it said.
    """

    index: int
    fresh: bool
    report: Report


class Reports(Struct, frozen=True, kw_only=True):
    """What all workers said last.

    Attributes:
        workers: of each that has said anything yet, in order.
        departed: what those have counted that have ended; never goes down.
    """

    workers: tuple[Latest, ...]
    departed: Snapshot = Snapshot()


@final
class Ledger:
    """Asks workers for their reports, and keeps what they said.

    Args:
        clock: tells when a report is late.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asking: dict[int, asyncio.Task[bool]] = {}
        self._last: dict[int, Report] = {}
        self._departed = Snapshot()

    async def collect(self, workers: Mapping[int, Worker]) -> Reports:
        """Ask all workers at once, and return what they say within a second, or said before.

        A worker that has not answered is not asked again before it has.
        """
        asked = {index: self._ask(index, worker) for index, worker in workers.items()}
        await self._wait(asked.values())
        fresh = {index for index, task in asked.items() if task.done() and task.result()}
        latest = tuple(
            Latest(index=index, fresh=index in fresh, report=report)
            for index, report in sorted(self._last.items())
        )
        return Reports(workers=latest, departed=self._departed)

    def note(self, index: int, report: Report) -> None:
        """Keep what a worker said unasked."""
        self._last[index] = report

    def depart(self, index: int) -> None:
        """Keep what a worker has counted that has ended, for good."""
        self._asking.pop(index, None)
        last = self._last.pop(index, None)
        if last is not None:
            self._departed = merged([self._departed, without_gauges(last.measures)])

    def _ask(self, index: int, worker: Worker) -> asyncio.Task[bool]:
        task = self._asking.get(index)
        if task is None or task.done():
            task = asyncio.get_running_loop().create_task(self._note(index, worker))
            self._asking[index] = task
        return task

    async def _note(self, index: int, worker: Worker) -> bool:
        try:
            report = await worker.report()
        except WorkerLost:
            return False
        if self._asking.get(index) is not asyncio.current_task():
            return False  # it has departed meanwhile
        self._last[index] = report
        return True

    async def _wait(self, asked: Iterable[asyncio.Task[bool]]) -> None:
        left: set[asyncio.Future[Any]] = set(asked)
        timer = asyncio.ensure_future(pause(self._clock, COLLECT_S))
        try:
            while left and not timer.done():
                done, _ = await asyncio.wait({timer, *left}, return_when=asyncio.FIRST_COMPLETED)
                left -= done
        finally:
            timer.cancel()
