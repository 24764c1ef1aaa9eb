"""The fast lane: predictions answered at the level of uvicorn's HTTP parser, without ASGI.

uvicorn and ASGI cost a request more than everything else that is done for it: a scope, a Task, an
event, two messages. For the few paths of `Gateway.lane` and bodies that are announced, small and
plain, the protocol hands head and body to the very handler that ASGI would reach, driven without
a Task, and writes the answer. Everything else takes uvicorn's ordinary way: another path or method,
a chunked, compressed or large body, `Expect`, an upgrade, a request that comes while an earlier one
of the same connection is still being answered, a client that does not read its answers.

It leans on uvicorn's protocol class, whose version is locked; `tests/gateway/test_lane.py` holds
both ways to the same answers.

uvicorn bounds neither how long nor how large a request's head may get, nor how long a body may
take. `sweep`, called every second, closes connections that dawdle: cheaper than a timer a request.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Mapping, Sized
from functools import partial
from typing import Any, Final, final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from penstock.core.drive import Driven
from penstock.core.errors import BodyTooSlow
from penstock.gateway.app import Gateway
from penstock.gateway.body import BODY_TIMEOUT_S, ClientGone
from penstock.gateway.decode import LARGE_BYTES
from penstock.gateway.exchange import Exchange, Headers, Message
from penstock.gateway.paths import Handler
from penstock.gateway.plain import Lane

HEAD_TIMEOUT_S: Final = 10.0
"""How long a client may take to send a request's head, the first from when it connects."""

MAX_HEAD_BYTES: Final = 64 * 1024
"""How large a request's head may grow (and as much beyond it as one read brings)."""

KEEP_ALIVE_S: Final = 75.0
"""How long a connection may be idle between two requests."""

_MOST_DIGITS: Final = len(str(LARGE_BYTES))
_JSON_TYPES: Final = frozenset({None, b"application/json", b"application/json; charset=utf-8"})
_NOT_HERE: Final = frozenset({b"content-encoding", b"expect", b"transfer-encoding", b"upgrade"})


class LaneProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the fast lane and the sweep.

    Args:
        gateway: what is served.
        options: uvicorn's own.
    """

    def __init__(self, gateway: Gateway, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(**options)
        self._gateway = gateway
        self._lane_bytes = min(LARGE_BYTES, gateway.graph.limits.max_body_bytes)
        self._in_head = True
        self._head_begins = False
        self._head_bytes = 0
        self._phase: tuple[object, ...] = ()
        self._phase_since_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; reading stays paused as long as read requests wait for an earlier one."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)

    def data_received(self, data: bytes) -> None:
        """Parse; close the connection where a head grows too large."""
        self._head_begins = False
        super().data_received(data)
        if self._in_head and not self._head_begins:  # what has only just begun is counted from now
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.close()

    def on_message_begin(self) -> None:
        """Begin a head; uvicorn's scope is made only for what leaves the lane."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._in_head = self._head_begins = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """Take the lane where the request is of the plainest kind, else uvicorn's way."""
        self._in_head = False
        lane = self._gateway.lane.get(self.url)
        cycle: Any = self.cycle
        if lane is not None and (cycle is None or cycle.response_complete):
            headers = dict(self.headers)
            if self._is_plain(headers):
                self.cycle = LaneCycle(self, lane, headers)  # type: ignore[assignment]
                return
        self._leave_lane()

    def _leave_lane(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers
        super().on_headers_complete()

    def _is_plain(self, headers: Mapping[bytes, bytes]) -> bool:
        length = headers.get(b"content-length", b"")
        return (
            length.isdigit()
            and len(length) <= _MOST_DIGITS
            and int(length) <= self._lane_bytes
            and headers.get(b"content-type") in _JSON_TYPES
            and _NOT_HERE.isdisjoint(headers)
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.flow.write_paused
            and (self.limit_concurrency is None or len(self.connections) < self.limit_concurrency)
        )

    def serve(self, exchange: Exchange, answer: Handler) -> None:
        """Answer a request without a Task."""
        driven = Driven(self._gateway.guarded(exchange, answer))
        if driven.start():
            self._ended(driven)
        else:
            driven.when_done(partial(self._ended, driven))

    def _ended(self, driven: Driven[None]) -> None:
        """Drop the connection where not even an error could be answered."""
        if driven.error is not None:
            traceback.print_exception(driven.error)
            self.transport.abort()

    def lane_ended(self) -> None:
        """Go on after an answer; the sweep sees to idle connections, in place of a timer."""
        if self.pipeline and not self.transport.is_closing():
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1

    def sweep(self, now_s: float) -> None:
        """Close the connection if it has been awaiting the same thing for too long."""
        cycle: Any = self.cycle
        phase, allowed_s = self._awaiting(cycle)
        if not _same(phase, self._phase):
            self._phase = phase
            self._phase_since_s = now_s
        elif now_s - self._phase_since_s > allowed_s:
            if isinstance(cycle, LaneCycle) and cycle.more_body:
                cycle.refuse(BodyTooSlow(BODY_TIMEOUT_S))
            if self.transport.is_closing():  # it has been told to, and the client does not read
                self.transport.abort()
            self.transport.close()

    def _awaiting(self, cycle: Any) -> tuple[tuple[object, ...], float]:  # noqa: ANN401
        if self._in_head:
            return ("head", self.headers), HEAD_TIMEOUT_S
        if cycle.response_complete:
            return ("idle", cycle), KEEP_ALIVE_S
        if isinstance(cycle, LaneCycle) and cycle.more_body:
            return ("body", cycle), BODY_TIMEOUT_S
        return ("answer", cycle), float("inf")


def _same(phase: tuple[object, ...], earlier: tuple[object, ...]) -> bool:
    return len(phase) == len(earlier) and all(
        one is other for one, other in zip(phase, earlier, strict=True)
    )


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


@final
class LaneCycle:
    """One exchange in the lane, in the form that uvicorn's protocol knows its exchanges by.

    Args:
        protocol: whose exchange it is.
        lane: answers and records it.
        headers: by lower-case name.
    """

    __slots__ = (
        "_exchange",
        "_lane",
        "_protocol",
        "_served",
        "body",
        "disconnected",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
    )

    def __init__(self, protocol: LaneProtocol, lane: Lane, headers: dict[bytes, bytes]) -> None:
        self._protocol = protocol
        self._lane = lane
        self._exchange = Exchange(
            "POST",
            protocol.url.decode("ascii"),
            b"",
            headers,
            self._receive,
            self._respond,
            "",
            protocol._gateway.graph.clock.now_s(),  # noqa: SLF001 - they are one thing in two parts
        )
        self._served = False
        self.body = b""
        self.more_body = True
        self.keep_alive: bool = protocol.parser.should_keep_alive()
        self.disconnected = False
        self.response_complete = False
        self.message_event = self  # uvicorn's protocol sets it when something has come

    def set(self) -> None:
        """Serve the exchange once: when its body is whole, or the client has gone before that."""
        if self._served or (self.more_body and not self.disconnected):
            return
        self._served = True
        self._protocol.serve(self._exchange, self._gone if self.more_body else self._answer)

    def refuse(self, error: BodyTooSlow) -> None:
        """Say why the connection is about to be closed."""
        self._served = True
        self.keep_alive = False
        self._protocol.serve(self._exchange, partial(self._refused, error=error))

    def _answer(self, exchange: Exchange) -> Awaitable[None]:
        return self._lane.answer(exchange, self.body)

    async def _gone(self, exchange: Exchange) -> None:
        self._lane.record(exchange, None)
        raise ClientGone

    async def _refused(self, exchange: Exchange, error: BodyTooSlow) -> None:
        self._lane.record(exchange, error)
        raise error

    async def _receive(self) -> Message:
        return {"type": "http.disconnect"}  # the body has been handed over; nothing else will come

    async def _respond(self, status: int, headers: Headers, content: bytes, *, ends: bool) -> None:
        del ends  # what lingers is a body that is too large, and no such body gets here
        self._write(status, headers, content)

    def _write(self, status: int, headers: Headers, content: bytes) -> None:
        self.response_complete = True
        protocol = self._protocol
        if protocol.transport.is_closing():
            return  # the client went away: nobody is left to answer
        parts = [STATUS_LINE[status]]
        for name, value in (*protocol.server_state.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        parts += (b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n", content)
        protocol.transport.write(b"".join(parts))
        if not self.keep_alive:
            protocol.transport.close()
        protocol.lane_ended()


async def sweep_every(period_s: float, connections: set[Any]) -> None:
    """Sweep a server's connections, once in a while, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(period_s)
        for connection in list(connections):
            if isinstance(connection, LaneProtocol):
                connection.sweep(loop.time())
