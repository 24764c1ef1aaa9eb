"""The connections to one replica of a remote model, and whether it is to be passed over for now."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial
from typing import final

from penstock.core.clock import Clock
from penstock.core.drive import within
from penstock.core.errors import DeadlineExceeded
from penstock.core.promise import Promise
from penstock.runtimes.http_address import Address
from penstock.runtimes.http_connection import Connection
from penstock.runtimes.http_terms import PoolLimits
from penstock.runtimes.http_waiting import WaitingRoom


class ConnectFailed(Exception):
    """No connection could be established. `what` says why."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@final
class Replica:
    """One replica of a remote model.

    Args:
        index: among the replicas.
        address: where it is.
        tls: for an address that asks for TLS.
        waiting: who waits for a connection to any of the replicas.
        limits: of the pool.
        clock: tells the time.

    Attributes:
        failures: how often it has failed since it last answered.
        skip_until_s: instant until which it is passed over while others are there.
        connect_failures: how many connections could not be established.
    """

    def __init__(
        self,
        index: int,
        address: Address,
        *,
        tls: ssl.SSLContext | None,
        waiting: WaitingRoom,
        limits: PoolLimits,
        clock: Clock,
    ) -> None:
        self._index = index
        self.address = address
        self._tls = tls if address.tls else None
        self._waiting = waiting
        self._limits = limits
        self._clock = clock
        self._now_s = clock.now_s
        self._idle: list[Connection] = []
        self._connections: set[Connection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._closed = False
        self._handing = False
        self.failures = 0
        self.skip_until_s = 0.0
        self.connect_failures = 0

    @property
    def open(self) -> int:
        """How many connections there are, those being established included."""
        return len(self._connections)

    @property
    def busy(self) -> int:
        """How many of them carry a request."""
        return sum(connection.busy for connection in self._connections)

    @property
    def has_room(self) -> bool:
        """Whether another connection may be opened."""
        return len(self._connections) < self._limits.connections

    def at_hand(self) -> Connection | None:
        """Take the connection that was freed last, if one is free."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.usable():
                return connection
        return None

    async def connect(self, deadline_s: float) -> Connection:
        """Open a connection; needs room.

        Raises:
            ConnectFailed: it could not be established, or not in time.
            DeadlineExceeded: not before `deadline_s`.
        """
        loop = asyncio.get_running_loop()
        connection = Connection(self, self._index, loop)
        self._connections.add(connection)
        established: Promise[None] = Promise(loop)
        task = loop.create_task(self._establish(connection))
        self._connecting.add(task)
        task.add_done_callback(partial(self._established, connection, established))
        started_s = self._now_s()
        by_s = min(deadline_s, started_s + self._limits.connect_s)
        try:
            await within(by_s, _kept(established), clock=self._clock, name=str(self.address))
        except DeadlineExceeded:
            self._abandon(connection, task)
            if self._now_s() - started_s >= self._limits.fair_wait_s:
                self._connect_failed()
            if by_s == deadline_s:
                raise
            raise ConnectFailed(f"no connection within {self._limits.connect_s:g} s") from None
        except (OSError, ValueError) as error:  # ValueError: a host that is no name at all
            self._connect_failed()
            raise ConnectFailed(f"no connection ({_in_words(error)})") from error
        except BaseException:
            self._abandon(connection, task)
            raise
        return connection

    async def _establish(self, connection: Connection) -> None:
        address = self.address
        loop = asyncio.get_running_loop()
        name = address.host if self._tls is not None else None
        await loop.create_connection(
            lambda: connection, address.host, address.port, ssl=self._tls, server_hostname=name
        )

    def _established(
        self, connection: Connection, established: Promise[None], task: asyncio.Task[None]
    ) -> None:
        self._connecting.discard(task)
        closed = ConnectFailed("it is closed here")
        error = closed if task.cancelled() else task.exception()
        if error is not None or not connection.wanted:
            connection.abort()
        if error is not None:  # uvloop loses no connection that was cancelled as it was made
            self._forget(connection)
        if established.done():  # nobody waits any more
            return
        if error is None:
            established.set_result(None)
        else:
            established.set_exception(error)

    def _abandon(self, connection: Connection, task: asyncio.Task[None]) -> None:
        """Give back what came in the very moment in which nobody waited any more."""
        connection.wanted = False
        task.cancel()
        if task.done() and connection.made:
            connection.release()

    def _connect_failed(self) -> None:
        self.connect_failures += 1
        self.failed()

    def failed(self) -> None:
        """Pass it over for a while, longer each time."""
        now_s = self._now_s()
        if now_s >= self.skip_until_s:  # of many that fail at once, one counts
            self.failures += 1
            limits = self._limits
            skip_s = limits.skip_s * 2.0 ** min(self.failures - 1, 16)
            self.skip_until_s = now_s + min(skip_s, limits.max_skip_s)

    def answered(self) -> None:
        """Take it back into the round."""
        self.failures = 0
        self.skip_until_s = 0.0

    def freed(self, connection: Connection) -> None:
        """Take note that a connection can carry another request."""
        connection.idle_since_s = self._now_s()
        self._idle.append(connection)
        if len(self._waiting) and not self._handing:
            self._hand_out()

    def _hand_out(self) -> None:
        """Give what is free to who waits; who may give it back within that very call."""
        self._handing = True
        try:
            while len(self._waiting) and (connection := self.at_hand()) is not None:
                if not self._waiting.hand(connection):
                    self._idle.append(connection)
                    return
        finally:
            self._handing = False

    def lost(self, connection: Connection) -> None:
        """Take note that an established connection is gone."""
        if connection in self._idle:
            self._idle.remove(connection)
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._closed:
            self._waiting.room_made(self._index)

    def drop_idle(self) -> None:
        """Drop the free connections: one like them had been closed at the other end."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.abort()

    def sweep(self, now_s: float) -> float:
        """Give up what is late and what has been free for long; return the next instant to do so.

        Returns:
            Infinity where nothing is open.
        """
        for connection in list(self._connections):
            if connection.busy and connection.due_s <= now_s:
                connection.expire()
        idle_until_s = now_s - self._limits.idle_s
        for connection in [one for one in self._idle if one.idle_since_s <= idle_until_s]:
            self._idle.remove(connection)
            connection.abort()
        if not self._connections:
            return float("inf")
        idle = (connection.idle_since_s + self._limits.idle_s for connection in self._idle)
        busy = (connection.due_s for connection in self._connections if connection.busy)
        return min((now_s + self._limits.idle_s, *idle, *busy))

    async def close(self) -> None:
        """Drop all connections; what they carry ends with `ConnectionBroken`."""
        self._closed = True
        for connection in list(self._connections):
            connection.fail("it is closed here")
        connecting = list(self._connecting)
        for task in connecting:
            task.cancel()
        if connecting:
            await asyncio.wait(connecting)
        while self._connections:  # noqa: ASYNC110 - what was dropped is lost on the next turns
            await asyncio.sleep(0)


async def _kept(established: Promise[None]) -> None:
    await established


def _in_words(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    lines = str(error.strerror if isinstance(error, OSError) and error.strerror else error)
    return " ".join(lines.split())[:200]
