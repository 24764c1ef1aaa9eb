"""The gateway as an ASGI app: any ASGI server runs it, and it mounts into a user's own app.

app = App("penstock.yaml")                     # uvicorn module:app
users_app.mount("/models", app)                # below another app ...
async with app.opened(): ...                   # ... whose lifespan then opens and closes it
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final, final

from penstock.core.clock import Clock, SystemClock
from penstock.core.errors import NotReady, PenstockError, SpecError
from penstock.core.ids import IdSource, is_well_formed
from penstock.core.log import Log
from penstock.core.record import Recorder
from penstock.core.stop import WRITE_S
from penstock.gateway.exchange import Exchange, Receive, Scope, Send, over_asgi
from penstock.gateway.gateway import Gateway
from penstock.gateway.generations import Generations
from penstock.gateway.serving import plan_of, to_stderr
from penstock.gateway.tools import prediction_log_for, tools_for
from penstock.graph.open import shared
from penstock.spec.plan import Plan
from penstock.stores.prediction_log import CLOSE_TIMEOUT_S
from penstock.stores.sinks import log_places

_NOT_OPEN: Final = "the gateway"


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
        self._generations: Generations | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Gateway]:
        """Open the spec's models and serve until left.

        Raises:
            SpecError: the spec has mistakes, or models cannot be opened.
        """
        plan = plan_of(self._path, route=self._route)
        async with serving(plan, self._environment) as generations:
            self._generations = generations
            try:
                yield generations.serves
            finally:
                self._generations = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one exchange, or a lifespan."""
        if scope["type"] == "lifespan":
            await lifespan(self.opened(), receive, send)
        elif scope["type"] == "http":
            if self._generations is not None:
                await self._generations.serves(scope, receive, send)
            else:
                await _not_open(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})


@asynccontextmanager
async def serving(
    plan: Plan,
    environment: Mapping[str, str],
    *,
    clock: Clock | None = None,
    recorder: Recorder | None = None,
) -> AsyncIterator[Generations]:
    """Open a plan and serve it until left.

    Args:
        plan: the first generation.
        environment: for `${...}` in its file, and for where predictions are recorded.
        clock: the machine's unless given.
        recorder: takes a record of every request's end, if anybody wants one.

    Raises:
        SpecError: it cannot be served; all that is wrong is told.
    """
    clock = clock or SystemClock()
    log = Log(clock)
    predictions = prediction_log_for(log_places(environment), environment, clock, log)
    shares = shared(clock=clock, recorder=recorder, log=log, predictions=predictions)
    tools = tools_for(clock)
    generations = Generations(
        environment, shares=shares, tools=tools, warn=to_stderr, fault=_to_stderr
    )
    try:
        problems = await generations.prepare(plan)
        if problems:
            raise SpecError(problems)
        await generations.flip(plan.generation)
        yield generations
    finally:
        try:
            await generations.close()
        finally:
            await predictions.close(tools.stop.left_s(WRITE_S, CLOSE_TIMEOUT_S))
            tools.apart.close()


def _to_stderr(sentence: str) -> None:
    print(sentence, file=sys.stderr)  # noqa: T201


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
