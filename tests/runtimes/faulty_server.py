"""A server that misbehaves: real sockets, on the test's own loop, and every way to fail a client.

    async with faulty(FAULTS["half an answer, then closed"]) as server:
        ... server.address, server.requests, server.connections, server.open

A behaviour is a plain function of the visit (one connection) and the request that has come whole.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, TypeAlias, cast, final

from msgspec import Struct

from penstock.runtimes.http_address import Address

TICK_S: Final = 0.001
"""Between the pieces of what is answered slowly."""

ROW: Final = b'{"prediction":[0.75,0.125,0.125]}'


class Request(Struct, frozen=True):
    """What a client sent.

    Attributes:
        line: the first one.
        headers: by lower-case name.
        body: whole.
    """

    line: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.line.split()[1]


Behaviour: TypeAlias = Callable[["Visit", Request], None]


@final
class Visit(asyncio.Protocol):
    """One connection of a client's."""

    def __init__(self, server: FaultyServer) -> None:
        self._server = server
        self._buffer = b""
        self._timers: list[asyncio.TimerHandle] = []
        self.asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._server.connections += 1
        self._server.visits.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in self._timers:
            timer.cancel()
        self._server.visits.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (parsed := parse(self._buffer)) is not None:
            request, size = parsed
            self._buffer = self._buffer[size:]
            self.asked += 1
            self._server.requests.append(request)
            self._server.behave(self, request)

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def close(self) -> None:
        self.transport.close()

    def reset(self) -> None:
        """End the connection as a killed process's kernel does."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def slowly(self, data: bytes) -> None:
        """Write byte by byte."""
        self.write(data[:1])
        if len(data) > 1:
            loop = asyncio.get_running_loop()
            self._timers = [loop.call_later(TICK_S, self.slowly, data[1:])]


@final
class FaultyServer:
    """Listens, and answers as `behave` says.

    Attributes:
        requests: all that have come.
        connections: how many there have been.
        visits: those that are open.
    """

    def __init__(self, behave: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self.behave = behave
        self._tls = tls
        self.requests: list[Request] = []
        self.connections = 0
        self.visits: set[Visit] = set()
        self.port = 0
        self._listening: asyncio.Server | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(
            lambda: Visit(self), "127.0.0.1", self.port, backlog=512, ssl=self._tls
        )
        self.port = self._listening.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Drop all connections, and take no more."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for visit in list(self.visits):
            visit.transport.abort()
        await self.left()

    async def left(self) -> None:
        """Wait until all clients have gone."""
        while self.visits:  # noqa: ASYNC110 - sockets tell nobody else
            await asyncio.sleep(0)

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.port)

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def faulty(
    behave: Behaviour, tls: ssl.SSLContext | None = None
) -> AsyncIterator[FaultyServer]:
    """Run a server until left; every connection is then dropped."""
    server = FaultyServer(behave, tls)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def free_address() -> Address:
    """Return an address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return Address("127.0.0.1", taken.getsockname()[1])


def parse(buffer: bytes) -> tuple[Request, int] | None:
    """Return the first request of a buffer and its length, or None where it is not whole."""
    head, found, rest = buffer.partition(b"\r\n\r\n")
    if not found:
        return None
    line, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for one in lines:
        name, _, value = one.partition(": ")
        assert name.lower() not in headers, one
        headers[name.lower()] = value
    length = int(headers.get("content-length", "0"))
    if len(rest) < length:
        return None
    return Request(line, headers, rest[:length]), len(head) + 4 + length


METADATA: Final = (
    b'{"data_type":"float32","data_structure":"(1,4)","data_sample":[[5.1,3.5,1.4,0.2]],'
    b'"prediction_type":"float32","prediction_structure":"(1,3)",'
    b'"prediction_sample":[0.75,0.125,0.125]}'
)
LABELS: Final = b'{"0":"setosa","1":"versicolor","2":"virginica"}'


def model(predict: Behaviour) -> Behaviour:
    """Return what tells of itself properly, and predicts as `predict` does."""

    def behave(visit: Visit, request: Request) -> None:
        told = {"/metadata": METADATA, "/label": LABELS, "/health": b'{"health":"ok"}'}
        if request.path in told:
            visit.write(answer(told[request.path]))
        else:
            predict(visit, request)

    return behave


# --- answers -----------------------------------------------------------------------------


def answer(body: bytes = ROW, status: int = 200, version: str = "1.1", **headers: str) -> bytes:
    """Return a proper answer."""
    given = {"content-type": "application/json", "content-length": str(len(body))}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    return head(status, version, given) + body


def head(status: int, version: str, headers: Mapping[str, str]) -> bytes:
    lines = (f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/{version} {status} Said\r\n{''.join(lines)}\r\n".encode()


def chunked(*chunks: bytes, trailer: str = "") -> bytes:
    """Return an answer in chunks."""
    start = head(200, "1.1", {"transfer-encoding": "chunked"})
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return start + pieces + f"0\r\n{trailer}\r\n".encode()


def saying(*pieces: bytes) -> Behaviour:
    """Return a behaviour that writes these and keeps the connection."""

    def behave(visit: Visit, request: Request) -> None:
        for piece in pieces:
            visit.write(piece)

    return behave


def saying_and_closing(*pieces: bytes) -> Behaviour:
    def behave(visit: Visit, request: Request) -> None:
        for piece in pieces:
            visit.write(piece)
        visit.close()

    return behave


def refusing(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    return saying(answer(body, status, **headers))


def well(visit: Visit, request: Request) -> None:
    """Answer as a proper server does."""
    visit.write(answer())


def silent(visit: Visit, request: Request) -> None:
    """Accept, read, and never answer: a frozen process."""


def killed(visit: Visit, request: Request) -> None:
    visit.reset()


def closing(visit: Visit, request: Request) -> None:
    visit.close()


def slow(visit: Visit, request: Request) -> None:
    visit.slowly(answer(b" " * 5000 + ROW))


def once_per_connection(visit: Visit, request: Request) -> None:
    """Keep the connection alive, and close it the moment another request comes."""
    if visit.asked == 1:
        visit.write(answer())
    else:
        visit.close()


def half_and_reset(visit: Visit, request: Request) -> None:
    visit.write(answer()[:-5])
    visit.reset()


FAULTS: Final[Mapping[str, Behaviour]] = {
    "killed": killed,
    "closes without an answer": closing,
    "never answers": silent,
    "garbage": saying(b"\x00\x01\x02 garbage \xff\r\n\r\n"),
    "another protocol": saying(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "half a head, then closed": saying_and_closing(b"HTTP/1.1 200 OK\r\ncontent-le"),
    "half an answer, then closed": saying_and_closing(answer()[:-5]),
    "half an answer, then reset": half_and_reset,
    "half an answer, then nothing": saying(answer()[:-5]),
    "half a chunk, then closed": saying_and_closing(chunked(ROW)[:-9]),
    "500": refusing(500, b'{"error":{"code":"internal_error","message":"oh"}}'),
    "500 without a body": refusing(500),
    "503 with retry-after": refusing(503, retry_after="7"),
    "404": refusing(404, b"<html>no</html>"),
    "a redirect": refusing(302, location="http://127.0.0.1:1/"),
    "byte by byte, slowly": slow,
    "a huge head": saying(b"HTTP/1.1 200 OK\r\n" + b"x-filler: 0123456789\r\n" * 10_000),
    "an endless header": saying(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000),
    "informational answers without end": saying(b"HTTP/1.1 103 Early\r\n\r\n" * 5_000),
    "a huge body": saying(answer(b" " * 300_000 + ROW)),
    "a content-length too small": saying(answer(content_length="9")),
    "a content-length too large": saying_and_closing(answer(content_length="99")),
    "two content-lengths": saying(
        b"HTTP/1.1 200 OK\r\ncontent-length: 33\r\ncontent-length: 34\r\n\r\n" + ROW
    ),
    "a negative content-length": saying(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n" + ROW),
    "a chunk of no length": saying(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n" + ROW
    ),
    "an upgrade": saying(
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\nPRI"
    ),
    "no JSON": saying(answer(b"<html>")),
    "another JSON": saying(answer(b'{"predictions":[1,2,3]}')),
    "too few scores": saying(answer(b'{"prediction":[0.5,0.5]}')),
    "a score that is none": saying(answer(b'{"prediction":[0.5,0.5,null]}')),
    "a score out of range": saying(answer(b'{"prediction":[0.5,0.5,1e39]}')),
}
"""Ways to fail a prediction, by name; each ends as one of our errors."""

MANNERS: Final[Mapping[str, Behaviour]] = {
    "plain": well,
    "closes after the answer": saying_and_closing(answer(connection="close")),
    "closes after the answer without a word": saying_and_closing(answer()),
    "closes when another request comes": once_per_connection,
    "chunked": saying(chunked(ROW[:7], ROW[7:20], ROW[20:])),
    "chunked with trailers": saying(chunked(ROW, trailer="x-sum: 1\r\n")),
    "in two pieces": saying(answer()[:30], answer()[30:]),
    "after informational answers": saying(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n", answer()
    ),
    "HTTP/1.0": saying_and_closing(answer(version="1.0")),
    "until the connection closes": saying_and_closing(head(200, "1.0", {}) + ROW),
    "with a second answer that nobody asked for": saying(answer() + answer(b"[]")),
    "with bytes behind the answer": saying(answer() + b"\x00\x01 rubbish"),
    "headers in other letters": saying(
        b"HTTP/1.1 200 OK\r\nContent-LENGTH:33\r\nX-Empty:\r\n\r\n" + ROW
    ),
}
"""Ways to answer a prediction properly, or nearly so, by name."""
