"""The words of the pool: what a replica is asked and answers, what is bounded and counted."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

OK: Final = 200
"""The status of an answer that holds what was asked for."""

MAX_CONNECTIONS: Final = 64
"""Connections to one replica at once, those being established included."""

MAX_WAITING: Final = 256
"""Requests to one model that may wait for a connection; further ones are shed."""

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""How long a replica's answer may be, head included."""

CONNECT_TIMEOUT_S: Final = 1.0
"""How long a connection may take to be established, TLS included."""

FIRST_BYTE_TIMEOUT_S: Final = 300.0
"""How long a replica may be silent after a request, even where the deadline is later."""

IDLE_S: Final = 30.0
"""How long a free connection is kept: shorter than servers keep theirs."""

SKIP_S: Final = 1.0
"""How long a replica that failed is passed over while others are there; doubles each time."""

MAX_SKIP_S: Final = 30.0

FAIR_WAIT_S: Final = 0.1
"""A replica that had less time than this for an answer has not failed if it was late."""


class PoolLimits(Struct, frozen=True, kw_only=True):
    """The bounds of a pool; see the constants of these names.

    Attributes:
        connections: to one replica.
        waiting: requests for a connection, over all replicas.
        answer_bytes: of one answer.
        connect_s: for a connection to be established.
        first_byte_s: for an answer to begin.
        idle_s: for which a free connection is kept.
        skip_s: for which a replica that failed is passed over, at first.
        max_skip_s: for which it is passed over at most.
        fair_wait_s: below which a late answer is no failure of the replica.
    """

    connections: int = MAX_CONNECTIONS
    waiting: int = MAX_WAITING
    answer_bytes: int = MAX_ANSWER_BYTES
    connect_s: float = CONNECT_TIMEOUT_S
    first_byte_s: float = FIRST_BYTE_TIMEOUT_S
    idle_s: float = IDLE_S
    skip_s: float = SKIP_S
    max_skip_s: float = MAX_SKIP_S
    fair_wait_s: float = FAIR_WAIT_S


class PoolCounts(Struct, frozen=True, kw_only=True):
    """What a pool is and has done, for `/metrics`.

    Attributes:
        open: connections now, those being established included.
        busy: connections that carry a request now.
        waiting: requests that wait for a connection now.
        skipped: replicas that are passed over now.
        requests: asked in all.
        retries: of requests on another connection, in all.
        connect_failures: connections that could not be established, in all.
        broken: answers that did not come, or not whole, in all.
        late: requests that were given up because no answer had come in time, in all.
    """

    open: int
    busy: int
    waiting: int
    skipped: int
    requests: int
    retries: int
    connect_failures: int
    broken: int
    late: int


class Target(Struct, frozen=True):
    """What is asked: a method and a path.

    Attributes:
        heads: by replica: the request line and the headers that are always the same.
        most_bytes: how long the answer may be.
    """

    heads: tuple[bytes, ...]
    most_bytes: int


class Answer(Struct, gc=False):
    """What a replica answered.

    Attributes:
        status: of HTTP.
        headers: names as they came.
        body: whole, chunks joined.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes | bytearray

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of this lower-case name."""
        return next((value for key, value in self.headers if key.lower() == name), None)


class ConnectionBroken(Exception):
    """A connection gave no answer, or no whole one.

    Attributes:
        what: happened, in words.
        answered: whether a byte of the answer had come.
    """

    def __init__(self, what: str, *, answered: bool) -> None:
        super().__init__(what)
        self.what = what
        self.answered = answered


class Late(Exception):
    """An answer had not come whole when it was due."""
