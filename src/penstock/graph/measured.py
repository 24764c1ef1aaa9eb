"""What is put around every node: it counts what passes, and names the place where an error passed.

No pattern counts anything itself. What is counted belongs to a place in the spec (`measures.node`),
not to a graph, so that a reload resets nothing.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, final

from penstock.core.clock import Clock
from penstock.core.errors import DeadlineExceeded, NotReady, ServingError
from penstock.core.families import LATENCY_BOUNDS_S
from penstock.core.measures import Measure, code_of
from penstock.core.predictor import Abreast, Predictor
from penstock.core.values import Hop, InferenceRequest, InferenceResponse

CANCELLED: Final = "cancelled"
"""Counted as the code of a request that was given up before its deadline: nobody waits for it."""

FAULT: Final = "internal_error"
"""Counted as the code of an exception that is none of our errors."""


def end_code(error: BaseException, now_s: float, deadline_s: float) -> str:
    """Return the code that a request's end is counted under.

    What is cancelled once its deadline has passed was late.
    """
    if isinstance(error, ServingError):
        return code_of(error)
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return CANCELLED if now_s < deadline_s else DeadlineExceeded.code
    return FAULT


@final
class Measured:
    """Counts what passes a node, and adds the node's place to the trail of an error.

    Args:
        inner: the node's predictor.
        measure: what is counted of it.
        clock: tells the time.
        place: where it stands in the spec; empty for a model, which names itself in the trail.
    """

    __slots__ = ("_inner", "_measure", "_now_s", "_place", "_seconds")

    def __init__(
        self, inner: Predictor, *, measure: Measure, clock: Clock, place: str = ""
    ) -> None:
        self._inner = inner
        self._measure = measure
        self._seconds = measure.seconds
        self._now_s = clock.now_s
        self._place = place

    def __repr__(self) -> str:
        return f"{self._place}: {self._inner!r}" if self._place else repr(self._inner)

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        """Answer as the inner predictor does."""
        measure = self._measure
        started_s = self._now_s()
        measure.in_flight += 1
        try:
            response = await self._inner(request)
        except BaseException as error:
            self._failed(error, started_s, request.deadline_s)
            raise
        elapsed_s = self._now_s() - started_s
        measure.in_flight -= 1
        seconds = self._seconds  # every request comes by: nothing is called that need not be
        seconds.counts[bisect_left(LATENCY_BOUNDS_S, elapsed_s)] += 1
        seconds.total += elapsed_s
        return response

    def _failed(self, error: BaseException, started_s: float, deadline_s: float) -> None:
        now_s = self._now_s()
        elapsed_s = now_s - started_s
        self._measure.in_flight -= 1
        self._measure.ended(elapsed_s, end_code(error, now_s, deadline_s))
        if self._place and isinstance(error, ServingError):
            error.trail = (Hop(f"{self._place}!{error.code}", started_s, elapsed_s), *error.trail)


@final
class MeasuredAbreast:
    """Counts models that are asked in one run: each took as long as all of them together.

    Args:
        inner: asks them.
        measures: what is counted of each.
        clock: tells the time.
    """

    __slots__ = ("_inner", "_measures", "_now_s")

    def __init__(self, inner: Abreast, *, measures: Sequence[Measure], clock: Clock) -> None:
        self._inner = inner
        self._measures = tuple(measures)
        self._now_s = clock.now_s

    async def __call__(self, request: InferenceRequest, /) -> Sequence[InferenceResponse] | None:
        """Answer as the inner one does; where that is None, all are counted when asked singly."""
        started_s = self._now_s()
        for measure in self._measures:
            measure.in_flight += 1
        try:
            answers = await self._inner(request)
        except BaseException as error:
            now_s = self._now_s()
            self._failed(now_s - started_s, end_code(error, now_s, request.deadline_s))
            raise
        if answers is None:
            self._not_asked()
        else:
            self._answered(self._now_s() - started_s)
        return answers

    def _answered(self, elapsed_s: float) -> None:
        bucket = bisect_left(LATENCY_BOUNDS_S, elapsed_s)
        for measure in self._measures:
            measure.in_flight -= 1
            seconds = measure.seconds
            seconds.counts[bucket] += 1
            seconds.total += elapsed_s

    def _failed(self, elapsed_s: float, code: str) -> None:
        for measure in self._measures:
            measure.in_flight -= 1
            measure.ended(elapsed_s, code)

    def _not_asked(self) -> None:
        for measure in self._measures:
            measure.in_flight -= 1


@final
class Unready:
    """Stands in place of a predictor of which it is not known what it takes and gives.

    Args:
        why: what is not ready, as a sentence's subject.
    """

    __slots__ = ("_why",)

    def __init__(self, why: str) -> None:
        self._why = why

    def __repr__(self) -> str:
        return f"not ready: {self._why}"

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        """Refuse.

        Raises:
            NotReady: always.
        """
        raise NotReady(self._why)
