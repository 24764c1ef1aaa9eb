"""A crew of worker processes: whoever dies is replaced, and no connection waits for that.

Every process has been given the listening sockets of all. While one is down, a sibling accepts
from its socket as well: connections that the kernel has put there would wait for the replacement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, final

from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.log import Says
from penstock.supervisor.backoff import FIRST_S, WINDOW_S
from penstock.supervisor.crew import Leader, Member
from penstock.supervisor.pause import pause
from penstock.supervisor.phases import catch_up
from penstock.supervisor.process import WorkerProcess, start_process
from penstock.supervisor.seat import Seat
from penstock.supervisor.worker import Worker, WorkerLost, report_from

LEAVING: Final = "leaving"
"""What a worker says that accepts no more, as somebody told it to end: its socket needs a home."""

LAST: Final = "last"
"""What a worker says when it has answered its last request, with its report."""

KILL_AFTER_S: Final = 0.25
"""How much longer than it may take to end a worker has before it is killed, and how long then."""


class CannotStart(PenstockError):
    """A worker's process cannot be started; ends the start."""

    code = "cannot_start"

    def __init__(self, index: int, cause: OSError) -> None:
        super().__init__(f"worker {index} cannot be started: {cause.strerror or cause}")


@final
class Processes:
    """Starts a process for each listening socket, and replaces it when it dies.

    Args:
        command: a program and its first arguments; `start_process` tells what it adds.
        listening: the file descriptors of the listening sockets, one for each worker.
        clock: tells the time.
        log: is told of deaths and new starts.
        drain_s: how long a worker that is told to end takes at most, if all is well with it.
    """

    def __init__(
        self,
        command: Sequence[str],
        listening: Sequence[int],
        *,
        clock: Clock,
        log: Says,
        drain_s: float,
    ) -> None:
        self._command = tuple(command)
        self._listening = tuple(listening)
        self._clock = clock
        self._log = log
        self._drain_s = drain_s
        self._seats = [Seat(index) for index in range(len(listening))]
        self._leader: Leader | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._homing = asyncio.Lock()
        self._announced = False

    @property
    def size(self) -> int:
        """How many there are when all are alive."""
        return len(self._seats)

    def workers(self) -> Mapping[int, Worker]:
        """Return those that take part in changes, by their index."""
        return {seat.index: seat.linked for seat in self._seats if seat.joined}

    def reporting(self) -> Mapping[int, Worker]:
        """Return those that are asked what they count: also those that leave, by their index."""
        return {seat.index: seat.linked for seat in self._seats if seat.counts}

    def members(self) -> tuple[Member, ...]:
        """Return what is known of each, in order, also of those that are down."""
        return tuple(seat.member for seat in self._seats)

    async def start(self) -> None:
        """Start all; they serve nothing yet.

        Raises:
            CannotStart: the system has no room for a process.
        """
        for seat in self._seats:
            try:
                seat.process = await self._started(seat)
            except OSError as error:
                raise CannotStart(seat.index, error) from error
            seat.joined = True

    async def serve(self, leader: Leader) -> None:
        """Have all accept connections; from now on replace whoever dies."""
        self._leader = leader
        await asyncio.gather(*map(self._listen, self._seats))
        await self._announce()
        for seat in self._seats:
            self._spawn(self._keep(seat, leader))

    def give_up(self, index: int, why: str) -> None:
        """End a worker that cannot serve what the others serve; it is replaced."""
        process = self._seats[index].process
        if process is not None:
            process.kill(why)

    async def stop(self) -> None:
        """Tell all to drain and end; kill those that take too long."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        running = [seat.process for seat in self._seats if seat.process is not None]
        for process in running:
            process.terminate()
        for process in await self._left(running, self._drain_s + KILL_AFTER_S):
            self._log.warning(f"worker {process.index} (pid {process.pid}) did not end: killed")
            process.kill("did not end in time")
        await self._left(running, KILL_AFTER_S)
        for seat in self._seats:
            seat.phase, seat.joined = "down", False

    # --- the life of one worker ---

    async def _keep(self, seat: Seat, leader: Leader) -> None:
        """Replace a worker's process whenever it has ended."""
        while True:
            assert seat.process is not None
            how = await seat.process.wait()
            try:
                await self._replace(seat, seat.process, how, leader)
            except Exception as error:  # noqa: BLE001 - a fault of ours; it must not end this
                what = f"worker {seat.index} could not be replaced: something went wrong here"
                self._log.error(what, error=error)
                seat.process.kill("could not be brought up")  # if there is a new one
                seat.backoff = seat.backoff.died(self._clock.now_s(), 0.0)
                await pause(self._clock, max(seat.backoff.pause_s, FIRST_S))

    async def _replace(self, seat: Seat, dead: WorkerProcess, how: str, leader: Leader) -> None:
        self._bury(seat, leader)
        self._spawn(self._find_homes())  # a frozen sibling must not delay the next start
        await self._start_again(seat, dead, how)
        await self._bring_up(seat, leader)

    def _bury(self, seat: Seat, leader: Leader) -> None:
        seat.phase, seat.joined = "down", False
        for other in self._seats:
            if other.keeper is seat:
                other.keeper = None
        leader.departed(seat.index)

    async def _start_again(self, seat: Seat, dead: WorkerProcess, how: str) -> None:
        died_s = self._clock.now_s()
        seat.backoff = seat.backoff.died(died_s, died_s - dead.started_s)
        what = f"worker {seat.index} (pid {dead.pid}) {how}"
        while True:
            if seat.backoff.pause_s:
                times = f"{len(seat.backoff.deaths_s)} times in {WINDOW_S:g} s"
                next_start = f"next start in {seat.backoff.pause_s:g} s"
                self._log.error(f"{what}; it keeps dying ({times}); {next_start}")
                what = f"worker {seat.index}"
                await pause(self._clock, seat.backoff.pause_s)
            try:
                seat.process = await self._started(seat)
                break
            except OSError as error:
                what += f" cannot be started: {error.strerror or error}"
                seat.backoff = seat.backoff.died(self._clock.now_s(), 0.0)
        seat.phase = "opening"
        seat.restarts += 1
        self._log.warning(f"{what}; started again as pid {seat.process.pid}")

    async def _bring_up(self, seat: Seat, leader: Leader) -> None:
        """Have a replacement open what is served, and accept; if it cannot, its process ends."""
        assert seat.process is not None
        try:
            while not seat.joined:
                plan = leader.current()
                problems = await catch_up(seat.linked, plan)
                if problems:
                    why = "; ".join(problems)
                    return seat.process.kill(f"cannot open generation {plan.generation} ({why})")
                seat.joined = leader.current().generation == plan.generation
        except WorkerLost:
            return None
        await self._listen(seat)
        await self._announce()
        self._spawn(self._find_homes())
        return None

    async def _listen(self, seat: Seat) -> None:
        try:
            await seat.linked.listen()
        except WorkerLost:
            return  # its end is dealt with where it is waited for
        seat.phase = "serving"

    async def _announce(self) -> None:
        """Have any worker print what is served, unless one has."""
        for seat in self._seats:
            if seat.serving and not self._announced:
                self._announced = True
                try:
                    await seat.linked.announce()
                except WorkerLost:
                    self._announced = False

    async def _started(self, seat: Seat) -> WorkerProcess:
        answer = partial(self._answer, seat)
        return await start_process(
            seat.index, self._command, self._listening, clock=self._clock, answer=answer
        )

    async def _answer(self, seat: Seat, verb: str, payload: Any) -> Any:  # noqa: ANN401
        if self._leader is None:
            raise RuntimeError("nothing is served yet")
        if verb == LEAVING:
            return await self._see_off(seat)
        if verb == LAST:
            return self._leader.reported(seat.index, report_from(payload))
        return await self._leader.answer(verb, payload)

    async def _see_off(self, seat: Seat) -> None:
        if seat.serving and seat.process is not None:
            process = seat.process
            process.leaving, seat.phase, seat.joined = True, "leaving", False
            until_s = self._clock.now_s() + self._drain_s + KILL_AFTER_S
            self._clock.call_at(until_s, lambda: process.kill("did not end in time"))
            await self._find_homes()

    # --- the sockets of those that are down ---

    async def _find_homes(self) -> None:
        """See to it that every listening socket is accepted from, while anybody can."""
        async with self._homing:
            for seat in self._seats:
                if seat.serving:
                    await self._take_back(seat)
                elif seat.keeper is None or not seat.keeper.serving:
                    await self._give_away(seat)

    async def _take_back(self, seat: Seat) -> None:
        keeper, seat.keeper = seat.keeper, None
        if keeper is not None and keeper.serving:
            try:
                await keeper.linked.release(seat.index)
            except WorkerLost:
                return  # and with it its hold on the socket

    async def _give_away(self, seat: Seat) -> None:
        seat.keeper = None
        for sibling in self._seats:
            if sibling.serving:
                try:
                    await sibling.linked.adopt(seat.index)
                except WorkerLost:
                    continue
                seat.keeper = sibling
                return

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _left(
        self, processes: Iterable[WorkerProcess], within_s: float
    ) -> list[WorkerProcess]:
        """Return the processes that have not ended within a time."""
        waiting = {asyncio.ensure_future(one.wait()) for one in processes if one.alive}
        timer = asyncio.ensure_future(pause(self._clock, within_s))
        left: set[asyncio.Future[Any]] = set(waiting)
        while left and not timer.done():
            done, _ = await asyncio.wait({timer, *left}, return_when=asyncio.FIRST_COMPLETED)
            left -= done
        for one in (timer, *left):
            one.cancel()
        return [one for one in processes if one.alive]
