"""Remote models that misbehave: an error of ours within the deadline, and nothing left behind."""

from __future__ import annotations

import asyncio
import itertools
from typing import Final

import pytest

from penstock.core.errors import (
    DeadlineExceeded,
    InvalidInput,
    ServingError,
    UpstreamFailed,
    UpstreamShed,
)
from penstock.core.values import InferenceResponse
from tests.runtimes.faulty_server import (
    FAULTS,
    MANNERS,
    Behaviour,
    Request,
    Visit,
    faulty,
    free_address,
    model,
    refusing,
    silent,
    well,
)
from tests.runtimes.remotes import SMALL, Opened, opened, remote_source, until
from tests.support import Start, both_ways, hops, nothing_loose

SHORT_S: Final = 0.05
"""A deadline for what never answers."""

LATE: Final = {"never answers", "half an answer, then nothing", "byte by byte, slowly"}


def expected(fault: str) -> type[ServingError]:
    if fault in LATE:
        return DeadlineExceeded
    return UpstreamShed if fault.startswith("503") else UpstreamFailed


@both_ways
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_ends_as_an_error_of_ours(start: Start, fault: str) -> None:
    async with faulty(model(FAULTS[fault])) as server, opened(remote_source(server.url)) as remote:
        async with nothing_loose():
            for _ in range(2):
                within_s = SHORT_S if fault in LATE else 10.0
                with pytest.raises(expected(fault)) as caught:
                    await start(remote.model.predict(remote.request(within_s=within_s)))
                assert hops(caught.value) == [f"remote:svc!{caught.value.code}"]
        assert remote.counts().busy == remote.counts().waiting == 0


@both_ways
@pytest.mark.parametrize("manner", MANNERS)
async def test_all_manners_of_answering_are_understood(start: Start, manner: str) -> None:
    async with (
        faulty(model(MANNERS[manner])) as server,
        opened(remote_source(server.url)) as remote,
    ):
        async with nothing_loose():
            for _ in range(3):
                response = await start(remote.model.predict(remote.request()))
                assert response.primary.tolist() == [[0.75, 0.125, 0.125]]
        assert remote.counts().broken == 0


async def test_a_server_that_is_gone_is_an_error_at_once() -> None:
    async with faulty(model(well)) as server, opened(remote_source(server.url)) as remote:
        server.behave = silent
        waiting = asyncio.ensure_future(remote.model.predict(remote.request()))
        await until(lambda: remote.counts().busy == 1)
        for visit in server.visits:
            visit.reset()
        server.behave = lambda visit, request: visit.reset()
        with pytest.raises(UpstreamFailed, match="connection"):
            await waiting


async def test_nobody_there_is_an_error_at_once() -> None:
    source = remote_source(f"127.0.0.1:{free_address().port}")
    async with faulty(model(well)) as server:
        url = server.url
        async with opened(remote_source(url)) as remote:
            await server.stop()
            with pytest.raises(UpstreamFailed, match=r"svc failed: no connection \(refused\)$"):
                await remote.model.predict(remote.request())
            assert remote.counts().connect_failures > 0
    async with opened(source, known=False) as remote:
        assert await remote.model.health(remote.clock.now_s() + 1.0) is False


async def test_the_message_of_a_refusal_goes_on() -> None:
    body = b'{"error":{"code":"invalid_input","message":"no\\nsuch","path":"$.data[0]"}}'
    behave = model(refusing(422, body))
    async with faulty(behave) as server, opened(remote_source(server.url)) as remote:
        with pytest.raises(InvalidInput, match=r"svc refused the input: no such$") as caught:
            await remote.model.predict(remote.request())
        assert caught.value.path == "$.data[0]"


async def test_a_shed_is_not_repeated() -> None:
    async with (
        faulty(model(refusing(503, retry_after="7"))) as one,
        faulty(model(refusing(429))) as two,
        opened(remote_source(one.url, two.url)) as remote,
    ):
        before = len(one.requests) + len(two.requests)
        shed = []
        for _ in range(2):
            with pytest.raises(UpstreamShed) as caught:
                await remote.model.predict(remote.request())
            shed.append(caught.value.retry_after_s)
        assert sorted(shed) == [1, 7]
        assert len(one.requests) + len(two.requests) == before + 2
        assert remote.counts().retries == 0


async def test_a_connection_closed_under_a_request_is_replaced_once() -> None:
    behave = model(MANNERS["closes when another request comes"])
    async with faulty(behave) as server, opened(remote_source(server.url)) as remote:
        for _ in range(3):
            await remote.model.predict(remote.request())
        assert remote.counts().retries == 3
        assert remote.counts().broken == 0
        server.behave = lambda visit, request: visit.close()
        asked = len(server.requests)
        with pytest.raises(UpstreamFailed, match="closed the connection without an answer"):
            await remote.model.predict(remote.request())
        assert len(server.requests) == asked + 2


async def test_nothing_is_repeated_once_a_byte_has_come() -> None:
    async with faulty(model(well)) as server, opened(remote_source(server.url)) as remote:
        server.behave = FAULTS["half an answer, then closed"]
        asked = len(server.requests)
        with pytest.raises(UpstreamFailed, match="within its answer"):
            await remote.model.predict(remote.request())
        assert len(server.requests) == asked + 1


# --- thousands ---------------------------------------------------------------------------

FAULTY_REQUESTS: Final = 10_000
ABREAST: Final = 25
BRIEF_S: Final = 0.02


def in_turn() -> Behaviour:
    """Return a behaviour that has every fault and every manner in turn."""
    behaviours = itertools.cycle([*FAULTS.values(), *MANNERS.values()])

    def behave(visit: Visit, request: Request) -> None:
        next(behaviours)(visit, request)

    return behave


ENDS: Final = {
    "answered",
    "cancelled",
    "deadline_exceeded",
    "overloaded",
    "upstream_failed",
    "upstream_shed",
}


async def ask_often(remote: Opened, requests: int, ends: dict[str, int]) -> None:
    for i in range(requests):
        asking = asyncio.ensure_future(remote.model.predict(remote.request(within_s=BRIEF_S)))
        if i % 20 == 19:
            await asyncio.sleep(0)
            asking.cancel()
        try:
            outcome = await asking
        except ServingError as error:
            ends[error.code] = ends.get(error.code, 0) + 1
        except asyncio.CancelledError:
            ends["cancelled"] = ends.get("cancelled", 0) + 1
        else:
            assert isinstance(outcome, InferenceResponse)
            ends["answered"] = ends.get("answered", 0) + 1
        assert remote.counts().open <= 2 * SMALL.connections


async def test_ten_thousand_faulty_requests_leave_nothing_behind() -> None:
    behave = model(in_turn())
    async with faulty(behave) as one, faulty(behave) as two:
        async with opened(remote_source(one.url, two.url)) as remote, nothing_loose():
            ends: dict[str, int] = {}
            each = FAULTY_REQUESTS // ABREAST
            await asyncio.gather(*(ask_often(remote, each, ends) for _ in range(ABREAST)))
            assert sum(ends.values()) == FAULTY_REQUESTS
            assert {"answered", "cancelled", "upstream_failed", "upstream_shed"} <= set(ends)
            assert set(ends) <= ENDS
            assert len(one.requests) + len(two.requests) > FAULTY_REQUESTS // 2
            counts = remote.counts()
            assert (counts.busy, counts.waiting) == (0, 0)
            one.behave = two.behave = model(well)
            await asyncio.gather(  # every permit is back
                *(remote.model.predict(remote.request()) for _ in range(2 * SMALL.connections))
            )
        counts = remote.counts()
        assert (counts.open, counts.busy, counts.waiting) == (0, 0, 0)
        await one.left()
        await two.left()
