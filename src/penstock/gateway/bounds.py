"""What uvicorn's protocol leaves open, bounded: heads, trailers, pipelines, time.

uvicorn bounds neither how long nor how large a request's head may get, nor a chunked body's
trailers; it reads on while requests of the same connection wait behind an unanswered one; and when
a client goes, it tells only the last of them. `sweep`, called every second, closes connections that
dawdle: cheaper than a timer a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sized
from typing import Any, Final, TypeAlias, final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Phase: TypeAlias = tuple[str, object]
"""What is awaited of a client, and of which head, exchange or connection."""

HEAD_TIMEOUT_S: Final = 10.0
"""How long a client may take to send a request's head, the first from when it connects."""

MAX_HEAD_BYTES: Final = 64 * 1024
"""How large a request's head may grow (and as much beyond it as one read brings)."""

KEEP_ALIVE_S: Final = 75.0
"""How long a connection may be idle between two requests."""

UNREAD_TIMEOUT_S: Final = 30.0
"""How long a client may leave its answers unread, once no more of them can be sent."""


_BODIES: Final = frozenset({b"content-length", b"transfer-encoding"})


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds.

    Args:
        options: uvicorn's own.

    Attributes:
        max_body_bytes: the largest body, as it is when the request's head is whole.
        in_head: the first head, or one that has begun, is not whole yet.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(**options)
        self.max_body_bytes = 0
        self.in_head = True
        self._head_begins = False
        self._head_bytes = 0
        self._is_chunked = False
        self._chunked_bytes = 0
        self._under_way: Any = None
        self._phase: Phase = ("", None)
        self._phase_since_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; reading stays paused as long as read requests wait for an earlier one."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)

    def data_received(self, data: bytes) -> None:
        """Parse; close the connection where a head grows too large."""
        self._head_begins = False
        super().data_received(data)
        if self._is_chunked:  # chunks of a byte, and trailers, are as large as their framing
            self._chunked_bytes += len(data)
            if self._chunked_bytes > MAX_HEAD_BYTES + 2 * self.max_body_bytes:
                self.transport.close()
        if self.in_head and not self._head_begins:  # what has only just begun is counted from now
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.close()

    def on_message_begin(self) -> None:
        """Begin a head; uvicorn's scope is made when it is whole, and only for what needs one."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self.in_head = self._head_begins = True
        self._head_bytes = 0
        self._is_chunked = False
        self._chunked_bytes = 0

    def on_headers_complete(self) -> None:
        """Hand the request to the app."""
        self.in_head = False
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers
        super().on_headers_complete()
        self.headers = _NoTrailers()
        given = {name for name, _ in headers}
        self._is_chunked = b"transfer-encoding" in given
        if self.parser.should_upgrade() and not _BODIES.isdisjoint(given):
            self.cycle.keep_alive = False  # a body that comes now would be read as a request

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: anyone could fill the log."""

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:  # noqa: ANN401 - uvicorn's own
        self._under_way = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell all who wait that the client has gone; uvicorn would tell the last one only."""
        waiting = [cycle for cycle, _ in self.pipeline]
        self.pipeline.clear()
        for cycle in (self._under_way, *waiting):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)

    def sweep(self, now_s: float) -> None:
        """Close the connection if it has been awaiting the same thing for too long."""
        phase, allowed_s = self.awaiting()
        if phase[0] != self._phase[0] or phase[1] is not self._phase[1]:
            self._phase = phase
            self._phase_since_s = now_s
        elif now_s - self._phase_since_s > allowed_s:
            self.give_up(phase)

    def awaiting(self) -> tuple[Phase, float]:
        """Return what is awaited, and for how long it may be."""
        if self.flow.write_paused:
            return ("reading", self.flow), UNREAD_TIMEOUT_S
        if self.in_head:
            return ("head", self.headers), HEAD_TIMEOUT_S
        if self.cycle.response_complete:
            return ("idle", self.cycle), KEEP_ALIVE_S
        return ("answer", self.cycle), float("inf")

    def give_up(self, phase: Phase) -> None:
        """Close the connection."""
        if phase[0] == "reading":  # to close would be to wait for the client again
            self.transport.abort()
        self.transport.close()


@final
class _NoTrailers(list[tuple[bytes, bytes]]):
    """Where uvicorn would put the trailers of a chunked body: nobody reads them."""

    def append(self, header: tuple[bytes, bytes]) -> None:
        """Let it go."""


@final
class _Flow(FlowControl):
    """uvicorn's flow control, which would read on while requests wait behind an unanswered one."""

    def __init__(self, transport: asyncio.Transport, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        """Read on, unless requests wait."""
        if not self._pipeline:
            super().resume_reading()


async def sweep_every(period_s: float, connections: set[Any]) -> None:
    """Sweep a server's connections, once in a while, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(period_s)
        for connection in list(connections):
            if isinstance(connection, BoundedProtocol):
                connection.sweep(loop.time())
