"""Reading bodies: bounded, timed, decompressed, and refused without a reset connection."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import zlib
from collections.abc import AsyncIterator, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.clock import SystemClock
from penstock.core.errors import (
    BodyTooLarge,
    BodyTooSlow,
    InvalidHeader,
    MalformedBody,
    Overloaded,
    UnsupportedContent,
)
from penstock.gateway.body import (
    BODY_TIMEOUT_S,
    LINGER_BYTES,
    LINGER_S,
    ClientGone,
    ReadingBudget,
    linger,
    read_body,
)
from penstock.gateway.exchange import Exchange, Headers
from tests.gateway.asking import Message
from tests.support import ManualClock, nothing_loose, settle

LIMIT = 1000


class Client:
    """Sends pieces, then waits for ever unless `whole` or `gone`."""

    def __init__(self, pieces: Iterable[bytes], *, whole: bool = True, gone: bool = False) -> None:
        self._pieces = list(pieces)
        self._whole = whole
        self._gone = gone
        self.given = 0
        self._messages = self._all()

    async def receive(self) -> Message:
        return await anext(self._messages)

    async def _all(self) -> AsyncIterator[Message]:
        for i, piece in enumerate(self._pieces):
            self.given += 1
            more = not self._whole or i < len(self._pieces) - 1
            yield {"type": "http.request", "body": piece, "more_body": more}
        if not self._gone:
            await asyncio.get_running_loop().create_future()
        while True:
            yield {"type": "http.disconnect"}


def an_exchange(client: Client, headers: dict[bytes, bytes] | None = None) -> Exchange:
    async def respond(status: int, headers: Headers, content: bytes, *, ends: bool) -> None:
        raise AssertionError

    return Exchange("POST", "/", b"", headers or {}, client.receive, respond, "", 1000.0)


async def read(
    *pieces: bytes, headers: dict[bytes, bytes] | None = None, limit: int = LIMIT
) -> bytes:
    exchange = an_exchange(Client(pieces), headers)
    return await read_body(exchange, limit, ManualClock(), ReadingBudget())


class TestReading:
    async def test_one_piece(self) -> None:
        assert await read(b"abc") == b"abc"

    async def test_several_pieces(self) -> None:
        assert await read(b"a", b"", b"bc") == b"abc"

    async def test_none(self) -> None:
        assert await read(b"") == b""

    async def test_a_message_without_a_body(self) -> None:
        async def receive() -> Message:
            return {"type": "http.request"}

        exchange = an_exchange(Client(()))
        exchange.receive = receive
        assert await read_body(exchange, LIMIT, ManualClock(), ReadingBudget()) == b""

    async def test_as_large_as_may_be(self) -> None:
        assert len(await read(b"a" * LIMIT)) == LIMIT
        assert len(await read(b"a" * 600, b"a" * 400)) == LIMIT

    @given(pieces=st.lists(st.binary(max_size=400), min_size=1, max_size=6))
    async def test_any_pieces(self, pieces: list[bytes]) -> None:
        whole = b"".join(pieces)
        if len(whole) > LIMIT:
            with pytest.raises(BodyTooLarge):
                await read(*pieces)
        else:
            assert await read(*pieces) == whole


class TestLimits:
    async def test_announced_too_large_is_refused_unread_and_lingers(self) -> None:
        client = Client([b"a"])
        exchange = an_exchange(client, {b"content-length": b"1001"})
        with pytest.raises(BodyTooLarge, match="1000 bytes"):
            await read_body(exchange, LIMIT, ManualClock(), ReadingBudget())
        assert client.given == 0
        assert exchange.lingers

    async def test_sent_too_large_is_refused_as_soon_as_it_is_and_lingers(self) -> None:
        client = Client([b"a" * 600] * 5)
        exchange = an_exchange(client)
        with pytest.raises(BodyTooLarge):
            await read_body(exchange, LIMIT, ManualClock(), ReadingBudget())
        assert client.given == 2
        assert exchange.lingers

    async def test_the_last_piece_too_much_does_not_linger(self) -> None:
        exchange = an_exchange(Client([b"a" * 600] * 2))
        with pytest.raises(BodyTooLarge):
            await read_body(exchange, LIMIT, ManualClock(), ReadingBudget())
        assert not exchange.lingers

    @pytest.mark.parametrize("length", [b"9" * 30, b"9" * 5000])
    async def test_an_announced_length_beyond_all_numbers(self, length: bytes) -> None:
        with pytest.raises(BodyTooLarge):
            await read(b"", headers={b"content-length": length})

    @pytest.mark.parametrize("length", [b"x", b"-1", b"1.5", b"", "٣".encode()])
    async def test_a_length_that_is_no_number(self, length: bytes) -> None:
        with pytest.raises(InvalidHeader, match="content-length"):
            await read(b"", headers={b"content-length": length})


class TestAllTogether:
    """What bodies that are being read hold together is bounded."""

    async def test_a_piece_without_room_is_shed_and_lingers(self) -> None:
        budget = ReadingBudget(1000)
        slow = asyncio.ensure_future(
            read_body(an_exchange(Client([b"a" * 600], whole=False)), LIMIT, ManualClock(), budget)
        )
        await settle()
        exchange = an_exchange(Client([b"a" * 401] * 2))
        with pytest.raises(Overloaded, match="no room in the bodies being read: at most 1000"):
            await read_body(exchange, LIMIT, ManualClock(), budget)
        assert exchange.lingers
        exchange = an_exchange(Client([b"a" * 400, b"a" * 500]))
        assert len(await read_body(exchange, LIMIT, ManualClock(), budget)) == 900
        slow.cancel()
        await asyncio.wait([slow])
        budget.take(1000)

    async def test_a_body_of_one_piece_needs_no_room(self) -> None:
        budget = ReadingBudget(0)
        exchange = an_exchange(Client([b"a" * 1000]))
        assert len(await read_body(exchange, LIMIT, ManualClock(), budget)) == 1000

    @pytest.mark.parametrize(
        ("pieces", "gone"),
        [([b"a" * 300] * 2, False), ([b"a" * 300] * 5, False), ([b"a" * 300] * 3, True)],
    )
    async def test_room_is_given_back_whatever_the_end(
        self, pieces: list[bytes], gone: bool
    ) -> None:
        budget = ReadingBudget(1000)
        exchange = an_exchange(Client(pieces, whole=not gone, gone=gone))
        with contextlib.suppress(BodyTooLarge, ClientGone):
            await read_body(exchange, LIMIT, ManualClock(), budget)
        budget.take(1000)
        with pytest.raises(Overloaded):
            budget.take(1)

    async def test_room_is_given_back_by_who_is_late(self) -> None:
        clock, budget = ManualClock(), ReadingBudget(1000)
        late = asyncio.ensure_future(
            read_body(an_exchange(Client([b"a" * 600], whole=False)), LIMIT, clock, budget)
        )
        await clock.elapse(BODY_TIMEOUT_S)
        with pytest.raises(BodyTooSlow):
            await late
        budget.take(1000)


class TestTime:
    async def test_a_client_that_stops_is_refused(self) -> None:
        clock = ManualClock()
        exchange = an_exchange(Client([b"a"], whole=False))
        async with nothing_loose():
            reading = asyncio.ensure_future(read_body(exchange, LIMIT, clock, ReadingBudget()))
            await clock.elapse(BODY_TIMEOUT_S - 1)
            assert not reading.done()
            await clock.elapse(1)
            with pytest.raises(BodyTooSlow, match="30 s"):
                await reading
        assert clock.timers == 0

    async def test_the_timer_is_taken_back(self) -> None:
        clock = ManualClock()
        await read_body(an_exchange(Client([b"a"])), LIMIT, clock, ReadingBudget())
        assert clock.timers == 0

    async def test_a_client_that_goes(self) -> None:
        with pytest.raises(ClientGone):
            await read_body(
                an_exchange(Client([b"a"], whole=False, gone=True)),
                LIMIT,
                ManualClock(),
                ReadingBudget(),
            )

    async def test_cancelling_it_cancels_the_reading(self) -> None:
        clock = ManualClock()
        reading = asyncio.ensure_future(
            read_body(an_exchange(Client([b"a"], whole=False)), LIMIT, clock, ReadingBudget())
        )
        await clock.elapse()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert clock.timers == 0


class TestTypes:
    @pytest.mark.parametrize("given", [b"text/plain", b"application/json; charset=x", b"", b"\xff"])
    async def test_only_json_is_read(self, given: bytes) -> None:
        client = Client([b"{}"])
        exchange = an_exchange(client, {b"content-type": given})
        with pytest.raises(UnsupportedContent, match="application/json"):
            await read_body(exchange, LIMIT, ManualClock(), ReadingBudget())
        assert client.given == 0

    async def test_a_long_type_is_cut_in_the_message(self) -> None:
        with pytest.raises(UnsupportedContent) as raised:
            await read(b"", headers={b"content-type": b"x" * 5000})
        assert len(raised.value.message) < 250


class TestCompression:
    @pytest.mark.parametrize("encoding", [b"gzip", b"GZip", b"deflate"])
    @pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
    async def test_gzip_and_zlib_are_told_apart_by_themselves(
        self, encoding: bytes, compress: type[bytes]
    ) -> None:
        headers = {b"content-encoding": encoding}
        assert await read(compress(b"abc"), headers=headers) == b"abc"

    @pytest.mark.parametrize("encoding", [b"identity", b"IDENTITY"])
    async def test_identity(self, encoding: bytes) -> None:
        assert await read(b"abc", headers={b"content-encoding": encoding}) == b"abc"

    async def test_what_comes_out_is_bounded_too(self) -> None:
        headers = {b"content-encoding": b"gzip"}
        assert len(await read(gzip.compress(b"a" * LIMIT), headers=headers)) == LIMIT
        with pytest.raises(BodyTooLarge, match="after decompression"):
            await read(gzip.compress(b"a" * (LIMIT + 1)), headers=headers)

    async def test_a_bomb_is_not_inflated_whole(self) -> None:
        bomb = gzip.compress(b"\x00" * 50_000_000)
        exchange = an_exchange(Client([bomb]), {b"content-encoding": b"gzip"})
        with pytest.raises(BodyTooLarge):
            await read_body(exchange, 100_000, SystemClock(), ReadingBudget())
        assert not exchange.lingers

    @given(cut=st.integers(0, 60), at=st.integers(0, 60), flip=st.integers(0, 255))
    async def test_damaged_data_is_refused_or_whole(self, cut: int, at: int, flip: int) -> None:
        plain = b'{"data":[[5.1,3.5,1.4,0.2]]}'
        packed = bytearray(gzip.compress(plain, mtime=0))
        packed[at % len(packed)] ^= flip
        damaged = bytes(packed[: len(packed) - cut % len(packed)])
        try:
            got = await read(damaged, headers={b"content-encoding": b"gzip"})
        except (MalformedBody, BodyTooLarge):
            return
        assert got == plain

    @pytest.mark.parametrize("encoding", [b"br", b"gzip, gzip", b"", b"x" * 5000])
    async def test_other_encodings(self, encoding: bytes) -> None:
        with pytest.raises(UnsupportedContent, match="gzip, deflate or none") as raised:
            await read(b"abc", headers={b"content-encoding": encoding})
        assert len(raised.value.message) < 250


class TestLingering:
    async def test_the_rest_is_thrown_away(self) -> None:
        client = Client([b"a"] * 5)
        await linger(an_exchange(client), ManualClock())
        assert client.given == 5

    async def test_until_the_client_goes(self) -> None:
        await linger(an_exchange(Client([b"a"], whole=False, gone=True)), ManualClock())

    async def test_for_a_while_only(self) -> None:
        clock = ManualClock()
        lingering = asyncio.ensure_future(linger(an_exchange(Client([], whole=False)), clock))
        await clock.elapse(LINGER_S - 0.5)
        assert not lingering.done()
        await clock.elapse(0.5)
        await lingering

    async def test_for_so_much_only(self) -> None:
        piece = bytes(LINGER_BYTES // 4)
        client = Client([piece] * 10)
        await linger(an_exchange(client), ManualClock())
        assert client.given == 4
