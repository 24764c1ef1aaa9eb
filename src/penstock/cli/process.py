"""One serving process: its generations, its server, and what it reports to the supervisor."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import final

from penstock.cli.banner import banner
from penstock.core.errors import NotReady
from penstock.core.log import Log
from penstock.core.model import MODEL_THREAD
from penstock.core.readings import log_readings, process_readings
from penstock.gateway.detail import detail_of
from penstock.gateway.generations import Generations
from penstock.gateway.library_log import libraries_logged
from penstock.gateway.server import Server, server_for
from penstock.gateway.tools import tools_for
from penstock.gateway.tracing import tracer_for
from penstock.graph.open import shared
from penstock.spec.plan import Plan
from penstock.spec.problems import Problem
from penstock.supervisor.answers import Changed, Status
from penstock.supervisor.draft import Asked
from penstock.supervisor.overlay import Event
from penstock.supervisor.reports import Reports
from penstock.supervisor.verbs import Operator
from penstock.supervisor.worker import Report


@final
class Process:
    """A worker as the supervisor knows it, in the process that does the work.

    Args:
        generations: what it serves.
        server: serves it.
    """

    def __init__(self, generations: Generations, server: Server) -> None:
        self.generations = generations
        self.server = server
        self._started_wall_s = generations.shares.clock.wall_s()

    async def prepare(self, plan: Plan) -> tuple[str, ...]:
        """Open a plan's graph beside the one that is served; return what is wrong with it."""
        return await self.generations.prepare(plan)

    async def flip(self, generation: int) -> None:
        """Serve the generation that has been prepared, from the next request on."""
        await self.generations.flip(generation)

    async def discard(self, generation: int) -> None:
        """Close a generation that has been prepared."""
        await self.generations.discard(generation)

    async def report(self) -> Report:
        """Return what the process counts and is."""
        return Report(
            pid=os.getpid(),
            generation=self.generations.plan.generation,
            started_wall_s=self._started_wall_s,
            measures=self.generations.shares.measures.snapshot(),
            detail=detail_of(self.generations.serves.graph),
        )

    def settle(self) -> None:
        """Look at what has been loaded once, and never again when garbage is collected."""
        gc.collect()
        gc.freeze()

    def announce(self, host: str, port: int) -> None:
        """Print what is served, and a line to try."""
        graph = self.generations.serves.graph
        alone = self.generations.plan.route is not None
        print(banner(graph, host, port, alone=alone), flush=True)


@final
class Ahead:
    """The operator of a gateway that is made before its supervisor is.

    Attributes:
        supervisor: does what is asked, once it is there.
    """

    def __init__(self) -> None:
        self.supervisor: Operator | None = None

    async def set(self, changes: Sequence[Asked], who: str) -> Changed:
        """Set values, all at once."""
        return await self._now().set(changes, who)

    async def switch(self, target: str, state: str, who: str) -> Changed:
        """Switch a route or an arm."""
        return await self._now().switch(target, state, who)

    async def reload(self, who: str, cause: str = "reload") -> Changed:
        """Read the file and open its models anew."""
        return await self._now().reload(who, cause)

    async def history(self, limit: int | None = None) -> tuple[Event, ...]:
        """Return what has changed."""
        return await self._now().history(limit)

    async def status(self) -> Status:
        """Return what is served, and by whom."""
        return await self._now().status()

    async def reports(self) -> Reports:
        """Return what all workers count and are."""
        return await self._now().reports()

    def _now(self) -> Operator:
        if self.supervisor is None:
            raise NotReady("the supervisor")
        return self.supervisor


@asynccontextmanager
async def process(
    environment: Mapping[str, str], *, index: int, log: Log, operator: Operator
) -> AsyncIterator[Process]:
    """Make what serves; it serves once a generation has been prepared and flipped to.

    Args:
        environment: for `${...}` in specs, for the admin token and for where traces go.
        index: of the worker.
        log: is told what is odd.
        operator: does what operators ask for over HTTP.
    """
    shares = shared(log=log)
    clock, measures = shares.clock, shares.measures
    tracer = tracer_for(environment, clock)
    tools = tools_for(clock, operator=operator, environment=environment, tracer=tracer)

    def warn(problem: Problem) -> None:
        log.warning(str(problem))

    generations = Generations(environment, shares=shares, tools=tools, warn=warn, fault=log.warning)
    with (
        libraries_logged(log),
        measures.watching(partial(process_readings, str(index), clock.wall_s())),
        measures.watching(partial(log_readings, log)),
    ):
        try:
            yield Process(generations, server_for(generations))
        finally:
            await generations.close()
            tools.apart.close()
            if tracer is not None:
                await asyncio.to_thread(tracer.close)


def leave_hanging_models(status: int) -> None:
    """End the process here where a model's run never ends: the interpreter would wait for it."""
    if any(t.name.startswith(MODEL_THREAD) and t.is_alive() for t in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
