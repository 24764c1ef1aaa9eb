"""A connection to the server's protocol without a socket: bytes in, bytes out, time by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, cast
from urllib.parse import quote

from penstock.core.log import Log
from penstock.gateway.gateway import Always, Gateway
from penstock.gateway.lane import LaneProtocol
from penstock.gateway.server import server_for
from tests.gateway.asking import Answer

SAFE_IN_PATHS: Final = "/;:@!$&'()*+,=-._~"


class Transport(asyncio.Transport):
    """Keeps what is written.

    Attributes:
        reading: whether the protocol wants more.
        closed: whether it has closed or aborted the connection.
        aborted: whether what was not sent yet has been dropped.
    """

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.wrote = asyncio.Event()
        self.reading = True
        self.closed = False
        self.aborted = False
        self.on_close: asyncio.Protocol | None = None

    def write(self, data: Any) -> None:  # noqa: ANN401 - bytes-like
        assert not self.closed
        self.written += data
        self.wrote.set()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.wrote.set()
            assert self.on_close is not None
            asyncio.get_running_loop().call_soon(self.on_close.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's own
        return default


class Wire:
    """One connection.

    Attributes:
        protocol: the server's end.
        transport: what it writes to.
    """

    def __init__(self, gateway: Gateway) -> None:
        server = server_for(Always(gateway), log=Log(gateway.graph.clock))
        server.config.load()
        make = cast("Callable[..., LaneProtocol]", server.config.http_protocol_class)
        made = make(config=server.config, server_state=server.server_state, app_state={})
        self.protocol = made
        self.transport = Transport()
        self.transport.on_close = made
        made.connection_made(self.transport)
        self._read = 0

    def send(self, data: bytes) -> None:
        """Let bytes come in, in one piece."""
        self.protocol.data_received(data)

    def go(self) -> None:
        """Let the client close the connection."""
        self.transport.closed = True
        self.protocol.connection_lost(None)

    async def answer(self) -> Answer:
        """Wait for the next answer."""
        return await asyncio.wait_for(self._next(), 20.0)

    async def _next(self) -> Answer:
        while True:
            parsed = parse(bytes(self.transport.written[self._read :]))
            if parsed is not None:
                answer, size = parsed
                self._read += size
                return answer
            assert not self.transport.closed, "closed without an answer"
            self.transport.wrote.clear()
            await self.transport.wrote.wait()

    def is_closed(self) -> bool:
        """Tell whether the server has closed the connection."""
        return self.transport.closed

    @property
    def rest(self) -> bytes:
        """What has been written behind the answers that were read."""
        return bytes(self.transport.written[self._read :])


def parse(data: bytes) -> tuple[Answer, int] | None:
    """Return the first answer and its size, or None where it is not whole. Knows no HEAD."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    status, *lines = head.split(b"\r\n")
    headers = tuple(
        (name.decode().lower(), value.decode())
        for name, _, value in (line.partition(b": ") for line in lines)
    )
    version, code, _ = status.split(b" ", 2)
    assert version == b"HTTP/1.1"
    if code == b"100":
        return Answer(100, headers, b""), len(head) + 4
    length = next(int(value) for name, value in headers if name == "content-length")
    if len(rest) < length:
        return None
    return Answer(int(code), headers, rest[:length]), len(head) + 4 + length


def request(
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, bytes] | None = None,
    *,
    chunked: bool = False,
    version: str = "1.1",
) -> bytes:
    """Return a request as it is sent."""
    given = {"host": b"localhost", **(headers or {})}
    if chunked:
        given["transfer-encoding"] = b"chunked"
    elif body or method == "POST":
        given.setdefault("content-length", str(len(body)).encode())
    start = f"{method} {quote(path, SAFE_IN_PATHS)} HTTP/{version}\r\n".encode()
    head = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in given.items())
    return start + head + b"\r\n" + (in_chunks(body) if chunked else body)


def in_chunks(body: bytes, size: int = 1_000_000) -> bytes:
    """Return a body in the chunked encoding."""
    pieces = (body[i : i + size] for i in range(0, len(body), size))
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return chunks + b"0\r\n\r\n"
