from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from penstock.core.clock import Clock, SystemClock
from penstock.core.drive import Driven
from penstock.core.errors import DeadlineExceeded, NotReady, Overloaded, UpstreamFailed
from penstock.gateway import headers
from penstock.runtimes.http_address import Address
from penstock.runtimes.http_pool import MAX_TIMEOUT_MS, Pool
from penstock.runtimes.http_terms import MAX_WAITING, Answer, PoolLimits
from tests.runtimes.faulty_server import (
    ROW,
    Request,
    Visit,
    answer,
    faulty,
    free_address,
    killed,
    silent,
    well,
)
from tests.runtimes.remotes import until
from tests.support import START_S, ManualClock, Start, both_ways, nothing_loose, settle

LIMITS: Final = PoolLimits(connections=2, waiting=3, fair_wait_s=0.0, first_byte_s=50.0)
FAR_S: Final = START_S + 1000.0


@asynccontextmanager
async def pooled(
    *addresses: Address, clock: Clock | None = None, limits: PoolLimits = LIMITS
) -> AsyncIterator[Pool]:
    pool = Pool("svc", addresses, clock=clock or ManualClock(), limits=limits)
    async with nothing_loose():
        try:
            yield pool
        finally:
            await pool.close()
            counts = pool.counts()
            assert (counts.open, counts.busy, counts.waiting) == (0, 0, 0)


def ask(pool: Pool, deadline_s: float = FAR_S, body: bytes = b"{}") -> Coroutine[Any, Any, Answer]:
    return pool.ask(pool.target("POST", "/predict"), b"x-a: 1\r\n", body, deadline_s)


async def answered(pool: Pool, times: int = 1) -> None:
    for _ in range(times):
        assert bytes((await ask(pool)).body) == ROW


# --- asking ------------------------------------------------------------------------------


@both_ways
async def test_a_request_goes_out_whole(start: Start) -> None:
    async with faulty(well) as server:
        address = msgspec.structs.replace(server.address, base="/iris")
        async with pooled(address) as pool:
            got = await start(ask(pool, START_S + 2.5, b"abc"))
        assert (got.status, bytes(got.body)) == (200, ROW)
        (request,) = server.requests
        assert request.line == "POST /iris/predict HTTP/1.1"
        assert request.body == b"abc"
        assert request.headers == {
            "host": server.url,
            "accept-encoding": "identity",
            "x-a": "1",
            "x-timeout-ms": "2500",
            "content-length": "3",
        }


async def test_a_deadline_without_end_is_told_as_a_day() -> None:
    async with faulty(well) as server, pooled(server.address) as pool:
        await ask(pool, float("inf"))
        assert server.requests[0].headers["x-timeout-ms"] == "86400000"
    assert headers.MAX_TIMEOUT_MS == MAX_TIMEOUT_MS  # a gateway at the other end refuses more


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with faulty(well) as server, pooled(server.address) as pool:
        await answered(pool, 5)
        assert server.connections == 1
        assert pool.counts().requests == 5
        assert (pool.counts().open, pool.counts().busy) == (1, 0)


async def test_replicas_are_asked_in_turn() -> None:
    async with faulty(well) as one, faulty(well) as two, faulty(well) as three:
        async with pooled(one.address, two.address, three.address) as pool:
            await answered(pool, 9)
        assert [len(server.requests) for server in (one, two, three)] == [3, 3, 3]
        assert [server.connections for server in (one, two, three)] == [1, 1, 1]


async def test_one_replica_alone_can_be_asked() -> None:
    async with faulty(well) as one, faulty(well) as two:
        async with pooled(one.address, two.address) as pool:
            for _ in range(3):
                await pool.ask(pool.target("GET", "/health"), b"", b"", FAR_S, 1)
        assert (len(one.requests), len(two.requests)) == (0, 3)


# --- bounds ------------------------------------------------------------------------------


@both_ways
async def test_connections_and_those_who_wait_for_one_are_bounded(start: Start) -> None:
    async with faulty(silent) as server, pooled(server.address) as pool:
        asking = [start(ask(pool)) for _ in range(7)]
        await until(lambda: len(server.requests) == 2)
        assert (pool.counts().busy, pool.counts().waiting) == (2, 3)
        for shed in asking[5:]:
            with pytest.raises(Overloaded, match="queue for a connection to model svc: at most 3"):
                await shed
        server.behave = well
        for visit in list(server.visits):
            visit.write(answer())
        assert [(await one).status for one in asking[:5]] == [200] * 5
        assert server.connections == 2


@both_ways
async def test_who_waits_gets_a_new_connection_for_one_that_broke(start: Start) -> None:
    async with faulty(silent) as server, pooled(server.address) as pool:
        asking = [start(ask(pool)) for _ in range(4)]
        await until(lambda: len(server.requests) == 2)
        server.behave = well
        for visit in list(server.visits):
            visit.reset()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(one) for one in outcomes] == [UpstreamFailed] * 2 + [Answer] * 2


@both_ways
async def test_the_deadline_ends_who_asks_and_who_waits(start: Start) -> None:
    clock = ManualClock()
    async with faulty(silent) as server, pooled(server.address, clock=clock) as pool:
        asking = [start(ask(pool, START_S + 5.0)) for _ in range(3)]
        await until(lambda: len(server.requests) == 2)
        await clock.elapse(4.9)
        assert not any(one.done() for one in asking)
        await clock.elapse(0.2)
        for one in asking:
            with pytest.raises(DeadlineExceeded, match="at model svc"):
                await one
        assert pool.counts().late == 3


async def test_a_deadline_that_has_passed_is_not_asked_for() -> None:
    async with faulty(well) as server, pooled(server.address) as pool:
        with pytest.raises(DeadlineExceeded, match="at model svc"):
            await ask(pool, START_S)
        assert (pool.counts().late, pool.counts().open, server.connections) == (1, 0, 0)
        await answered(pool)
        with pytest.raises(DeadlineExceeded):
            await ask(pool, START_S)
        assert pool.counts().late == 2
        assert len(server.requests) == 1
        await answered(pool)
        assert server.connections == 1


@both_ways
async def test_many_who_are_late_leave_the_connection_to_others(start: Start) -> None:
    clock = ManualClock()
    limits = msgspec.structs.replace(LIMITS, connections=1, waiting=MAX_WAITING)
    async with (
        faulty(silent) as server,
        pooled(server.address, clock=clock, limits=limits) as pool,
    ):
        first = start(ask(pool))
        await until(lambda: len(server.requests) == 1)
        late = [start(ask(pool, START_S + 5.0)) for _ in range(MAX_WAITING)]
        await settle()
        assert pool.counts().waiting == MAX_WAITING
        clock._now_s += 5.0  # before any alarm: the loop was held up
        server.behave = well
        (visit,) = server.visits
        visit.write(answer())
        assert (await first).status == 200
        ends = await asyncio.gather(*late, return_exceptions=True)
        assert {type(end) for end in ends} == {DeadlineExceeded}
        counts = pool.counts()
        assert (counts.open, counts.busy, counts.waiting) == (1, 0, 0)
        assert counts.late == MAX_WAITING
        assert len(pool._replicas[0]._idle) == 1
        await answered(pool, 2)
        assert server.connections == 1


@both_ways
async def test_who_was_there_first_does_not_lose_its_place_to_who_came_later(start: Start) -> None:
    limits = msgspec.structs.replace(LIMITS, connections=1, waiting=1)
    async with faulty(silent) as server, pooled(server.address, limits=limits) as pool:
        first = Driven(ask(pool))
        first.start()
        await until(lambda: len(server.requests) == 1)
        patient = asyncio.ensure_future(ask(pool, body=b"patient"))  # wakes a turn later
        await settle()
        later: list[asyncio.Future[Answer]] = []

        def take_its_room() -> None:
            """Come in the very moment in which there is room, before `patient` knows."""
            for body in (b"newcomer", b"last"):
                driven = Driven(ask(pool, body=body))
                driven.start()
                later.append(start(joined(driven)))

        first.when_done(take_its_room)
        server.behave = well
        (visit,) = server.visits
        visit.reset()
        assert (await patient).status == 200
        assert [(await one).status for one in later] == [200, 200]
        assert isinstance(first.error, UpstreamFailed)
        assert [one.body for one in server.requests[1:]] == [b"newcomer", b"patient", b"last"]


async def joined(driven: Driven[Answer]) -> Answer:
    while not driven.done:  # noqa: ASYNC110 - it has been started elsewhere
        await asyncio.sleep(0)
    return driven.result()


async def test_who_asks_one_replica_is_not_answered_by_another() -> None:
    limits = msgspec.structs.replace(LIMITS, connections=1)
    async with (
        faulty(silent) as one,
        faulty(silent) as two,
        pooled(one.address, two.address, limits=limits) as pool,
    ):
        both = [asyncio.ensure_future(ask(pool)) for _ in range(2)]
        await until(lambda: bool(one.requests and two.requests))
        target = pool.target("GET", "/label")
        asking = asyncio.ensure_future(pool.ask(target, b"", b"", FAR_S, 1))
        await settle()
        one.behave = two.behave = well
        for server in (one, two):
            assert len(server.requests) == 1
            (visit,) = server.visits
            visit.write(answer())
            await until(lambda: any(asked.done() for asked in both))
        await asyncio.gather(asking, *both)
        assert [len(server.requests) for server in (one, two)] == [1, 2]


@both_ways
async def test_who_is_late_before_it_has_a_connection_is_counted(start: Start) -> None:
    clock = ManualClock()
    limits = msgspec.structs.replace(LIMITS, connections=1)
    async with deaf() as address, pooled(address, clock=clock, limits=limits) as pool:
        asking = [start(ask(pool, START_S + 0.5)) for _ in range(2)]  # connects; waits
        await settle()
        assert (pool.counts().open, pool.counts().waiting) == (1, 1)
        clock._now_s += 0.5  # before any alarm
        for one in asking:
            one.cancel()  # as a caller that is late does
        await asyncio.gather(*asking, return_exceptions=True)
        assert all(one.cancelled() for one in asking)
        assert pool.counts().late == 2
        await until(lambda: pool.counts().open == 0)


async def test_a_replica_may_be_silent_only_so_long() -> None:
    clock = ManualClock()
    async with faulty(silent) as server, pooled(server.address, clock=clock) as pool:
        asking = asyncio.ensure_future(ask(pool))
        await until(lambda: len(server.requests) == 1)
        await clock.elapse(LIMITS.first_byte_s)
        with pytest.raises(UpstreamFailed, match="it said nothing for 50 s"):
            await asking


async def test_once_it_has_begun_an_answer_has_until_the_deadline() -> None:
    clock = ManualClock()
    async with faulty(silent) as server, pooled(server.address, clock=clock) as pool:
        asking = asyncio.ensure_future(ask(pool))
        await until(lambda: len(server.requests) == 1)
        (visit,) = server.visits
        visit.write(answer()[:9])
        (connection,) = pool._replicas[0]._connections
        await until(lambda: connection.due_s == FAR_S)
        await clock.elapse(900.0)
        visit.write(answer()[9:])
        assert (await asking).status == 200


@both_ways
async def test_a_caller_that_leaves_takes_its_connection_along(start: Start) -> None:
    async with faulty(silent) as server, pooled(server.address) as pool:
        asking = [start(ask(pool)) for _ in range(3)]
        await until(lambda: len(server.requests) == 2)
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert all(one.cancelled() for one in asking)
        await until(lambda: not pool.counts().open)
        assert pool.counts().late == 0


async def test_a_free_connection_is_closed_after_a_while() -> None:
    clock = ManualClock()
    async with faulty(well) as server, pooled(server.address, clock=clock) as pool:
        await answered(pool)
        await clock.elapse(20.0)
        await answered(pool)
        await clock.elapse(LIMITS.idle_s - 1.0)
        assert pool.counts().open == 1
        await clock.elapse(2.0)
        await until(lambda: not server.visits)
        assert pool.counts().open == 0
        await clock.elapse(LIMITS.idle_s)
        assert clock.timers == 0  # not one alarm for a pool that holds nothing


# --- failures ----------------------------------------------------------------------------


async def test_a_replica_that_is_not_there_is_passed_over() -> None:
    clock = ManualClock()
    async with (
        faulty(well) as server,
        pooled(free_address(), server.address, clock=clock) as pool,
    ):
        await answered(pool, 6)
        assert pool.counts().connect_failures == 1
        assert pool.counts().skipped == 1
        clock.advance(1.0)  # is tried again, and passed over for twice as long
        await answered(pool, 2)
        assert pool.counts().connect_failures == 2
        clock.advance(1.5)
        await answered(pool, 4)
        assert pool.counts().connect_failures == 2
        clock.advance(1.0)
        await answered(pool, 2)
        assert pool.counts().connect_failures == 3


async def test_a_replica_that_is_back_is_taken_back() -> None:
    clock = ManualClock()
    async with (
        faulty(killed) as bad,
        faulty(well) as good,
        pooled(bad.address, good.address, clock=clock) as pool,
    ):
        ends = await asyncio.gather(ask(pool), ask(pool), return_exceptions=True)
        assert {type(end) for end in ends} == {Answer, UpstreamFailed}
        assert pool.counts().skipped == 1
        bad.behave = well
        clock.advance(1.0)
        await answered(pool, 4)
        assert pool.counts().skipped == 0
        assert len(bad.requests) == 1 + 2


async def test_the_pause_of_a_bad_replica_is_bounded() -> None:
    clock = ManualClock()
    async with pooled(free_address(), clock=clock) as pool:
        (replica,) = pool._replicas
        for _ in range(40):
            replica.failed()
            clock.advance(LIMITS.max_skip_s)
        assert replica.skip_until_s <= clock.now_s()


async def test_where_all_are_bad_all_are_tried() -> None:
    async with pooled(free_address(), free_address()) as pool:
        for _ in range(3):
            with pytest.raises(UpstreamFailed, match=r"svc failed: no connection \(refused\)"):
                await ask(pool)
        assert pool.counts().connect_failures == 6


async def test_a_host_that_is_no_name_is_an_error() -> None:
    async with pooled(Address("a..b", 80)) as pool:
        with pytest.raises(UpstreamFailed, match="no connection"):
            await ask(pool)


async def test_a_late_replica_is_passed_over_if_it_had_time() -> None:
    for fair_wait_s, skipped in ((0.0, 1), (10.0, 0)):
        clock = ManualClock()
        limits = msgspec.structs.replace(LIMITS, fair_wait_s=fair_wait_s)
        async with (
            faulty(silent) as server,
            pooled(server.address, clock=clock, limits=limits) as pool,
        ):
            asking = asyncio.ensure_future(ask(pool, START_S + 5.0))
            await until(lambda: len(server.requests) == 1)
            await clock.elapse(5.0)
            with pytest.raises(DeadlineExceeded):
                await asking
            assert pool.counts().skipped == skipped


async def test_a_caller_that_is_late_cancels_which_counts_as_late() -> None:
    clock = ManualClock()
    async with faulty(silent) as server, pooled(server.address, clock=clock) as pool:
        asking = asyncio.ensure_future(ask(pool, START_S + 5.0))
        await until(lambda: len(server.requests) == 1)
        asking.cancel()
        clock._now_s += 5.0  # before any alarm
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (pool.counts().late, pool.counts().skipped) == (1, 1)


async def test_of_many_that_fail_together_one_counts() -> None:
    async with faulty(silent) as server, pooled(server.address) as pool:
        asking = [asyncio.ensure_future(ask(pool)) for _ in range(2)]
        await until(lambda: len(server.requests) == 2)
        for visit in list(server.visits):
            visit.reset()
        await asyncio.gather(*asking, return_exceptions=True)
        assert pool._replicas[0].failures == 1
        assert pool.counts().broken == 2


async def test_free_connections_like_a_stale_one_are_not_tried() -> None:
    def close_later(visit: Visit, request: Request) -> None:
        visit.close() if closing else visit.write(answer())

    closing: list[bool] = []
    async with faulty(silent) as server, pooled(server.address) as pool:
        asking = [asyncio.ensure_future(ask(pool)) for _ in range(2)]
        await until(lambda: len(server.requests) == 2)
        server.behave = close_later
        for visit in server.visits:
            visit.write(answer())
        await asyncio.gather(*asking)
        closing.append(True)
        old = set(server.visits)

        def closed_once(visit: Visit, request: Request) -> None:
            visit.close() if visit in old else visit.write(answer())

        server.behave = closed_once
        await answered(pool)
        assert pool.counts().retries == 1
        assert pool.counts().open == 1


# --- connecting --------------------------------------------------------------------------


@asynccontextmanager
async def deaf() -> AsyncIterator[Address]:
    """Yield an address whose backlog is full: no connection is ever established."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = Address("127.0.0.1", listening.getsockname()[1])
        filling = []
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            filling.append(sock)
            sock.connect_ex((address.host, address.port))
        await asyncio.sleep(0)
        try:
            yield address
        finally:
            for sock in filling:
                sock.close()


@both_ways
async def test_a_connection_must_be_established_in_time(start: Start) -> None:
    clock = ManualClock()
    async with deaf() as address, pooled(address, clock=clock) as pool:
        asking = start(ask(pool))
        await settle()
        await clock.elapse(1.0)
        with pytest.raises(UpstreamFailed, match="no connection within 1 s"):
            await asking
        assert pool.counts().connect_failures == 1
        asking = start(ask(pool, clock.now_s() + 0.5))
        await settle()
        await clock.elapse(0.5)
        with pytest.raises(DeadlineExceeded, match="at model svc"):
            await asking
        assert pool.counts().late == 1


@both_ways
async def test_who_leaves_while_connecting_leaves_nothing(start: Start) -> None:
    async with deaf() as address, pooled(address) as pool:
        asking = start(ask(pool))
        await settle()
        assert pool.counts().open == 1
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: pool.counts().open == 0)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a key and a certificate of this address, signed by nobody."""
    folder = tmp_path_factory.mktemp("tls")
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here to make a certificate with")
    made = folder / "made.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(made)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    with made.open("a") as both:
        both.write((folder / "key.pem").read_text())
    return made


async def ask_by_tls(certificate: Path, client: ssl.SSLContext) -> Answer:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate)
    clock = SystemClock()
    async with faulty(well, server_side) as server, nothing_loose():
        address = msgspec.structs.replace(server.address, tls=True)
        pool = Pool("svc", (address,), clock=clock, tls=client)
        try:
            first = await ask(pool, clock.now_s() + 10.0)
            assert server.connections == 1
            again = await ask(pool, clock.now_s() + 10.0)
            assert server.connections == 1
            assert bytes(first.body) == bytes(again.body)
            return again
        finally:
            await pool.close()


async def test_tls_is_spoken_with_who_can_prove_who_it_is(certificate: Path) -> None:
    trusting = await asyncio.to_thread(ssl.create_default_context, cafile=str(certificate))
    assert bytes((await ask_by_tls(certificate, trusting)).body) == ROW


async def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    wary = await asyncio.to_thread(ssl.create_default_context)
    with pytest.raises(UpstreamFailed, match=r"no connection \(TLS: CERTIFICATE_VERIFY_FAILED\)"):
        await ask_by_tls(certificate, wary)


# --- closing -----------------------------------------------------------------------------


@both_ways
async def test_closing_ends_what_is_under_way(start: Start) -> None:
    async with faulty(silent) as server, pooled(server.address) as pool:
        asking = [start(ask(pool)) for _ in range(4)]
        await until(lambda: len(server.requests) == 2)
        await pool.close()
        for one in (*asking, start(ask(pool))):
            with pytest.raises(NotReady, match=r"^model svc is not ready$"):
                await one


@both_ways
async def test_closing_ends_what_is_being_established(start: Start) -> None:
    async with deaf() as address, pooled(address) as pool:
        asking = start(ask(pool))
        await settle()
        await pool.close()
        with pytest.raises(NotReady, match=r"^model svc is not ready$"):
            await asking
