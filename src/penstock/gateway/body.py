"""Reading a request's body: bounded, timed, decompressed; never whole beyond its limit."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Coroutine
from typing import Any, Final, TypeVar, final

from penstock.core.clock import Clock
from penstock.core.errors import (
    BodyTooLarge,
    BodyTooSlow,
    InvalidHeader,
    MalformedBody,
    Overloaded,
    RequestError,
    UnsupportedContent,
)
from penstock.gateway.exchange import Exchange

BODY_TIMEOUT_S: Final = 30.0
"""How long a client may take to send its body."""

LINGER_S: Final = 5.0
LINGER_BYTES: Final = 64 * 1024 * 1024
"""How long, and how much of, a refused body is read and thrown away, so that the client gets to
read the refusal instead of a reset connection."""

_CHUNK: Final = 64 * 1024
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_JSON_TYPES: Final = frozenset({b"application/json", b"application/json; charset=utf-8"})

T = TypeVar("T")


MAX_READING_BYTES: Final = 256 * 1024 * 1024
"""What bodies that are not whole yet may hold together; who has no room for a piece is shed."""


@final
class ReadingBudget:
    """Bounds what all the bodies that are being read hold together.

    Args:
        max_bytes: for all of them.
    """

    def __init__(self, max_bytes: int = MAX_READING_BYTES) -> None:
        self._max_bytes = max_bytes
        self._held = 0

    def take(self, size: int) -> None:
        """Hold `size` more bytes.

        Raises:
            Overloaded: there is no room for them.
        """
        if self._held + size > self._max_bytes:
            raise Overloaded("the bodies being read", self._max_bytes, "bytes")
        self._held += size

    def give_back(self, size: int) -> None:
        """Hold `size` bytes no longer."""
        self._held -= size


class ClientGone(Exception):
    """The client closed the connection before its request was whole."""


async def read_body(
    exchange: Exchange, max_bytes: int, clock: Clock, budget: ReadingBudget
) -> bytes:
    """Return the body, decompressed.

    Args:
        exchange: whose.
        max_bytes: the largest body, before and after decompression.
        clock: for the time it may take.
        budget: for what all bodies hold while they are read.

    Raises:
        Overloaded: too many large bodies are being read.
        UnsupportedContent: not JSON, or an encoding that is not read here.
        BodyTooLarge: announced, sent or decompressed beyond the limit.
        BodyTooSlow: not whole in time.
        MalformedBody: the compressed data is corrupt.
        ClientGone: the client went away.
    """
    headers = exchange.headers
    content_type = headers.get(b"content-type")
    if content_type is not None and content_type not in _JSON_TYPES:
        _check_type(content_type)
    announced = headers.get(b"content-length")
    if announced is not None and not (announced.isdigit() and int(announced[:20]) <= max_bytes):
        exchange.lingers = True
        raise _wrong_length(announced, max_bytes)
    deadline_s = exchange.started_s + BODY_TIMEOUT_S
    try:
        body = await _in_time(deadline_s, _collect(exchange, max_bytes, budget), clock)
    except TimeoutError as error:
        raise BodyTooSlow(BODY_TIMEOUT_S) from error
    encoding = headers.get(b"content-encoding")
    if encoding is None:
        return body
    return await _decompressed(body, encoding.lower(), max_bytes)


async def _in_time(deadline_s: float, reading: Coroutine[Any, Any, T], clock: Clock) -> T:
    """Await what reads from the client, cancelling it at `deadline_s`.

    `within` would step it outside of its Task, and a user's app may have wrapped `receive` in
    what needs that: Starlette's `BaseHTTPMiddleware` does.

    Raises:
        TimeoutError: it was late.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as timeout:
        timer = clock.call_at(deadline_s, lambda: timeout.reschedule(loop.time()))
        try:
            return await reading
        finally:
            timer.cancel()


def _check_type(content_type: bytes) -> None:
    essence, _, parameters = content_type.partition(b";")
    charset = parameters.strip().lower().removeprefix(b"charset=").strip(b'"')
    if essence.strip().lower() != b"application/json" or charset not in (b"", b"utf-8"):
        got = content_type.decode("latin-1")[:100]
        raise UnsupportedContent(
            f"the content type {got!r} is not read here: send application/json in UTF-8"
        )


def _wrong_length(announced: bytes, max_bytes: int) -> RequestError:
    if not announced.isdigit():
        return InvalidHeader("content-length", "a number of bytes")
    return BodyTooLarge(max_bytes, "bytes")


async def _collect(exchange: Exchange, max_bytes: int, budget: ReadingBudget) -> bytes:
    pieces: list[bytes] = []
    held = 0
    try:
        while True:
            message = await exchange.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            exchange.lingers = more  # as long as something is refused in the middle of it
            if held + len(piece) > max_bytes:
                raise BodyTooLarge(max_bytes, "bytes")
            if not more:
                return b"".join((*pieces, piece)) if pieces else piece
            budget.take(len(piece))
            held += len(piece)
            pieces.append(piece)
    finally:
        budget.give_back(held)


async def _decompressed(body: bytes, encoding: bytes, max_bytes: int) -> bytes:
    if encoding == b"identity":
        return body
    if encoding not in (b"gzip", b"deflate"):
        name = encoding.decode("latin-1")[:100]
        raise UnsupportedContent(
            f"the content encoding {name!r} is not read here: send gzip, deflate or none"
        )
    try:
        return await asyncio.to_thread(_inflate, body, max_bytes)
    except zlib.error as error:
        raise MalformedBody(f"the body is not {encoding.decode()}: {error}") from error


def _inflate(body: bytes, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
    pieces, size = [], 0
    while not inflater.eof:
        piece = inflater.decompress(body, _CHUNK)
        body = inflater.unconsumed_tail
        if not piece and not body and not inflater.eof:
            raise zlib.error("it ends too early")
        size += len(piece)
        if size > max_bytes:
            raise BodyTooLarge(max_bytes, "bytes after decompression")
        pieces.append(piece)
    if inflater.unused_data:
        raise zlib.error("something follows its end")
    return b"".join(pieces)


async def linger(exchange: Exchange, clock: Clock) -> None:
    """Throw away the rest of a body whose refusal has been sent, for a while."""
    with contextlib.suppress(TimeoutError):
        await _in_time(clock.now_s() + LINGER_S, _discard(exchange), clock)


async def _discard(exchange: Exchange) -> None:
    discarded = 0
    while discarded < LINGER_BYTES:
        message = await exchange.receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
        discarded += len(message.get("body", b""))
