"""The lean proxy: plain ASGI, and one aiohttp session for the process.

What a user writes who knows that a client must be kept: bytes are passed through, nothing is
decoded, checked or counted. `BENCH_SERVICES` names the services as `NAME=URL`, separated by commas;
one service's answer is passed on as it is, several are put together by name. `/constant` answers
`BENCH_CONSTANT` without asking anyone.
"""

import asyncio
import os
from typing import Final

import aiohttp

from benchmarks.servers.asgi import Message, Receive, Send, read_body, respond

SERVICES: Final = dict(pair.split("=", 1) for pair in os.environ["BENCH_SERVICES"].split(","))
CONSTANT: Final = os.environ["BENCH_CONSTANT"].encode()
HEADERS: Final = {"content-type": "application/json"}
"""Of every request to a service."""


class Services:
    """The services, asked over connections that are kept."""

    def __init__(self) -> None:
        self.session: aiohttp.ClientSession | None = None

    async def ask(self, url: str, body: bytes) -> bytes:
        """Asks one service and returns the body of its answer."""
        if self.session is None:  # made here, as it needs the running loop
            connector = aiohttp.TCPConnector(limit=0)
            self.session = aiohttp.ClientSession(connector=connector, headers=HEADERS)
        async with self.session.post(f"{url}/predict", data=body) as answer:
            answer.raise_for_status()
            content: bytes = await answer.read()
            return content

    async def ask_all(self, body: bytes) -> bytes:
        """Asks every service at once and puts the answers together."""
        if len(SERVICES) == 1:
            return await self.ask(next(iter(SERVICES.values())), body)
        answers = await asyncio.gather(*(self.ask(url, body) for url in SERVICES.values()))
        named = [b'"%s":%s' % (n.encode(), a) for n, a in zip(SERVICES, answers, strict=True)]
        return b"{%s}" % b",".join(named)


services = Services()


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answers `POST /predict`, `POST /constant` and `GET /health`."""
    match scope["path"]:
        case "/predict":
            body = await read_body(receive)
            try:
                answer = await services.ask_all(body)
            except (aiohttp.ClientError, OSError):
                await respond(send, 502, b'{"error":"a service failed"}')
                return
            await respond(send, 200, answer)
        case "/constant":
            await read_body(receive)
            await respond(send, 200, CONSTANT)
        case "/health":
            await respond(send, 200, b'{"health":"ok"}')
        case _:
            await respond(send, 404, b'{"error":"not found"}')
