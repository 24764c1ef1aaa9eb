"""The gateway as an ASGI app: any ASGI server runs it, and it mounts into a user's own app.

app = App("penstock.yaml")                     # uvicorn module:app
users_app.mount("/models", app)                # below another app ...
async with app.opened(): ...                   # ... whose lifespan then opens and closes it
"""

from __future__ import annotations

import os
import traceback
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final, final

from penstock.core.errors import (
    InvalidRequestId,
    NotReady,
    PenstockError,
    ServingError,
)
from penstock.core.ids import IdSource, SeedSource, is_well_formed
from penstock.gateway.body import ClientGone, linger
from penstock.gateway.decode import ApartDecoder
from penstock.gateway.exchange import Exchange, Receive, Scope, Send, over_asgi
from penstock.gateway.fields import FieldReader
from penstock.gateway.operations import serve_operations
from penstock.gateway.paths import Handler, PathTable
from penstock.gateway.plain import FaceTools, Lane, PlainRoute
from penstock.gateway.serving import Served, open_served, read_served
from penstock.gateway.status import InternalError
from penstock.graph.open import Graph
from penstock.spec.fields import request_fields

_NOT_OPEN: Final = "the gateway"


@final
class Gateway:
    """The faces of an open graph.

    Args:
        graph: what is open.
        served: the spec it was opened from.
        ids: makes request ids.
        seeds: makes seeds.

    Attributes:
        lane: the paths that a server may answer without ASGI, its bodies in hand.
    """

    def __init__(
        self,
        graph: Graph,
        served: Served,
        *,
        ids: IdSource | None = None,
        seeds: SeedSource | None = None,
    ) -> None:
        self.graph = graph
        self._now_s = graph.clock.now_s
        self._new_id = (ids or IdSource()).new_id
        self._apart = ApartDecoder(graph.clock)
        self._table = PathTable(() if served.alone else tuple(graph.routes))
        tools = FaceTools(graph, self._apart, seeds or SeedSource())
        self.lane: dict[bytes, Lane] = {}
        for name, route in graph.routes.items():
            named = request_fields(served.spec.routes[name], served.spec)
            plain = PlainRoute(route, FieldReader(named), tools)
            for prefix in prefixes(name, graph.default, alone=served.alone):
                plain.serve_at(self._table, prefix)
                serve_operations(self._table, prefix)
                self.lane.update(plain.lane(prefix))
        serve_operations(self._table, "")

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
        await self.guarded(exchange, self._find_and_answer)
        if exchange.lingers and exchange.answered:
            await linger(exchange, self.graph.clock)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def guarded(self, exchange: Exchange, answer: Handler) -> None:
        """Have `answer` answer the exchange, and answer its errors; never raises."""
        try:
            self._identify(exchange)
            await answer(exchange)
        except ServingError as error:
            await self._refuse(exchange, error)
        except ClientGone:
            pass  # nobody is left to answer
        except Exception as cause:  # noqa: BLE001 - the outermost layer: it answers and logs
            await self._fail(exchange, cause)

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
        exchange.request_id = given.decode("latin-1")
        if not is_well_formed(exchange.request_id):
            exchange.request_id = self._new_id()
            raise InvalidRequestId("the header x-request-id")

    def _find_and_answer(self, exchange: Exchange) -> Awaitable[None]:
        return self._table.find(exchange)

    async def _fail(self, exchange: Exchange, cause: Exception) -> None:
        self.graph.faults.report(f"request {exchange.request_id}", cause)
        if not exchange.answered:
            await exchange.answer_error(InternalError())

    def close(self) -> None:
        """End the process that decodes large bodies."""
        self._apart.close()


@final
class App:
    """An ASGI app that serves a spec.

    Args:
        spec: the YAML file.
        environment: for `${...}` in it; the process's own unless given.
        route: serve only this route or model, at the root.
    """

    def __init__(
        self,
        spec: str | os.PathLike[str],
        *,
        environment: Mapping[str, str] | None = None,
        route: str | None = None,
    ) -> None:
        self._path = Path(spec)
        self._environment = os.environ if environment is None else environment
        self._route = route
        self._gateway: Gateway | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Gateway]:
        """Open the spec's models and serve until left.

        Raises:
            SpecError: the spec has mistakes.
            ModelFileError: a model cannot be opened.
        """
        served = read_served(self._path, self._environment, route=self._route)
        async with gateway_of(served) as gateway:
            self._gateway = gateway
            try:
                yield gateway
            finally:
                self._gateway = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one exchange, or a lifespan."""
        if scope["type"] == "lifespan":
            await lifespan(self.opened(), receive, send)
        elif scope["type"] == "http":
            if self._gateway is not None:
                await self._gateway(scope, receive, send)
            else:
                await _not_open(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})


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


async def lifespan(
    opening: AbstractAsyncContextManager[object], receive: Receive, send: Send
) -> None:
    """Open at the server's start and close at its end, as ASGI's lifespan asks."""
    await receive()
    try:
        await opening.__aenter__()
    except Exception as error:  # noqa: BLE001 - else the server would start without us
        if not isinstance(error, PenstockError):
            traceback.print_exc()
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    try:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    finally:
        await opening.__aexit__(None, None, None)
    await send({"type": "lifespan.shutdown.complete"})


async def _not_open(scope: Scope, receive: Receive, send: Send) -> None:
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    request_id = given if is_well_formed(given) else IdSource().new_id()
    exchange = Exchange(scope["method"], "", b"", {}, receive, over_asgi(send), request_id, 0.0)
    await exchange.answer_error(NotReady(_NOT_OPEN))
