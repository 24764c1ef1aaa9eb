"""What uvicorn leaves open: trailers, upgrades, clients that go or read nothing, all bounded."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from penstock.core.record import Record
from penstock.gateway.body import ClientGone
from penstock.gateway.bounds import MAX_HEAD_BYTES, UNREAD_TIMEOUT_S
from penstock.gateway.exchange import Exchange
from tests.gateway.opening import FLOWER, open_gateway
from tests.gateway.test_lane import FIRST, LATE, OF_FIRST, in_lane, iris
from tests.gateway.wire import Wire, in_chunks, request
from tests.support import ManualClock, nothing_loose, settle

SMALL: Final = FLOWER + "limits: {max_body_bytes: 1000}\n"
MOST: Final = MAX_HEAD_BYTES + 2 * 1000
CHUNKED: Final = request("POST", "/iris/predict", b"", chunked=True)[: -len(b"0\r\n\r\n")]


# --- trailers and chunks -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (in_chunks(FIRST)[:-2], b"x-trailer: " + b"x" * 1000 + b"\r\n"),
        (in_chunks(FIRST)[:-2] + b"x: ", b"x" * 1000),
        (in_chunks(FIRST)[:-2], b"x" * 1000),
        (b"1;", b"x" * 1000),
        (b"", b"1\r\n \r\n" * 200),
    ],
    ids=["trailers", "a trailer", "a trailer's name", "a chunk's extension", "small chunks"],
)
@pytest.mark.parametrize("path", [b"/iris/predict", b"/nope"])
async def test_a_chunked_body_without_end_is_cut_off(
    path: bytes, start: bytes, piece: bytes
) -> None:
    async with open_gateway(SMALL) as gateway:
        wire = Wire(gateway)
        wire.send(CHUNKED.replace(b"/iris/predict", path) + start)
        sent = len(start)
        while not wire.is_closed():
            wire.send(piece)
            await settle()
            sent += len(piece)
            assert sent <= MOST + len(piece)
            assert not wire.protocol.headers
            assert len(wire.protocol.cycle.body) <= MOST
        await settle()


@pytest.mark.parametrize("pieces", [1, 2])
async def test_trailers_are_no_headers(pieces: int) -> None:
    trailers = b"x-timeout-ms: nope\r\nx-request-id: trailed\r\ncontent-encoding: br\r\n\r\n"
    data = request("POST", "/iris/predict", FIRST, {"x-request-id": b"an-id"}, chunked=True)
    head, end, body = (data[:-2] + trailers).partition(b"\r\n\r\n")
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        for piece in [head + end, body] if pieces == 2 else [head + end + body]:
            wire.send(piece)
        answer = await wire.answer()
        assert (answer.json, answer.header("x-request-id")) == (OF_FIRST, "an-id")
        wire.send(iris(FIRST, x_request_id=b"another"))  # whose headers are read again
        assert in_lane(wire)
        assert (await wire.answer()).header("x-request-id") == "another"


async def test_chunked_bodies_are_counted_each_for_itself() -> None:
    async with open_gateway(SMALL) as gateway:
        wire = Wire(gateway)
        data = request("POST", "/iris/predict", FIRST, chunked=True)
        for _ in range(MOST // len(data) + 10):
            wire.send(data)
            assert (await wire.answer()).status == 200
        assert not wire.is_closed()


# --- upgrades ------------------------------------------------------------------------------------


UPGRADE: Final = {
    "connection": b"Upgrade, HTTP2-Settings",
    "upgrade": b"h2c",
    "http2-settings": b"AAMAAABkAARAAAAAAAIAAAAA",
}


@pytest.mark.parametrize("path", ["/iris/predict", "/iris/predict/an-id"])
async def test_a_body_behind_an_upgrade_is_refused_in_plain_words(path: str) -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.send(request("POST", path, FIRST, UPGRADE))
        answer = await wire.answer()
        assert (answer.status, answer.error["code"]) == (400, "invalid_header")
        assert "the header upgrade is not followed here" in answer.error["message"]
        assert answer.header("connection") == "close"
        assert wire.is_closed()
        await settle()


@pytest.mark.parametrize("waits", [True, False])
async def test_a_body_behind_an_upgrade_is_never_read_as_a_request(waits: bool) -> None:
    records: list[Record] = []
    async with open_gateway(FLOWER, recorder=records.append) as gateway:
        wire = Wire(gateway)
        smuggled = iris(FIRST, x_request_id=b"smuggled")
        data = request("POST", "/iris/predict", smuggled, UPGRADE)
        wire.send(data[: -len(smuggled)])
        if waits:
            await settle()
            assert wire.is_closed()
        else:
            wire.send(smuggled)
        assert (await wire.answer()).status == 400
        assert wire.is_closed()
        await settle()
        assert wire.rest == b""
        assert "smuggled" not in {record.request_id for record in records}


async def test_an_upgrade_without_a_body_keeps_its_connection() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        for _ in range(2):
            wire.send(request("GET", "/iris/health", headers=UPGRADE))
            assert (await wire.answer()).status == 200
        assert not wire.is_closed()


async def test_an_upgrade_that_the_connection_does_not_ask_for_is_nothing() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.send(iris(FIRST, upgrade=b"h2c"))
        assert not in_lane(wire)
        assert (await wire.answer()).json == OF_FIRST


# --- clients that go -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/slow/predict", "/slow/predict/an-id"])
async def test_a_client_that_goes_in_the_middle_of_a_pipeline_leaves_no_trace(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = ManualClock()
    async with open_gateway(LATE, clock=clock) as gateway, nothing_loose():
        wire = Wire(gateway)
        slow = request("POST", path, FIRST)
        wire.send(slow + iris() + request("GET", "/iris/health") + slow + iris()[:-5])
        await clock.elapse(1.0)
        wire.go()
        assert not wire.protocol.pipeline
        await clock.elapse(60.0)
        assert wire.rest == b""
        assert not wire.protocol.tasks
    assert capsys.readouterr().err == ""


async def test_a_request_under_way_hears_that_its_client_has_gone_although_others_follow() -> None:
    heard: list[object] = []

    async def read_on(exchange: Exchange) -> None:
        while True:
            message = await exchange.receive()
            if message["type"] == "http.disconnect":
                heard.append(exchange.path)
                raise ClientGone

    async with open_gateway(FLOWER) as gateway:
        gateway._table.add("POST", "/reads-on", read_on)
        wire = Wire(gateway)
        wire.send(request("POST", "/reads-on", FIRST) + request("GET", "/iris/health") + iris())
        await settle()
        assert heard == []
        wire.go()
        await settle()
        assert heard == ["/reads-on"]


# --- clients that do not read -----------------------------------------------------------------


async def test_answers_that_are_left_unread_are_dropped_with_their_connection() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.send(iris())
        await wire.answer()
        wire.protocol.pause_writing()
        wire.protocol.sweep(0.0)
        wire.protocol.sweep(UNREAD_TIMEOUT_S)
        assert not wire.is_closed()
        wire.protocol.sweep(UNREAD_TIMEOUT_S + 0.5)
        assert wire.transport.aborted
        await settle()


async def test_who_reads_a_little_is_waited_for() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.send(iris())
        await wire.answer()
        for second in range(0, 300, 10):
            wire.protocol.pause_writing()
            wire.protocol.sweep(float(second))
            wire.protocol.resume_writing()
            wire.protocol.sweep(second + 5.0)
        assert not wire.is_closed()


# --- what cannot even be answered -----------------------------------------------------------------


async def test_an_exchange_that_ends_in_no_answer_takes_its_connection_along(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def cancelled(exchange: Exchange) -> None:
        raise asyncio.CancelledError("from within")

    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.send(iris()[:-5])
        exchange = wire.protocol.cycle._exchange  # type: ignore[attr-defined]
        wire.protocol.serve(gateway, exchange, cancelled)
        assert wire.transport.aborted
        assert "CancelledError: from within" in capsys.readouterr().err
        await settle()
