"""Measures what the prediction log costs a request, in process, without any server.

    python -m benchmarks.logged SINGLE_SPEC LOGGED_SPEC SCORED_SPEC FOLDER ROUNDS SPELLS

As in `benchmarks.data_plane`, with the answer's JSON, to which a logged route adds its `job_id`,
and with the log's own thread in the CPU time: a spell ends when all its records have been written
to their segment.
"""

import asyncio
import gc
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.bench import RESULT_MARK
from benchmarks.data_plane import (
    CONCURRENT,
    ROUTE,
    ROW,
    SPELL_BATCHES,
    TIMEOUT_S,
    US_PER_S,
    WARM_UP_SPELLS,
    Answer,
    cpu_s,
    in_lane,
    keep_nothing,
)
from penstock.core.clock import Clock, SystemClock
from penstock.core.ids import IdSource, SeedSource
from penstock.core.log import Log
from penstock.core.record import Record, Role
from penstock.core.values import NO_FIELDS, InferenceRequest
from penstock.gateway.answers import encode
from penstock.gateway.plain import JOB_ID
from penstock.gateway.status import status_of
from penstock.graph.node import Route
from penstock.graph.open import open_graph, shared
from penstock.spec.decode import decode
from penstock.spec.read import read_spec
from penstock.stores.prediction_log import PredictionLog
from penstock.stores.sinks import LogPlaces

POLL_S: Final = 0.001

Spell = Callable[[], Awaitable[float]]
"""Answers many batches; returns the CPU time of that, in seconds."""


def edge(route: Route, clock: Clock) -> Answer:
    """What the gateway does for a request of a route beside HTTP, up to the answer's text."""
    new_id, new_seed, now_s = IdSource().new_id, SeedSource().new_seed, clock.now_s
    predictor, recorder = route.node.predictor, route.recorder or keep_nothing
    records = route.recorder is not None

    async def answer() -> None:
        started_s = now_s()
        deadline_s = started_s + TIMEOUT_S
        request_id, record_id = new_id(), new_id() if records else ""
        request = InferenceRequest(
            request_id, ROUTE, {"input": ROW}, deadline_s, new_seed(), record_id=record_id
        )
        response = await predictor(request)
        encode(response, {JOB_ID: request_id} if route.is_logged else NO_FIELDS)
        elapsed_s = now_s() - started_s
        recorder(Record(Role.PRIMARY, ROUTE, request_id, request, response, elapsed_s))

    return answer


@asynccontextmanager
async def opened(path: Path, folder: Path) -> AsyncIterator[Spell]:
    """A spell of a spec's route, its log included."""
    clock = SystemClock()
    log = Log(clock)
    places = LogPlaces(str(folder / path.stem))
    predictions = PredictionLog(places, clock=clock, log=log, status_of=status_of)
    shares = shared(clock=clock, log=log, predictions=predictions)
    spec, problems = decode(read_spec(path, {}))
    assert spec is not None, problems
    async with open_graph(spec, folder=path.parent, shares=shares) as graph:
        answers = in_lane(edge(graph.routes[ROUTE], clock))

        async def written() -> None:
            predictions.flush()
            while predictions.waiting:  # noqa: ASYNC110 - the thread that writes has no event
                await asyncio.sleep(POLL_S)

        async def spell() -> float:
            return await cpu_s(answers, SPELL_BATCHES) + await cpu_s(written, 1)

        yield spell
    await predictions.close()


async def one_round(spells: Mapping[str, Spell], count: int) -> dict[str, float]:
    """The CPU per request of each, in short spells one after the other."""
    used_s = dict.fromkeys(spells, 0.0)
    for _ in range(count):
        for name, spell in spells.items():
            used_s[name] += await spell()
    requests = count * SPELL_BATCHES * CONCURRENT
    return {name: seconds * US_PER_S / requests for name, seconds in used_s.items()}


async def measure(specs: list[Path], folder: Path, rounds: int, count: int) -> Mapping[str, object]:
    """The CPU per request of each spec, round by round."""
    async with AsyncExitStack() as stack:
        spells = {
            path.stem: await stack.enter_async_context(opened(path, folder)) for path in specs
        }
        await one_round(spells, WARM_UP_SPELLS)
        gc.collect()
        gc.freeze()  # as `penstock serve` does
        figures = [await one_round(spells, count) for _ in range(rounds)]
        return {name: [figure[name] for figure in figures] for name in spells}


def main() -> None:
    """Measures as the arguments say and prints the result."""
    *specs, folder, rounds, count = sys.argv[1:]
    paths = [Path(path) for path in specs]
    figures = uvloop.run(measure(paths, Path(folder), int(rounds), int(count)))
    sys.stdout.write(f"{RESULT_MARK}{json.dumps(figures)}\n")


if __name__ == "__main__":
    main()
