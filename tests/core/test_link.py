from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import msgspec
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core import link as module
from penstock.core.link import (
    Link,
    LinkFailed,
    LinkLimits,
    LinkLost,
    LinkTimedOut,
)
from penstock.core.snapshot import Snapshot, as_snapshot
from tests.support import ManualClock, Start, both_ways, nothing_loose, settle
from tests.waiting import until

MINUTE_S: Final = 60.0

Handler = Callable[[str, Any], Awaitable[object]]


@pytest_asyncio.fixture(autouse=True)
async def _nothing_loose() -> AsyncIterator[None]:
    async with nothing_loose():
        yield


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def echo(verb: str, payload: object) -> object:
    return [verb, payload]


class Side:
    """One end of a link, and what it was told of its loss."""

    def __init__(
        self, handler: Handler, clock: ManualClock, limits: LinkLimits | None = None
    ) -> None:
        self.losses: list[str] = []
        self.link = Link(
            handler, clock=clock, on_lost=self.losses.append, limits=limits or LinkLimits()
        )

    async def connect(self, end: socket.socket) -> None:
        end.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: self.link, sock=end)

    async def lost(self) -> str:
        """Return why the link was lost, once it has been."""
        await until(lambda: self.losses)
        (loss,) = self.losses
        return loss


Pair = Callable[..., Awaitable[tuple[Side, Side]]]


@pytest_asyncio.fixture
async def pair(clock: ManualClock) -> AsyncIterator[Pair]:
    sides: list[Side] = []

    async def make(
        here: Handler = echo,
        there: Handler = echo,
        *,
        here_limits: LinkLimits | None = None,
        there_limits: LinkLimits | None = None,
    ) -> tuple[Side, Side]:
        one, other = socket.socketpair()
        made = Side(here, clock, here_limits), Side(there, clock, there_limits)
        sides.extend(made)
        await made[0].connect(one)
        await made[1].connect(other)
        return made

    yield make
    for side in sides:
        side.link.close()
    await settle()


class Raw:
    """A connected socket whose other end is a link: what it is sent, no link of ours would send."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        end.setblocking(False)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.end, data)

    async def receive(self) -> list[Any]:
        loop = asyncio.get_running_loop()
        data = b""
        while len(data) < 8 or len(data) < 8 + struct.unpack_from("<Q", data)[0]:
            data += await loop.sock_recv(self.end, 65536)
        return msgspec.msgpack.decode(data[8:], type=list[Any])

    async def closed(self) -> bool:
        try:
            return await asyncio.get_running_loop().sock_recv(self.end, 1) == b""
        except ConnectionResetError:
            return True


Against = Callable[..., Awaitable[tuple[Side, Raw]]]


@pytest_asyncio.fixture
async def against(clock: ManualClock) -> AsyncIterator[Against]:
    made: list[tuple[Side, Raw]] = []

    async def make(handler: Handler = echo, limits: LinkLimits | None = None) -> tuple[Side, Raw]:
        one, other = socket.socketpair()
        side = Side(handler, clock, limits)
        await side.connect(one)
        made.append((side, Raw(other)))
        return made[-1]

    yield make
    for side, raw in made:
        side.link.close()
        raw.end.close()
    await settle()


def framed(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


def packed(*message: object) -> bytes:
    return framed(msgspec.msgpack.encode(list(message)))


# --- calls -------------------------------------------------------------------------------


@both_ways
async def test_both_sides_call_and_answer(pair: Pair, start: Start) -> None:
    here, there = await pair()

    calls = [start(here.link.call("a", 1, timeout_s=1)), start(there.link.call("b", timeout_s=1))]

    assert [await call for call in calls] == [["a", 1], ["b", None]]
    assert (here.link.waiting, here.link.handling, here.link.lost) == (0, 0, False)


async def test_answers_come_in_whatever_order(pair: Pair) -> None:
    gates = {n: asyncio.get_running_loop().create_future() for n in range(5)}

    async def gated(verb: str, payload: object) -> object:
        assert isinstance(payload, int)
        return await gates[payload]

    here, there = await pair(there=gated)
    calls = [asyncio.ensure_future(here.link.call("go", n, timeout_s=1)) for n in range(5)]
    await until(lambda: there.link.handling == 5)
    done: list[int] = []
    for n in (3, 0, 4, 1, 2):
        gates[n].set_result(n * 10)
        done.append(await calls[n])

    assert done == [30, 0, 40, 10, 20]


async def test_carries_large_payloads_and_all_that_messagepack_holds(pair: Pair) -> None:
    here, _ = await pair()
    payload: Any = {"a": [1, 2.5, None, True, "ä", b"\x00" * 5_000_000], "b": {}}

    assert await here.link.call("x", payload, timeout_s=1) == ["x", payload]


async def test_a_handler_may_call_back(pair: Pair) -> None:
    async def asks(verb: str, payload: object) -> object:
        return await there.link.call("inner", payload, timeout_s=1)

    here, there = await pair(there=asks)

    assert await here.link.call("outer", 5, timeout_s=1) == ["inner", 5]


async def test_a_handler_s_error_is_told_as_text(pair: Pair) -> None:
    async def fails(verb: str, payload: object) -> object:
        raise ValueError(f"no {verb}: \udcff")

    here, there = await pair(there=fails)

    with pytest.raises(LinkFailed, match=r"^ValueError: no way: \\udcff$"):
        await here.link.call("way", timeout_s=1)
    assert there.link.handling == 0


async def test_an_answer_that_cannot_be_sent_is_told_so(pair: Pair) -> None:
    async def answers_an_object(verb: str, payload: object) -> object:
        return object()

    here, _ = await pair(there=answers_an_object)

    with pytest.raises(LinkFailed, match="the answer cannot be sent: TypeError"):
        await here.link.call("x", timeout_s=1)
    assert not here.link.lost


async def test_a_payload_that_cannot_be_sent_raises_here(pair: Pair) -> None:
    here, _ = await pair()

    for payload in (object(), "\ud800", 2**64):
        with pytest.raises(LinkFailed, match="cannot be sent"):
            await here.link.call("x", payload, timeout_s=1)
    assert await here.link.call("y", timeout_s=1) == ["y", None]


async def test_a_snapshot_survives_the_way(pair: Pair) -> None:
    here, _ = await pair()
    snapshot = Snapshot({"requests": {("iris", "200"): 3.0, (): 1.0}})
    plain = msgspec.to_builtins(snapshot, str_keys=False)

    answer = await here.link.call("x", plain, timeout_s=1)

    assert as_snapshot(answer[1]) == snapshot


# --- time --------------------------------------------------------------------------------


async def test_a_late_answer_is_dropped(pair: Pair, clock: ManualClock) -> None:
    gate = asyncio.get_running_loop().create_future()

    async def gated(verb: str, payload: object) -> object:
        return await gate if verb == "slow" else verb

    here, there = await pair(there=gated)
    call = asyncio.ensure_future(here.link.call("slow", timeout_s=2.5))
    await until(lambda: there.link.handling)
    await clock.elapse(2.5)

    with pytest.raises(LinkTimedOut, match=r"^no answer to slow within 2.5 s$"):
        await call
    gate.set_result("late")
    assert await here.link.call("quick", timeout_s=1) == "quick"
    assert (here.link.waiting, clock.timers) == (0, 0)


async def test_a_cancelled_call_leaves_nothing(pair: Pair, clock: ManualClock) -> None:
    gate = asyncio.get_running_loop().create_future()

    async def gated(verb: str, payload: object) -> object:
        return await gate

    here, there = await pair(there=gated)
    call = asyncio.ensure_future(here.link.call("slow", timeout_s=MINUTE_S))
    await until(lambda: there.link.handling)
    call.cancel()
    await settle()

    assert (here.link.waiting, clock.timers, there.link.handling) == (0, 0, 1)
    gate.set_result(None)


async def test_an_alarm_beside_the_answer_does_no_harm(pair: Pair, clock: ManualClock) -> None:
    """Time runs out in the very turn in which the answer has come, before the caller wakes."""
    here, _ = await pair()
    call = asyncio.ensure_future(here.link.call("x", timeout_s=1))
    await until(lambda: any(answer.done() for answer in here.link._calls.values()))
    clock.advance(1.0)

    assert await call == ["x", None]


# --- the end -----------------------------------------------------------------------------


async def test_calls_fail_when_the_other_side_goes(pair: Pair) -> None:
    async def never(verb: str, payload: object) -> None:
        await asyncio.get_running_loop().create_future()

    here, there = await pair(there=never)
    call = asyncio.ensure_future(here.link.call("x", timeout_s=1))
    await until(lambda: there.link.handling)
    there.link.close()

    with pytest.raises(LinkLost, match="the other side closed the link"):
        await call
    with pytest.raises(LinkLost, match="the other side closed the link"):
        await here.link.call("x", timeout_s=1)
    assert here.losses == ["the other side closed the link"]
    assert there.losses == ["the link has been closed here"]
    await settle()
    assert there.link.handling == 0  # closing has cancelled it


async def test_handlers_go_on_when_the_other_side_goes(pair: Pair) -> None:
    gate = asyncio.get_running_loop().create_future()
    ended: list[object] = []

    async def gated(verb: str, payload: object) -> object:
        ended.append(await gate)
        return "an answer that nobody waits for"

    here, there = await pair(there=gated)
    call = asyncio.ensure_future(here.link.call("x", timeout_s=1))
    await until(lambda: there.link.handling)
    here.link.close("enough")
    await there.lost()
    with pytest.raises(LinkLost, match="enough"):
        await call
    gate.set_result("done")
    await settle()

    assert ended == ["done"]


async def test_closing_twice_is_told_once(pair: Pair) -> None:
    here, there = await pair()
    here.link.close("enough")
    here.link.close("again")
    await there.lost()
    await settle()

    assert here.losses == ["enough"]


async def test_a_link_that_is_not_connected(clock: ManualClock) -> None:
    side = Side(echo, clock)
    with pytest.raises(LinkLost, match="not connected yet"):
        await side.link.call("x", timeout_s=1)
    side.link.close("too early")
    assert side.losses == ["too early"]

    one, other = socket.socketpair()
    await side.connect(one)  # it comes too late, and is closed at once
    with pytest.raises(LinkLost, match="too early"):
        await side.link.call("x", timeout_s=1)
    await settle()
    assert other.recv(1) == b""
    other.close()


async def test_nobody_need_be_told(clock: ManualClock) -> None:
    link = Link(echo, clock=clock)
    link.close()
    link.connection_lost(ConnectionResetError("reset"))
    assert link.lost


async def test_a_broken_connection_says_how(clock: ManualClock) -> None:
    side = Side(echo, clock)
    side.link.connection_lost(ConnectionResetError("reset by peer"))
    assert side.losses == ["the link broke: reset by peer"]


# --- what is not trusted -----------------------------------------------------------------

NESTED: Final = b"\x91" * 2_000_000


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (framed(b""), "no MessagePack"),
        (framed(b"\xc1"), "no MessagePack"),
        (framed(b"GET / HTTP/1.1\r\n\r\n"), "no MessagePack"),
        (framed(NESTED), "no MessagePack"),
        (framed(b"\xdd\xff\xff\xff\xff"), "no MessagePack"),
        (framed(b"\x92\x00\xa4call"[:-1]), "no MessagePack"),
        (framed(b"\x80"), "no MessagePack"),
        (packed(), "neither a call nor an answer"),
        (packed(1, "call", "x"), "neither a call nor an answer"),
        (packed(1, "call", 5, None), "neither a call nor an answer"),
        (packed("1", "call", "x", None), "neither a call nor an answer"),
        (packed(1, "shout", "x", None), "neither a call nor an answer"),
        (packed(1, "failed", 5), "neither a call nor an answer"),
        (b"GET / HTTP/1.1\r\n\r\n", "is the most"),
        (b"\xff" * 8, "a frame of 18,446,744,073,709,551,615 bytes came; 67,108,864 is the most"),
    ],
    ids=range(15),
)
async def test_garbage_closes_the_link(data: bytes, why: str, against: Against) -> None:
    side, raw = await against()
    await raw.send(data)

    assert why in await side.lost()
    assert await raw.closed()
    with pytest.raises(LinkLost, match=r"frame"):
        await side.link.call("x", timeout_s=1)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_whatever_arrives_is_taken_or_closes(data: bytes) -> None:
    async def take() -> None:
        one, other = socket.socketpair()
        side = Side(echo, ManualClock())
        with other:
            await side.connect(one)
            side.link.data_received(framed(data))
            await settle()
            side.link.close()
            await settle()

    asyncio.run(take())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=30), st.integers(0, 3))
def test_frames_may_come_in_any_pieces(cuts: list[int], more: int) -> None:
    whole = b"".join(packed(n, "call", "v", n) for n in range(more + 1))

    async def take() -> list[Any]:
        got: list[Any] = []

        async def note(verb: str, payload: object) -> None:
            got.append(payload)

        one, other = socket.socketpair()
        side = Side(note, ManualClock())
        with other:
            await side.connect(one)
            rest = whole
            for cut in cuts:
                side.link.data_received(rest[:cut])
                rest = rest[cut:]
            side.link.data_received(rest)
            await settle()
            side.link.close()
            await settle()
        return got

    assert asyncio.run(take()) == list(range(more + 1))


async def test_an_answer_to_nothing_is_passed_over(against: Against) -> None:
    side, raw = await against()
    await raw.send(packed(77, "answer", 1) + packed(78, "failed", "x") + packed(1, "call", "v", 2))

    assert await raw.receive() == [1, "answer", ["v", 2]]
    assert not side.link.lost


async def test_a_second_answer_is_passed_over(against: Against) -> None:
    side, raw = await against()
    call = asyncio.ensure_future(side.link.call("x", timeout_s=1))
    number, *_ = await raw.receive()
    await raw.send(packed(number, "answer", "first") + packed(number, "answer", "second"))

    assert await call == "first"


async def test_no_more_calls_than_the_limit_are_handled(against: Against) -> None:
    gate = asyncio.get_running_loop().create_future()

    async def gated(verb: str, payload: object) -> object:
        return await gate

    side, raw = await against(gated, LinkLimits(calls_at_once=2))
    await raw.send(b"".join(packed(n, "call", "v", n) for n in range(3)))

    assert await raw.receive() == [2, "failed", "2 calls are being handled; try again later"]
    assert side.link.handling == 2
    gate.set_result(None)


async def test_a_frame_over_the_limit_closes_the_link(against: Against) -> None:
    side, raw = await against(limits=LinkLimits(frame_bytes=100))
    await raw.send(packed(1, "call", "v", b"x" * 90)[:8])

    assert await side.lost() == "a frame of 101 bytes came; 100 is the most"


async def test_who_does_not_read_gets_no_more_answers(against: Against) -> None:
    large = b"x" * 1_000_000

    async def answers_much(verb: str, payload: object) -> object:
        return large

    side, raw = await against(answers_much, LinkLimits(unsent_bytes=3_000_000))
    await raw.send(b"".join(packed(n, "call", "v", n) for n in range(20)))

    assert "the other side does not read" in await side.lost()
    assert side.link.lost


async def test_who_does_not_read_gets_no_more_calls(against: Against) -> None:
    side, _ = await against(limits=LinkLimits(unsent_bytes=3_000_000))
    calls = [
        asyncio.ensure_future(side.link.call("x", b"x" * 2_000_000, timeout_s=MINUTE_S))
        for _ in range(4)
    ]
    done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)

    for call in done:
        with pytest.raises(LinkFailed, match=r"the other side does not read: .* wait to be sent"):
            await call
    assert waiting
    assert not side.link.lost
    for call in waiting:
        call.cancel()


async def test_what_no_link_can_carry_is_refused_here(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answers_much(verb: str, payload: object) -> object:
        return "x" * 200 if verb == "much" else verb

    monkeypatch.setattr(module, "MAX_FRAME_BYTES", 100)
    here, _ = await pair(there=answers_much)

    with pytest.raises(LinkFailed, match="a frame has 211 bytes; 100 is the most"):
        await here.link.call("x", "y" * 200, timeout_s=1)
    with pytest.raises(LinkFailed, match="bytes; 100 is the most"):
        await here.link.call("much", timeout_s=1)
    assert await here.link.call("little", timeout_s=1) == "little"
