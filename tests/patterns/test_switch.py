from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.background import BackgroundScope
from penstock.core.errors import DeadlineExceeded, ModelFailed, SwitchedOff
from penstock.core.predictor import Predictor
from penstock.patterns.switch import Switch, refusal
from tests.support import (
    START_S,
    Held,
    ManualClock,
    Recording,
    Start,
    a_request,
    both_ways,
    echo,
    failing,
    settle,
)


def a_switch(
    inner: Predictor,
    *,
    observed: bool = False,
    clock: ManualClock | None = None,
    background: BackgroundScope | None = None,
) -> Switch:
    return Switch(
        inner=inner,
        route="iris",
        observed=observed,
        clock=clock or ManualClock(),
        background=background or BackgroundScope(),
    )


# --- passes through: nothing -------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("observed", [False, True])
async def test_nothing_passes(start: Start, *, observed: bool) -> None:
    with pytest.raises(SwitchedOff) as caught:
        await start(a_switch(echo, observed=observed)(a_request()))
    assert caught.value.trail == ()
    await settle()


def test_reads_as_in_the_spec() -> None:
    assert repr(a_switch(echo)) == "switch: off"
    assert repr(a_switch(echo, observed=True)) == "switch: observe"


# --- does its one thing: refuses, and observes -------------------------------------------


@both_ways
async def test_what_is_off_is_never_called(start: Start) -> None:
    inner, background = Recording(), BackgroundScope()
    with pytest.raises(SwitchedOff, match=r"^the route iris is switched off$"):
        await start(a_switch(inner, background=background)(a_request()))
    await settle()
    assert inner.requests == []
    assert (background.started, background.dropped) == (0, 0)


@both_ways
async def test_what_is_observed_is_called_with_the_same_request(start: Start) -> None:
    inner, request = Recording(), a_request(fields={"age": 3}, labelled=True)
    with pytest.raises(SwitchedOff, match=r"^the route iris, which is observed only, is switched"):
        await start(a_switch(inner, observed=True)(request))
    await settle()
    assert inner.requests == [request]


@both_ways
async def test_the_refusal_does_not_wait_for_what_is_observed(start: Start) -> None:
    inner, background = Held(), BackgroundScope()
    with pytest.raises(SwitchedOff):
        await start(a_switch(inner, observed=True, background=background)(a_request()))
    await settle()
    assert (inner.waiting, background.running) == (1, 1)
    inner.release()
    await settle()
    assert background.running == 0


# --- inner error -------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("error", [ModelFailed("svc"), ValueError("a fault")])
async def test_an_error_reaches_the_backgrounds_owner_only(start: Start, error: Exception) -> None:
    faults: list[BaseException] = []
    background = BackgroundScope(on_fault=faults.append)
    with pytest.raises(SwitchedOff):
        await start(a_switch(failing(error), observed=True, background=background)(a_request()))
    await settle()
    assert faults == [error]


# --- deadline and cancellation -----------------------------------------------------------


@both_ways
async def test_what_is_observed_ends_at_the_requests_deadline(start: Start) -> None:
    clock, inner, faults = ManualClock(), Held(), list[BaseException]()
    background = BackgroundScope(on_fault=faults.append)
    switch = a_switch(inner, observed=True, clock=clock, background=background)
    with pytest.raises(SwitchedOff):
        await start(switch(a_request(deadline_s=START_S + 2.0)))
    await clock.elapse(1.999)
    assert inner.cancelled == 0
    await clock.elapse(0.001)
    assert (inner.cancelled, clock.timers) == (1, 0)
    assert [type(fault) for fault in faults] == [DeadlineExceeded]


@both_ways
async def test_what_is_observed_outlives_its_caller(start: Start) -> None:
    inner = Held()
    answer = start(a_switch(inner, observed=True)(a_request()))
    answer.cancel()
    await settle()
    assert inner.cancelled == 0
    inner.release()
    await settle()
    if not answer.cancelled():
        assert isinstance(answer.exception(), SwitchedOff)


# --- under concurrency -------------------------------------------------------------------


@both_ways
async def test_what_does_not_fit_is_dropped_and_counted(start: Start) -> None:
    inner, background = Held(), BackgroundScope(limit=3)
    switch = a_switch(inner, observed=True, background=background)
    answers = [start(switch(a_request())) for _ in range(10)]
    await settle()
    assert [type(answer.exception()) for answer in answers] == [SwitchedOff] * 10
    assert (inner.waiting, background.started, background.dropped) == (3, 3, 7)
    inner.release()
    await settle()


# --- property ----------------------------------------------------------------------------


@given(route=st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,63}", fullmatch=True), observed=st.booleans())
def test_a_refusal_names_the_route(route: str, *, observed: bool) -> None:
    error = refusal(route, observed=observed)
    assert error.message.startswith(f"the route {route}")
    assert ("observed" in error.message.removeprefix(f"the route {route}")) is observed
    assert error.retryable
