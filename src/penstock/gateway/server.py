"""Running the gateway on uvicorn: listening, draining, stopping.

    SIGTERM   answers say `connection: close`, readiness fails, new connections are still taken
    + grace   no new connections; idle ones are closed, requests under way end
    + drain   what still has not ended is cut off: it is answered 503, or not at all

`core/stop.py` says how long what may take.

A connection that has been told so is closed by its client between two requests; one that is closed
by the server may be losing a request that is on its way.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, cast, final

import uvicorn

from penstock.core.drive import Driven
from penstock.core.log import Says
from penstock.core.stop import CUT_S, DRAIN_S
from penstock.gateway.bounds import KEEP_ALIVE_S, sweep_every
from penstock.gateway.exchange import Receive, Scope, Send
from penstock.gateway.gateway import Serving
from penstock.gateway.lane import LaneProtocol

MAX_CONNECTIONS: Final = 4096
"""Connections at once; requests on further ones are answered 503 by the server itself."""

BACKLOG: Final = 2048
SWEEP_S: Final = 1.0
GRACE_S: Final = 1.0
"""How long clients have, after the server has been told to stop, to hear of it."""

LAST_S: Final = 0.5
"""How long those may take to ask that were accepted last."""

POLL_S: Final = 0.02


@final
class Server(uvicorn.Server):
    """uvicorn's server with the sweep, an orderly end, and sockets to come and go.

    Args:
        config: uvicorn's.
        serving: tells what is served.
        under_way: exchanges that are being answered without a Task.
        log: is told of what is cut off.

    Attributes:
        listening: sockets that this process holds beside its own, to be closed with it.
        on_leaving: is called before anything else when the server has been told to stop.
    """

    def __init__(
        self, config: uvicorn.Config, serving: Serving, under_way: set[Driven[None]], log: Says
    ) -> None:
        super().__init__(config)
        self._serving = serving
        self._under_way = under_way
        self._log = log
        self._adopted: dict[int, asyncio.Server] = {}
        self.listening: Sequence[socket.socket] = ()
        self.on_leaving: Callable[[], Awaitable[None]] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, and sweeping."""
        await super().startup(sockets)
        sweeping = sweep_every(SWEEP_S, self.server_state.connections)
        self._sweeping = asyncio.ensure_future(sweeping)

    async def adopt(self, index: int, listening: socket.socket) -> None:
        """Take connections from another worker's socket too, while that worker is down."""
        if index in self._adopted or self._is_ending():
            return
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as undo:
            own = undo.enter_context(listening.dup())
            self._adopted[index] = await loop.create_server(self._protocol, sock=own)
            undo.pop_all()
        if self._is_ending():  # it may have begun to meanwhile
            self.release(index)

    def _is_ending(self) -> bool:
        return self.should_exit

    def release(self, index: int) -> None:
        """Leave another worker's socket to it again."""
        server = self._adopted.pop(index, None)
        if server is not None:
            server.close()

    def _protocol(self) -> asyncio.Protocol:
        protocol: Any = self.config.http_protocol_class
        made: asyncio.Protocol = protocol(
            config=self.config, server_state=self.server_state, app_state={}, _loop=None
        )
        return made

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Have clients close their connections, then stop listening, drain, cut off what is left.

        uvicorn's own does as much, but knows only of what has a Task.
        """
        self._serving.stop.begin()
        if self.on_leaving is not None:
            await self.on_leaving()
        await self._tell_clients()
        self._sweeping.cancel()
        await self._stop_listening([*(sockets or ()), *self.listening])
        connections: set[Any] = self.server_state.connections
        for connection in list(connections):
            connection.shutdown()  # those that are idle close
        await self._wait_while(self._may_drain, DRAIN_S)
        await self._cut_off()
        self._captured_signals.clear()  # else uvicorn raises them anew: no orderly end, no status 0

    async def _stop_listening(self, sockets: Sequence[socket.socket]) -> None:
        """Take what waits to be accepted, stop listening, and answer those last ones.

        A socket that is closed resets what waits on it. Between the last accept and the close there
        is nothing that waits: it is one step of the loop.
        """
        last = [one for listening in sockets for one in _accepted(listening)]
        for server in (*self.servers, *self._adopted.values()):
            server.close()
        for listening in sockets:
            listening.close()
        loop = asyncio.get_running_loop()
        for one in last:
            with contextlib.suppress(OSError):  # it has gone again
                await loop.connect_accepted_socket(self._protocol, one)
        await asyncio.sleep(0)  # what the loop has accepted itself becomes a connection here
        await self._wait_while(self._has_silent, LAST_S)

    def _may_drain(self) -> bool:
        return self._is_busy() and self._serving.stop.left_s(DRAIN_S) > 0.0

    def _is_busy(self) -> bool:
        return bool(self.server_state.connections or self._unanswered())

    def _unanswered(self) -> list[asyncio.Task[None] | Driven[None]]:
        return [*self.server_state.tasks, *self._under_way]

    async def _cut_off(self) -> None:
        """End what has not ended: cancel what is being answered, drop all connections.

        Who is told why in `CUT_S` has been lucky: its client may not read, its model may not heed.
        """
        connections: set[Any] = self.server_state.connections
        self._serving.stop.cuts = True
        cut = sum(connection.cut_off() for connection in list(connections))
        await asyncio.sleep(0)  # whoever has been dropped is told before it is cancelled
        unanswered = self._unanswered()
        if cut := cut + len(unanswered):
            what = "requests were cut off: the server stops, and they had not been answered"
            self._log.warning(what, requests=cut)
        for one in unanswered:
            one.cancel()
        await self._wait_while(self._is_busy, CUT_S, forced=True)
        for connection in list(connections):
            connection.transport.abort()

    def _has_silent(self) -> bool:
        """Tell whether there is a connection on which nothing has been asked yet.

        Its request may be on its way; to close it now would lose that.
        """
        connections: set[Any] = self.server_state.connections
        return any(connection.cycle is None for connection in connections)

    async def _wait_while(
        self, is_so: Callable[[], bool], seconds: float, *, forced: bool = False
    ) -> None:
        """Wait while something is so; who is told twice to stop waits for what is forced only."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + seconds
        while (forced or not self.force_exit) and is_so():
            if loop.time() >= until_s:
                return
            await asyncio.sleep(POLL_S)

    async def _tell_clients(self) -> None:
        self._serving.draining = True
        connections: set[Any] = self.server_state.connections
        for connection in connections:
            if connection.cycle is not None:
                connection.cycle.keep_alive = False
        if connections:
            await self._wait_while(lambda: True, GRACE_S)  # new ones may come


def _accepted(listening: socket.socket) -> Iterator[socket.socket]:
    """Accept all that waits on a socket; those that wait for nothing to come are not waited for."""
    with contextlib.suppress(OSError):  # nothing waits any more, or it is closed already
        listening.setblocking(False)
        while True:
            yield listening.accept()[0]


@final
class _HttpOnly:
    """The gateway, whose life somebody else looks after, and a no to all that is not HTTP."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._serving.serves(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})


def server_for(serving: Serving, *, log: Says) -> Server:
    """Return a server; it is given its listening sockets when it is run.

    Args:
        serving: tells what is served.
        log: is told of what is odd.
    """
    under_way: set[Driven[None]] = set()
    config = uvicorn.Config(
        _HttpOnly(serving),
        loop="uvloop",
        http=cast("type[asyncio.Protocol]", partial(LaneProtocol, serving, under_way)),
        ws="none",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,  # what it says comes into our log
        limit_concurrency=MAX_CONNECTIONS,
        backlog=BACKLOG,
        timeout_keep_alive=int(KEEP_ALIVE_S),
    )
    return Server(config, serving, under_way, log)
