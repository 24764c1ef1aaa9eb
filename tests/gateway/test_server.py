"""Running the gateway on uvicorn: a real socket, an orderly end."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from penstock.gateway.app import Gateway
from penstock.gateway.server import Server, server_for
from tests.gateway.asking import AsgiApp, Message
from tests.gateway.opening import FLOWER, open_gateway
from tests.gateway.wire import parse, request

BODY = b'{"data":[[1,2,3,4]]}'


@asynccontextmanager
async def running(gateway: Gateway) -> AsyncIterator[tuple[Server, int]]:
    server = server_for(gateway)
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
        config = server_for(gateway).config
        config.load()
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            raise AssertionError

        app = cast("AsgiApp", config.app)
        await app({"type": "websocket"}, receive, send)
        assert sent == [{"type": "websocket.close", "code": 1000}]
