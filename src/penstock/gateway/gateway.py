"""The faces of one open graph: finds who answers an exchange, and answers its errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Protocol, final

from penstock.core.errors import InvalidRequestId, ServingError
from penstock.core.families import EDGE_ERRORS
from penstock.core.ids import is_well_formed
from penstock.core.stop import Stop
from penstock.gateway.admin import Admin
from penstock.gateway.body import ClientGone, linger
from penstock.gateway.decode import LARGE_BYTES
from penstock.gateway.exchange import Exchange, Receive, Scope, Send, over_asgi
from penstock.gateway.fields import FieldReader
from penstock.gateway.headers import BLANKS
from penstock.gateway.operations import Operations, serve_operations
from penstock.gateway.paths import Handler, PathTable
from penstock.gateway.plain import FaceTools, Lane, PlainRoute
from penstock.gateway.serving import Served, open_served
from penstock.gateway.status import InternalError, Stopping, status_of
from penstock.gateway.tools import GatewayTools, tools_for
from penstock.graph.open import Graph
from penstock.spec.fields import request_fields


class Serving(Protocol):
    """Tells a server which gateway serves; it may be another one from request to request.

    Attributes:
        serves: the gateway for the next request.
        draining: the server is about to stop: connections are not to be kept.
        stop: the stop of the server's process.
    """

    serves: Gateway
    draining: bool
    stop: Stop


@final
class Always:
    """One gateway for good.

    Args:
        gateway: serves.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.serves = gateway
        self.draining = False
        self.stop = gateway.stop


@final
class Gateway:
    """The faces of an open graph.

    Args:
        graph: what is open.
        served: the spec it was opened from.
        tools: what this gateway has in common with others; made here unless given.

    Attributes:
        lane: the paths that a server may answer without ASGI, its bodies in hand.
        lane_bytes: the largest body for that.
        in_flight: how many exchanges have begun here and not ended.
        stop: the stop of the process.
    """

    def __init__(self, graph: Graph, served: Served, *, tools: GatewayTools | None = None) -> None:
        tools = tools or tools_for(graph.clock)
        self.graph = graph
        self.stop = tools.stop
        self.in_flight = 0
        self._idle: asyncio.Event | None = None
        self._now_s = graph.clock.now_s
        self._new_id = tools.ids.new_id
        self._tools = tools
        self._table = PathTable(() if served.alone else tuple(graph.routes))
        face = FaceTools(
            graph, tools.apart, tools.seeds, tools.ids, tracer=tools.tracer, stop=tools.stop
        )
        self.lane_bytes = min(LARGE_BYTES, graph.limits.max_body_bytes)
        self.lane: dict[bytes, Lane] = {}
        for name, route in graph.routes.items():
            named = request_fields(served.spec.routes[name], served.spec)
            plain = PlainRoute(route, FieldReader(named), face)
            for prefix in prefixes(name, graph.default, alone=served.alone):
                plain.serve_at(self._table, prefix)
                serve_operations(self._table, prefix, self._is_ready)
                self.lane.update(plain.lane(prefix))
        serve_operations(self._table, "", self._is_ready)
        if tools.operator is not None:
            Operations(tools.operator, graph.clock, tools.shipped).serve_at(self._table)
            if tools.token is not None:
                Admin(tools.operator, tools.token, graph.clock).serve_at(self._table)

    def _is_ready(self) -> bool:
        return not self._tools.draining.is_so

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP exchange."""
        path: str = scope["path"]
        root: str = scope.get("root_path", "")
        if root and path.startswith(f"{root}/"):
            path = path[len(root) :]
        exchange = Exchange(
            scope["method"],
            path,
            scope["query_string"],
            dict(scope["headers"]),
            receive,
            over_asgi(send),
            "",
            self._now_s(),
        )
        client = scope.get("client")
        exchange.peer = str(client[0]) if client else ""
        await self.guarded(exchange, self._find_and_answer)
        if exchange.lingers and exchange.answered:
            try:
                await linger(exchange, self.graph.clock)
            except asyncio.CancelledError:
                if not self.stop.cuts:
                    raise
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def guarded(self, exchange: Exchange, answer: Handler) -> None:
        """Have `answer` answer the exchange, and answer its errors.

        Raises:
            CancelledError: it was cancelled, and not by the stop of the server.
        """
        self.in_flight += 1
        try:
            self._identify(exchange)
            await answer(exchange)
        except ServingError as error:
            self._tell(exchange, error)
            await self._refuse(exchange, error)
        except ClientGone:
            pass  # nobody is left to answer
        except asyncio.CancelledError:
            if not self.stop.cuts:
                raise
            await self._cut_off(exchange)
        except Exception as cause:  # noqa: BLE001 - the outermost layer: it answers and logs
            self._count(exchange, InternalError())
            await self._fail(exchange, cause)
        finally:
            self.in_flight -= 1
            if self._idle is not None and not self.in_flight:
                self._idle.set()

    async def idle(self) -> None:
        """Return once no exchange is under way; to be asked when none will begin any more."""
        if self.in_flight:
            self._idle = asyncio.Event()
            await self._idle.wait()

    def abandon(self) -> None:
        """Have `idle` return, whatever is under way: it has had its time."""
        if self._idle is not None:
            self._idle.set()

    async def _cut_off(self, exchange: Exchange) -> None:
        if not exchange.answered:
            self._tell(exchange, Stopping())
            await self._refuse(exchange, Stopping())

    def _count(self, exchange: Exchange, error: ServingError) -> None:
        """Count an error that no prediction has: of an unknown path, or an endpoint."""
        if not (exchange.counted or exchange.answered):
            self.graph.measures.count(EDGE_ERRORS, str(status_of(error)))

    def _tell(self, exchange: Exchange, error: ServingError) -> None:
        """Have an error counted; what a prediction was asked for is recorded by its route."""
        refused = self._table.refused_at(exchange.path)
        if refused is None or exchange.counted or exchange.answered:
            self._count(exchange, error)
            return
        try:
            refused(exchange, error)
        except Exception as cause:  # noqa: BLE001 - it was refused all the same
            self.graph.faults.report_request(exchange.request_id, cause)

    async def _refuse(self, exchange: Exchange, error: ServingError) -> None:
        self.graph.faults.report_models(exchange.request_id, error)
        try:
            await exchange.answer_error(error)
        except Exception as cause:  # noqa: BLE001 - a user's own message may be no text at all
            await self._fail(exchange, cause)

    def _identify(self, exchange: Exchange) -> None:
        given = exchange.headers.get(b"x-request-id")
        if given is None:
            exchange.request_id = self._new_id()
            return
        exchange.request_id = given.strip(BLANKS).decode("latin-1")
        if not is_well_formed(exchange.request_id):
            exchange.request_id = self._new_id()
            raise InvalidRequestId("the header x-request-id")

    def _find_and_answer(self, exchange: Exchange) -> Awaitable[None]:
        return self._table.find(exchange)

    async def _fail(self, exchange: Exchange, cause: Exception) -> None:
        self.graph.faults.report_request(exchange.request_id, cause)
        if not exchange.answered:
            await exchange.answer_error(InternalError())

    def retire(self) -> None:
        """Let go of all that answers: nothing is asked of this gateway any more.

        The table and the gateway hold each other, and what was loaded at the start is not looked
        at when garbage is collected: without this the first generation's models would stay.
        """
        self._table.clear()
        self.lane.clear()

    def close(self) -> None:
        """End the process that decodes large bodies."""
        self._tools.apart.close()


def prefixes(route: str, default: str | None, *, alone: bool) -> tuple[str, ...]:
    """Return where a route is served; `alone`: only the default one, only at the root."""
    if alone:
        return ("",) if route == default else ()
    return (f"/{route}", "") if route == default else (f"/{route}",)


@asynccontextmanager
async def gateway_of(served: Served) -> AsyncIterator[Gateway]:
    """Open a spec as a gateway."""
    async with open_served(served) as graph:
        gateway = Gateway(graph, served)
        try:
            yield gateway
        finally:
            gateway.close()
