"""One HTTP exchange: what came in, and the one answer that goes out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final, Protocol, TypeAlias, final

import msgspec

from penstock.core.errors import (
    ChangeRefused,
    FanOutFailed,
    MethodNotAllowed,
    RequestError,
    ServingError,
    Unauthorized,
    Unavailable,
)
from penstock.core.trail import answered_arm, arm_of
from penstock.core.values import InferenceResponse
from penstock.gateway.status import status_of

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]

_JSON: Final[Header] = (b"content-type", b"application/json")
_CLOSE: Final[Header] = (b"connection", b"close")

Headers: TypeAlias = Sequence[Header]

encode_json = msgspec.json.Encoder().encode


class Respond(Protocol):
    """Sends an answer to the client of one exchange."""

    def __call__(
        self, status: int, headers: Headers, content: bytes, *, ends: bool
    ) -> Awaitable[None]:
        """Send status, headers and the whole content; keep the exchange open unless it `ends`."""


@final
class Exchange:
    """One request's head, and the way its one answer goes.

    Args:
        method: of HTTP.
        path: below where the app is mounted.
        query: what follows the path.
        headers: by lower-case name; of several the last.
        receive: of ASGI: gives the body, piece by piece.
        respond: sends the answer.
        request_id: the client's, or made here.
        started_s: when it came in, on the monotonic clock.

    Attributes:
        answered: whether an answer is on its way.
        counted: its error has been counted as its route's.
        peer: the client's address, where it is known.
        lingers: a body is refused that has not been read: the connection is to be closed, but not
            before the client has had a chance to read why.
    """

    __slots__ = (
        "answered",
        "counted",
        "headers",
        "lingers",
        "method",
        "path",
        "peer",
        "query",
        "receive",
        "request_id",
        "respond",
        "started_s",
    )

    def __init__(
        self,
        method: str,
        path: str,
        query: bytes,
        headers: dict[bytes, bytes],
        receive: Receive,
        respond: Respond,
        request_id: str,
        started_s: float,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.receive = receive
        self.respond = respond
        self.request_id = request_id
        self.started_s = started_s
        self.answered = False
        self.counted = False
        self.lingers = False
        self.peer = ""

    async def answer(
        self,
        status: int,
        content: bytes,
        *headers: Header,
        content_type: Header = _JSON,
        ends: bool = True,
    ) -> None:
        """Send the answer.

        Args:
            status: of HTTP.
            content: JSON, unless another type is given.
            headers: beside content type, content length and request id.
            content_type: as a header.
            ends: False to keep the exchange open after the whole content has been sent.
        """
        self.answered = True
        all_headers = (
            content_type,
            (b"content-length", b"%d" % len(content)),
            (b"x-request-id", self.request_id.encode()),
            *headers,
        )
        if self.method == "HEAD":
            content = b""
        await self.respond(status, all_headers, content, ends=ends)

    async def answer_json(self, content: object) -> None:
        """Send `content` as JSON with status 200."""
        await self.answer(200, encode_json(content))

    async def answer_error(self, error: ServingError) -> None:
        """Send an error in the plain face's one shape; the exchange stays open if it `lingers`."""
        headers = [*_arm_header(arm_of(error.trail))]
        if isinstance(error, Unavailable):
            headers.append((b"retry-after", b"%d" % error.retry_after_s))
        if isinstance(error, MethodNotAllowed):
            headers.append((b"allow", ", ".join(error.allowed).encode()))
        if isinstance(error, Unauthorized):
            headers.append((b"www-authenticate", b"Bearer"))
        if self.lingers:
            headers.append(_CLOSE)
        content = encode_json({"error": error_body(error, self.request_id)})
        await self.answer(status_of(error), content, *headers, ends=not self.lingers)


def arm_header(response: InferenceResponse) -> tuple[Header, ...]:
    """Return the header that names the arm which a split chose for the request, or nothing."""
    return _arm_header(answered_arm(response))


def _arm_header(arm: str) -> tuple[Header, ...]:
    return ((b"x-penstock-arm", arm.encode()),) if arm else ()


def over_asgi(send: Send) -> Respond:
    """Return what answers through ASGI's `send`."""

    async def respond(status: int, headers: Headers, content: bytes, *, ends: bool) -> None:
        start = {"type": "http.response.start", "status": status, "headers": list(headers)}
        await send(start)  # a list: Starlette's middlewares append to it
        await send({"type": "http.response.body", "body": content, "more_body": not ends})

    return respond


def error_body(error: ServingError, request_id: str) -> dict[str, object]:
    """Return what the plain face says of an error.

    `path` is the place in the body, `causes` the failed arms of a fan-out, `problems` all reasons
    why a change is refused.
    """
    body: dict[str, object] = {
        "code": error.code,
        "message": error.message,
        "request_id": request_id,
    }
    if isinstance(error, RequestError) and error.path is not None:
        body["path"] = error.path
    if isinstance(error, ChangeRefused):
        body["problems"] = list(error.problems)
    if isinstance(error, FanOutFailed):
        body["causes"] = {
            arm: {"code": cause.code, "message": cause.message}
            for arm, cause in error.causes.items()
        }
    return body
