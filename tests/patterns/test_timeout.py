from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import DeadlineExceeded, ModelFailed
from penstock.core.predictor import Predictor
from penstock.patterns.timeout import Timeout, shortened
from tests.support import (
    START_S,
    Held,
    ManualClock,
    Recording,
    Start,
    a_request,
    answering,
    both_ways,
    echo,
    failing,
    hops,
    settle,
    slow,
)


def a_timeout(
    inner: Predictor, *, clock: ManualClock | None = None, timeout_s: float = 0.5
) -> Timeout:
    clock = clock or ManualClock()
    return Timeout(inner=inner, timeout_s=timeout_s, place="routes.iris[0]", clock=clock)


# --- passes through ----------------------------------------------------------------------


@both_ways
async def test_answers_as_the_inner_predictor_does(start: Start) -> None:
    inner = Recording(answering(0.1, 0.9, model="svc"))
    request = a_request(fields={"age": 3}, labelled=True)

    response = await start(a_timeout(inner)(request))

    assert response.primary[0].tolist() == pytest.approx([0.1, 0.9])
    assert (response.model, response.version) == ("svc", "1")
    assert hops(response) == ["timeout", "model:svc@1"]
    (seen,) = inner.requests
    assert (seen.tensors, seen.fields, seen.seed) == (request.tensors, request.fields, request.seed)
    assert seen.labelled


@both_ways
async def test_its_hop_lasts_as_long_as_what_is_below(start: Start) -> None:
    clock = ManualClock()
    answer = start(a_timeout(slow(echo, clock=clock, seconds=0.4), clock=clock)(a_request()))
    await clock.elapse(0.4)

    hop = (await answer).trail[0]
    assert hop.started_s == START_S
    assert hop.elapsed_s == pytest.approx(0.4)


def test_reads_as_in_the_spec() -> None:
    assert repr(a_timeout(echo, timeout_s=0.5)) == "timeout: {timeout_s: 0.5}"
    assert repr(a_timeout(echo, timeout_s=2.0)) == "timeout: {timeout_s: 2}"


# --- does its one thing: shortens the deadline -------------------------------------------


@both_ways
async def test_the_inner_predictor_sees_the_shorter_deadline(start: Start) -> None:
    inner = Recording()

    await start(a_timeout(inner)(a_request(deadline_s=START_S + 30.0)))

    assert inner.requests[0].deadline_s == START_S + 0.5


@both_ways
async def test_a_deadline_is_never_lengthened(start: Start) -> None:
    inner = Recording()
    request = a_request(deadline_s=START_S + 0.2)

    await start(a_timeout(inner)(request))

    assert inner.requests == [request]


# --- inner error -------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("error", [ModelFailed("svc"), ValueError("a fault")])
async def test_errors_pass_through(start: Start, error: Exception) -> None:
    clock = ManualClock()
    at_once = a_timeout(failing(error), clock=clock)
    later = a_timeout(slow(failing(error), clock=clock, seconds=0.1), clock=clock)

    for timeout in (at_once, later):
        answer = start(timeout(a_request()))
        await clock.elapse(0.1)
        with pytest.raises(type(error)) as raised:
            await answer
        assert raised.value is error


# --- deadline and cancellation -----------------------------------------------------------


@both_ways
async def test_what_is_late_is_cancelled_and_the_place_is_named(start: Start) -> None:
    clock, inner = ManualClock(), Held()
    answer = start(a_timeout(inner, clock=clock)(a_request()))
    await clock.elapse(0.499)
    assert (inner.waiting, inner.cancelled) == (1, 0)

    await clock.elapse(0.001)

    assert (inner.waiting, inner.cancelled) == (0, 1)
    with pytest.raises(DeadlineExceeded, match=r"the deadline passed at routes\.iris\[0\]"):
        await answer
    assert clock.timers == 0


@both_ways
async def test_the_callers_earlier_deadline_holds(start: Start) -> None:
    clock, inner = ManualClock(), Held()
    answer = start(a_timeout(inner, clock=clock)(a_request(deadline_s=START_S + 0.25)))

    await clock.elapse(0.25)

    with pytest.raises(DeadlineExceeded):
        await answer


@both_ways
async def test_what_comes_at_the_last_moment_is_answered(start: Start) -> None:
    clock, inner = ManualClock(), Held()
    answer = start(a_timeout(inner, clock=clock)(a_request()))
    await clock.elapse(0.499)

    inner.release()

    assert hops(await answer) == ["timeout", "model:echo@1"]
    assert clock.timers == 0


@both_ways
async def test_of_two_the_shorter_one_holds(start: Start) -> None:
    clock, inner = ManualClock(), Held()
    outer = a_timeout(a_timeout(inner, clock=clock, timeout_s=5.0), clock=clock, timeout_s=0.1)
    answer = start(outer(a_request()))

    await clock.elapse(0.1)

    with pytest.raises(DeadlineExceeded):
        await answer
    assert (inner.cancelled, clock.timers) == (1, 0)


@both_ways
async def test_cancellation_cancels_what_runs_below(start: Start) -> None:
    clock, inner = ManualClock(), Held()
    answer = start(a_timeout(inner, clock=clock)(a_request()))
    await settle()

    answer.cancel()
    await settle()

    assert answer.cancelled()
    assert (inner.cancelled, clock.timers) == (1, 0)


# --- under concurrency -------------------------------------------------------------------


@both_ways
async def test_each_request_has_its_own_time(start: Start) -> None:
    clock = ManualClock()
    inner = Held()
    timeout = a_timeout(inner, clock=clock)
    answers = list[asyncio.Future[object]]()
    for _ in range(10):
        answers.append(start(timeout(a_request())))
        await clock.elapse(0.1)

    inner.release()
    await settle()

    late = [isinstance(answer.exception(), DeadlineExceeded) for answer in answers]
    assert late == [True] * 6 + [False] * 4


# --- property ----------------------------------------------------------------------------

instants = st.floats(-1e6, 1e6)


@given(now_s=instants, deadline_s=instants, timeout_s=st.floats(0.001, 1e6))
def test_a_deadline_is_shortened_or_left(now_s: float, deadline_s: float, timeout_s: float) -> None:
    inner_s = shortened(now_s, deadline_s, timeout_s)

    assert inner_s in (deadline_s, now_s + timeout_s)
    assert inner_s <= deadline_s
    assert inner_s <= now_s + timeout_s
