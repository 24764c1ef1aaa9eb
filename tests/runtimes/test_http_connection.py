from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.promise import Promise
from penstock.runtimes.http_connection import MAX_HEAD_BYTES, Connection
from penstock.runtimes.http_terms import Answer, ConnectionBroken, Late
from tests.runtimes.faulty_server import ROW, answer, chunked, head

MOST: Final = 1_000_000


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.unsent = 0
        self.closing = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Keeper:
    def __init__(self) -> None:
        self.free = 0
        self.gone = 0

    def freed(self, connection: Connection) -> None:
        self.free += 1

    def lost(self, connection: Connection) -> None:
        self.gone += 1


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class Bench:
    """A connection on a wire."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.keeper = Keeper()
        self.wire = Wire()
        self.connection = Connection(self.keeper, 3, loop)
        self.connection.connection_made(cast("asyncio.BaseTransport", self.wire))

    def ask(self, *pieces: bytes, most_bytes: int = MOST) -> Promise[Answer]:
        promise = self.connection.send(b"GET /", 20.0, 10.0, most_bytes)
        for piece in pieces:
            self.connection.data_received(piece)
        return promise


@pytest.fixture
def bench(loop: asyncio.AbstractEventLoop) -> Bench:
    return Bench(loop)


def broken(promise: Promise[Answer]) -> ConnectionBroken:
    with pytest.raises(ConnectionBroken) as caught:
        promise.result()
    return caught.value


# --- answers -----------------------------------------------------------------------------


def test_an_answer_is_read_and_the_connection_free_again(bench: Bench) -> None:
    for turn in (1, 2):
        promise = bench.ask(answer(status=418, x_a="1"))
        got = promise.result()
        assert (got.status, bytes(got.body)) == (418, ROW)
        assert got.header(b"x-a") == b"1"
        assert got.header(b"x-b") is None
        assert bench.keeper.free == turn
        assert not bench.connection.busy
        assert bench.connection.usable()
    assert bench.wire.written == [b"GET /"] * 2


def test_it_is_due_for_its_first_byte_and_for_its_last(bench: Bench) -> None:
    bench.ask()
    assert bench.connection.due_s == 10.0
    bench.connection.data_received(b"H")
    assert bench.connection.due_s == 20.0


@pytest.mark.parametrize(
    "said",
    [
        answer(connection="close"),
        answer(version="1.0"),
        answer() + answer(),
        answer() + b"rubbish",
        answer(connection="close") + b"rubbish",
    ],
)
def test_a_connection_that_cannot_carry_on_is_dropped(bench: Bench, said: bytes) -> None:
    assert bytes(bench.ask(said).result().body) == ROW
    assert bench.keeper.free == 0
    assert not bench.connection.usable()


def test_one_is_dropped_whose_request_has_not_left(bench: Bench) -> None:
    bench.wire.unsent = 5
    assert bench.ask(answer(status=413)).result().status == 413
    assert bench.keeper.free == 0


def test_one_is_dropped_that_says_something_unasked(bench: Bench) -> None:
    bench.ask(answer())
    bench.connection.data_received(answer())
    assert not bench.connection.usable()


def test_a_body_may_end_with_the_connection(bench: Bench) -> None:
    promise = bench.ask(head(200, "1.1", {}), ROW[:5], ROW[5:])
    assert not promise.done()
    bench.connection.connection_lost(None)
    assert bytes(promise.result().body) == ROW
    assert (bench.keeper.free, bench.keeper.gone) == (0, 1)


def test_trailers_and_early_heads_are_no_headers(bench: Bench) -> None:
    early = b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n"
    got = bench.ask(early, chunked(ROW, trailer="x-sum: 1\r\n")).result()
    assert [name for name, _ in got.headers] == [b"transfer-encoding"]


# --- failures ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pieces", "what"),
    [
        ([], "it closed the connection without an answer"),
        ([b"HTTP/1.1 2"], "it closed the connection within its answer"),
        ([answer()[:-1]], "it closed the connection within its answer"),
        ([chunked(ROW)[:-1]], "it closed the connection within its answer"),
        ([head(200, "1.1", {"transfer-encoding": "gzip"})], "it closed the connection within"),
    ],
)
def test_a_closed_connection_is_no_answer(bench: Bench, pieces: Sequence[bytes], what: str) -> None:
    promise = bench.ask(*pieces)
    bench.connection.connection_lost(None)
    error = broken(promise)
    assert error.what.startswith(what)
    assert error.answered is bool(pieces)


def test_a_reset_is_no_end_of_a_body(bench: Bench) -> None:
    promise = bench.ask(head(200, "1.1", {}), ROW)
    bench.connection.connection_lost(ConnectionResetError(104, "reset"))
    assert broken(promise).what.startswith("it broke the connection (")


@pytest.mark.parametrize(
    ("pieces", "what"),
    [
        ([b"garbage"], "its answer is no HTTP: Expected HTTP/"),
        ([answer(transfer_encoding="chunked")], "its answer is no HTTP: Transfer-Encoding"),
        ([b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"], "it wants to speak"),
        ([b"HTTP/1.1 101 X\r\n\r\n"], "it wants to speak another protocol"),
        ([b"HTTP/1.1 200 X\r\nx: ", b"y" * MAX_HEAD_BYTES], "the head of its answer is over"),
        ([b"HTTP/1.1 200 X\r\n" + b"x: y\r\n" * 30_000 + b"\r\n"], "the head of its answer is"),
        ([b"HTTP/1.1 100 X\r\n\r\n" * 9_000], "the head of its answer is over the limit of 65536"),
        ([head(200, "1.1", {}), b"x" * MOST], f"its answer is over the limit of {MOST} bytes"),
    ],
)
def test_what_is_wrong_with_an_answer_is_said(
    bench: Bench, pieces: Sequence[bytes], what: str
) -> None:
    error = broken(bench.ask(*pieces))
    assert error.what.startswith(what)
    assert error.answered
    assert not bench.connection.usable()


def test_a_large_body_does_not_count_as_head(bench: Bench) -> None:
    body = b"x" * (2 * MAX_HEAD_BYTES)
    assert len(bench.ask(answer(body)).result().body) == len(body)


def test_a_late_answer_is_given_up(bench: Bench) -> None:
    promise = bench.ask(answer()[:-1])
    bench.connection.expire()
    with pytest.raises(Late):
        promise.result()
    assert not bench.connection.usable()
    bench.connection.data_received(answer()[-1:])  # too late; nothing happens


def test_one_that_nobody_waits_for_is_dropped(bench: Bench) -> None:
    promise = bench.ask()
    promise.cancel()
    bench.connection.forget(promise)
    assert not bench.connection.usable()
    assert not bench.connection.busy


def test_one_that_has_answered_is_not_dropped(bench: Bench) -> None:
    promise = bench.ask(answer())
    bench.connection.forget(promise)
    assert bench.connection.usable()


@pytest.mark.parametrize("said", [answer(), b"garbage"])
def test_an_answer_to_one_who_has_just_left_is_no_fault(bench: Bench, said: bytes) -> None:
    promise = bench.ask()
    promise.cancel()
    bench.connection.data_received(said)
    assert not bench.connection.busy


def test_one_that_is_not_used_is_given_back(bench: Bench) -> None:
    bench.connection.release()
    assert bench.keeper.free == 1
    bench.wire.closing = True
    bench.connection.release()
    assert bench.keeper.free == 1


def test_one_that_is_not_established_cannot_be_used(loop: asyncio.AbstractEventLoop) -> None:
    connection = Connection(Keeper(), 0, loop)
    connection.abort()
    assert not connection.usable()


# --- property ----------------------------------------------------------------------------

VALID: Final = [
    answer(),
    answer(b"", status=204),
    answer(b"x" * 300, x_many="a, b"),
    chunked(b"abc", b"d" * 20, ROW),
    chunked(ROW, trailer="x-sum: 1\r\nx-more: 2\r\n"),
    b"HTTP/1.1 100 Continue\r\n\r\n" + answer(),
    answer(version="1.0"),
    answer(status=503, connection="close"),
]


@given(data=st.data(), said=st.sampled_from(VALID))
def test_any_pieces_of_an_answer_are_the_same_answer(data: Any, said: bytes) -> None:  # noqa: ANN401
    loop = asyncio.new_event_loop()
    try:
        whole = Bench(loop).ask(said).result()
        cuts = sorted(data.draw(st.sets(st.integers(1, len(said) - 1), max_size=len(said))))
        pieces = [said[i:j] for i, j in zip([0, *cuts], [*cuts, len(said)], strict=True)]
        got = Bench(loop).ask(*pieces).result()
    finally:
        loop.close()
    assert (got.status, got.headers, bytes(got.body)) == (
        whole.status,
        whole.headers,
        bytes(whole.body),
    )
