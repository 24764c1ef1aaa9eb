"""Each exchange is counted, recorded and traced once, whatever ended it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import NoReturn

import pytest

from penstock.core import families
from penstock.core.errors import (
    BodyTooSlow,
    BreakerOpen,
    DeadlineExceeded,
    FanOutFailed,
    InvalidInput,
    Overloaded,
    ServingError,
    SwitchedOff,
)
from penstock.core.measures import Measures
from penstock.core.record import Record, Recorder, Role
from penstock.core.stop import Stop
from penstock.core.values import AnswerKind, Hop, InferenceResponse
from penstock.gateway.body import ClientGone
from penstock.gateway.exchange import Exchange, Headers
from penstock.gateway.recording import Recording, RouteEnds
from penstock.gateway.status import InternalError, Stopping
from tests.gateway.asking import Message
from tests.support import START_S, ManualClock, a_request, scores

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class OfAUser(InvalidInput):
    """A user's own kind of error."""

    code = "anything"


def exchange() -> Exchange:
    async def receive() -> Message:
        raise AssertionError

    async def respond(status: int, headers: Headers, content: bytes, *, ends: bool) -> None:
        raise AssertionError

    return Exchange("POST", "/", b"", {}, receive, respond, "an-id", START_S)


class Ended:
    """What is told of exchanges with one route."""

    def __init__(self, *, recorder: bool = True) -> None:
        self.clock = ManualClock()
        self.records: list[Record] = []
        self.measures = Measures()
        keep: Recorder | None = self.records.append if recorder else None
        self.stop = Stop(self.clock)
        self.ends = RouteEnds("iris", self.clock, self.measures, recorder=keep, stop=self.stop)

    def recording(self) -> Recording:
        return Recording(self.ends, exchange())

    def number(self, family: families.Family) -> Mapping[tuple[str, ...], float]:
        return self.measures.snapshot().numbers.get(family.name, {})


def failed(record: Recording, error: BaseException) -> NoReturn:
    with record:
        raise error


def behind(error: ServingError, *hops: str) -> ServingError:
    """Return the error as it comes out of the graph."""
    error.trail = tuple(Hop(f"{name}!{error.code}", START_S, 0.0) for name in hops)
    return error


# --- the record --------------------------------------------------------------------------


def test_an_answer() -> None:
    told = Ended()
    request, response = a_request(), scores([1.0])
    with told.recording() as record:
        record.request = request
        told.clock.advance(2.0)
        record.outcome = response
    assert told.records == [Record(Role.PRIMARY, "iris", "an-id", request, response, 2.0)]
    assert not record.exchange.counted


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (BodyTooSlow(30.0), BodyTooSlow),
        (RuntimeError("ours"), InternalError),
        (MemoryError(), InternalError),
        (ClientGone(), type(None)),
        (asyncio.CancelledError(), type(None)),
    ],
)
def test_what_ended_it(error: BaseException, outcome: type) -> None:
    told = Ended()
    record = told.recording()
    with pytest.raises(type(error)):
        failed(record, error)
    told.recording().end(error)
    assert [type(record.outcome) for record in told.records] == [outcome] * 2
    assert record.exchange.counted


def test_an_answer_that_could_not_be_encoded_is_no_answer() -> None:
    told = Ended()
    record = told.recording()
    record.outcome = scores([1.0])
    with pytest.raises(ValueError, match="not JSON"):
        failed(record, ValueError("not JSON"))
    assert isinstance(told.records[0].outcome, InternalError)
    assert told.number(families.REQUESTS) == {("iris", "200"): 0, ("iris", "500"): 1}


def test_nobody_listens() -> None:
    told = Ended(recorder=False)
    with told.recording() as record:
        record.outcome = scores([1.0])
    assert told.number(families.REQUESTS) == {("iris", "200"): 1}


# --- the counts --------------------------------------------------------------------------


def test_an_answer_is_counted_with_its_time() -> None:
    told = Ended()
    with told.recording() as record:
        told.clock.advance(2.0)
        record.outcome = scores([1.0])
    assert told.number(families.REQUESTS) == {("iris", "200"): 1}
    assert told.number(families.REQUEST_ERRORS) == {}
    seconds = told.measures.route("iris").seconds
    assert (sum(seconds.counts), seconds.total) == (1, 2.0)


def test_what_is_within_is_in_flight() -> None:
    told = Ended()
    with told.recording():
        with contextlib.suppress(KeyError), told.recording():
            assert told.number(families.REQUESTS_IN_FLIGHT) == {("iris",): 2}
            raise KeyError
        assert told.number(families.REQUESTS_IN_FLIGHT) == {("iris",): 1}
    assert told.number(families.REQUESTS_IN_FLIGHT) == {("iris",): 0}


def test_a_body_that_never_came_was_not_in_flight() -> None:
    told = Ended()
    told.recording().end(BodyTooSlow(30.0))
    assert told.number(families.REQUESTS_IN_FLIGHT) == {("iris",): 0}
    assert told.number(families.REQUESTS)["iris", "408"] == 1


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BodyTooSlow(30.0), "408", "body_too_slow"),
        (OfAUser("no"), "422", "invalid_input"),
        (DeadlineExceeded("it"), "504", "deadline_exceeded"),
        (RuntimeError("ours"), "500", "internal_error"),
        (ClientGone(), "499", "client_gone"),
        (asyncio.CancelledError(), "499", "client_gone"),
        (None, "499", "client_gone"),
    ],
)
def test_every_other_end_is_counted(error: BaseException | None, status: str, code: str) -> None:
    told = Ended()
    told.recording().end(error)
    assert told.number(families.REQUESTS) == {("iris", "200"): 0, ("iris", status): 1}
    assert told.number(families.REQUEST_ERRORS) == {("iris", code): 1}
    assert sum(told.measures.route("iris").seconds.counts) == 1


def test_what_the_stop_has_cut_off_is_no_client_that_has_gone() -> None:
    told = Ended()
    told.stop.cuts = True
    told.recording().end(asyncio.CancelledError())
    assert told.number(families.REQUESTS) == {("iris", "200"): 0, ("iris", "503"): 1}
    assert told.number(families.REQUEST_ERRORS) == {("iris", "stopping"): 1}
    assert isinstance(told.records[0].outcome, Stopping)
    told.recording().end(ClientGone())
    assert told.number(families.REQUEST_ERRORS)["iris", "client_gone"] == 1


# --- sheds -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "shed"),
    [
        (
            behind(Overloaded("it", 1, "rows"), "routes.iris", "model:svc@6c4ef19f5054"),
            ("model:svc", "overloaded"),
        ),
        (behind(BreakerOpen("it"), "routes.iris[0]"), ("routes.iris[0]", "breaker_open")),
        (Overloaded("the bodies being read", 1, "bytes"), ("gateway", "overloaded")),
        (behind(SwitchedOff("it"), "routes.iris"), ("routes.iris", "switched_off")),
    ],
)
def test_what_was_refused_on_purpose_is_counted_where_it_was(
    error: ServingError, shed: tuple[str, str]
) -> None:
    told = Ended()
    told.recording().end(error)
    assert told.number(families.SHEDS) == {shed: 1}


def test_an_error_is_no_shed() -> None:
    told = Ended()
    told.recording().end(behind(DeadlineExceeded("it"), "model:svc"))
    assert told.number(families.SHEDS) == {}


def shed_arm(name: str) -> ServingError:
    return behind(Overloaded(name, 1, "rows"), f"model:{name}")


def test_sheds_of_arms_are_counted_though_others_answered() -> None:
    told = Ended()
    nested = InferenceResponse(AnswerKind.KEYED, {}, arms={"x": shed_arm("x"), "y": scores([1.0])})
    within = FanOutFailed("all", 0, {"z": shed_arm("z"), "late": DeadlineExceeded("late")})
    arms: dict[str, InferenceResponse | ServingError]
    arms = {"a": scores([1.0]), "b": nested, "c": shed_arm("c"), "d": within}
    with told.recording() as record:
        record.outcome = InferenceResponse(AnswerKind.KEYED, {}, arms=arms)
    assert told.number(families.SHEDS) == {
        ("model:x", "overloaded"): 1,
        ("model:c", "overloaded"): 1,
        ("model:z", "overloaded"): 1,
    }
    assert told.number(families.REQUESTS) == {("iris", "200"): 1}


def test_sheds_of_a_failed_fan_out_are_counted() -> None:
    told = Ended()
    told.recording().end(FanOutFailed("all", 0, {"a": shed_arm("a"), "b": shed_arm("a")}))
    assert told.number(families.SHEDS) == {("model:a", "overloaded"): 2}


# --- the trace ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"), [(None, ""), (b"nonsense", ""), (PARENT.encode(), PARENT)]
)
def test_untraced_the_callers_trace_goes_on(given: bytes | None, told: str) -> None:
    assert Ended().recording().traceparent(given) == told
