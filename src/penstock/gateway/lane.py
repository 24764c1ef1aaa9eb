"""The fast lane: predictions answered at the level of uvicorn's HTTP parser, without ASGI.

uvicorn and ASGI cost a request more than everything else that is done for it: a scope, a Task, an
event, two messages. For the few paths of `Gateway.lane` and bodies that are announced, small and
plain, the protocol hands head and body to the very handler that ASGI would reach, driven without
a Task, and writes the answer. Everything else takes uvicorn's ordinary way: another path or method,
a chunked, compressed or large body, `Expect`, an upgrade, a request that comes while an earlier one
of the same connection is still being answered, a client that does not read its answers.

It leans on uvicorn's protocol class, whose version is locked; `tests/gateway/test_lane.py` holds
both ways to the same answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from penstock.core.drive import Driven
from penstock.core.errors import BodyTooSlow, ServingError, UnknownRoute
from penstock.core.families import CONNECTIONS_GIVEN_UP, EDGE_ERRORS, SHEDS
from penstock.gateway.body import BODY_TIMEOUT_S, ClientGone
from penstock.gateway.bounds import BoundedProtocol, Phase
from penstock.gateway.decode import LARGE_BYTES
from penstock.gateway.exchange import Exchange, Headers, Message
from penstock.gateway.gateway import Gateway, Serving
from penstock.gateway.paths import Handler
from penstock.gateway.status import Stopping

_MOST_DIGITS: Final = len(str(LARGE_BYTES))
_JSON_TYPES: Final = frozenset({None, b"application/json", b"application/json; charset=utf-8"})
_NOT_HERE: Final = frozenset({b"content-encoding", b"expect", b"transfer-encoding", b"upgrade"})


class LaneProtocol(BoundedProtocol):
    """uvicorn's protocol, bounded, with the fast lane.

    Args:
        serving: tells what is served.
        under_way: where exchanges are that are being answered in the lane, of all connections.
        options: uvicorn's own.
    """

    def __init__(
        self,
        serving: Serving,
        under_way: set[Driven[None]],
        **options: Any,  # noqa: ANN401 - uvicorn's own
    ) -> None:
        super().__init__(**options)
        self.serving = serving
        self._under_way_in_lane = under_way

    def on_headers_complete(self) -> None:
        """Take the lane where the request is of the plainest kind, else uvicorn's way."""
        gateway = self.serving.serves
        cycle: Any = self.cycle
        if self.url in gateway.lane and (cycle is None or cycle.response_complete):
            headers = dict(self.headers)
            if self._is_plain(headers, gateway.lane_bytes):
                self.in_head = False
                self.cycle = LaneCycle(self, headers)  # type: ignore[assignment]
                return
        self.max_body_bytes = gateway.graph.limits.max_body_bytes
        super().on_headers_complete()
        if self.serving.draining:
            self.cycle.keep_alive = False

    def _is_plain(self, headers: Mapping[bytes, bytes], most_bytes: int) -> bool:
        length = headers.get(b"content-length", b"")
        return (
            length.isdigit()
            and len(length) <= _MOST_DIGITS
            and int(length) <= most_bytes
            and headers.get(b"content-type") in _JSON_TYPES
            and _NOT_HERE.isdisjoint(headers)
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.flow.write_paused
            and (self.limit_concurrency is None or len(self.connections) < self.limit_concurrency)
        )

    def serve(self, gateway: Gateway, exchange: Exchange, answer: Handler) -> None:
        """Answer a request without a Task."""
        driven = Driven(gateway.guarded(exchange, answer))
        if driven.start():
            self._ended(driven)
        else:
            self._under_way_in_lane.add(driven)
            driven.when_done(partial(self._ended, driven))

    def _ended(self, driven: Driven[None]) -> None:
        """Drop the connection where not even an error could be answered."""
        self._under_way_in_lane.discard(driven)
        if driven.error is not None:
            self.serving.serves.graph.faults.report("an exchange", driven.error)
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; counted, as it reaches no gateway."""
        self.serving.serves.graph.measures.count(EDGE_ERRORS, "400")
        super().send_400_response(msg)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:  # noqa: ANN401 - uvicorn's own
        if app is not self.app:  # there are too many connections: uvicorn answers 503 itself
            self.serving.serves.graph.measures.count(SHEDS, "connections", "overloaded")
        super()._start_asgi_task(cycle, app)

    def lane_ended(self) -> None:
        """Go on after an answer; the sweep sees to idle connections, in place of a timer."""
        if self.pipeline and not self.transport.is_closing():
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1

    def awaiting(self) -> tuple[Phase, float]:
        """Return what is awaited, and for how long it may be."""
        cycle: Any = self.cycle
        if isinstance(cycle, LaneCycle) and cycle.more_body and not cycle.response_complete:
            return ("body", cycle), BODY_TIMEOUT_S
        return super().awaiting()

    def give_up(self, phase: Phase) -> None:
        """Close the connection; one that kept its body back is told so."""
        self.serving.serves.graph.measures.count(CONNECTIONS_GIVEN_UP, phase[0])
        if phase[0] == "body":
            cycle: Any = self.cycle
            cycle.refuse(BodyTooSlow(BODY_TIMEOUT_S))
        super().give_up(phase)

    def cut_off(self) -> bool:
        """Begin no further request, and end what awaits its client, for the server stops.

        Returns:
            Whether there was a request that had not come whole, and has been refused.
        """
        self.pipeline.clear()
        phase, _ = self.awaiting()
        if phase[0] == "body":
            cycle: Any = self.cycle
            cycle.refuse(Stopping())
        elif phase[0] == "reading":
            self.transport.abort()
        return phase[0] == "body"


@final
class LaneCycle:
    """One exchange in the lane, in the form that uvicorn's protocol knows its exchanges by.

    Args:
        protocol: whose exchange it is.
        headers: by lower-case name.
    """

    __slots__ = (
        "_exchange",
        "_protocol",
        "_served",
        "body",
        "disconnected",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
    )

    def __init__(self, protocol: LaneProtocol, headers: dict[bytes, bytes]) -> None:
        self._protocol = protocol
        serving = protocol.serving
        self._exchange = Exchange(
            "POST",
            protocol.url.decode("ascii"),
            b"",
            headers,
            self._receive,
            self._respond,
            "",
            serving.serves.graph.clock.now_s(),
        )
        self._served = False
        self.body = b""
        self.more_body = True
        self.keep_alive: bool = protocol.parser.should_keep_alive() and not serving.draining
        self.disconnected = False
        self.response_complete = False
        self.message_event = self  # uvicorn's protocol sets it when something has come

    def set(self) -> None:
        """Serve the exchange once: when its body is whole, or the client has gone before that."""
        if self._served or (self.more_body and not self.disconnected):
            return
        self._served = True
        self._serve(self._gone if self.more_body else self._answer)

    def refuse(self, error: ServingError) -> None:
        """Say why the connection is about to be closed."""
        self._served = True
        self.keep_alive = False
        self._serve(partial(self._refused, error))

    def _serve(self, answer: Callable[[Gateway, Exchange], Awaitable[None]]) -> None:
        """Have the generation answer that serves now: while the body came it may have changed."""
        gateway = self._protocol.serving.serves
        self._protocol.serve(gateway, self._exchange, partial(answer, gateway))

    def _answer(self, gateway: Gateway, exchange: Exchange) -> Awaitable[None]:
        lane = gateway.lane.get(self._protocol.url)
        if lane is None:  # its route has been taken away
            return self._refused(UnknownRoute(exchange.path), gateway, exchange)
        return lane.answer(exchange, self.body)

    async def _gone(self, gateway: Gateway, exchange: Exchange) -> None:
        self._record(gateway, None)
        raise ClientGone

    async def _refused(self, error: ServingError, gateway: Gateway, exchange: Exchange) -> None:
        self._record(gateway, error)
        raise error

    def _record(self, gateway: Gateway, error: ServingError | None) -> None:
        lane = gateway.lane.get(self._exchange.path.encode())
        if lane is not None:
            lane.record(self._exchange, error)

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
