"""Requests that wait for a connection, in order, with a bound on how many."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import final

from penstock.core.clock import Clock
from penstock.core.errors import NotReady, Overloaded
from penstock.core.promise import Promise
from penstock.runtimes.http_connection import Connection
from penstock.runtimes.http_terms import Late


@final
class Waiter:
    """One request's place in the order of those who wait, for as often as it has to wait.

    Args:
        deadline_s: instant from which nothing is of use to it.
        only: the one replica whose connections are; None where any is.

    Attributes:
        number: its place in the order; 0 of one that has not waited yet.
        promise: of what it waits for.
        given: the connection that it was woken with.
        called_to: the replica with the room that it was woken for.
    """

    __slots__ = ("called_to", "deadline_s", "given", "number", "only", "promise")

    def __init__(self, deadline_s: float, only: int | None = None) -> None:
        self.deadline_s = deadline_s
        self.only = only
        self.number = 0
        self.promise: Promise[Connection | None]
        self.given: Connection | None = None
        self.called_to: int | None = None


@final
class WaitingRoom:
    """Where requests wait while all connections are busy.

    Args:
        model: for which they wait, for errors.
        most: how many may wait at once.
        clock: tells the time.
    """

    def __init__(self, model: str, most: int, *, clock: Clock) -> None:
        self._model = model
        self._most = most
        self._now_s = clock.now_s
        self._queue: deque[Waiter] = deque()
        self._arrived = 0

    def __len__(self) -> int:
        return len(self._queue)

    async def wait(self, waiter: Waiter) -> Connection | None:
        """Wait for a free connection.

        Who was woken and found it gone waits again at its old place, however many wait by now:
        as many at most as there are connections.

        Returns:
            The connection; None where there is room for a new one instead.

        Raises:
            Overloaded: too many wait already.
            Late: there was none by its deadline.
            NotReady: all are sent away.
        """
        if not waiter.number and len(self._queue) >= self._most:
            what = f"the queue for a connection to model {self._model}"
            raise Overloaded(what, self._most, "requests")
        waiter.promise = Promise(asyncio.get_running_loop())
        waiter.given = waiter.called_to = None
        self._enter(waiter)
        try:
            got = await waiter.promise
            if waiter.deadline_s <= self._now_s():
                raise Late
        except BaseException:
            self._leave(waiter)
            raise
        return got

    def _enter(self, waiter: Waiter) -> None:
        """Put a waiter where its number says: a new one last."""
        if not waiter.number:
            self._arrived += 1
            waiter.number = self._arrived
        place = len(self._queue)
        while place and self._queue[place - 1].number > waiter.number:
            place -= 1
        self._queue.insert(place, waiter)

    def _leave(self, waiter: Waiter) -> None:
        """Take a waiter out; what it was given in this very moment goes to the next."""
        if waiter in self._queue:
            self._queue.remove(waiter)
        elif waiter.given is not None:
            waiter.given.release()
        elif waiter.called_to is not None:
            self.room_made(waiter.called_to)

    def hand(self, connection: Connection) -> bool:
        """Give a connection to the first to whom it is of use; tell whether there is one."""
        waiter = self._take(connection.index)
        if waiter is None:
            return False
        waiter.given = connection
        waiter.promise.set_result(connection)
        return True

    def room_made(self, replica: int) -> None:
        """Tell the first to whom it is of use that a new connection may be opened."""
        waiter = self._take(replica)
        if waiter is not None:
            waiter.called_to = replica
            waiter.promise.set_result(None)

    def _take(self, replica: int) -> Waiter | None:
        """Take out the first to whom a connection to a replica is of use; send away the late.

        Who is late would only give it back, within the call that hands it over.
        """
        place = 0
        while place < len(self._queue):
            waiter = self._queue[place]
            if waiter.promise.done():  # it may just have been cancelled
                del self._queue[place]
            elif waiter.deadline_s <= self._now_s():
                del self._queue[place]
                waiter.promise.set_exception(Late())
                place = 0  # whoever heard of it may have come, or sent others away
            elif waiter.only is None or waiter.only == replica:
                del self._queue[place]
                return waiter
            else:
                place += 1
        return None

    def expire(self, now_s: float) -> float:
        """Send away who has waited too long; return the earliest deadline of the others."""
        for waiter in [one for one in self._queue if one.deadline_s <= now_s]:
            if waiter in self._queue and not waiter.promise.done():
                self._queue.remove(waiter)
                waiter.promise.set_exception(Late())
        return min((waiter.deadline_s for waiter in self._queue), default=float("inf"))

    def close(self) -> None:
        """Send all away with `NotReady`."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.promise.done():
                waiter.promise.set_exception(NotReady(f"model {self._model}"))
