"""One record for each exchange, whatever ended it."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import pytest

from penstock.core.errors import BodyTooSlow
from penstock.core.record import Record, Recorder, Role
from penstock.gateway.body import ClientGone
from penstock.gateway.exchange import Exchange, Headers
from penstock.gateway.recording import Recording
from penstock.gateway.status import InternalError
from tests.gateway.asking import Message
from tests.support import START_S, ManualClock, a_request, scores


def recording(recorder: Recorder | None, clock: ManualClock) -> Recording:
    async def receive() -> Message:
        raise AssertionError

    async def respond(status: int, headers: Headers, content: bytes, *, ends: bool) -> None:
        raise AssertionError

    exchange = Exchange("POST", "/", b"", {}, receive, respond, "an-id", START_S)
    return Recording(recorder, clock, "iris", exchange)


def failed(record: Recording, error: BaseException) -> NoReturn:
    with record:
        raise error


def test_an_answer() -> None:
    records: list[Record] = []
    clock = ManualClock()
    request, response = a_request(), scores([1.0])
    with recording(records.append, clock) as record:
        record.request = request
        clock.advance(2.0)
        record.outcome = response
    assert records == [Record(Role.PRIMARY, "iris", "an-id", request, response, 2.0)]


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
    records: list[Record] = []
    with pytest.raises(type(error)):
        failed(recording(records.append, ManualClock()), error)
    recording(records.append, ManualClock()).end(error)
    assert [type(record.outcome) for record in records] == [outcome] * 2


def test_an_answer_that_could_not_be_encoded_is_no_answer() -> None:
    records: list[Record] = []
    record = recording(records.append, ManualClock())
    record.outcome = scores([1.0])
    with pytest.raises(ValueError, match="not JSON"):
        failed(record, ValueError("not JSON"))
    assert isinstance(records[0].outcome, InternalError)


def test_nobody_listens() -> None:
    with recording(None, ManualClock()):
        pass
