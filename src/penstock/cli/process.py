"""One serving process: its generations, its server, and what it reports to the supervisor."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import AsyncIterator, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, final

import uvloop

from penstock.cli.banner import banner
from penstock.cli.compacting import compacting
from penstock.core.clock import Clock, SystemClock
from penstock.core.log import Log
from penstock.core.model import MODEL_THREAD
from penstock.core.readings import log_readings, process_readings
from penstock.core.stop import CLOSE_S, CUT_S, WRITE_S, Stop, ended_within
from penstock.gateway.detail import detail_of
from penstock.gateway.generations import Generations
from penstock.gateway.library_log import libraries_logged
from penstock.gateway.server import Server, server_for
from penstock.gateway.tools import GatewayTools, prediction_log_for, tools_for
from penstock.gateway.tracing import tracer_for
from penstock.graph.open import shared
from penstock.spec.plan import Plan
from penstock.spec.problems import Problem
from penstock.stores.prediction_log import CLOSE_TIMEOUT_S, PredictionLog
from penstock.stores.sinks import LogPlaces
from penstock.supervisor.verbs import Operator
from penstock.supervisor.worker import Report

HANG_S: Final = 0.25
"""How long Tasks and threads may take to end when all else has; they are not waited for then."""

_THREAD: Final = "work-"


@final
class Process:
    """A worker as the supervisor knows it, in the process that does the work.

    Args:
        generations: what it serves.
        server: serves it.
        predictions: records what comes.
        places: where that is recorded.
    """

    def __init__(
        self,
        generations: Generations,
        server: Server,
        predictions: PredictionLog,
        places: LogPlaces,
    ) -> None:
        self.generations = generations
        self.server = server
        self._predictions = predictions
        self._places = places
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
            detail={
                **detail_of(self.generations.serves.graph),
                "prediction_log": self._predictions.detail(),
            },
        )

    def last(self) -> Report:
        """Return what the process has counted in all, once its last request is answered."""
        return Report(
            pid=os.getpid(),
            generation=self.generations.plan.generation,
            started_wall_s=self._started_wall_s,
            measures=self.generations.shares.measures.snapshot(),
        )

    def settle(self) -> None:
        """Look at what has been loaded once, and never again when garbage is collected."""
        gc.collect()
        gc.freeze()

    def announce(self, host: str, port: int) -> None:
        """Print what is served, and a line to try, if anybody reads it.

        Where standard output is for records, nothing else is printed there.
        """
        graph = self.generations.serves.graph
        alone = self.generations.plan.route is not None
        with suppress(OSError):
            out = sys.stderr if self._places.stdout else sys.stdout
            print(banner(graph, host, port, alone=alone), flush=True, file=out)


@asynccontextmanager
async def process(
    environment: Mapping[str, str],
    *,
    index: int,
    log: Log,
    operator: Operator,
    places: LogPlaces,
    stop: Stop,
) -> AsyncIterator[Process]:
    """Make what serves; it serves once a generation has been prepared and flipped to.

    Args:
        environment: for `${...}` in specs, for the admin token and for where traces go.
        index: of the worker.
        log: is told what is odd.
        operator: does what operators ask for over HTTP.
        places: where predictions are recorded.
        stop: of the process; it begins here at the latest.
    """
    clock = stop.clock
    predictions = prediction_log_for(places, environment, clock, log)
    shares = shared(clock=clock, log=log, predictions=predictions)
    measures = shares.measures
    tracer = tracer_for(environment, clock)
    tools = tools_for(
        clock,
        operator=operator,
        environment=environment,
        tracer=tracer,
        shipped=places.folder if places.ships else None,
        stop=stop,
    )

    def warn(problem: Problem) -> None:
        log.warning(str(problem))

    generations = Generations(environment, shares=shares, tools=tools, warn=warn, fault=log.warning)
    with (
        libraries_logged(log),
        measures.watching(partial(process_readings, str(index), clock.wall_s())),
        measures.watching(partial(log_readings, log)),
        measures.watching(predictions.readings),
    ):
        try:
            predictions.begin()
            compacted = places if index == 0 else LogPlaces()  # one process has it done for all
            async with compacting(compacted, clock=clock, log=log, measures=measures):
                yield Process(generations, server_for(generations, log=log), predictions, places)
        finally:
            await closed(generations, predictions, tools, log)


async def closed(
    generations: Generations, predictions: PredictionLog, tools: GatewayTools, log: Log
) -> None:
    """Close all, each in its share of the time; what one leaves undone keeps no other from it."""
    stop, tracer = tools.stop, tools.tracer
    stop.begin()
    closing = asyncio.ensure_future(generations.close())
    if await stop.ended_by(CLOSE_S, {closing}):
        log.error("not all that was served could be closed in time")
    tools.apart.close()
    writing = predictions.close(stop.left_s(WRITE_S, CLOSE_TIMEOUT_S))
    last = {asyncio.ensure_future(writing)}
    if tracer is not None:
        last.add(asyncio.ensure_future(asyncio.to_thread(tracer.close)))
    if await stop.ended_by(WRITE_S + CUT_S, last):
        log.error("not all records and spans could be written in time")
    for one in (closing, *last):
        if one.done():
            one.result()


def run(work: Coroutine[Any, Any, None]) -> None:
    """Do a process's work on a loop, to its end.

    Where a thread or a Task hangs then, the process ends here with status 0: a model that never
    ends to load or to run cannot be told to, and the interpreter would wait for it.
    """
    threads = ThreadPoolExecutor(thread_name_prefix=_THREAD)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_default_executor(threads)
        runner.run(work)
        threads.shutdown(wait=False, cancel_futures=True)
        clock = SystemClock()
        until_s = clock.now_s() + HANG_S
        if runner.run(_tasks_hang(clock, until_s)) or _hangs(clock, until_s):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)


async def _tasks_hang(clock: Clock, until_s: float) -> bool:
    """Cancel the Tasks that are left, and tell whether one does not heed that."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    return bool(await ended_within(until_s - clock.now_s(), left, clock=clock))


def _hangs(clock: Clock, until_s: float) -> bool:
    """Tell whether a thread that works for us does not come back."""
    ours = [one for one in threading.enumerate() if one.name.startswith((_THREAD, MODEL_THREAD))]
    for thread in ours:
        thread.join(max(0.0, until_s - clock.now_s()))
    return any(thread.is_alive() for thread in ours)
