"""Speaks just enough HTTP/1.1 to ask a server on this machine and time its answer."""

import asyncio
import contextlib
import json
from typing import Final, Self

HOST: Final = "127.0.0.1"


def post_request(path: str, body: bytes) -> bytes:
    """The bytes of one POST of JSON."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get_request(path: str) -> bytes:
    """The bytes of one GET."""
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


def content_length(head: bytes) -> int:
    """The length that an answer's head announces."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


def field_of(head: bytes, name: bytes) -> bytes:
    """The value of a header field in a head of small letters; empty without it."""
    start = head.find(b"\r\n" + name + b":")
    if start < 0:
        return b""
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else None].strip()


def code_of(body: bytes) -> str:
    """The code of an error's body."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return str(json.loads(body)["error"]["code"])
    return "(no code)"


class HttpConnection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.received = bytearray()
        self.answer: asyncio.Future[int] | None = None

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connects to a server on this machine."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, HOST, port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Completes the request under way once its whole answer is here."""
        self.received += data
        head_end = self.received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self.received[:head_end])
        if len(self.received) >= head_end + 4 + content_length(head):
            self.received.clear()
            self.settle(int(head.split(b" ", 2)[1]))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fails the request under way."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(ConnectionResetError(str(exc)))

    def settle(self, status: int) -> None:
        """Hands the status to whoever asked."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(status)

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed the connection."""
        return self.transport is not None and not self.transport.is_closing()

    async def ask(self, request: bytes) -> int:
        """Sends one request and returns the status of its answer, once that has come in full."""
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.answer

    def close(self) -> None:
        """Closes the connection."""
        if self.transport is not None:
            self.transport.close()
