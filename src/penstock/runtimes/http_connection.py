"""One connection to a replica: writes a request, reads its answer, and is free for the next one.

A connection carries one request at a time. It is free again only once the answer has been read to
its end and nothing has come behind it; in every other case it is dropped, so that no answer is
ever read as the answer to another request.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, cast, final

import httptools

from penstock.core.promise import Promise
from penstock.runtimes.http_terms import Answer, ConnectionBroken, Late

MAX_HEAD_BYTES: Final = 64 * 1024
"""How long the head of an answer may be, informational answers before it included."""

_FINAL: Final = 200
_SWITCHING: Final = 101
_LEAST_HEADER_BYTES: Final = 4


class Keeper(Protocol):
    """Whose connections these are."""

    def freed(self, connection: Connection) -> None:
        """Take note that a connection can carry another request."""

    def lost(self, connection: Connection) -> None:
        """Take note that an established connection is gone."""


@final
class Connection(asyncio.Protocol):
    """A connection and the one request that it carries, if it does.

    Args:
        keeper: is told when it is free, and when it is gone.
        index: of the replica that it leads to.
        loop: that it lives on.

    Attributes:
        index: of the replica that it leads to.
        idle_since_s: instant since which it has been free; 0 of one that has never been.
        made: whether it has been established.
        wanted: whether somebody waits for it to be established.
    """

    __slots__ = (
        "_body",
        "_complete",
        "_due_s",
        "_headers",
        "_in_head",
        "_keeper",
        "_loop",
        "_most_bytes",
        "_parser",
        "_promise",
        "_received_bytes",
        "_reusable",
        "_silent_until_s",
        "_status",
        "_transport",
        "_wrong",
        "idle_since_s",
        "index",
        "made",
        "wanted",
    )

    def __init__(self, keeper: Keeper, index: int, loop: asyncio.AbstractEventLoop) -> None:
        self._keeper = keeper
        self.index = index
        self._loop = loop
        self._parser: httptools.HttpResponseParser | None = None
        self._promise: Promise[Answer] | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: bytes | bytearray = b""
        self._status = 0
        self._received_bytes = 0
        self._most_bytes = 0
        self._due_s = 0.0
        self._silent_until_s = 0.0
        self._in_head = True
        self._complete = False
        self._reusable = False
        self._wrong = ""
        self.idle_since_s = 0.0
        self.made = False
        self.wanted = True

    @property
    def busy(self) -> bool:
        """Whether it carries a request."""
        return self._promise is not None

    @property
    def due_s(self) -> float:
        """When the answer under way is to be given up; an instant."""
        return self._due_s if self._received_bytes else self._silent_until_s

    def usable(self) -> bool:
        """Tell whether it is established and not about to be closed."""
        return self.made and not self._transport.is_closing()

    def send(
        self, message: bytes, due_s: float, silent_until_s: float, most_bytes: int
    ) -> Promise[Answer]:
        """Write a request; the promise is of its answer.

        Args:
            message: head and body.
            due_s: instant at which the whole answer must be there.
            silent_until_s: instant at which its first byte must be there, not after `due_s`.
            most_bytes: how long the answer may be, head included.

        Returns:
            A promise that is broken by `ConnectionBroken` or `Late`.
        """
        promise: Promise[Answer] = Promise(self._loop)
        self._promise = promise
        self._due_s = due_s
        self._silent_until_s = silent_until_s
        self._headers = []
        self._body = b""
        self._status = 0
        self._received_bytes = 0
        self._most_bytes = most_bytes
        self._in_head = True
        self._complete = False
        self._wrong = ""
        self._transport.write(message)
        return promise

    def forget(self, promise: Promise[Answer]) -> None:
        """Drop the connection if it still owes this answer: nobody waits for it any more."""
        if self._promise is promise:
            self._promise = None
            self.abort()

    def expire(self) -> None:
        """Give up the answer under way."""
        self._break(Late())

    def fail(self, what: str) -> None:
        """Drop the connection; what it carries ends with `ConnectionBroken`."""
        self._break(ConnectionBroken(what, answered=self._received_bytes > 0))

    def release(self) -> None:
        """Give back a connection that was obtained and not used."""
        if self.usable():
            self._keeper.freed(self)

    def abort(self) -> None:
        """Drop the connection."""
        if self.made:
            self._transport.abort()

    # --- asyncio's ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpResponseParser(self)
        self.made = True

    def data_received(self, data: bytes) -> None:
        """Read a piece of an answer."""
        parser = self._parser
        if self._promise is None or parser is None:
            self.abort()  # nothing was asked: whatever it is, it answers nothing of ours
            return
        self._received_bytes += len(data)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._reusable = False
            self._wrong = self._wrong or f"its answer is no HTTP: {_in_words(error)}"
        if self._received_bytes > self._most_bytes:
            self.fail(f"its answer is over the limit of {self._most_bytes} bytes")
        elif self._complete:
            self._finish()
        elif self._wrong:
            self.fail(self._wrong)
        elif self._in_head and self._received_bytes > MAX_HEAD_BYTES:
            self.fail(f"the head of its answer is over the limit of {MAX_HEAD_BYTES} bytes")

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that the connection is gone; an answer may have ended by it."""
        self._parser = None  # they refer to each other
        self._keeper.lost(self)
        if self._promise is None:
            return
        if exc is None and self._ends_by_closing():
            self._complete, self._reusable = True, False
            self._finish()
        else:
            how = "closed the connection" if exc is None else f"broke the connection ({exc})"
            when = "within its answer" if self._received_bytes else "without an answer"
            self.fail(f"it {how} {when}")

    def _ends_by_closing(self) -> bool:
        names = {name.lower() for name, _ in self._headers}
        return not self._in_head and names.isdisjoint((b"content-length", b"transfer-encoding"))

    # --- the parser's ------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Take note of an answer's beginning; there may be one only, but for 1xx."""
        if self._complete:
            self._reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers are passed over."""
        if self._in_head and not self._complete:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Keep the status."""
        parser = self._parser
        if self._complete or parser is None:
            return
        self._status = parser.get_status_code()
        if self._status < _FINAL:
            self._headers = []
            return
        self._in_head = False
        if self._received_bytes > MAX_HEAD_BYTES and self._head_bytes() > MAX_HEAD_BYTES:
            self._wrong = f"the head of its answer is over the limit of {MAX_HEAD_BYTES} bytes"

    def _head_bytes(self) -> int:
        return sum(len(name) + len(value) + _LEAST_HEADER_BYTES for name, value in self._headers)

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        if self._complete:
            return
        if not self._body:
            self._body = body
            return
        if isinstance(self._body, bytes):  # pieces may be tiny and many: no list of them
            self._body = bytearray(self._body)
        self._body += body

    def on_message_complete(self) -> None:
        """Take note of an answer's end; an informational one is passed over."""
        parser = self._parser
        if self._complete or parser is None or self._wrong:
            return
        if self._status >= _FINAL:
            self._complete = True
            self._reusable = parser.should_keep_alive()
        elif self._status == _SWITCHING:
            self._wrong = "it wants to speak another protocol"

    # --- ends --------------------------------------------------------------------------------

    def _finish(self) -> None:
        promise, self._promise = self._promise, None
        answer = Answer(self._status, self._headers, self._body)
        transport = self._transport
        if self._reusable and not transport.is_closing() and not transport.get_write_buffer_size():
            self._keeper.freed(self)
        else:
            transport.abort()
        if promise is not None and not promise.done():  # it may just have been cancelled
            promise.set_result(answer)

    def _break(self, error: Exception) -> None:
        promise, self._promise = self._promise, None
        self.abort()
        if promise is not None and not promise.done():
            promise.set_exception(error)


def _in_words(error: Exception) -> str:
    return "an upgrade" if isinstance(error, httptools.HttpParserUpgrade) else str(error)
