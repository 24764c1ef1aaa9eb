from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from functools import partial
from types import coroutine as generator_coroutine
from typing import Any, Protocol

import pytest
import pytest_asyncio
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.clock import SystemClock, Timer
from penstock.core.drive import Call, Driven, together, within
from penstock.core.errors import DeadlineExceeded
from penstock.core.promise import Promise
from tests.support import (
    START_S,
    ManualClock,
    Start,
    after,
    both_ways,
    in_task,
    nothing_loose,
    settle,
    without_task,
)

LATE_S = START_S + 1.0


@pytest_asyncio.fixture(autouse=True)
async def _nothing_loose() -> AsyncIterator[None]:
    async with nothing_loose():
        yield


class Gate(Protocol):
    """What futures and promises have in common."""

    def __await__(self) -> Generator[Any, None, str]: ...
    def done(self) -> bool: ...
    def cancel(self) -> bool: ...
    def set_result(self, result: str, /) -> None: ...
    def set_exception(self, error: BaseException, /) -> None: ...


def a_future() -> Gate:
    return asyncio.get_running_loop().create_future()


def a_promise() -> Gate:
    return Promise(asyncio.get_running_loop())


awaitables = pytest.mark.parametrize("make_gate", [a_future, a_promise])


async def passing(gate: Gate) -> str:
    return await gate


async def now(result: str) -> str:
    return result


async def raising(error: BaseException) -> str:
    raise error


async def refusing_to_end(gate: Gate, other: Gate, ended: list[str]) -> str:
    """Go on after a cancellation: with `other`, and to the end."""
    try:
        return await gate
    except asyncio.CancelledError:
        result = await other
        ended.append(result)
        return result


async def cleaning_up(gate: Gate, other: Gate, ended: list[str]) -> str:
    """Take some time to end when cancelled."""
    try:
        return await gate
    finally:
        ended.append(await other)


async def tidy(gate: Gate, other: Gate, ended: list[str]) -> str:
    """Take its time over cleaning up, whatever comes."""
    try:
        return await gate
    finally:
        while not other.done():
            try:
                await asyncio.shield(asyncio.ensure_future(passing(other)))
            except asyncio.CancelledError:
                ended.append("again")
        ended.append("tidied")


@generator_coroutine
def another_library() -> Generator[str, None, None]:
    yield "a message to another library's loop"


async def asking_another_library(on_end: Callable[[str], object] = str) -> None:
    try:
        await another_library()
    finally:
        on_end("closed")


def call(
    coroutine: Coroutine[Any, Any, str], *, name: str = "it", due_s: float = LATE_S
) -> Call[str]:
    return Call(name, coroutine, due_s)


# --- Driven: stepping --------------------------------------------------------------------


class TestDriven:
    async def test_finishes_at_its_first_step(self) -> None:
        driven = Driven(now("at once"))

        assert driven.start()
        assert driven.done
        assert driven.error is None
        assert driven.result() == "at once"

    async def test_keeps_an_error_of_its_first_step(self) -> None:
        driven = Driven(raising(ValueError("no")))

        assert driven.start()
        assert isinstance(driven.error, ValueError)
        with pytest.raises(ValueError, match="no"):
            driven.result()

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
    async def test_keeps_what_is_no_exception_for_who_asks(self, error: BaseException) -> None:
        driven = Driven(raising(error))

        assert driven.start()
        with pytest.raises(type(error)):
            driven.result()

    @awaitables
    async def test_goes_on_when_what_it_awaits_is_there(
        self, make_gate: Callable[[], Gate]
    ) -> None:
        gate, ends = make_gate(), list[str]()
        driven = Driven(passing(gate))
        assert not driven.start()
        driven.when_done(lambda: ends.append("ended"))
        await settle()
        assert not driven.done

        gate.set_result("here")
        await settle()

        assert ends == ["ended"]
        assert driven.result() == "here"

    @awaitables
    async def test_is_raised_in_what_its_future_raises(self, make_gate: Callable[[], Gate]) -> None:
        gate = make_gate()
        driven = Driven(passing(gate))
        driven.start()

        gate.set_exception(ValueError("no"))
        await settle()

        assert str(driven.error) == "no"

    async def test_does_not_wait_for_a_future_that_is_done(self) -> None:
        gate = a_future()
        gate.set_result("before")

        assert Driven(passing(gate)).start()

    async def test_gives_way_for_one_turn_at_a_bare_yield(self) -> None:
        turns = list[str]()
        asyncio.get_running_loop().call_soon(turns.append, "another")

        async def yielding() -> None:
            await asyncio.sleep(0)
            turns.append("back")

        driven = Driven(yielding())
        assert not driven.start()
        await settle()

        assert driven.done
        assert turns == ["another", "back"]

    async def test_goes_on_with_a_coroutine_that_gave_a_bare_yield(self) -> None:
        coroutine = asyncio.sleep(0, "slept")
        awaited = coroutine.send(None)

        driven = Driven(coroutine, awaited)
        assert not driven.done
        await settle()

        assert driven.result() == "slept"

    async def test_goes_on_with_a_coroutine_that_waits(self) -> None:
        gate = a_future()
        coroutine = passing(gate)

        driven = Driven(coroutine, coroutine.send(None))
        gate.set_result("here")
        await settle()

        assert driven.result() == "here"

    async def test_has_no_current_task(self) -> None:
        gate = a_future()

        async def asking() -> list[object]:
            await asyncio.sleep(0)
            first = asyncio.current_task()
            await gate
            return [first, asyncio.current_task()]

        driven = Driven(asking())
        asyncio.get_running_loop().call_soon(driven.start)
        await settle()
        asyncio.get_running_loop().call_soon(gate.set_result, "here")
        await settle()

        assert driven.result() == [None, None]

    async def test_fails_where_what_is_awaited_belongs_to_another_library(self) -> None:
        closed = list[str]()
        driven = Driven(asking_another_library(closed.append))

        assert driven.start()
        assert closed == ["closed"]
        with pytest.raises(RuntimeError, match="no asyncio future"):
            driven.result()

    async def test_sees_its_own_context_variables_after_a_wait(self) -> None:
        variable = contextvars.ContextVar[str]("variable")

        async def remembering() -> str:
            variable.set("mine")
            await asyncio.sleep(0)
            return variable.get()

        driven = Driven(remembering())
        driven.start()
        variable.set("the caller's")
        await settle()

        assert driven.result() == "mine"


class TestDrivenCancelled:
    @awaitables
    async def test_cancels_what_it_awaits(self, make_gate: Callable[[], Gate]) -> None:
        gate = make_gate()
        driven = Driven(passing(gate))
        driven.start()

        driven.cancel()
        assert gate.done()
        await settle()

        assert isinstance(driven.error, asyncio.CancelledError)

    async def test_before_its_first_step_never_begins(self) -> None:
        began = list[str]()

        async def beginning() -> None:
            began.append("began")

        driven = Driven(beginning())
        driven.cancel()

        assert driven.start()
        assert isinstance(driven.error, asyncio.CancelledError)
        assert began == []

    async def test_at_a_bare_yield_ends_at_the_next_step(self) -> None:
        driven = Driven(asyncio.sleep(0))
        driven.start()

        driven.cancel()
        assert not driven.done
        await settle()

        assert isinstance(driven.error, asyncio.CancelledError)

    async def test_does_nothing_once_done(self) -> None:
        driven = Driven(now("done"))
        driven.start()

        driven.cancel()
        await settle()

        assert driven.result() == "done"

    @awaitables
    async def test_twice_is_once(self, make_gate: Callable[[], Gate]) -> None:
        gate, other, ended = make_gate(), make_gate(), list[str]()
        driven = Driven(refusing_to_end(gate, other, ended))
        driven.start()

        driven.cancel()
        driven.cancel()
        await settle()
        assert not driven.done
        other.set_result("after all")
        await settle()

        assert driven.result() == "after all"

    async def test_between_the_answer_and_the_next_step_ends_all_the_same(self) -> None:
        gate = a_future()
        driven = Driven(passing(gate))
        driven.start()

        gate.set_result("too late")
        driven.cancel()
        await settle()

        assert isinstance(driven.error, asyncio.CancelledError)

    async def test_between_an_error_and_the_next_step_leaves_no_error_unlooked_at(self) -> None:
        gate = a_future()
        driven = Driven(passing(gate))
        driven.start()

        gate.set_exception(ValueError("nobody will see this"))
        driven.cancel()
        await settle()

        assert isinstance(driven.error, asyncio.CancelledError)

    @awaitables
    async def test_may_clean_up(self, make_gate: Callable[[], Gate]) -> None:
        gate, other, ended = make_gate(), make_gate(), list[str]()
        driven = Driven(cleaning_up(gate, other, ended))
        driven.start()

        driven.cancel()
        await settle()
        assert not driven.done
        other.set_result("cleaned up")
        await settle()

        assert isinstance(driven.error, asyncio.CancelledError)
        assert ended == ["cleaned up"]

    @awaitables
    async def test_by_itself_ends_where_it_next_waits(self, make_gate: Callable[[], Gate]) -> None:
        async def ending_itself() -> str:
            driven.cancel()
            return await gate

        gate = make_gate()
        driven = Driven(ending_itself())
        driven.start()
        assert gate.done()
        await settle()

        assert isinstance(driven.error, asyncio.CancelledError)

    async def test_by_itself_ends_at_a_bare_yield(self) -> None:
        async def ending_itself() -> None:
            driven.cancel()
            await asyncio.sleep(0)

        driven = Driven(ending_itself())
        driven.start()
        await settle()

        assert isinstance(driven.error, asyncio.CancelledError)

    async def test_a_task_that_it_awaits_is_cancelled_too(self) -> None:
        gate = a_future()
        task = asyncio.ensure_future(passing(gate))

        async def waiting_for_a_task() -> str:
            return await task

        driven = Driven(waiting_for_a_task())
        driven.start()
        await settle()

        driven.cancel()
        await settle()

        assert task.cancelled()
        assert isinstance(driven.error, asyncio.CancelledError)


# --- within ------------------------------------------------------------------------------


class StandingClock(ManualClock):
    """Fails whoever sets a timer."""

    def call_at(self, when_s: float, callback: Callable[[], None]) -> Timer:
        raise AssertionError("a timer was set")


class HastyClock(ManualClock):
    """Calls half a second early, as no clock should, and some do by a millisecond."""

    def call_at(self, when_s: float, callback: Callable[[], None]) -> Timer:
        return super().call_at(max(self.now_s() + 0.1, when_s - 0.5), callback)


@both_ways
class TestWithin:
    async def test_sets_no_timer_for_what_never_waits(self, start: Start) -> None:
        answer = start(within(START_S - 1.0, now("at once"), clock=StandingClock(), name="it"))

        assert await answer == "at once"

    async def test_raises_what_is_raised_at_the_first_step(self, start: Start) -> None:
        failing = raising(ValueError("no"))
        answer = start(within(LATE_S, failing, clock=StandingClock(), name="it"))

        with pytest.raises(ValueError, match="no"):
            await answer

    @awaitables
    async def test_awaits_and_takes_its_timer_back(
        self, start: Start, make_gate: Callable[[], Gate]
    ) -> None:
        clock, gate = ManualClock(), make_gate()
        answer = start(within(LATE_S, passing(gate), clock=clock, name="it"))
        await clock.elapse(0.9)

        gate.set_result("here")

        assert await answer == "here"
        assert clock.timers == 0

    async def test_awaits_a_bare_yield(self, start: Start) -> None:
        answer = start(within(LATE_S, asyncio.sleep(0, "slept"), clock=ManualClock(), name="it"))

        assert await answer == "slept"

    async def test_fails_where_what_is_awaited_belongs_to_another_library(
        self, start: Start
    ) -> None:
        answer = start(within(LATE_S, asking_another_library(), clock=ManualClock(), name="it"))

        with pytest.raises(RuntimeError, match="no asyncio future"):
            await answer

    async def test_raises_what_is_raised_later(self, start: Start) -> None:
        clock, gate = ManualClock(), a_future()
        answer = start(within(LATE_S, passing(gate), clock=clock, name="it"))
        await settle()

        gate.set_exception(ValueError("no"))

        with pytest.raises(ValueError, match="no"):
            await answer
        assert clock.timers == 0

    @awaitables
    async def test_cancels_at_the_deadline_and_not_before(
        self, start: Start, make_gate: Callable[[], Gate]
    ) -> None:
        clock, gate = ManualClock(), make_gate()
        answer = start(within(LATE_S, passing(gate), clock=clock, name="the arm"))
        await clock.elapse(0.999)
        assert not gate.done()

        await clock.elapse(0.001)

        assert gate.done()
        with pytest.raises(DeadlineExceeded, match="the arm"):
            await answer
        assert clock.timers == 0

    async def test_takes_no_early_call_for_the_deadline(self, start: Start) -> None:
        clock, gate = HastyClock(), a_future()
        answer = start(within(LATE_S, passing(gate), clock=clock, name="it"))
        await clock.elapse(0.95)
        assert not gate.done()

        await clock.elapse(0.1)

        with pytest.raises(DeadlineExceeded):
            await answer

    async def test_cancels_at_once_what_waits_past_its_deadline(self, start: Start) -> None:
        clock, gate = ManualClock(), a_future()
        answer = start(within(START_S - 1.0, passing(gate), clock=clock, name="it"))

        with pytest.raises(DeadlineExceeded):
            await answer

    async def test_takes_what_comes_in_spite_of_the_cancellation(self, start: Start) -> None:
        clock, gate, other, ended = ManualClock(), a_future(), a_future(), list[str]()
        inner = refusing_to_end(gate, other, ended)
        answer = start(within(LATE_S, inner, clock=clock, name="it"))
        await clock.elapse(5.0)
        assert not answer.done()

        other.set_result("late, but here")

        assert await answer == "late, but here"

    async def test_counts_an_error_of_cleaning_up_as_late(self, start: Start) -> None:
        clock, gate, other = ManualClock(), a_future(), a_future()
        answer = start(within(LATE_S, cleaning_up(gate, other, []), clock=clock, name="it"))
        await clock.elapse(1.0)

        other.set_exception(ValueError("while cleaning up"))

        with pytest.raises(DeadlineExceeded):
            await answer

    @awaitables
    async def test_cancelled_it_cancels_and_waits_for_the_end(
        self, start: Start, make_gate: Callable[[], Gate]
    ) -> None:
        clock, gate, other, ended = ManualClock(), make_gate(), make_gate(), list[str]()
        answer = start(within(LATE_S, cleaning_up(gate, other, ended), clock=clock, name="it"))
        await settle()

        answer.cancel()
        await settle()
        assert not answer.done()
        other.set_result("cleaned up")

        with pytest.raises(asyncio.CancelledError):
            await answer
        assert ended == ["cleaned up"]
        assert clock.timers == 0

    async def test_cancelled_again_it_still_waits_for_the_end(self, start: Start) -> None:
        clock, gate, other, ended = ManualClock(), a_future(), a_future(), list[str]()
        answer = start(within(LATE_S, tidy(gate, other, ended), clock=clock, name="it"))
        await settle()

        for _ in range(3):
            answer.cancel()
            await settle()
        assert not answer.done()
        assert ended == ["again", "again"]
        other.set_result("now")
        await settle()

        assert answer.cancelled()
        assert ended == ["again", "again", "tidied"]

    async def test_cancelled_when_the_answer_is_there_it_is_cancelled(self, start: Start) -> None:
        gate = a_future()
        answer = start(within(LATE_S, passing(gate), clock=ManualClock(), name="it"))
        await settle()

        gate.set_result("too late")
        answer.cancel()
        await settle()

        assert answer.cancelled()

    async def test_within_another_the_outer_deadline_holds(self, start: Start) -> None:
        clock, gate = ManualClock(), a_future()
        inner = within(LATE_S + 5.0, passing(gate), clock=clock, name="inner")
        answer = start(within(LATE_S, inner, clock=clock, name="outer"))

        await clock.elapse(1.0)

        assert gate.done()
        assert clock.timers == 0
        with pytest.raises(DeadlineExceeded, match="outer"):
            await answer

    async def test_within_another_of_the_same_deadline_both_end(self, start: Start) -> None:
        clock, gate = ManualClock(), a_future()
        inner = within(LATE_S, passing(gate), clock=clock, name="inner")
        answer = start(within(LATE_S, inner, clock=clock, name="outer"))

        clock.advance(1.0)
        await clock.elapse(1.0)

        assert clock.timers == 0
        with pytest.raises(DeadlineExceeded):
            await answer


# --- together ----------------------------------------------------------------------------


@both_ways
class TestTogether:
    async def test_of_nothing_is_nothing(self, start: Start) -> None:
        assert await start(together(list[Call[str]](), clock=StandingClock())) == []

    async def test_runs_what_never_waits_one_after_the_other(self, start: Start) -> None:
        order = list[str]()

        async def noting(name: str) -> str:
            order.append(name)
            return name

        calls = [call(noting(name)) for name in "abc"]

        assert await start(together(calls, clock=StandingClock())) == ["a", "b", "c"]
        assert order == ["a", "b", "c"]

    @awaitables
    async def test_gives_answers_in_the_order_of_the_calls(
        self, start: Start, make_gate: Callable[[], Gate]
    ) -> None:
        clock, gates = ManualClock(), [make_gate() for _ in range(3)]
        calls = [call(passing(gate)) for gate in gates]
        answers = start(together([*calls, call(now("at once"))], clock=clock))
        await settle()

        for i in (2, 0, 1):
            assert not answers.done()
            gates[i].set_result(str(i))
            await settle()

        assert await answers == ["0", "1", "2", "at once"]
        assert clock.timers == 0

    async def test_starts_all_before_it_waits_for_any(self, start: Start) -> None:
        gates = [a_promise(), a_promise()]

        async def helping() -> str:
            gates[0].set_result("helped")
            return await gates[1]

        calls = [call(passing(gates[0])), call(helping())]
        answers = start(together(calls, clock=ManualClock()))
        await settle()
        assert gates[0].done()
        gates[1].set_result("later")

        assert await answers == ["helped", "later"]

    async def test_gives_errors_in_their_place(self, start: Start) -> None:
        gate, failed, other = a_future(), ValueError("later"), KeyError("at once")
        calls = [call(passing(gate)), call(raising(other)), call(now("fine"))]
        answers = start(together(calls, clock=ManualClock()))
        await settle()
        gate.set_exception(failed)

        assert await answers == [failed, other, "fine"]

    async def test_an_earlier_error_is_not_late_when_others_are(self, start: Start) -> None:
        clock, gates, failed = ManualClock(), [a_future(), a_future()], ValueError("no")
        calls = [call(passing(gates[0])), call(passing(gates[1]), due_s=LATE_S + 1.0)]
        answers = start(together(calls, clock=clock))
        await clock.elapse(0.5)
        gates[0].set_exception(failed)
        await clock.elapse(1.5)

        first, second = await answers
        assert first is failed
        assert isinstance(second, DeadlineExceeded)

    async def test_a_late_one_is_cancelled_once(self, start: Start) -> None:
        clock, ended = ManualClock(), list[str]()
        gates = [a_future() for _ in range(3)]
        calls = [
            call(tidy(gates[0], gates[1], ended)),
            call(passing(gates[2]), due_s=LATE_S + 1.0),
        ]
        answers = start(together(calls, clock=clock))
        await clock.elapse(3.0)
        gates[1].set_result("now")
        await settle()

        assert ended == ["tidied"]
        assert [type(answer) for answer in await answers] == [DeadlineExceeded, DeadlineExceeded]

    async def test_one_that_belongs_to_another_library_fails_alone(self, start: Start) -> None:
        async def foreign() -> str:
            await another_library()
            return "never"

        clock, gate = ManualClock(), a_future()
        calls = [call(foreign(), due_s=LATE_S), call(passing(gate), due_s=LATE_S + 9.0)]
        answers = start(together(calls, clock=clock))
        await clock.elapse(2.0)
        gate.set_result("fine")

        first, second = await answers
        assert isinstance(first, RuntimeError)
        assert second == "fine"

    async def test_raises_what_is_no_exception_once_all_have_ended(self, start: Start) -> None:
        gate, other, ended = a_future(), a_future(), list[str]()

        async def waiting() -> str:
            result = await other
            ended.append(result)
            return result

        calls = [call(passing(gate)), call(waiting())]
        answers = start(together(calls, clock=ManualClock()))
        await settle()
        gate.cancel()
        await settle()
        assert not answers.done()
        other.set_result("ended")

        with pytest.raises(asyncio.CancelledError):
            await answers
        assert ended == ["ended"]

    @awaitables
    async def test_each_call_has_its_own_deadline(
        self, start: Start, make_gate: Callable[[], Gate]
    ) -> None:
        clock, gates = ManualClock(), [make_gate() for _ in range(4)]
        due_s = (START_S + 3.0, START_S + 1.0, START_S + 2.0, START_S + 3.0)
        calls = [
            call(passing(gate), name=f"arm {i}", due_s=due)
            for i, (gate, due) in enumerate(zip(gates, due_s, strict=True))
        ]
        answers = start(together(calls, clock=clock))

        await clock.elapse(1.0)
        assert [gate.done() for gate in gates] == [False, True, False, False]
        gates[2].set_result("in time")
        await clock.elapse(1.5)
        assert [gate.done() for gate in gates] == [False, True, True, False]
        gates[0].set_result("just in time")
        await clock.elapse(0.5)

        first, second, third, fourth = await answers
        assert (first, third) == ("just in time", "in time")
        assert isinstance(second, DeadlineExceeded)
        assert second.message == "the deadline passed at arm 1"
        assert isinstance(fourth, DeadlineExceeded)
        assert clock.timers == 0

    async def test_does_not_start_what_is_late_already(self, start: Start) -> None:
        started = list[str]()

        async def starting() -> str:
            started.append("started")
            return "started"

        calls = [
            call(starting(), name="late", due_s=START_S),
            call(now("fine")),
            call(starting(), name="very late", due_s=START_S - 9.0),
        ]
        late, fine, very_late = await start(together(calls, clock=StandingClock()))

        assert started == []
        assert fine == "fine"
        assert [str(late), str(very_late)] == [
            "the deadline passed at late",
            "the deadline passed at very late",
        ]

    async def test_waits_for_one_beside_what_was_late_already(self, start: Start) -> None:
        clock, gate = ManualClock(), a_future()
        calls = [call(now("late"), due_s=START_S), call(passing(gate))]
        answers = start(together(calls, clock=clock))
        await clock.elapse(1.0)

        assert [type(answer) for answer in await answers] == [DeadlineExceeded, DeadlineExceeded]

    async def test_waits_for_a_late_one_that_goes_on(self, start: Start) -> None:
        clock, ended = ManualClock(), list[str]()
        gates = [a_future() for _ in range(4)]
        calls = [
            call(refusing_to_end(gates[0], gates[1], ended)),
            call(cleaning_up(gates[2], gates[3], ended)),
        ]
        answers = start(together(calls, clock=clock))
        await clock.elapse(60.0)
        assert not answers.done()

        gates[1].set_result("late, but here")
        gates[3].set_result("cleaned up")

        first, second = await answers
        assert first == "late, but here"
        assert isinstance(second, DeadlineExceeded)
        assert ended == ["late, but here", "cleaned up"]

    @awaitables
    async def test_cancelled_it_cancels_all_and_waits_for_them(
        self, start: Start, make_gate: Callable[[], Gate]
    ) -> None:
        clock, ended = ManualClock(), list[str]()
        gates = [make_gate() for _ in range(5)]
        calls = [
            call(passing(gates[0])),
            call(cleaning_up(gates[1], gates[2], ended)),
            call(refusing_to_end(gates[3], gates[4], ended)),
            call(now("done")),
            call(now("late"), due_s=START_S),
        ]
        answers = start(together(calls, clock=clock))
        await settle()

        answers.cancel()
        await settle()
        assert [gates[i].done() for i in (0, 1, 3)] == [True, True, True]
        assert not answers.done()
        gates[2].set_result("cleaned up")
        await settle()
        assert not answers.done()
        gates[4].set_result("gone on")

        with pytest.raises(asyncio.CancelledError):
            await answers
        assert ended == ["cleaned up", "gone on"]
        assert clock.timers == 0

    async def test_cancelled_while_a_late_one_ends(self, start: Start) -> None:
        clock, ended = ManualClock(), list[str]()
        gates = [a_future() for _ in range(4)]
        calls = [
            call(tidy(gates[0], gates[1], ended)),
            call(passing(gates[2]), due_s=LATE_S + 60.0),
        ]
        answers = start(together(calls, clock=clock))
        await clock.elapse(1.0)

        answers.cancel()
        await settle()
        assert gates[2].done()
        assert not answers.done()
        gates[1].set_result("now")
        await settle()

        assert answers.cancelled()
        assert ended == ["again", "tidied"]

    async def test_a_deadline_while_it_is_cancelled_changes_nothing(self, start: Start) -> None:
        clock, gate, other = ManualClock(), a_future(), a_future()
        answers = start(together([call(tidy(gate, other, []))], clock=clock))
        await settle()

        answers.cancel()
        await clock.elapse(2.0)
        assert not answers.done()
        other.set_result("now")
        await settle()

        assert answers.cancelled()
        assert clock.timers == 0

    async def test_many_run_side_by_side(self, start: Start) -> None:
        clock = ManualClock()

        async def waiting(i: int) -> str:
            await after(clock, 0.1 * (i % 7))
            return str(i)

        answers = start(together([call(waiting(i)) for i in range(100)], clock=clock))
        await clock.elapse(0.7)

        assert await answers == [str(i) for i in range(100)]
        assert clock.timers == 0

    async def test_together_within_together(self, start: Start) -> None:
        clock, gates = ManualClock(), [a_future() for _ in range(4)]

        async def pair(i: int) -> str:
            calls = [call(passing(gates[i])), call(passing(gates[i + 1]))]
            return "".join(str(answer) for answer in await together(calls, clock=clock))

        calls = [call(pair(0)), call(pair(2))]
        answers = start(together(calls, clock=clock))
        await settle()
        for i in (3, 1, 0, 2):
            gates[i].set_result(str(i))

        assert await answers == ["01", "23"]


# --- property: the same program gives what asyncio.gather gives --------------------------

GATES = 4

Step = tuple[str, int]
Program = list[list[Step]]
Event = tuple[str, int]
Gates = list[asyncio.Future[str]]

steps: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(["await", "await", "await", "yield", "raise", "stubborn", "clean"]),
    st.integers(0, GATES - 1),
)
programs: st.SearchStrategy[Program] = st.lists(st.lists(steps, max_size=4), max_size=5)
events: st.SearchStrategy[list[Event]] = st.lists(
    st.tuples(
        st.sampled_from(["keep", "break", "cancel", "turn", "turn", "cancel all"]),
        st.integers(0, GATES - 1),
    ),
    max_size=12,
)


def new_gates() -> Gates:
    return [asyncio.get_running_loop().create_future() for _ in range(GATES)]


async def run_script(script: list[Step], gates: Gates, ends: list[int], me: int) -> list[str]:
    log = []
    try:
        for kind, i in script:
            match kind:
                case "await":
                    log.append(await gates[i])
                case "yield":
                    await asyncio.sleep(0)
                case "raise":
                    raise ValueError(f"{me}: {log}")
                case "stubborn":
                    try:
                        await gates[i]
                    except (asyncio.CancelledError, ValueError):
                        log.append("stubborn")
                case _:
                    try:
                        await gates[i]
                    finally:
                        await asyncio.sleep(0)
                        log.append("cleaned")
        return log
    finally:
        ends.append(me)


async def play(
    happenings: list[Event],
    gates: Gates,
    running: asyncio.Future[list[Any]],
) -> str:
    for kind, i in happenings:
        match kind:
            case "keep" if not gates[i].done():
                gates[i].set_result(f"kept {i}")
            case "break" if not gates[i].done():
                gates[i].set_exception(ValueError(f"broken {i}"))
            case "cancel" if not gates[i].done():
                gates[i].cancel()
            case "cancel all":
                await settle()
                running.cancel()
            case _:
                await settle()
    await settle()
    for i, gate in enumerate(gates):
        if not gate.done():
            gate.set_result(f"kept {i}")
            await settle()
        elif not gate.cancelled():
            gate.exception()  # some are broken that no script awaits
    assert running.done()
    return outcome_of(running)


def outcome_of(running: asyncio.Future[list[Any]]) -> str:
    if running.cancelled() or running.exception() is not None:
        return "cancelled"
    outcomes = running.result()
    if any(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes):
        return "cancelled"
    return repr(outcomes)


async def gathered(program: Program, gates: Gates, ends: list[int]) -> list[Any]:
    scripts = (run_script(script, gates, ends, i) for i, script in enumerate(program))
    return await asyncio.gather(*scripts, return_exceptions=True)


async def taken_together(program: Program, gates: Gates, ends: list[int]) -> list[Any]:
    scripts = [
        Call(str(i), run_script(script, gates, ends, i), LATE_S) for i, script in enumerate(program)
    ]
    return await together(scripts, clock=ManualClock())


@both_ways
@given(program=programs, happenings=events)
async def test_is_gather(start: Start, program: Program, happenings: list[Event]) -> None:
    expected_ends, ends = list[int](), list[int]()
    gates = new_gates()
    expected = await play(happenings, gates, in_task(gathered(program, gates, expected_ends)))
    gates = new_gates()

    outcome = await play(happenings, gates, start(taken_together(program, gates, ends)))

    assert outcome == expected
    assert sorted(ends) == sorted(expected_ends)


# --- property: whatever happens when, all have ended in the end --------------------------


def keep(gate: Gate) -> None:
    if not gate.done():
        gate.set_result("kept")


def cancel(running: asyncio.Future[Any]) -> None:
    running.cancel()


def instants(least: int) -> st.SearchStrategy[float]:
    return st.integers(least, 16).map(lambda quarters: quarters / 4)


@both_ways
@awaitables
@given(
    due_s=st.lists(instants(-4), min_size=1, max_size=5),
    answers_s=st.lists(instants(0), min_size=5, max_size=5),
    cancel_s=st.none() | instants(0),
)
async def test_every_call_ends_in_time_late_or_cancelled(
    start: Start,
    make_gate: Callable[[], Gate],
    due_s: list[float],
    answers_s: list[float],
    cancel_s: float | None,
) -> None:
    clock = ManualClock()
    gates = [make_gate() for _ in due_s]
    calls = [
        call(passing(gate), name=str(i), due_s=START_S + due)
        for i, (gate, due) in enumerate(zip(gates, due_s, strict=True))
    ]
    running = start(together(calls, clock=clock))
    await settle()
    if cancel_s is not None:
        clock.call_at(START_S + cancel_s, partial(cancel, running))
    for gate, answer_s in zip(gates, answers_s, strict=False):
        clock.call_at(START_S + answer_s, partial(keep, gate))

    await clock.elapse(5.0)

    assert running.done()
    assert clock.timers == 0
    ends_s = [min(due, answer) for due, answer in zip(due_s, answers_s, strict=False)]
    if running.cancelled():
        assert cancel_s is not None
        assert cancel_s <= max(ends_s)
        return
    for outcome, due, answer in zip(running.result(), due_s, answers_s, strict=False):
        assert isinstance(outcome, DeadlineExceeded) == (outcome != "kept")
        if due != answer:
            assert (outcome == "kept") == (answer < due)


@both_ways
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_runs_on_either_loop(
    start: Start, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def running() -> None:
        clock = SystemClock()
        gates = [a_future(), a_promise(), a_future(), a_promise()]
        soon_s, much_later_s = clock.now_s() + 0.005, clock.now_s() + 60.0
        calls = [
            *(call(passing(gate), due_s=much_later_s) for gate in gates[:2]),
            *(call(passing(gate), due_s=soon_s) for gate in gates[2:]),
            call(now("at once"), due_s=much_later_s),
        ]
        answers = start(together(calls, clock=clock))
        asyncio.get_running_loop().call_later(0.0, gates[0].set_result, "kept")
        asyncio.get_running_loop().call_later(0.0, gates[1].set_result, "kept")
        first, second, third, fourth, fifth = await answers
        assert (first, second, fifth) == ("kept", "kept", "at once")
        assert [type(third), type(fourth)] == [DeadlineExceeded, DeadlineExceeded]
        assert clock.now_s() >= soon_s

        gate = a_promise()

        async def cancelled() -> Any:  # noqa: ANN401 - as `passing` has it
            asyncio.get_running_loop().call_soon(lambda: answer.cancel())
            return await passing(gate)

        answer = start(within(clock.now_s() + 60.0, cancelled(), clock=clock, name="it"))
        with pytest.raises(asyncio.CancelledError):
            await answer
        assert gate.done()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(running())


def test_both_ways_are_what_they_say() -> None:
    async def current() -> asyncio.Task[Any] | None:
        await asyncio.sleep(0)
        return asyncio.current_task()

    async def ask(start: Start) -> asyncio.Task[Any] | None:
        return await start(current())

    assert asyncio.run(ask(in_task)) is not None
    assert asyncio.run(ask(without_task)) is None
