from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from penstock.core.errors import DeadlineExceeded
from penstock.runtimes.http_address import Address
from penstock.runtimes.http_connection import Connection
from penstock.runtimes.http_replica import Replica
from penstock.runtimes.http_terms import MAX_WAITING, PoolLimits
from penstock.runtimes.http_waiting import Waiter, WaitingRoom
from tests.runtimes.test_http_connection import Wire
from tests.support import ManualClock, Start, both_ways, settle


@both_ways
async def test_who_gives_back_at_once_makes_no_deep_stack(start: Start) -> None:
    clock = ManualClock()
    room = WaitingRoom("svc", MAX_WAITING, clock=clock)
    replica = Replica(0, Address("h", 1), tls=None, waiting=room, limits=PoolLimits(), clock=clock)
    connection = Connection(replica, 0, asyncio.get_running_loop())
    connection.connection_made(cast("asyncio.BaseTransport", Wire()))

    async def take_and_give_back() -> None:
        got = await room.wait(Waiter(clock.now_s() + 1.0))
        assert got is not None
        got.release()

    waiting = [start(take_and_give_back()) for _ in range(MAX_WAITING)]
    await settle()
    assert len(room) == MAX_WAITING
    replica.freed(connection)
    await asyncio.gather(*waiting)
    assert len(room) == 0
    assert replica.at_hand() is connection
    assert replica.at_hand() is None


@both_ways
async def test_what_is_of_use_to_nobody_who_waits_is_kept(start: Start) -> None:
    clock = ManualClock()
    room = WaitingRoom("svc", MAX_WAITING, clock=clock)
    replica = Replica(0, Address("h", 1), tls=None, waiting=room, limits=PoolLimits(), clock=clock)
    connection = Connection(replica, 0, asyncio.get_running_loop())
    connection.connection_made(cast("asyncio.BaseTransport", Wire()))
    waiting = start(room.wait(Waiter(clock.now_s() + 1.0, 1)))
    await settle()
    replica.freed(connection)
    assert replica.at_hand() is connection
    room.room_made(1)
    assert await waiting is None


@both_ways
async def test_a_connection_that_is_given_up_as_it_is_made_is_not_counted_for_ever(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop closes such a transport and never says that the connection is lost."""
    clock, loop = ManualClock(), asyncio.get_running_loop()

    async def made_and_no_more(new: Callable[[], Connection], *_: object, **__: object) -> None:
        new().connection_made(cast("asyncio.BaseTransport", Wire()))
        await loop.create_future()

    monkeypatch.setattr(loop, "create_connection", made_and_no_more)
    room = WaitingRoom("svc", MAX_WAITING, clock=clock)
    replica = Replica(0, Address("h", 1), tls=None, waiting=room, limits=PoolLimits(), clock=clock)
    connecting = start(replica.connect(clock.now_s() + 0.1))
    await settle()
    assert replica.open == 1
    await clock.elapse(0.1)
    with pytest.raises(DeadlineExceeded):
        await connecting
    await settle()
    assert replica.open == 0
    await replica.close()
