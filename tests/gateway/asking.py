"""A small ASGI client that can misbehave: pieces of a body, disconnects, bodies that never end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

from msgspec import Struct

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
Json: TypeAlias = Any
Head: TypeAlias = dict[str, str | bytes]


class Answer(Struct, frozen=True):
    """What came back."""

    status: int
    headers: tuple[tuple[str, str], ...]
    content: bytes

    @property
    def json(self) -> Json:
        return json.loads(self.content)

    @property
    def error(self) -> dict[str, Any]:
        """What the one error shape holds."""
        body = self.json
        assert set(body) == {"error"}
        error: dict[str, Any] = body["error"]
        return error

    def header(self, name: str) -> str | None:
        """Return the header's one value, or None."""
        values = [value for known, value in self.headers if known == name]
        assert len(values) < 2
        return values[0] if values else None


class Unanswered(Exception):
    """The app ended without an answer."""


async def ask(
    app: AsgiApp,
    method: str,
    path: str,
    body: object = b"",
    *,
    headers: Head | None = None,
    query: bytes = b"",
    root_path: str = "",
) -> Answer:
    """Ask with a body of one piece: bytes as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-length": str(len(content)), **(headers or {})} if content else headers
    return await ask_in_pieces(
        app, method, path, [content], headers=given, query=query, root_path=root_path
    )


async def ask_in_pieces(
    app: AsgiApp,
    method: str,
    path: str,
    pieces: Iterable[bytes],
    *,
    headers: Head | None = None,
    query: bytes = b"",
    root_path: str = "",
    whole: bool = True,
) -> Answer:
    """Ask with a body in pieces; where it is not `whole`, the client goes away after them."""

    async def messages() -> AsyncIterator[Message]:
        given = list(pieces)
        for i, piece in enumerate(given):
            more = not whole or i < len(given) - 1
            yield {"type": "http.request", "body": piece, "more_body": more}
        while True:
            yield {"type": "http.disconnect"}

    stream = messages()
    return await exchanged(
        app,
        scope(method, path, headers=headers, query=query, root_path=root_path),
        stream.__anext__,
    )


async def exchanged(app: AsgiApp, scope: MutableMapping[str, Any], receive: Receive) -> Answer:
    """Run one exchange to its end.

    Raises:
        Unanswered: nothing was sent.
    """
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if not sent:
        raise Unanswered
    start, *bodies = sent
    assert start["type"] == "http.response.start"
    assert [body.get("more_body", False) for body in bodies] == [True] * (len(bodies) - 1) + [False]
    return Answer(
        start["status"],
        tuple((name.decode(), value.decode()) for name, value in start["headers"]),
        b"".join(body.get("body", b"") for body in bodies),
    )


def scope(
    method: str,
    path: str,
    *,
    headers: Head | None = None,
    query: bytes = b"",
    root_path: str = "",
) -> MutableMapping[str, Any]:
    """Return an ASGI scope."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": root_path + path,
        "raw_path": (root_path + path).encode(),
        "root_path": root_path,
        "query_string": query,
        "headers": [
            (name.encode(), value if isinstance(value, bytes) else value.encode("latin-1"))
            for name, value in (headers or {}).items()
        ],
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
    }


def rows(*given: list[float]) -> dict[str, list[list[float]]]:
    """Return a body."""
    return {"data": list(given)}
