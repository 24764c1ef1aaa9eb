from __future__ import annotations

import asyncio

import pytest

from penstock.core.errors import NotReady, Overloaded
from penstock.runtimes.http_connection import Connection
from penstock.runtimes.http_terms import Late
from penstock.runtimes.http_waiting import WaitingRoom
from tests.runtimes.test_http_connection import Bench
from tests.support import Start, both_ways, settle

pytestmark = both_ways


@pytest.fixture
def room() -> WaitingRoom:
    return WaitingRoom("svc", 2)


async def connection() -> Connection:
    return Bench(asyncio.get_running_loop()).connection


async def test_a_connection_goes_to_who_came_first(start: Start, room: WaitingRoom) -> None:
    first, second = start(room.wait(1.0)), start(room.wait(1.0))
    await settle()
    given = await connection()
    assert room.hand(given)
    assert await first is given
    assert not second.done()
    room.room_made()
    assert await second is None
    assert not room.hand(given)
    room.room_made()  # nobody waits


async def test_only_so_many_may_wait(start: Start, room: WaitingRoom) -> None:
    waiting = [start(room.wait(1.0)) for _ in range(2)]
    await settle()
    with pytest.raises(Overloaded, match="at most 2 requests wait"):
        await start(room.wait(1.0))
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert len(room) == 0


async def test_who_waits_too_long_is_sent_away(start: Start, room: WaitingRoom) -> None:
    soon, later = start(room.wait(1.0)), start(room.wait(2.0))
    await settle()
    assert room.expire(0.5) == 1.0
    assert room.expire(1.0) == 2.0
    with pytest.raises(Late):
        await soon
    assert room.expire(2.0) == float("inf")
    with pytest.raises(Late):
        await later


async def test_who_has_left_gets_nothing(start: Start, room: WaitingRoom) -> None:
    first, second = start(room.wait(1.0)), start(room.wait(1.0))
    await settle()
    first.cancel()
    given = await connection()
    assert room.hand(given)
    assert await second is given
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_all_are_sent_away_at_close(start: Start, room: WaitingRoom) -> None:
    waiting = [start(room.wait(1.0)) for _ in range(2)]
    await settle()
    waiting[0].cancel()
    room.close()
    with pytest.raises(NotReady, match=r"^model svc is not ready$"):
        await waiting[1]
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]


async def test_what_came_as_one_left_goes_to_the_next(start: Start) -> None:
    """A Task that is woken and cancelled on one turn never sees what it was given."""
    room = WaitingRoom("svc", 3)
    leaving = [asyncio.ensure_future(room.wait(1.0)) for _ in range(2)]
    await settle()
    next_one = start(room.wait(1.0))
    await settle()
    bench = Bench(asyncio.get_running_loop())
    room.hand(bench.connection)
    room.room_made()
    for one in leaving:
        one.cancel()
    assert await next_one is None
    await asyncio.gather(*leaving, return_exceptions=True)
    assert all(one.cancelled() for one in leaving)
    assert bench.keeper.free == 1  # which hands it on
