from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.clock import Clock, SystemClock
from tests.support import START_S, ManualClock, settle

LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])

NewLoop = Callable[[], asyncio.AbstractEventLoop]


# --- the machine's -----------------------------------------------------------------------


def test_reads_the_machines_clocks() -> None:
    clock: Clock = SystemClock()

    before_s, wall_before_s = time.monotonic(), time.time()
    assert before_s <= clock.now_s() <= time.monotonic()
    assert wall_before_s <= clock.wall_s() <= time.time()


@LOOPS
def test_calls_when_the_time_has_come_and_not_before(new_loop: NewLoop) -> None:
    async def calling() -> list[tuple[float, float]]:
        clock, calls = SystemClock(), list[tuple[float, float]]()
        all_called = asyncio.Event()
        start_s = clock.now_s()

        def called(when_s: float) -> None:
            calls.append((when_s, clock.now_s()))
            if len(calls) == 40:
                all_called.set()

        for i in range(40):
            when_s = start_s + 0.000_31 * i
            clock.call_at(when_s, lambda when_s=when_s: called(when_s))  # type: ignore[misc]
        await all_called.wait()
        return calls

    with asyncio.Runner(loop_factory=new_loop) as runner:
        calls = runner.run(calling())

    assert [when_s for when_s, at_s in calls if at_s < when_s] == []


@LOOPS
def test_calls_what_is_past_soon_but_not_at_once(new_loop: NewLoop) -> None:
    async def calling() -> None:
        clock, called = SystemClock(), asyncio.Event()
        clock.call_at(clock.now_s() - 1.0, called.set)
        assert not called.is_set()
        await called.wait()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(calling())


async def test_a_call_can_be_taken_back() -> None:
    clock, calls, called = SystemClock(), list[str](), asyncio.Event()
    now_s = clock.now_s()
    clock.call_at(now_s + 0.001, lambda: calls.append("taken back")).cancel()
    clock.call_at(now_s - 1.0, lambda: calls.append("taken back too")).cancel()
    later = clock.call_at(now_s + 0.001, lambda: calls.append("taken back later"))
    timer = clock.call_at(now_s + 0.003, called.set)
    await asyncio.sleep(0)
    later.cancel()
    await called.wait()
    timer.cancel()

    assert calls == []


async def test_calls_may_be_asked_for_at_any_time() -> None:
    clock, calls, called = SystemClock(), list[str](), asyncio.Event()

    def again() -> None:
        clock.call_at(0.0, called.set)

    clock.call_at(0.0, again)
    clock.call_at(0.0, lambda: calls.append("beside it"))
    await called.wait()

    assert calls == ["beside it"]


# --- the one that tests move by hand -----------------------------------------------------


async def test_stands_still_until_it_is_advanced() -> None:
    clock = ManualClock(now_s=5.0, wall_s=100.0)

    assert (clock.now_s(), clock.wall_s()) == (5.0, 100.0)
    clock.advance(1.5)
    assert (clock.now_s(), clock.wall_s()) == (6.5, 101.5)


async def test_calls_in_order_of_time_each_at_its_own() -> None:
    clock, calls = ManualClock(), list[tuple[str, float]]()

    def call(name: str) -> None:
        calls.append((name, clock.now_s() - START_S))

    for name, after_s in (("c", 3.0), ("a", 1.0), ("b", 1.0), ("d", 9.0)):
        clock.call_at(START_S + after_s, lambda name=name: call(name))  # type: ignore[misc]
    clock.call_at(START_S + 2.0, lambda: call("taken back")).cancel()
    assert clock.timers == 4

    clock.advance(4.0)

    assert calls == [("a", 1.0), ("b", 1.0), ("c", 3.0)]
    assert (clock.timers, clock.now_s()) == (1, START_S + 4.0)


async def test_lets_things_happen_between_calls() -> None:
    clock, order = ManualClock(), list[str]()

    async def waking(event: asyncio.Event, name: str) -> None:
        await event.wait()
        order.append(name)

    event = asyncio.Event()
    task = asyncio.ensure_future(waking(event, "woken"))
    clock.call_at(START_S + 1.0, event.set)
    clock.call_at(START_S + 2.0, lambda: order.append("second call"))

    await clock.elapse(3.0)

    assert order == ["woken", "second call"]
    await task


async def test_calls_what_is_past_on_a_later_turn() -> None:
    clock, calls = ManualClock(), list[str]()
    clock.call_at(START_S, lambda: calls.append("now"))
    assert calls == []

    await settle()

    assert calls == ["now"]


@given(after_s=st.lists(st.floats(0.0, 10.0), max_size=10), steps=st.lists(st.floats(0.0, 5.0)))
async def test_never_calls_early_nor_out_of_order(after_s: list[float], steps: list[float]) -> None:
    clock, calls = ManualClock(), list[float]()
    for seconds in after_s:
        when_s = START_S + seconds
        clock.call_at(when_s, lambda when_s=when_s: calls.append(when_s))  # type: ignore[misc]

    for step in steps:
        await clock.elapse(step)
        assert calls == sorted(START_S + s for s in after_s if START_S + s <= clock.now_s())
