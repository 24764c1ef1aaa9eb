from __future__ import annotations

import asyncio

import pytest

from penstock.core.errors import NotReady, Overloaded
from penstock.runtimes.http_connection import Connection
from penstock.runtimes.http_terms import Late
from penstock.runtimes.http_waiting import Waiter, WaitingRoom
from tests.runtimes.test_http_connection import Bench
from tests.support import ManualClock, Start, both_ways, settle

pytestmark = both_ways


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(0.0)


@pytest.fixture
def room(clock: ManualClock) -> WaitingRoom:
    return WaitingRoom("svc", 2, clock=clock)


async def connection() -> Connection:
    return Bench(asyncio.get_running_loop()).connection


async def test_a_connection_goes_to_who_came_first(start: Start, room: WaitingRoom) -> None:
    first, second = start(room.wait(Waiter(1.0))), start(room.wait(Waiter(1.0)))
    await settle()
    given = await connection()
    assert room.hand(given)
    assert await first is given
    assert not second.done()
    room.room_made(0)
    assert await second is None
    assert not room.hand(given)
    room.room_made(0)  # nobody waits


async def test_only_so_many_may_wait(start: Start, room: WaitingRoom) -> None:
    waiting = [start(room.wait(Waiter(1.0))) for _ in range(2)]
    await settle()
    with pytest.raises(Overloaded, match="at most 2 requests wait"):
        await start(room.wait(Waiter(1.0)))
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert len(room) == 0


async def test_who_waits_too_long_is_sent_away(start: Start, room: WaitingRoom) -> None:
    soon, later = start(room.wait(Waiter(1.0))), start(room.wait(Waiter(2.0)))
    await settle()
    assert room.expire(0.5) == 1.0
    assert room.expire(1.0) == 2.0
    with pytest.raises(Late):
        await soon
    assert room.expire(2.0) == float("inf")
    with pytest.raises(Late):
        await later


async def test_who_has_left_gets_nothing(start: Start, room: WaitingRoom) -> None:
    first, second = start(room.wait(Waiter(1.0))), start(room.wait(Waiter(1.0)))
    await settle()
    first.cancel()
    given = await connection()
    assert room.hand(given)
    assert await second is given
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_all_are_sent_away_at_close(start: Start, room: WaitingRoom) -> None:
    waiting = [start(room.wait(Waiter(1.0))) for _ in range(2)]
    await settle()
    waiting[0].cancel()
    room.close()
    with pytest.raises(NotReady, match=r"^model svc is not ready$"):
        await waiting[1]
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]


async def test_what_came_as_one_left_goes_to_the_next(start: Start) -> None:
    """A Task that is woken and cancelled on one turn never sees what it was given."""
    room = WaitingRoom("svc", 3, clock=ManualClock(0.0))
    leaving = [asyncio.ensure_future(room.wait(Waiter(1.0))) for _ in range(2)]
    await settle()
    next_one = start(room.wait(Waiter(1.0)))
    await settle()
    bench = Bench(asyncio.get_running_loop())
    room.hand(bench.connection)
    room.room_made(0)
    for one in leaving:
        one.cancel()
    assert await next_one is None
    await asyncio.gather(*leaving, return_exceptions=True)
    assert all(one.cancelled() for one in leaving)
    assert bench.keeper.free == 1  # which hands it on


async def test_who_is_late_gets_nothing_any_more(
    start: Start, room: WaitingRoom, clock: ManualClock
) -> None:
    late, in_time = start(room.wait(Waiter(1.0))), start(room.wait(Waiter(2.0)))
    await settle()
    clock.advance(1.0)
    given = await connection()
    assert room.hand(given)
    assert await in_time is given
    with pytest.raises(Late):
        await late
    too_late = start(room.wait(Waiter(2.0)))
    await settle()
    clock.advance(1.0)
    room.room_made(0)
    assert not room.hand(given)
    with pytest.raises(Late):
        await too_late


async def test_what_came_too_late_goes_to_the_next(start: Start, clock: ManualClock) -> None:
    """A Task that is woken in time may be late when its turn has come."""
    room = WaitingRoom("svc", 3, clock=clock)
    late = [asyncio.ensure_future(room.wait(Waiter(1.0))) for _ in range(2)]
    await settle()
    in_time = start(room.wait(Waiter(2.0)))
    await settle()
    bench = Bench(asyncio.get_running_loop())
    room.hand(bench.connection)
    room.room_made(0)
    clock.advance(1.0)
    assert await in_time is None
    for one in late:
        with pytest.raises(Late):
            await one
    assert bench.keeper.free == 1


async def test_who_comes_back_keeps_its_place(start: Start, room: WaitingRoom) -> None:
    order: list[int] = []

    async def wait(number: int, waiter: Waiter) -> None:
        await room.wait(waiter)
        order.append(number)

    waiters = [Waiter(1.0) for _ in range(4)]
    first = [start(wait(number, waiters[number])) for number in (0, 1)]
    await settle()
    room.room_made(0)
    room.room_made(0)
    await settle()
    new = [start(wait(number, waiters[number])) for number in (2, 3)]
    await settle()
    back = [start(wait(number, waiters[number])) for number in (0, 1)]
    await settle()
    assert len(room) == 4
    with pytest.raises(Overloaded):
        await start(room.wait(Waiter(1.0)))
    for _ in range(4):
        room.room_made(0)
    await asyncio.gather(*first, *new, *back)
    assert order == [0, 1, 0, 1, 2, 3]


async def test_who_wants_one_replica_gets_no_other(start: Start, room: WaitingRoom) -> None:
    given = await connection()
    choosy, other = start(room.wait(Waiter(1.0, 0))), start(room.wait(Waiter(1.0)))
    await settle()
    assert given.index == 3
    assert room.hand(given)
    assert not room.hand(given)
    assert await other is given
    room.room_made(3)
    assert len(room) == 1
    room.room_made(0)
    assert await choosy is None
