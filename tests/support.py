"""What all tests share: a clock moved by hand, fake predictors, requests, and two ways to run.

    clock = ManualClock()
    arm = slow(answering(0.9, 0.1), clock=clock, seconds=0.2)
    answer = start(FanOut(...)(a_request()))     # `start` is `in_task` or `without_task`
    await clock.elapse(0.2)                      # no test sleeps
    assert (await answer).kind is AnswerKind.KEYED

Fakes are plain async functions, or small classes where a test asks them something afterwards.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import pytest

from penstock.core.clock import Clock, Timer
from penstock.core.drive import Driven
from penstock.core.errors import ServingError
from penstock.core.labels import LABEL, SCORES, as_labels
from penstock.core.predictor import Predictor
from penstock.core.values import (
    NO_FIELDS,
    AnswerKind,
    Array,
    FieldValue,
    Hop,
    InferenceRequest,
    InferenceResponse,
)

T = TypeVar("T")

START_S: Final = 1000.0
"""What a new ManualClock shows."""

IRIS: Final = (5.1, 3.5, 1.4, 0.2)


# --- time --------------------------------------------------------------------------------


class ManualClock:
    """A `Clock` that stands still until it is advanced. For use inside a running loop."""

    def __init__(self, now_s: float = START_S, wall_s: float = 1_750_000_000.0) -> None:
        self._now_s = now_s
        self._ahead_s = wall_s - now_s
        self._timers: list[tuple[float, int, ManualTimer]] = []
        self._numbers = itertools.count()

    def now_s(self) -> float:
        return self._now_s

    def wall_s(self) -> float:
        return self._now_s + self._ahead_s

    def call_at(self, when_s: float, callback: Callable[[], None]) -> Timer:
        if when_s <= self._now_s:
            return asyncio.get_running_loop().call_soon(callback)
        timer = ManualTimer(callback)
        heapq.heappush(self._timers, (when_s, next(self._numbers), timer))
        return timer

    @property
    def timers(self) -> int:
        """How many calls are still to be made."""
        return sum(not timer.cancelled for _, _, timer in self._timers)

    def advance(self, seconds: float) -> None:
        """Let time pass at one stroke; make the calls that fall due, each at its time, in order."""
        until_s = self._now_s + seconds
        while self._call_next(until_s):
            pass
        self._now_s = until_s

    async def elapse(self, seconds: float = 0.0) -> None:
        """Let time pass, and after each call let everything that follows from it happen."""
        until_s = self._now_s + seconds
        await settle()
        while self._call_next(until_s):
            await settle()
        self._now_s = until_s
        await settle()

    def _call_next(self, until_s: float) -> bool:
        while self._timers and self._timers[0][0] <= until_s:
            when_s, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                self._now_s = max(self._now_s, when_s)
                timer.callback()
                return True
        return False


class ManualTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


async def settle() -> None:
    """Return when the loop has nothing left to do but to wait for time, I/O or threads."""
    loop: Any = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(0)
        if not loop._ready:
            return


# --- two ways to run ---------------------------------------------------------------------


class Start(Protocol):
    """Starts a coroutine on the next turn of the loop; cancelling the future cancels it."""

    def __call__(self, coroutine: Coroutine[Any, Any, T], /) -> asyncio.Future[T]: ...


def in_task(coroutine: Coroutine[Any, Any, T], /) -> asyncio.Future[T]:
    """Run as an asyncio Task, as most of the world does."""
    return asyncio.get_running_loop().create_task(coroutine)


def without_task(coroutine: Coroutine[Any, Any, T], /) -> asyncio.Future[T]:
    """Run from callbacks of the loop: `asyncio.current_task()` is None at every step."""
    return _DrivenFuture(coroutine)


both_ways = pytest.mark.parametrize("start", [in_task, without_task])
"""Gives a test `start: Start`; also good as a module's `pytestmark`."""


class _DrivenFuture(asyncio.Future[T]):
    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self._driven = Driven(coroutine)
        self.get_loop().call_soon(self._begin)

    def _begin(self) -> None:
        assert asyncio.current_task() is None
        if self._driven.start():
            self._end()
        else:
            self._driven.when_done(self._end)

    def _end(self) -> None:
        error = self._driven.error
        if error is None:
            self.set_result(self._driven.result())
        elif isinstance(error, asyncio.CancelledError):
            super().cancel()
        else:
            self.set_exception(error)

    def cancel(self, msg: object = None) -> bool:
        del msg
        if self.done():
            return False
        self._driven.cancel()
        return True


@asynccontextmanager
async def nothing_loose() -> AsyncIterator[None]:
    """Fail if what runs inside leaves a Task, or an error that nobody has looked at.

    asyncio only logs those ("Task exception was never retrieved").
    """
    loop = asyncio.get_running_loop()
    before = asyncio.all_tasks()
    loose: list[Mapping[str, Any]] = []
    loop.set_exception_handler(lambda _, context: loose.append(context))
    try:
        yield
        await settle()
        gc.collect(1)  # what has been made here is young; a full collection is slow
        await settle()
    finally:
        loop.set_exception_handler(None)
    assert loose == []
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()


# --- values ------------------------------------------------------------------------------


def a_request(
    *rows: Sequence[float],
    deadline_s: float = START_S + 30.0,
    labelled: bool = False,
    fields: Mapping[str, FieldValue] = NO_FIELDS,
    seed: int = 7,
    request_id: str = "a-request",
    route: str = "iris",
    datatype: str = "float32",
) -> InferenceRequest:
    """Return a request of `rows`, by default one row of the iris data, due in 30 s."""
    data = np.array(rows or (IRIS,), dtype=datatype)
    return InferenceRequest(request_id, route, {"data": data}, deadline_s, seed, labelled, fields)


def scores(
    *rows: Sequence[float], model: str = "fake", datatype: str = "float32"
) -> InferenceResponse:
    """Return a response of scores, `[rows, classes]`, with the hop of its model."""
    return _response(np.array(rows, dtype=datatype), model)


def _response(table: Array, model: str) -> InferenceResponse:
    trail = (Hop(f"model:{model}@1", START_S, 0.0),)
    return InferenceResponse(AnswerKind.SCORES, {SCORES: table}, model, "1", trail)


def hops(outcome: InferenceResponse | ServingError) -> list[str]:
    """Return the names of the trail's hops."""
    return [hop.name for hop in outcome.trail]


# --- fake predictors ---------------------------------------------------------------------


async def echo(request: InferenceRequest, /) -> InferenceResponse:
    """Answer the rows as their own scores."""
    return _response(next(iter(request.tensors.values())), "echo")


def answering(*row: float, model: str = "fake", datatype: str = "float32") -> Predictor:
    """Return a predictor that gives every row these scores."""

    async def answer(request: InferenceRequest, /) -> InferenceResponse:
        return scores(*[row] * request.rows, model=model, datatype=datatype)

    return answer


def classifying(*row: float, labels: Sequence[str], model: str = "fake") -> Predictor:
    """Return a predictor that gives every row these scores, or their label when asked."""

    async def answer(request: InferenceRequest, /) -> InferenceResponse:
        response = scores(*[row] * request.rows, model=model)
        if not request.labelled:
            return response
        names = [labels[column] for column in response.primary.argmax(axis=1)]
        outputs = {LABEL: as_labels(names), **response.outputs}
        return InferenceResponse(AnswerKind.LABELLED, outputs, model, "1", response.trail)

    return answer


def failing(error: BaseException) -> Predictor:
    """Return a predictor that raises `error` at its first step."""

    async def fail(request: InferenceRequest, /) -> InferenceResponse:
        raise error

    return fail


def slow(inner: Predictor, *, clock: Clock, seconds: float) -> Predictor:
    """Return a predictor that does what `inner` does, `seconds` later by the clock."""

    async def answer(request: InferenceRequest, /) -> InferenceResponse:
        await after(clock, seconds)
        return await inner(request)

    return answer


async def after(clock: Clock, seconds: float) -> None:
    """Wait until the clock has been advanced by `seconds`; needs no Task."""
    woken = asyncio.get_running_loop().create_future()
    timer = clock.call_at(
        clock.now_s() + seconds, lambda: None if woken.done() else woken.set_result(None)
    )
    try:
        await woken
    finally:
        timer.cancel()


class Held:
    """Answers as `inner` does once `release()` has been called, or `fail(error)`.

    Attributes:
        started: how many requests it was given.
        cancelled: how many of them were cancelled while they waited.
    """

    def __init__(self, inner: Predictor = echo) -> None:
        self._inner = inner
        self._gates: list[asyncio.Future[None]] = []
        self._open = False
        self.started = 0
        self.cancelled = 0

    @property
    def waiting(self) -> int:
        """How many requests are held now."""
        return sum(not gate.done() for gate in self._gates)

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        self.started += 1
        if not self._open:
            gate = asyncio.get_running_loop().create_future()
            self._gates.append(gate)
            try:
                await gate
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return await self._inner(request)

    def release(self) -> None:
        """Let go what is held and what comes."""
        self._open = True
        for gate in self._gates:
            if not gate.done():
                gate.set_result(None)

    def fail(self, error: Exception) -> None:
        """Fail what is held."""
        for gate in self._gates:
            if not gate.done():
                gate.set_exception(error)


class Recording:
    """Answers as `inner` does and keeps the requests it got."""

    def __init__(self, inner: Predictor = echo) -> None:
        self._inner = inner
        self.requests: list[InferenceRequest] = []

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        self.requests.append(request)
        return await self._inner(request)
