"""Running the gateway on uvicorn: a real socket, an orderly end."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest

from penstock.core.clock import SystemClock
from penstock.core.log import Log, Says
from penstock.core.record import Record, Recorder
from penstock.core.stop import DRAIN_S
from penstock.gateway.gateway import Always, Gateway
from penstock.gateway.server import Server, server_for
from penstock.gateway.status import Stopping
from tests.gateway import sleepers
from tests.gateway.asking import Answer, AsgiApp, Message
from tests.gateway.opening import FLOWER, open_gateway
from tests.gateway.wire import parse, request
from tests.support import ManualClock

LATE = """
models: {late: {runtime: "gateway_callables:late"}}
routes: {slow: late}
"""
BODY = b'{"data":[[1,2,3,4]]}'


@asynccontextmanager
async def running(gateway: Gateway, said: Says | None = None) -> AsyncIterator[tuple[Server, int]]:
    server = server_for(Always(gateway), log=said or Log(SystemClock()))
    listening = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0)
        yield server, listening.getsockname()[1]
    finally:
        server.should_exit = True
        await asyncio.wait_for(serving, 20.0)


async def asked(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    received = b""
    while parse(received) is None:
        piece = await asyncio.wait_for(reader.read(65536), 10.0)
        if not piece:
            break
        received += piece
    writer.close()
    await writer.wait_closed()
    return received


async def test_serves_the_lane_and_all_else_on_a_socket() -> None:
    async with open_gateway(FLOWER) as gateway, running(gateway) as (_, port):
        for data in (
            request("POST", "/iris/predict", BODY),
            request("POST", "/iris/predict/an-id", BODY),
            request("GET", "/iris/predict/test"),
        ):
            parsed = parse(await asked(port, data))
            assert parsed is not None
            assert parsed[0].json["prediction"] == [0.75, 0.125, 0.125]


async def test_answers_name_no_server() -> None:
    async with open_gateway(FLOWER) as gateway, running(gateway) as (_, port):
        parsed = parse(await asked(port, request("GET", "/iris/health")))
        assert parsed is not None
        assert "server" not in dict(parsed[0].headers)


async def test_sweeps_while_it_runs() -> None:
    async with open_gateway(FLOWER) as gateway, running(gateway) as (server, _):
        sweeping = server._sweeping
        assert not sweeping.done()
    assert sweeping.cancelled()


async def test_a_signal_that_it_was_stopped_by_is_not_raised_anew() -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with open_gateway(FLOWER) as gateway, running(gateway) as (server, _):
        server.handle_exit(signal.SIGTERM, None)
        assert server.should_exit
    assert signal.getsignal(signal.SIGTERM) is before


async def test_only_http_is_served() -> None:
    async with open_gateway(FLOWER) as gateway:
        config = server_for(Always(gateway), log=Log(SystemClock())).config
        config.load()
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            raise AssertionError

        app = cast("AsgiApp", config.app)
        await app({"type": "websocket"}, receive, send)
        assert sent == [{"type": "websocket.close", "code": 1000}]


# --- the end -----------------------------------------------------------------------------


class Client:
    """One connection that is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, data: bytes) -> Answer:
        self.writer.write(data)
        return await self.answer()

    async def answer(self) -> Answer:
        received = b""
        while (parsed := parse(received)) is None:
            piece = await asyncio.wait_for(self.reader.read(65536), 10.0)
            assert piece, "closed before the answer"
            received += piece
        return parsed[0]

    async def is_closed(self) -> bool:
        return await asyncio.wait_for(self.reader.read(1), 10.0) == b""


@asynccontextmanager
async def client(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


IN_LANE = request("POST", "/iris/predict", BODY)
BESIDE_IT = request("GET", "/iris/predict/test")


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0)


async def test_a_server_that_is_told_to_stop_answers_on_and_says_close() -> None:
    async with (
        open_gateway(FLOWER) as gateway,
        running(gateway) as (server, port),
        client(port) as one,
        client(port) as other,
    ):
        assert (await one.ask(IN_LANE)).header("connection") is None
        assert (await other.ask(BESIDE_IT)).header("connection") is None
        server.should_exit = True
        await until(lambda: server._serving.draining)
        for kept, data in ((one, IN_LANE), (other, BESIDE_IT)):
            answer = await kept.ask(data)
            assert (answer.status, answer.header("connection")) == (200, "close")
            assert await kept.is_closed()


async def test_a_new_connection_is_still_answered_while_clients_hear_of_the_stop() -> None:
    async with (
        open_gateway(FLOWER) as gateway,
        running(gateway) as (server, port),
        client(port) as kept,
    ):
        await kept.ask(IN_LANE)
        server.should_exit = True
        await until(lambda: server._serving.draining)
        async with client(port) as new:
            assert (await new.ask(IN_LANE)).header("connection") == "close"
            assert await new.is_closed()
        await kept.ask(IN_LANE)


async def test_who_has_connected_and_not_asked_yet_is_still_answered() -> None:
    async with (
        open_gateway(FLOWER) as gateway,
        running(gateway) as (server, port),
        client(port) as kept,
    ):
        await kept.ask(IN_LANE)
        server.should_exit = True
        await until(lambda: server._serving.draining)
        async with client(port) as silent:
            await until(lambda: len(server.server_state.connections) == 2)
            await until(lambda: not server.servers[0].is_serving())
            await asyncio.sleep(0)
            assert (await silent.ask(IN_LANE)).status == 200


async def test_requests_under_way_are_answered_before_the_end() -> None:
    clock = ManualClock()
    async with (
        open_gateway("limits: {timeout_s: 10}\n" + LATE, clock=clock) as gateway,
        running(gateway) as (server, port),
        client(port) as lane,
        client(port) as beside,
    ):
        lane.writer.write(request("POST", "/slow/predict", BODY))
        beside.writer.write(request("POST", "/slow/predict/an-id", BODY))
        await until(lambda: gateway.in_flight == 2)
        server.should_exit = True
        await until(lambda: server._serving.draining)
        clock.advance(10.0)
        for one in (lane, beside):
            answer = await one.answer()
            assert (answer.status, answer.header("connection")) == (504, "close")


# --- what does not end -------------------------------------------------------------------

IN_SLOW_LANE = request("POST", "/slow/predict", BODY)
BESIDE_SLOW_LANE = request("POST", "/slow/predict/an-id", BODY)


class Said:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def info(self, event: str, **fields: object) -> None:
        self.lines.append((event, fields))

    warning = error = info


class Slow:
    """A server whose one model never answers by itself.

    Attributes:
        records: of the requests to it.
        said: by the server.
    """

    def __init__(self, gateway: Gateway, server: Server, port: int, clock: ManualClock) -> None:
        self.gateway = gateway
        self.server = server
        self.port = port
        self.clock = clock

    async def told_to_stop(self) -> None:
        """Tell it to stop, and return when nothing but its requests is waited for."""
        self.server.should_exit = True
        await until(lambda: self.server._serving.draining)
        await until(lambda: not self.server.servers[0].is_serving())

    def ends(self) -> dict[int, int]:
        return dict(self.gateway.graph.measures.route("slow").answers)


@asynccontextmanager
async def slow(
    said: Said, records: list[Record] | None = None, text: str = LATE
) -> AsyncIterator[Slow]:
    clock = ManualClock()
    keep = None if records is None else records.append
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("penstock.gateway.server.GRACE_S", 0.0)
        async with _slow(said, keep, text, clock) as it:
            yield it


@asynccontextmanager
async def _slow(
    said: Said, keep: Recorder | None, text: str, clock: ManualClock
) -> AsyncIterator[Slow]:
    async with open_gateway(text, clock=clock, recorder=keep) as gateway:
        async with running(gateway, said) as (server, port):
            yield Slow(gateway, server, port, clock)
        assert server.server_state.connections == set()
        assert not server._under_way


async def test_requests_that_do_not_end_in_time_are_cut_off_and_told_so() -> None:
    said, records = Said(), list[Record]()
    async with slow(said, records) as it, client(it.port) as lane, client(it.port) as beside:
        lane.writer.write(IN_SLOW_LANE)
        beside.writer.write(BESIDE_SLOW_LANE)
        await until(lambda: it.gateway.in_flight == 2)
        await it.told_to_stop()
        it.clock.advance(DRAIN_S - 0.001)
        assert it.gateway.in_flight == 2
        it.clock.advance(0.001)
        for one in (lane, beside):
            answer = await one.answer()
            assert (answer.status, answer.header("connection")) == (503, "close")
            assert answer.error["code"] == "stopping"
            assert answer.header("retry-after") == "1"
            assert await one.is_closed()
        assert it.gateway.in_flight == 0
        assert it.ends() == {200: 0, 503: 2}
    assert [type(record.outcome) for record in records] == [Stopping, Stopping]
    ((event, fields),) = said.lines
    assert event.startswith("requests were cut off")
    assert fields == {"requests": 2}


async def test_what_ends_in_time_is_not_spoken_of() -> None:
    said = Said()
    async with slow(said, text="limits: {timeout_s: 5}\n" + LATE) as it, client(it.port) as one:
        one.writer.write(IN_SLOW_LANE)
        await until(lambda: it.gateway.in_flight == 1)
        await it.told_to_stop()
        it.clock.advance(5.0)
        assert (await one.answer()).status == 504
    assert said.lines == []


@pytest.mark.parametrize("path", ["/slow/predict", "/slow/predict/an-id"])
async def test_a_body_that_does_not_come_in_time_is_cut_off(path: str) -> None:
    said = Said()
    async with slow(said) as it, client(it.port) as one:
        one.writer.write(request("POST", path, BODY)[:-1])
        await until(lambda: any(c.cycle for c in it.server.server_state.connections))  # type: ignore[union-attr]
        await it.told_to_stop()
        it.clock.advance(DRAIN_S)
        answer = await one.answer()
        assert (answer.status, answer.error["code"]) == (503, "stopping")
        assert await one.is_closed()
        assert it.ends() == {200: 0, 503: 1}
    assert said.lines[0][1] == {"requests": 1}


async def test_who_has_gone_is_not_waited_for_either() -> None:
    said, records = Said(), list[Record]()
    async with slow(said, records) as it:
        async with client(it.port) as one:
            one.writer.write(IN_SLOW_LANE)
            await until(lambda: it.gateway.in_flight == 1)
        await until(lambda: not it.server.server_state.connections)
        await it.told_to_stop()
        it.clock.advance(DRAIN_S)
        await until(lambda: it.gateway.in_flight == 0)
    assert [type(record.outcome) for record in records] == [Stopping]


async def test_a_request_that_waits_behind_another_one_is_not_begun() -> None:
    async with slow(Said()) as it, client(it.port) as one:
        one.writer.write(BESIDE_SLOW_LANE + IN_SLOW_LANE + BESIDE_SLOW_LANE)
        await until(lambda: it.gateway.in_flight == 1)
        await it.told_to_stop()
        it.clock.advance(DRAIN_S)
        assert (await one.answer()).status == 503
        assert await one.is_closed()
        assert it.ends() == {200: 0, 503: 1}


async def test_a_model_that_does_not_heed_does_not_hold_up_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("penstock.gateway.server.GRACE_S", 0.0)
    text = 'models: {deaf: {runtime: "gateway_callables:deaf"}}\nroutes: {slow: deaf}\n'
    clock = ManualClock()
    async with open_gateway(text, clock=clock) as gateway:
        with sleepers.deaf() as wake:
            async with running(gateway, Said()) as (server, port), client(port) as one:
                one.writer.write(IN_SLOW_LANE)
                await until(lambda: gateway.in_flight == 1)
                server.should_exit = True
                await until(lambda: server._serving.draining)
                clock.advance(DRAIN_S)
                assert await one.is_closed()
            assert gateway.in_flight == 1
            wake()
            await until(lambda: not gateway.in_flight)


async def test_who_is_told_twice_to_stop_does_not_wait() -> None:
    async with slow(Said()) as it, client(it.port) as lane, client(it.port) as beside:
        lane.writer.write(IN_SLOW_LANE)
        beside.writer.write(BESIDE_SLOW_LANE)
        await until(lambda: it.gateway.in_flight == 2)
        it.server.handle_exit(signal.SIGINT, None)
        it.server.handle_exit(signal.SIGINT, None)
        for one in (lane, beside):
            assert (await one.answer()).error["code"] == "stopping"


# --- sockets that come and go ------------------------------------------------------------


async def test_connections_to_an_adopted_socket_are_answered_until_it_is_released() -> None:
    async with open_gateway(FLOWER) as gateway, running(gateway) as (server, _):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            async with client(port) as waiting:  # the kernel has it, nobody accepts it
                waiting.writer.write(IN_LANE)
                await server.adopt(1, other)
                await server.adopt(1, other)
                assert (await waiting.answer()).status == 200
                server.release(1)
                server.release(1)
                assert (await waiting.ask(IN_LANE)).status == 200  # what it has it keeps
            async with client(port) as next_one:  # the socket listens on, for its own worker
                next_one.writer.write(IN_LANE)
                await server.adopt(1, other)
                assert (await next_one.answer()).status == 200


async def test_a_server_that_stops_adopts_nothing() -> None:
    async with open_gateway(FLOWER) as gateway, running(gateway) as (server, _):
        server.should_exit = True
        with socket.create_server(("127.0.0.1", 0)) as other:
            await server.adopt(1, other)
        assert server._adopted == {}


async def test_connections_that_still_wait_when_listening_ends_are_answered() -> None:
    async with open_gateway(FLOWER) as gateway:
        other = socket.create_server(("127.0.0.1", 0))
        async with running(gateway) as (server, _):
            server.listening = [other]
            async with client(other.getsockname()[1]) as waiting:  # nobody accepts it
                waiting.writer.write(IN_LANE)
                server.should_exit = True
                answer = await waiting.answer()
                assert (answer.status, answer.header("connection")) == (200, "close")
                assert await waiting.is_closed()
        assert other.fileno() == -1
