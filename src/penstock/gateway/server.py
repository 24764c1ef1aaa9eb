"""Running the gateway on uvicorn."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import Final, cast, final

import uvicorn

from penstock.gateway.app import Gateway
from penstock.gateway.bounds import KEEP_ALIVE_S, sweep_every
from penstock.gateway.exchange import Receive, Scope, Send
from penstock.gateway.lane import LaneProtocol

MAX_CONNECTIONS: Final = 4096
"""Connections at once; requests on further ones are answered 503 by the server itself."""

BACKLOG: Final = 2048
SWEEP_S: Final = 1.0
DRAIN_S: Final = 30
"""How long requests under way may take to end after the server has been told to stop."""


@final
class Server(uvicorn.Server):
    """uvicorn's server with the sweep."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, and sweeping."""
        await super().startup(sockets)
        sweeping = sweep_every(SWEEP_S, self.server_state.connections)
        self._sweeping = asyncio.ensure_future(sweeping)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop sweeping, drain, stop."""
        self._sweeping.cancel()
        await super().shutdown(sockets)
        self._captured_signals.clear()  # else uvicorn raises them anew: no orderly end, no status 0


@final
class _HttpOnly:
    """The gateway, whose life somebody else looks after, and a no to all that is not HTTP."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._gateway(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})


def server_for(gateway: Gateway) -> Server:
    """Return a server for an open gateway; it is given its listening sockets when it is run."""
    config = uvicorn.Config(
        _HttpOnly(gateway),
        loop="uvloop",
        http=cast("type[asyncio.Protocol]", partial(LaneProtocol, gateway)),
        ws="none",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
        limit_concurrency=MAX_CONNECTIONS,
        backlog=BACKLOG,
        timeout_keep_alive=int(KEEP_ALIVE_S),
        timeout_graceful_shutdown=DRAIN_S,
    )
    return Server(config)
