"""Requests that wait for a connection, in order, with a bound on how many."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import final

from penstock.core.errors import NotReady, Overloaded
from penstock.core.promise import Promise
from penstock.runtimes.http_connection import Connection
from penstock.runtimes.http_terms import Late


class _Waiter:
    __slots__ = ("called", "deadline_s", "given", "promise")

    def __init__(self, promise: Promise[Connection | None], deadline_s: float) -> None:
        self.promise = promise
        self.deadline_s = deadline_s
        self.given: Connection | None = None
        self.called = False


@final
class WaitingRoom:
    """Where requests wait while all connections are busy.

    Args:
        model: for which they wait, for errors.
        most: how many may wait at once.
    """

    def __init__(self, model: str, most: int) -> None:
        self._model = model
        self._most = most
        self._queue: deque[_Waiter] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    async def wait(self, deadline_s: float) -> Connection | None:
        """Wait for a free connection.

        Returns:
            The connection; None where there is room for a new one instead.

        Raises:
            Overloaded: too many wait already.
            Late: there was none by `deadline_s`.
            NotReady: all are sent away.
        """
        if len(self._queue) >= self._most:
            what = f"the queue for a connection to model {self._model}"
            raise Overloaded(what, self._most, "requests")
        waiter = _Waiter(Promise(asyncio.get_running_loop()), deadline_s)
        self._queue.append(waiter)
        try:
            return await waiter.promise
        except BaseException:
            self._leave(waiter)
            raise

    def _leave(self, waiter: _Waiter) -> None:
        """Take a waiter out; what it was given in this very moment goes to the next."""
        if waiter in self._queue:
            self._queue.remove(waiter)
        elif waiter.given is not None:
            waiter.given.release()
        elif waiter.called:
            self.room_made()

    def hand(self, connection: Connection) -> bool:
        """Give a connection to the first who waits; tell whether anybody does."""
        waiter = self._first()
        if waiter is None:
            return False
        waiter.given = connection
        waiter.promise.set_result(connection)
        return True

    def room_made(self) -> None:
        """Tell the first who waits that a new connection may be opened."""
        waiter = self._first()
        if waiter is not None:
            waiter.called = True
            waiter.promise.set_result(None)

    def _first(self) -> _Waiter | None:
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.promise.done():  # it may just have been cancelled
                return waiter
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
        while (waiter := self._first()) is not None:
            waiter.promise.set_exception(NotReady(f"model {self._model}"))
