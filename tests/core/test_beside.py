"""Something beside what is answered: what it comes to, and who ends with whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from penstock.core.beside import beside
from penstock.core.drive import Call
from penstock.core.errors import DeadlineExceeded
from penstock.core.promise import Promise
from tests.support import START_S, ManualClock, Start, both_ways, nothing_loose, settle

LATE_S = START_S + 1.0


@pytest_asyncio.fixture(autouse=True)
async def _nothing_loose() -> AsyncIterator[None]:
    async with nothing_loose():
        yield


class Work:
    """A coroutine that waits until it is let go, and tells how it ended."""

    def __init__(self) -> None:
        self.gate: Promise[str] = Promise(asyncio.get_running_loop())
        self.ended = ""

    async def __call__(self) -> str:
        try:
            result = await self.gate
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        self.ended = "done"
        return result


async def now(result: str) -> str:
    return result


async def raising(error: BaseException) -> str:
    raise error


@both_ways
async def test_both_at_once_take_no_timer(start: Start) -> None:
    clock = ManualClock()
    assert await start(beside(now("a"), Call("b", now("b"), LATE_S), clock=clock)) == ("a", "b")
    assert clock.timers == 0


@both_ways
async def test_whichever_comes_first(start: Start) -> None:
    for first in (0, 1):
        works = Work(), Work()
        both = start(beside(works[0](), Call("b", works[1](), LATE_S), clock=ManualClock()))
        await settle()
        works[first].gate.set_result("first")
        await settle()
        assert not both.done()
        works[1 - first].gate.set_result("second")
        assert sorted(map(str, await both)) == ["first", "second"]


@both_ways
async def test_the_other_ones_error_is_told(start: Start) -> None:
    error = ValueError("no")
    told = await start(beside(now("a"), Call("b", raising(error), LATE_S), clock=ManualClock()))
    assert told == ("a", error)


@both_ways
async def test_the_other_one_is_waited_for_until_its_deadline(start: Start) -> None:
    clock, other = ManualClock(), Work()
    both = start(beside(now("a"), Call("b", other(), LATE_S), clock=clock))
    await clock.elapse(0.5)
    assert not both.done()
    await clock.elapse(0.5)
    told = await both
    answer, late = told
    assert answer == "a"
    assert isinstance(late, DeadlineExceeded)
    assert (other.ended, clock.timers) == ("cancelled", 0)


@both_ways
async def test_while_there_is_no_answer_its_deadline_costs_nothing(start: Start) -> None:
    clock, main, other = ManualClock(), Work(), Work()
    both = start(beside(main(), Call("b", other(), LATE_S), clock=clock))
    await clock.elapse(2.0)
    assert clock.timers == 0
    other.gate.set_result("b")
    main.gate.set_result("a")
    assert await both == ("a", "b")


@both_ways
async def test_it_is_given_up_when_the_answer_fails(start: Start) -> None:
    other = Work()
    both = beside(raising(ValueError("no")), Call("b", other(), LATE_S), clock=ManualClock())
    with pytest.raises(ValueError, match="no"):
        await start(both)
    assert other.ended == "cancelled"


@both_ways
@pytest.mark.parametrize("answered", [False, True])
async def test_cancelling_cancels_what_has_not_ended(start: Start, answered: bool) -> None:
    main, other = Work(), Work()
    both = start(beside(main(), Call("b", other(), LATE_S), clock=ManualClock()))
    await settle()
    if answered:
        main.gate.set_result("a")
        await settle()
    both.cancel()
    with pytest.raises(asyncio.CancelledError):
        await both
    assert (main.ended, other.ended) == ("done" if answered else "cancelled", "cancelled")
