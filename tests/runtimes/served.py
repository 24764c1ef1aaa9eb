"""A gateway behind a real socket on the test's own loop, for clients of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from penstock.core.clock import Clock
from penstock.core.model import ModelSource
from penstock.core.predictor import Description, OpenModel
from penstock.runtimes.remote import open_remote
from tests.gateway.asking import AsgiApp, ask
from tests.gateway.opening import open_gateway
from tests.runtimes.faulty_server import FaultyServer, Request, Visit, answer, faulty
from tests.support import ManualClock

ROUTE: Final = "it"


@asynccontextmanager
async def served(app: AsgiApp) -> AsyncIterator[FaultyServer]:
    """Serve an app over sockets."""
    under_way: set[asyncio.Task[None]] = set()

    async def respond(visit: Visit, request: Request) -> None:
        method, path, _ = request.line.split()
        headers: dict[str, str | bytes] = dict(request.headers)
        got = await ask(app, method, path, request.body, headers=headers)
        if not visit.transport.is_closing():
            given = {name.replace("-", "_"): value for name, value in got.headers}
            visit.write(answer(got.content, got.status, **given))

    def behave(visit: Visit, request: Request) -> None:
        task = asyncio.ensure_future(respond(visit, request))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    async with faulty(behave) as server:
        yield server
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


@asynccontextmanager
async def known(source: ModelSource, clock: Clock) -> AsyncIterator[OpenModel]:
    """Open a remote model and yield it once it is known, with its description."""
    told: asyncio.Future[Description] = asyncio.get_running_loop().create_future()
    async with open_remote(source, clock=clock) as model:
        assert model.follow is not None
        model.follow(told.set_result)
        yield msgspec.structs.replace(model, description=await told)


@asynccontextmanager
async def remote_route(
    text: str, folder: Path, *, name: str = "svc", clock: Clock | None = None
) -> AsyncIterator[OpenModel]:
    """Serve a spec's route `it`, and open it as a remote model."""
    async with open_gateway(text, folder=folder) as gateway, served(gateway) as server:
        source = ModelSource(name=name, folder=folder, urls=(f"http://{server.url}/{ROUTE}",))
        async with known(source, clock or ManualClock()) as model:
            yield model


@asynccontextmanager
async def open_served(source: ModelSource, /, *, clock: Clock) -> AsyncIterator[OpenModel]:
    """Serve a callable by a gateway and open that as a remote model: a runtime like the others."""
    labels = f", labels: [{', '.join(source.labels)}]" if source.labels else ""
    text = (
        f'models: {{local: {{runtime: "{source.runtime}", execution: inline{labels}}}}}\n'
        f"routes: {{{ROUTE}: local}}\n"
    )
    async with remote_route(text, source.folder, name=source.name, clock=clock) as model:
        yield model
