"""Measures the data plane alone, in process, without any server.

    python -m benchmarks.data_plane SINGLE_SPEC FAN_OUT_SPEC SPLIT_SPEC ROUNDS SPELLS

A batch is 64 requests that are under way at once, as 64 connections would have them. For each of
them this does what the gateway's fast lane does beside HTTP: it makes the request (id, seed,
deadline), drives the route's predictor without a Task, and hands a record of its end to a recorder.
The CPU time of that, less the CPU time of the model's own runs on the same 64 rows in the same
round, is what Penstock costs. The same is measured for whole exchanges of the ASGI app.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import uvloop

from benchmarks.bench import RESULT_MARK
from benchmarks.calls import IRIS_ROW, iris_call
from benchmarks.models import ARMS, iris
from penstock.core.clock import Clock
from penstock.core.drive import Driven
from penstock.core.ids import IdSource, SeedSource
from penstock.core.measures import Measure
from penstock.core.predictor import Predictor
from penstock.core.record import Record, Role
from penstock.core.values import (
    NO_FIELDS,
    AnswerKind,
    FieldValue,
    Hop,
    InferenceRequest,
    InferenceResponse,
)
from penstock.gateway.app import App
from penstock.gateway.gateway import Gateway
from penstock.graph.measured import Measured
from penstock.runtimes.onnx_file import read_onnx_file

CONCURRENT: Final = 64
ROUTE: Final = "iris"
TIMEOUT_S: Final = 30.0
LAYERS: Final = 3
SPELL_BATCHES: Final = 50
WARM_UP_SPELLS: Final = 2
US_PER_S: Final = 1e6
USER: Final = {"header:x-user-id": "a-user-of-ordinary-length"}
ROW: Final = np.array([IRIS_ROW], dtype=np.float32)
ROWS: Final = np.repeat(ROW, CONCURRENT, axis=0)

Answer = Callable[[], Coroutine[Any, Any, None]]
"""Answers one request."""

Batch = Callable[[], Awaitable[None]]
"""Answers 64 requests, or runs a model for them."""


class PassThrough:
    """A layer that does nothing: its price is what the graph itself charges for a layer."""

    def __init__(self, inner: Predictor) -> None:
        self._inner = inner

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        """Answers as the inner predictor does."""
        return await self._inner(request)


class PassThroughWithHop(PassThrough):
    """A layer that adds its hop to the trail, as every real layer does, and does nothing else."""

    def __init__(self, inner: Predictor, clock: Clock) -> None:
        super().__init__(inner)
        self._now_s = clock.now_s

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        """Answers as the inner predictor does, behind a hop."""
        started_s = self._now_s()
        response = await self._inner(request)
        return response.behind(Hop("pass_through", started_s, self._now_s() - started_s))


def keep_nothing(record: Record) -> None:
    """Takes a record and drops it: making it is what is measured."""


def edge(
    predictor: Predictor,
    clock: Clock,
    fields: Mapping[str, FieldValue] = NO_FIELDS,
) -> Answer:
    """What the gateway does for a request beside HTTP: its identity, its run, its record."""
    new_id, new_seed, now_s = IdSource().new_id, SeedSource().new_seed, clock.now_s

    async def answer() -> None:
        started_s = now_s()
        deadline_s = started_s + TIMEOUT_S
        request = InferenceRequest(
            new_id(), ROUTE, {"input": ROW}, deadline_s, new_seed(), fields=fields
        )
        response = await predictor(request)
        elapsed_s = now_s() - started_s
        keep_nothing(Record(Role.PRIMARY, ROUTE, request.request_id, request, response, elapsed_s))

    return answer


def predict_scope(size_bytes: int) -> dict[str, Any]:
    """The scope that uvicorn makes of wrk's `POST /predict`."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/predict",
        "raw_path": b"/predict",
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"127.0.0.1"),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % size_bytes),
        ],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


def asgi(gateway: Gateway) -> Answer:
    """A whole exchange of the gateway's ASGI app: path, headers, JSON in and out."""
    body = iris_call().body
    scope = predict_scope(len(body))
    message = {"type": "http.request", "body": body, "more_body": False}

    async def receive() -> dict[str, Any]:
        return message

    async def send(message: MutableMapping[str, Any]) -> None:
        assert message.get("status", 200) == 200, message

    async def answer() -> None:
        await gateway(scope, receive, send)

    return answer


def in_lane(answer: Answer) -> Batch:
    """Has 64 requests answered side by side, each driven without a Task as in the fast lane."""

    async def batch() -> None:
        flight = Flight(asyncio.get_running_loop().create_future())
        for _ in range(CONCURRENT):
            Driven(flight.with_one(answer)).start()
        await flight.landed

    return batch


def in_tasks(answer: Answer) -> Batch:
    """Has 64 requests answered side by side, each in a Task as uvicorn makes it."""

    async def batch() -> None:
        loop = asyncio.get_running_loop()
        flight = Flight(loop.create_future())
        tasks = [loop.create_task(flight.with_one(answer)) for _ in range(CONCURRENT)]
        await flight.landed
        del tasks

    return batch


@dataclass(slots=True)
class Flight:
    """The requests of a batch on their way; it has landed when all have ended, or one failed."""

    landed: asyncio.Future[None]
    waiting: int = CONCURRENT

    async def with_one(self, answer: Answer) -> None:
        """Answers one of the requests."""
        try:
            await answer()
        except Exception as error:  # noqa: BLE001 - raised where the flight is awaited
            if not self.landed.done():
                self.landed.set_exception(error)
        self.waiting -= 1
        if not self.waiting and not self.landed.done():
            self.landed.set_result(None)


def layered(inner: Predictor, clock: Clock, *, hops: bool) -> Predictor:
    """The predictor behind three empty layers, each measured as the builder has it."""
    for number in range(LAYERS):
        layer = PassThroughWithHop(inner, clock) if hops else PassThrough(inner)
        place = f"layers.{number}"
        inner = Measured(layer, measure=Measure(), clock=clock, place=place)
    return inner


async def answer_at_once(request: InferenceRequest, /) -> InferenceResponse:
    """Answers without a model: what is left is the edge."""
    return InferenceResponse(AnswerKind.SCORES, request.tensors)


def model_run(*paths: Path) -> Batch:
    """Runs models on the 64 rows, as Penstock's runtime asks them: ZipMap cut, one output."""
    runs = [session_run(path) for path in paths]

    async def run() -> None:
        for one in runs:
            one()

    return run


def session_run(path: Path) -> Callable[[], object]:
    """One model's run on the 64 rows."""
    file = read_onnx_file(path.stem, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(
        file.content, options, providers=["CPUExecutionProvider"]
    )
    names, inputs = [file.probabilities], {session.get_inputs()[0].name: ROWS}
    return lambda: session.run(names, inputs)


async def cpu_s(batch: Batch, batches: int) -> float:
    """The CPU time of some batches, garbage collection included, beginning with no garbage."""
    gc.collect()
    started_s = time.process_time()
    for _ in range(batches):
        await batch()
    return time.process_time() - started_s


async def one_round(measured: Mapping[str, Batch], spells: int) -> dict[str, float]:
    """The CPU per request of everything, in short spells one after the other.

    What slows the machine down for a moment then slows all of them.
    """
    used_s = dict.fromkeys(measured, 0.0)
    for _ in range(spells):
        for name, batch in measured.items():
            used_s[name] += await cpu_s(batch, SPELL_BATCHES)
    requests = spells * SPELL_BATCHES * CONCURRENT
    return {name: seconds * US_PER_S / requests for name, seconds in used_s.items()}


async def open_batches(stack: AsyncExitStack, specs: Sequence[Path]) -> dict[str, Batch]:
    """Everything that is measured, by name."""
    one, three, split = [
        await stack.enter_async_context(App(spec, environment={}).opened()) for spec in specs
    ]
    clock = one.graph.clock
    predictor = one.graph.routes[ROUTE].node.predictor
    predictors = {
        "edge": answer_at_once,
        "single": predictor,
        "layers": layered(predictor, clock, hops=False),
        "layers_with_hops": layered(predictor, clock, hops=True),
        "fan_out": three.graph.routes[ROUTE].node.predictor,
        "split": split.graph.routes["by-seed"].node.predictor,
        "split_by_user": split.graph.routes["by-user"].node.predictor,
    }
    lane = {name: in_lane(edge(each, clock, USER)) for name, each in predictors.items()}
    asgi_app = {"asgi_single": in_tasks(asgi(one)), "asgi_fan_out": in_tasks(asgi(three))}
    models = {"model": model_run(iris("svc")), "models": model_run(*map(iris, ARMS))}
    return models | lane | asgi_app


async def measure(specs: Sequence[Path], rounds: int, spells: int) -> dict[str, list[float]]:
    """The CPU per request of everything, round by round."""
    async with AsyncExitStack() as stack:
        measured = await open_batches(stack, specs)
        await one_round(measured, WARM_UP_SPELLS)
        gc.collect()
        gc.freeze()  # as `penstock serve` does
        figures = [await one_round(measured, spells) for _ in range(rounds)]
        return {name: [figure[name] for figure in figures] for name in measured}


def main() -> None:
    """Measures as the arguments say and prints the result."""
    *specs, rounds, spells = sys.argv[1:]
    figures = uvloop.run(measure(list(map(Path, specs)), int(rounds), int(spells)))
    sys.stdout.write(f"{RESULT_MARK}{json.dumps(figures)}\n")


if __name__ == "__main__":
    main()
