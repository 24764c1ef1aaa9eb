"""Calls both ways between two processes, over a connected stream socket.

Frames are a length and MessagePack: never pickles. What arrives is not trusted: whatever is no
frame of ours closes the link.

    [id, "call", verb, payload]      either side asks
    [id, "answer", payload]          the other side's handler returned
    [id, "failed", text]             ... or raised
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeAlias, cast, final

import msgspec
from msgspec import Struct

from penstock.core.clock import Clock

MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
"""The largest frame, either way; a larger one closes the link."""

MAX_UNSENT_BYTES: Final = 128 * 1024 * 1024
"""What may wait to be sent when a frame is added: a side that does not read is not written to."""

MAX_CALLS_AT_ONCE: Final = 64
"""Calls of the other side that are handled at once; further ones fail."""

Handle: TypeAlias = Callable[[str, Any], Awaitable[Any]]
"""Answers a call: takes its verb and its payload, returns what MessagePack can hold."""

Lost: TypeAlias = Callable[[str], None]

_LENGTH: Final = struct.Struct("<Q")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Any]).decode
_CALL: Final = "call"
_ANSWER: Final = "answer"
_FAILED: Final = "failed"


class LinkError(Exception):
    """A call over a link has no answer."""


class LinkFailed(LinkError):
    """The other side's handler raised, or the call cannot be carried; the text says which."""


class LinkTimedOut(LinkError):
    """The other side did not answer in time; if it still does, the answer is dropped."""


class LinkLost(LinkError):
    """The link has been closed, by either side."""


class LinkLimits(Struct, frozen=True, kw_only=True):
    """What a link takes.

    Attributes:
        frame_bytes: the largest frame that may arrive.
        unsent_bytes: what may wait to be sent when a frame is added.
        calls_at_once: calls of the other side that are handled at once.
    """

    frame_bytes: int = MAX_FRAME_BYTES
    unsent_bytes: int = MAX_UNSENT_BYTES
    calls_at_once: int = MAX_CALLS_AT_ONCE


@final
class Link(asyncio.Protocol):
    """One end of a link; both ends are alike.

    Calls of the other side run in a Task each and are answered as they end, in whatever order. They
    go on when the other side is lost; only `close` ends them.

    Args:
        handle: answers the other side's calls.
        clock: tells when a call is late.
        on_lost: is told once, and why, when the link has been closed, by either side.
        limits: what the link takes.
    """

    def __init__(
        self,
        handle: Handle,
        *,
        clock: Clock,
        on_lost: Lost | None = None,
        limits: LinkLimits = LinkLimits(),  # noqa: B008 - it is frozen
    ) -> None:
        self._handle = handle
        self._clock = clock
        self._on_lost = on_lost
        self._limits = limits
        self._transport: asyncio.Transport | None = None
        self._numbers = itertools.count()
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._handling: set[asyncio.Task[None]] = set()
        self._received = bytearray()
        self._lost = "the link is not connected yet"
        self._over = False

    @property
    def lost(self) -> bool:
        """Whether no call can get through."""
        return bool(self._lost)

    @property
    def waiting(self) -> int:
        """How many calls wait for the other side's answer."""
        return len(self._calls)

    @property
    def handling(self) -> int:
        """How many calls of the other side have not ended."""
        return len(self._handling)

    async def call(self, verb: str, payload: object = None, *, timeout_s: float) -> Any:  # noqa: ANN401
        """Ask the other side, and return what its handler returned.

        Cancelling this leaves the other side at work; its answer is then dropped.

        Args:
            verb: names what is asked for.
            payload: what MessagePack can hold.
            timeout_s: how long the answer may take.

        Raises:
            LinkFailed: the other side's handler raised, or the call cannot be carried.
            LinkTimedOut: there was no answer in time.
            LinkLost: the link is closed, or was before the answer came.
        """
        if self._lost:
            raise LinkLost(self._lost)
        number = next(self._numbers)
        try:
            frame = _encode([number, _CALL, verb, payload])
        except (TypeError, ValueError, OverflowError) as error:
            raise LinkFailed(f"the call cannot be sent: {error}") from error
        if refusal := self._refusal(frame):
            raise LinkFailed(refusal)
        answer = asyncio.get_running_loop().create_future()
        late = LinkTimedOut(f"no answer to {verb} within {timeout_s:g} s")
        timer = self._clock.call_at(self._clock.now_s() + timeout_s, partial(_fail, answer, late))
        self._calls[number] = answer
        try:
            self._send(frame)
            return await answer
        finally:
            timer.cancel()
            self._calls.pop(number, None)

    def close(self, why: str = "the link has been closed here") -> None:
        """Close the link; calls that wait fail, and calls that are being handled are cancelled."""
        self._lose(why)
        if self._transport is not None:
            self._transport.abort()
        for task in self._handling:
            task.cancel()

    # --- the transport's calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be connected."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        if self._over:
            self._transport.abort()
        else:
            self._lost = ""

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits."""
        self._lose("the other side closed the link" if exc is None else f"the link broke: {exc}")

    def data_received(self, data: bytes) -> None:
        """Take what has arrived."""
        self._received += data
        while len(self._received) >= _LENGTH.size and not self._lost:
            (length,) = _LENGTH.unpack_from(self._received)
            if length > self._limits.frame_bytes:
                bound = self._limits.frame_bytes
                return self._break(f"a frame of {length:,} bytes came; {bound:,} is the most")
            end = _LENGTH.size + length
            if len(self._received) < end:
                return None
            frame = bytes(memoryview(self._received)[_LENGTH.size : end])
            del self._received[:end]
            self._take(frame)
        return None

    # --- what arrives ---

    def _take(self, frame: bytes) -> None:
        try:
            message = _decode(frame)
        except Exception as error:  # noqa: BLE001 - what is no MessagePack may raise anything
            return self._break(f"a frame came that is no MessagePack: {error}")
        match message:
            case [int(number), "call", str(verb), payload]:
                return self._start(number, verb, payload)
            case [int(number), "answer", payload]:
                return self._settle(number, payload, None)
            case [int(number), "failed", str(text)]:
                return self._settle(number, None, LinkFailed(text))
            case _:
                return self._break("a frame came that is neither a call nor an answer")

    def _settle(self, number: int, payload: object, error: LinkFailed | None) -> None:
        answer = self._calls.get(number)
        if answer is None or answer.done():
            return  # late: whoever called has given up
        if error is None:
            answer.set_result(payload)
        else:
            answer.set_exception(error)

    def _start(self, number: int, verb: str, payload: object) -> None:
        if len(self._handling) >= self._limits.calls_at_once:
            bound = self._limits.calls_at_once
            return self._reply(number, _FAILED, f"{bound} calls are being handled; try again later")
        task = asyncio.get_running_loop().create_task(self._serve(number, verb, payload))
        self._handling.add(task)
        task.add_done_callback(self._handling.discard)
        return None

    async def _serve(self, number: int, verb: str, payload: object) -> None:
        try:
            result = await self._handle(verb, payload)
        except Exception as error:  # noqa: BLE001 - it becomes the answer
            self._reply(number, _FAILED, _told(error))
        else:
            self._reply(number, _ANSWER, result)

    # --- what is sent ---

    def _reply(self, number: int, kind: str, content: object) -> None:
        if self._lost:
            return
        try:
            frame = _encode([number, kind, content])
        except Exception as error:  # noqa: BLE001 - whatever the handler returned
            frame = _encode([number, _FAILED, f"the answer cannot be sent: {_told(error)}"])
        if len(frame) > MAX_FRAME_BYTES:
            frame = _encode([number, _FAILED, self._refusal(frame)])
        if refusal := self._refusal(frame):
            self._break(refusal)
        else:
            self._send(frame)

    def _refusal(self, frame: bytes) -> str:
        """Return why a frame cannot be sent now, or nothing."""
        assert self._transport is not None
        if len(frame) > MAX_FRAME_BYTES:
            return f"a frame has {len(frame):,} bytes; {MAX_FRAME_BYTES:,} is the most"
        unsent = self._transport.get_write_buffer_size()
        if unsent and unsent + len(frame) > self._limits.unsent_bytes:
            return f"the other side does not read: {unsent:,} bytes wait to be sent"
        return ""

    def _send(self, frame: bytes) -> None:
        assert self._transport is not None
        self._transport.write(_LENGTH.pack(len(frame)))
        self._transport.write(frame)

    # --- the end ---

    def _break(self, why: str) -> None:
        assert self._transport is not None
        self._lose(why)
        self._transport.abort()

    def _lose(self, why: str) -> None:
        if self._over:
            return
        self._over = True
        self._lost = why
        self._received.clear()
        for answer in self._calls.values():
            _fail(answer, LinkLost(why))
        if self._on_lost is not None:
            self._on_lost(why)


def _fail(answer: asyncio.Future[Any], error: LinkError) -> None:
    if not answer.done():
        answer.set_exception(error)


def _told(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}"
    return text.encode(errors="backslashreplace").decode()
