"""The fast lane: the same answers as through ASGI, in order, to clients of all manners."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
import pytest_asyncio

from penstock.core.families import CONNECTIONS_GIVEN_UP
from penstock.core.record import Record
from penstock.gateway.body import BODY_TIMEOUT_S
from penstock.gateway.bounds import HEAD_TIMEOUT_S, KEEP_ALIVE_S, MAX_HEAD_BYTES, sweep_every
from penstock.gateway.gateway import Gateway, gateway_of
from penstock.gateway.lane import LaneCycle
from penstock.gateway.serving import read_served
from tests.gateway.asking import Answer, ask, ask_in_pieces
from tests.gateway.opening import EXAMPLE, FLOWER, open_gateway
from tests.gateway.requests import CASES, GOOD, Case, padded
from tests.gateway.wire import Wire, in_chunks, request
from tests.support import ManualClock, settle

FIRST: Final = b'{"data":[[1,2,3,4]]}'
OF_FIRST: Final = {"prediction": [0.75, 0.125, 0.125]}
SECOND: Final = b'{"data":[[2,2,3,4]]}'
OF_SECOND: Final = {"prediction": [0.25, 0.25, 0.5]}

LATE: Final = """
models:
  flower: {runtime: "gateway_callables:flower", execution: inline, sample: [[1, 2, 3, 4]]}
  late: {runtime: "gateway_callables:late"}
routes: {iris: flower, slow: late}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def example() -> AsyncIterator[Gateway]:
    async with gateway_of(read_served(EXAMPLE, {})) as gateway:
        yield gateway


def iris(body: bytes = FIRST, **headers: bytes) -> bytes:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return request("POST", "/iris/predict", body, given)


def in_lane(wire: Wire) -> bool:
    return isinstance(wire.protocol.cycle, LaneCycle)


# --- equivalence ---------------------------------------------------------------------------


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "case", [case for case in CASES if case.method != "HEAD"], ids=lambda case: case.name
)
async def test_answers_as_asgi_does(example: Gateway, case: Case) -> None:
    wire = Wire(example)
    wire.send(request(case.method, case.path, case.body, case.headers, chunked=case.chunked))
    got = await wire.answer()
    headers: dict[str, str | bytes] = dict(case.headers)
    if case.chunked:
        expected = await ask_in_pieces(
            example, case.method, case.path, [case.body], headers=headers
        )
    else:
        expected = await ask(example, case.method, case.path, case.body, headers=headers)
    assert got.status == expected.status == case.status
    given = case.headers.get("x-request-id", b"").decode("latin-1")
    assert comparable(got, given) == comparable(expected, given)
    if wire.is_closed():
        wire = Wire(example)
    wire.send(iris(GOOD))
    assert (await wire.answer()).status == 200
    assert in_lane(wire)


def comparable(answer: Answer, given_id: str) -> tuple[object, ...]:
    headers = dict(answer.headers)
    connection = headers.pop("connection", "")
    request_id = headers.pop("x-request-id")
    if answer.status == 200 and given_id:
        assert request_id == given_id
    content = answer.json
    if "error" in content:
        assert content["error"].pop("request_id") == request_id
        return headers["content-type"], answer.json["error"]["code"], content
    return connection, headers, answer.content


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("path", "takes_it"),
    [
        ("/predict", True),
        ("/predict/label", True),
        ("/iris/predict", True),
        ("/iris-parallel/predict/label", True),
        ("/iris/predict/an-id", False),
        ("/iris/predict?x=1", False),
        ("http://localhost/iris/predict", False),
        ("/iris%2Fpredict", False),
    ],
)
async def test_is_taken_by_the_hot_paths_only(example: Gateway, path: str, takes_it: bool) -> None:
    wire = Wire(example)
    content_length = f"content-length: {len(GOOD)}\r\n".encode()
    wire.send(b"POST " + path.encode() + b" HTTP/1.1\r\n" + content_length + b"\r\n" + GOOD)
    assert in_lane(wire) is takes_it
    assert (await wire.answer()).status == 200


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("headers", "body", "version"),
    [
        ({"content-type": b"application/json;charset=utf-8"}, GOOD, "1.1"),
        ({"content-encoding": b"identity"}, GOOD, "1.1"),
        ({"expect": b"something"}, GOOD, "1.1"),
        ({}, padded(64 * 1024 + 1), "1.1"),
        ({"connection": b"keep-alive"}, GOOD, "1.0"),
    ],
)
async def test_is_left_to_what_is_not_plain(
    example: Gateway, headers: dict[str, bytes], body: bytes, version: str
) -> None:
    wire = Wire(example)
    wire.send(request("POST", "/iris/predict", body, headers, version=version))
    assert not in_lane(wire)
    assert (await wire.answer()).status == 200


# --- one after the other -------------------------------------------------------------------


async def test_a_request_in_any_pieces() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        for i in range(3):
            for byte in iris(FIRST, x_request_id=b"id-%d" % i):
                wire.send(bytes((byte,)))
            answer = await wire.answer()
            assert (answer.json, answer.header("x-request-id")) == (OF_FIRST, f"id-{i}")


async def test_keep_alive_lane_and_ordinary_requests_by_turns() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        for _ in range(3):
            wire.send(iris())
            assert (await wire.answer()).json == OF_FIRST
            wire.send(request("GET", "/iris/predict/test"))
            assert (await wire.answer()).json == OF_FIRST
        assert not wire.is_closed()
        assert wire.protocol.server_state.total_requests >= 6
        wire.go()


async def test_pipelined_requests_keep_their_order() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        mixed = [
            iris(FIRST, x_request_id=b"0"),
            iris(SECOND, x_request_id=b"1"),
            request("GET", "/iris/predict-test/2"),
            request("POST", "/iris/predict", padded(70_000), {"x-request-id": b"3"}),
            iris(b"nope", x_request_id=b"4"),
            request("POST", "/iris/predict", FIRST, {"x-request-id": b"5"}, chunked=True),
            iris(SECOND, x_request_id=b"6"),
            iris(FIRST, x_request_id=b"7"),
        ]
        wire.send(b"".join(mixed))
        answers = [await wire.answer() for _ in mixed]
        assert [answer.header("x-request-id") for answer in answers] == list("01234567")
        assert [answer.status for answer in answers] == [200, 200, 200, 500, 400, 200, 200, 200]
        assert answers[6].json == OF_SECOND
        assert not wire.is_closed()


async def test_many_pipelined_requests() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        count = 300
        data = b"".join(iris(FIRST, x_request_id=b"%d" % i) for i in range(count))
        for start in range(0, len(data), 1000):
            wire.send(data[start : start + 1000])
        ids = [(await wire.answer()).header("x-request-id") for _ in range(count)]
        assert ids == [str(i) for i in range(count)]


async def test_a_lane_request_waits_behind_a_slow_ordinary_one() -> None:
    clock = ManualClock()
    async with open_gateway(LATE, clock=clock) as gateway:
        wire = Wire(gateway)
        wire.send(request("POST", "/slow/predict/an-id", FIRST) + iris())
        await clock.elapse(1.0)
        assert wire.rest == b""
        await clock.elapse(30.0)
        assert (await wire.answer()).status == 504
        assert (await wire.answer()).json == OF_FIRST


async def test_an_ordinary_request_waits_behind_a_slow_one_of_the_lane() -> None:
    clock = ManualClock()
    async with open_gateway(LATE, clock=clock) as gateway:
        wire = Wire(gateway)
        wire.send(request("POST", "/slow/predict", FIRST))
        assert in_lane(wire)
        wire.send(request("GET", "/iris/health") + iris())
        await clock.elapse(1.0)
        assert wire.rest == b""
        assert not wire.transport.reading  # and no more is taken from the client meanwhile
        await clock.elapse(30.0)
        assert [(await wire.answer()).status for _ in range(3)] == [504, 200, 200]
        assert wire.transport.reading


# --- connections -----------------------------------------------------------------------------


async def test_connection_close() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.send(iris(FIRST, connection=b"close"))
        answer = await wire.answer()
        assert (answer.json, answer.header("connection")) == (OF_FIRST, "close")
        assert wire.is_closed()
        await settle()


async def test_http_1_0_closes_after_its_answer() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.send(request("POST", "/iris/predict", FIRST, version="1.0"))
        assert (await wire.answer()).json == OF_FIRST
        assert wire.is_closed()
        await settle()


async def test_expect_100_continue() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        whole = iris(FIRST, expect=b"100-continue")
        wire.send(whole[: -len(FIRST)])
        assert (await wire.answer()).status == 100
        wire.send(FIRST)
        assert (await wire.answer()).json == OF_FIRST


async def test_a_refused_body_is_read_on_and_thrown_away() -> None:
    async with open_gateway(FLOWER + "limits: {max_body_bytes: 1000}\n") as gateway:
        wire = Wire(gateway)
        whole = iris(padded(5000))
        wire.send(whole[:2000])
        answer = await wire.answer()
        assert (answer.status, answer.header("connection")) == (413, "close")
        assert not wire.is_closed()  # the client is still sending: it must get to read
        wire.send(whole[2000:])
        await settle()
        assert wire.is_closed()


async def test_a_body_over_a_limit_below_64_kb_is_not_for_the_lane() -> None:
    async with open_gateway(FLOWER + "limits: {max_body_bytes: 1000}\n") as gateway:
        wire = Wire(gateway)
        wire.send(iris(padded(1001)))
        assert not in_lane(wire)
        assert (await wire.answer()).status == 413


async def test_what_is_no_http() -> None:
    async with open_gateway(FLOWER) as gateway:
        for data in (
            b"\x16\x03\x01\x00 TLS",
            b"GET / SPDY/9\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\n\r\n",
        ):
            wire = Wire(gateway)
            wire.send(data)
            answer = await wire.answer()
            assert answer.status == 400
            assert wire.is_closed()
            await settle()


async def test_two_lengths_are_refused() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.send(b"POST /iris/predict HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n")
        assert (await wire.answer()).status == 400
        await settle()


async def test_length_and_chunks_at_once_are_not_for_the_lane() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        head = b"POST /iris/predict HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n"
        wire.send(head + b"\r\n" + in_chunks(FIRST))
        assert not in_lane(wire)
        assert (await wire.answer()).status in (200, 400)
        wire.transport.close()
        await settle()


async def test_an_upgrade_is_answered_as_if_it_was_not_asked_for() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.send(
            request("GET", "/iris/health", headers={"connection": b"upgrade", "upgrade": b"h2c"})
        )
        assert (await wire.answer()).status == 200


# --- clients that go away, or dawdle -----------------------------------------------------------


async def test_a_client_that_goes_before_its_answer() -> None:
    clock = ManualClock()
    records: list[Record] = []
    async with open_gateway(LATE, clock=clock, recorder=records.append) as gateway:
        wire = Wire(gateway)
        wire.send(request("POST", "/slow/predict", FIRST))
        await clock.elapse()
        wire.go()
        await clock.elapse(30.0)
        assert wire.rest == b""
        assert len(records) == 1


@pytest.mark.parametrize("connection", [b"close", b"keep-alive"])
async def test_a_request_is_predicted_once_although_its_connection_closes(
    connection: bytes,
) -> None:
    records: list[Record] = []
    async with open_gateway(FLOWER, recorder=records.append) as gateway:
        wire = Wire(gateway)
        wire.send(iris(FIRST, connection=connection))
        await wire.answer()
        if not wire.is_closed():
            wire.go()
        await settle()
        assert len(records) == 1


async def test_a_client_that_goes_within_a_body() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.send(iris()[:-5])
        wire.go()
        await settle()
        assert wire.rest == b""


async def test_half_a_body_and_no_more() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.send(iris()[:-5])
        wire.protocol.sweep(1000.0)
        wire.protocol.sweep(1000.0 + BODY_TIMEOUT_S)
        assert not wire.is_closed()
        wire.protocol.sweep(1000.5 + BODY_TIMEOUT_S)
        assert wire.is_closed()
        answer = await wire.answer()
        assert (answer.status, answer.error["code"]) == (408, "body_too_slow")
        assert answer.header("connection") == "close"
        await settle()


@pytest.mark.parametrize("goes", [True, False])
async def test_a_request_whose_body_stays_away_is_recorded(goes: bool) -> None:
    records: list[Record] = []
    async with open_gateway(FLOWER, recorder=records.append) as gateway:
        wire = Wire(gateway)
        wire.send(iris(FIRST, x_request_id=b"an-id")[:-5])
        if goes:
            wire.go()
        else:
            wire.protocol.sweep(0.0)
            wire.protocol.sweep(BODY_TIMEOUT_S + 1.0)
        await settle()
    (record,) = records
    assert record.request_id == "an-id"


async def test_a_slow_body_s_refusal_has_the_request_s_id() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.send(iris(FIRST, x_request_id=b"an-id")[:-5])
        wire.protocol.sweep(0.0)
        wire.protocol.sweep(BODY_TIMEOUT_S + 1.0)
        await settle()
        answer = await wire.answer()
        assert answer.header("x-request-id") == answer.error["request_id"] == "an-id"


@pytest.mark.parametrize("sent", [b"", b"POST /iris/pre", b"POST /iris/predict HTTP/1.1\r\nho"])
async def test_half_a_head_and_no_more(sent: bytes) -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        if sent:
            wire.send(sent)
        wire.protocol.sweep(0.0)
        wire.protocol.sweep(HEAD_TIMEOUT_S)
        assert not wire.is_closed()
        wire.protocol.sweep(HEAD_TIMEOUT_S + 0.5)
        assert wire.is_closed()
        await settle()


async def test_half_a_second_head_and_no_more() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.send(iris())
        await wire.answer()
        wire.protocol.sweep(0.0)
        wire.send(b"POST /ir")
        wire.protocol.sweep(50.0)
        wire.protocol.sweep(50.0 + HEAD_TIMEOUT_S)
        assert not wire.is_closed()
        wire.protocol.sweep(51.0 + HEAD_TIMEOUT_S)
        assert wire.is_closed()
        await settle()


async def test_an_idle_connection_is_closed_after_a_while_only() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        for i in range(3):
            wire.send(iris())
            await wire.answer()
            wire.protocol.sweep(i * KEEP_ALIVE_S)
            wire.protocol.sweep((i + 1) * KEEP_ALIVE_S)
            assert not wire.is_closed()
        wire.protocol.sweep(3 * KEEP_ALIVE_S + 1.0)
        assert wire.is_closed()
        await settle()


async def test_an_answer_may_take_as_long_as_its_deadline() -> None:
    clock = ManualClock()
    async with open_gateway(LATE, clock=clock) as gateway:
        wire = Wire(gateway)
        wire.send(request("POST", "/slow/predict", FIRST))
        await clock.elapse()
        wire.protocol.sweep(0.0)
        wire.protocol.sweep(1e6)
        assert not wire.is_closed()
        await clock.elapse(30.0)
        assert (await wire.answer()).status == 504


async def test_a_head_without_end_is_cut_off() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.send(b"POST /iris/predict HTTP/1.1\r\n")
        sent = 0
        while not wire.is_closed():
            wire.send(b"x-filler: " + b"x" * 1000 + b"\r\n")
            sent += 1012
            assert sent <= MAX_HEAD_BYTES + 2000
        await settle()


@pytest.mark.parametrize("start", [b"GET /", b"POST /iris/predict HTTP/1.1\r\nx: "])
async def test_a_path_or_a_header_without_end_is_cut_off(start: bytes) -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.send(start)
        for _ in range(MAX_HEAD_BYTES // 1000 + 1):
            wire.send(b"x" * 1000)
            if wire.is_closed():
                break
        assert wire.is_closed()
        await settle()


async def test_a_large_head_within_the_bound_is_fine() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        for _ in range(3):
            wire.send(iris(FIRST, x_filler=b"x" * (MAX_HEAD_BYTES - 1000)))
            assert (await wire.answer()).json == OF_FIRST


async def test_a_head_that_begins_at_the_end_of_a_large_read_is_no_large_head() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        data = request("POST", "/iris/predict/an-id", FIRST[:-1] + b" " * 100_000 + b"}") + iris()
        wire.send(data[:-60])
        assert not wire.is_closed()


async def test_heads_cut_in_two_by_large_reads_are_no_large_heads() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        count = 2000
        data = iris() * count
        middle_of_a_head = len(iris()) * 900 + 20  # over 64 kB
        for start in range(0, len(data), middle_of_a_head):
            wire.send(data[start : start + middle_of_a_head])
            await settle()
            assert not wire.is_closed()
        for _ in range(count):
            assert (await wire.answer()).status == 200


async def test_the_sweep_goes_over_all_connections() -> None:
    async with open_gateway(FLOWER) as gateway:
        wires = [Wire(gateway) for _ in range(3)]
        connections: set[Any] = {wire.protocol for wire in wires} | {object()}
        for wire in wires:
            wire.protocol.sweep(-1000.0)
        sweeping = asyncio.ensure_future(sweep_every(0.0, connections))
        for wire in wires:
            await asyncio.wait_for(wire.transport.wrote.wait(), 10.0)
            assert wire.is_closed()
        sweeping.cancel()
        await settle()


async def test_shutdown_lets_an_answer_out_and_closes_the_idle() -> None:
    clock = ManualClock()
    async with open_gateway(LATE, clock=clock) as gateway:
        busy, idle, new = Wire(gateway), Wire(gateway), Wire(gateway)
        busy.send(request("POST", "/slow/predict", FIRST))
        idle.send(iris())
        await idle.answer()
        for wire in (busy, idle, new):
            wire.protocol.shutdown()
        assert idle.is_closed()
        assert new.is_closed()
        assert not busy.is_closed()
        await clock.elapse(30.0)
        answer = await busy.answer()
        assert (answer.status, answer.header("connection")) == (504, "close")
        assert busy.is_closed()
        await settle()


async def test_too_many_connections_are_refused_by_the_server_itself() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.protocol.limit_concurrency = 1
        wire.send(iris())
        assert (await wire.answer()).status == 503
        assert not in_lane(wire)


# --- a client that does not read ------------------------------------------------------------------


@asynccontextmanager
async def listening(gateway: Gateway) -> AsyncIterator[tuple[socket.socket, list[Wire]]]:
    """Yield the client's end of a real connection, and the server's protocol."""
    made: list[Wire] = []

    def protocol() -> asyncio.Protocol:
        wire = Wire(gateway)
        wire.protocol.connections.clear()
        made.append(wire)
        return wire.protocol

    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    await loop.sock_connect(client, server.sockets[0].getsockname())
    try:
        yield client, made
    finally:
        client.close()
        for wire in made:
            wire.protocol.transport.abort()
        server.close()
        await server.wait_closed()
        await settle()


async def test_pipelined_requests_do_not_pile_up() -> None:
    async with open_gateway(FLOWER) as gateway, listening(gateway) as (client, made):
        data = iris() * 1000
        for _ in range(100):
            with contextlib.suppress(BlockingIOError):
                client.send(data)
            await asyncio.sleep(0)
            assert not made or len(made[0].protocol.pipeline) < 5000


async def test_a_client_that_never_reads_is_not_served_on() -> None:
    async with open_gateway(FLOWER) as gateway, listening(gateway) as (client, made):
        data = b'{"data":[' + b",".join([b"[1,2,3,4]"] * 6000) + b"]}"
        large = request("POST", "/iris/predict", data)

        def sent() -> int:
            """Send what can be sent; see that the server keeps little of it."""
            with contextlib.suppress(BlockingIOError):
                return client.send(large)
            assert not made or len(made[0].protocol.pipeline) < 100
            return 0

        async with asyncio.timeout(20.0):
            while sent() or not made[0].protocol.flow.write_paused:
                await settle()
        for _ in range(200):
            assert sent() == 0
            await asyncio.sleep(0)
        protocol = made[0].protocol
        assert protocol.transport.get_write_buffer_size() < 1_000_000


async def test_a_connection_that_is_given_up_is_counted_by_what_it_kept_back() -> None:
    async with open_gateway(FLOWER) as gateway:
        for data, awaited in ((b"POST /iris", "head"), (iris()[:-5], "body"), (iris(), "idle")):
            wire = Wire(gateway)
            wire.send(data)
            await settle()
            wire.protocol.sweep(0.0)
            wire.protocol.sweep(1e6)
            assert wire.is_closed()
            given_up = gateway.graph.measures.snapshot().numbers[CONNECTIONS_GIVEN_UP.name]
            assert given_up[awaited,] == 1


async def test_a_route_that_goes_while_its_body_comes_is_unknown() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        data = iris()
        wire.send(data[:-5])
        gateway.lane.clear()
        wire.send(data[-5:])
        assert (await wire.answer()).error["code"] == "unknown_route"


# --- the end -------------------------------------------------------------------------------


async def test_who_does_not_read_is_dropped_when_the_server_has_to_stop() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.send(iris())
        await wire.answer()
        wire.protocol.pause_writing()
        assert not wire.protocol.cut_off()
        assert wire.transport.aborted


async def test_an_idle_connection_has_nothing_to_cut_off() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        assert not wire.protocol.cut_off()
        wire.send(iris())
        await wire.answer()
        assert not wire.protocol.cut_off()
        assert not wire.is_closed()


async def test_a_cancellation_that_is_not_the_stops_drops_the_connection(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with open_gateway(LATE, clock=ManualClock()) as gateway:
        wire = Wire(gateway)
        wire.send(request("POST", "/slow/predict", FIRST))
        await settle()
        (driven,) = wire.protocol._under_way_in_lane
        driven.cancel()
        await settle()
        assert wire.transport.aborted
        assert gateway.graph.measures.route("slow").answers == {200: 0, 499: 1}
    assert "CancelledError" in capsys.readouterr().err
