"""How the time of a stop is shared out."""

from __future__ import annotations

import asyncio

import pytest

from penstock.core import stop as module
from penstock.core.stop import Stop, ended_within
from penstock.graph.open import DRAIN_S as BACKGROUND_S
from tests.support import ManualClock, settle

KUBERNETES_S = 30.0


def test_each_phase_has_time_and_all_end_before_a_pod_is_killed() -> None:
    assert module.DRAIN_S + module.CUT_S + BACKGROUND_S + module.CUT_S <= module.CLOSE_S
    assert module.WRITE_S - module.CLOSE_S >= 2.0
    ends = (module.CLOSE_S, module.WRITE_S, module.END_S, module.SHIP_S, module.MAX_STOP_S)
    assert list(ends) == sorted(ends)
    assert ends[-1] < KUBERNETES_S


async def test_what_is_left_is_counted_from_the_beginning() -> None:
    clock = ManualClock()
    stop = Stop(clock)
    assert stop.left_s(20.0) == 20.0
    clock.advance(7.0)
    assert stop.left_s(20.0) == 20.0  # it has not begun
    stop.begin()
    clock.advance(15.0)
    stop.begin()
    assert (stop.left_s(20.0), stop.left_s(28.0, 10.0)) == (5.0, 10.0)
    clock.advance(9.0)
    assert (stop.left_s(20.0), stop.left_s(28.0, 10.0)) == (0.0, 4.0)


async def test_work_is_waited_for_until_it_has_ended() -> None:
    clock = ManualClock()
    first, second = (asyncio.get_running_loop().create_future() for _ in range(2))
    waiting = asyncio.ensure_future(ended_within(5.0, [first, second], clock=clock))
    await settle()
    first.set_result(None)
    await settle()
    assert not waiting.done()
    second.set_exception(ValueError("its owner's to see"))
    assert await waiting == set()
    assert clock.timers == 0
    assert isinstance(second.exception(), ValueError)


async def test_what_has_not_ended_in_time_is_told_and_left_as_it_is() -> None:
    clock = ManualClock()
    done, late = (asyncio.get_running_loop().create_future() for _ in range(2))
    done.set_result(None)
    stop = Stop(clock)
    stop.begin()
    waiting = asyncio.ensure_future(stop.ended_by(5.0, [done, late]))
    await clock.elapse(4.9)
    assert not waiting.done()
    await clock.elapse(0.1)
    assert await waiting == {late}
    assert not late.done()


@pytest.mark.parametrize("seconds", [0.0, 5.0])
async def test_nothing_is_not_waited_for(seconds: float) -> None:
    assert await ended_within(seconds, [], clock=ManualClock()) == set()
