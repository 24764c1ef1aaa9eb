from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from penstock.core.errors import DeadlineExceeded, ModelFailed, NotReady, UpstreamFailed
from penstock.core.measures import Measure
from penstock.core.predictor import Predictor
from penstock.core.values import InferenceRequest, InferenceResponse
from penstock.graph.measured import Measured, MeasuredAbreast, Unready, end_code
from tests.support import (
    START_S,
    Held,
    ManualClock,
    Start,
    a_request,
    answering,
    both_ways,
    echo,
    failing,
    hops,
    scores,
    settle,
    slow,
)


class MyFailure(UpstreamFailed):
    """A user's own error."""

    code = "mine"


def measured(
    inner: Predictor, clock: ManualClock | None = None, place: str = "routes.a"
) -> tuple[Measured, Measure]:
    measure = Measure()
    made = Measured(inner, measure=measure, clock=clock or ManualClock(), place=place)
    return made, measure


def counted(measure: Measure) -> tuple[int, float, dict[str, int], int]:
    """Return how many ended, in how much time, by which errors, and how many have not."""
    seconds = measure.seconds
    return sum(seconds.counts), seconds.total, measure.errors, measure.in_flight


# --- Measured ----------------------------------------------------------------------------


@both_ways
async def test_answers_as_what_is_within_and_counts_it(start: Start) -> None:
    clock = ManualClock()
    node, measure = measured(slow(answering(0.5), clock=clock, seconds=0.5), clock)
    answer = start(node(a_request()))
    await clock.elapse(0.25)
    assert counted(measure) == (0, 0.0, {}, 1)
    await clock.elapse(0.25)
    assert hops(await answer) == ["model:fake@1"]
    assert counted(measure) == (1, 0.5, {}, 0)


@both_ways
async def test_an_error_gets_the_places_that_it_passes(start: Start) -> None:
    clock = ManualClock()
    inner, below = measured(slow(failing(ModelFailed("m")), clock=clock, seconds=0.5), clock, "b")
    outer, above = measured(inner, clock, "a")
    asking = start(outer(a_request()))
    await clock.elapse(0.5)
    with pytest.raises(ModelFailed) as caught:
        await asking
    assert hops(caught.value) == ["a!model_failed", "b!model_failed"]
    assert [(hop.started_s, hop.elapsed_s) for hop in caught.value.trail] == [(START_S, 0.5)] * 2
    assert counted(above) == counted(below) == (1, 0.5, {"model_failed": 1}, 0)


async def test_a_model_names_itself_in_the_trail() -> None:
    node, measure = measured(failing(ModelFailed("m")), place="")
    with pytest.raises(ModelFailed) as caught:
        await node(a_request())
    assert hops(caught.value) == []
    assert measure.errors == {"model_failed": 1}


async def test_a_fault_passes_as_it_is() -> None:
    node, measure = measured(failing(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        await node(a_request())
    assert counted(measure) == (1, 0.0, {"internal_error": 1}, 0)


@both_ways
@pytest.mark.parametrize(
    ("after_s", "code"),
    [(0.5, "cancelled"), (2.0, "deadline_exceeded"), (3.0, "deadline_exceeded")],
)
async def test_what_is_cancelled_is_counted_as_given_up_or_late(
    start: Start, after_s: float, code: str
) -> None:
    clock, held = ManualClock(), Held()
    node, measure = measured(held, clock)
    answer = start(node(a_request(deadline_s=START_S + 2.0)))
    await clock.elapse(after_s)
    answer.cancel()
    await settle()
    assert answer.cancelled()
    assert held.cancelled == 1
    assert counted(measure) == (1, after_s, {code: 1}, 0)


async def test_what_is_closed_halfway_is_counted_as_given_up() -> None:
    node, measure = measured(Held())
    answering = node(a_request())
    answering.send(None)
    assert measure.in_flight == 1
    answering.close()
    assert counted(measure) == (1, 0.0, {"cancelled": 1}, 0)


async def test_what_is_never_started_is_not_counted() -> None:
    node, measure = measured(echo)
    node(a_request()).close()
    assert counted(measure) == (0, 0.0, {}, 0)


def test_reads_as_what_is_within() -> None:
    assert repr(measured(Unready("it"), place="routes.a")[0]) == "routes.a: not ready: it"
    assert repr(measured(Unready("it"), place="")[0]) == "not ready: it"


def test_codes_are_those_of_our_tree() -> None:
    assert end_code(MyFailure("m", "why"), 0.0, 1.0) == "upstream_failed"
    assert end_code(ModelFailed("m"), 2.0, 1.0) == "model_failed"
    assert end_code(KeyboardInterrupt(), 0.0, 1.0) == "internal_error"
    assert end_code(GeneratorExit(), 0.0, 1.0) == "cancelled"


# --- MeasuredAbreast ---------------------------------------------------------------------


class Several:
    """Asks several models at once, `seconds` long; `answers` None is asked singly."""

    def __init__(
        self, clock: ManualClock, answers: Sequence[InferenceResponse] | Exception | None
    ) -> None:
        self._clock = clock
        self._answers = answers

    async def __call__(self, request: InferenceRequest, /) -> Sequence[InferenceResponse] | None:
        await slow(echo, clock=self._clock, seconds=0.5)(request)
        if isinstance(self._answers, Exception):
            raise self._answers
        return self._answers


def abreast(
    answers: Sequence[InferenceResponse] | Exception | None, clock: ManualClock
) -> tuple[MeasuredAbreast, list[Measure]]:
    measures = [Measure(), Measure()]
    return MeasuredAbreast(Several(clock, answers), measures=measures, clock=clock), measures


@both_ways
async def test_models_that_run_together_are_each_counted(start: Start) -> None:
    clock = ManualClock()
    both = [scores((0.5,)), scores((0.7,))]
    several, measures = abreast(both, clock)
    asking = start(several(a_request()))
    await clock.elapse(0.25)
    assert [measure.in_flight for measure in measures] == [1, 1]
    await clock.elapse(0.25)
    assert await asking is both
    assert [counted(measure) for measure in measures] == [(1, 0.5, {}, 0)] * 2


@both_ways
async def test_models_that_are_asked_singly_are_counted_there(start: Start) -> None:
    clock = ManualClock()
    several, measures = abreast(None, clock)
    asking = start(several(a_request()))
    await clock.elapse(0.5)
    assert await asking is None
    assert [counted(measure) for measure in measures] == [(0, 0.0, {}, 0)] * 2


@both_ways
async def test_models_that_are_given_up_together_are_each_counted(start: Start) -> None:
    clock = ManualClock()
    several, measures = abreast(None, clock)
    asking = start(several(a_request()))
    await clock.elapse(0.25)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert [counted(measure) for measure in measures] == [(1, 0.25, {"cancelled": 1}, 0)] * 2


async def test_a_fault_of_models_that_run_together_passes() -> None:
    clock = ManualClock()
    several, measures = abreast(ZeroDivisionError(), clock)
    asking = asyncio.ensure_future(several(a_request()))
    await clock.elapse(0.5)
    with pytest.raises(ZeroDivisionError):
        await asking
    assert [measure.errors for measure in measures] == [{"internal_error": 1}] * 2


# --- Unready -----------------------------------------------------------------------------


@both_ways
async def test_what_is_not_known_is_not_ready(start: Start) -> None:
    with pytest.raises(NotReady, match=r"^far, of which nothing is known, is not ready$"):
        await start(Unready("far, of which nothing is known,")(a_request()))


def test_late_is_a_code_of_ours() -> None:
    assert end_code(asyncio.CancelledError(), 1.0, 1.0) == DeadlineExceeded.code
