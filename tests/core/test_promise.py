from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from penstock.core.drive import Driven
from penstock.core.promise import Promise
from tests.support import Start, both_ways, nothing_loose, settle


@pytest_asyncio.fixture(autouse=True)
async def _nothing_loose() -> AsyncIterator[None]:
    async with nothing_loose():
        yield


def a_promise() -> Promise[str]:
    return Promise(asyncio.get_running_loop())


async def awaiting(promise: Promise[str]) -> str:
    return await promise


# --- awaited in a Task or without one ----------------------------------------------------


@both_ways
class TestAwaited:
    async def test_gives_its_result(self, start: Start) -> None:
        promise = a_promise()
        answer = start(awaiting(promise))
        await settle()
        assert not answer.done()

        promise.set_result("kept")

        assert await answer == "kept"

    async def test_raises_its_error(self, start: Start) -> None:
        promise = a_promise()
        answer = start(awaiting(promise))
        await settle()

        promise.set_exception(ValueError("broken"))

        with pytest.raises(ValueError, match="broken"):
            await answer

    async def test_kept_before_it_is_awaited_needs_no_wait(self, start: Start) -> None:
        kept, broken = a_promise(), a_promise()
        kept.set_result("kept")
        broken.set_exception(ValueError("broken"))

        assert await start(awaiting(kept)) == "kept"
        with pytest.raises(ValueError, match="broken"):
            await start(awaiting(broken))

    async def test_kept_in_the_turn_in_which_it_is_awaited(self, start: Start) -> None:
        promise = a_promise()
        answer = start(awaiting(promise))
        asyncio.get_running_loop().call_soon(promise.set_result, "kept")

        assert await answer == "kept"

    async def test_cancelled_cancels_who_awaits_it(self, start: Start) -> None:
        promise = a_promise()
        answer = start(awaiting(promise))
        await settle()

        assert promise.cancel()
        await settle()

        assert answer.cancelled()

    async def test_who_awaits_it_can_be_cancelled(self, start: Start) -> None:
        promise = a_promise()
        answer = start(awaiting(promise))
        await settle()

        answer.cancel()
        await settle()

        assert answer.cancelled()
        assert promise.done()

    async def test_who_awaits_it_can_be_cancelled_before_it_begins_to(self, start: Start) -> None:
        promise = a_promise()

        async def late() -> str:
            await asyncio.sleep(0)
            answer.cancel()
            return await promise

        answer = start(late())
        await settle()

        assert answer.cancelled()
        assert promise.done()

    async def test_kept_as_its_waiter_is_cancelled_it_gives_nothing(self, start: Start) -> None:
        promise = a_promise()
        answer = start(awaiting(promise))
        await settle()

        answer.cancel()
        assert promise.done()
        await settle()

        assert answer.cancelled()


# --- on its own --------------------------------------------------------------------------


async def test_wakes_a_driven_coroutine_within_the_call_that_keeps_it() -> None:
    kept, broken = a_promise(), a_promise()
    first, second = Driven(awaiting(kept)), Driven(awaiting(broken))
    assert not first.start()
    assert not second.start()

    kept.set_result("kept")
    assert first.done
    assert first.result() == "kept"
    broken.set_exception(ValueError("broken"))
    assert isinstance(second.error, ValueError)


async def test_a_cancellation_wakes_on_a_later_turn() -> None:
    promise = a_promise()
    driven = Driven(awaiting(promise))
    driven.start()

    promise.cancel()
    assert not driven.done
    await settle()

    assert isinstance(driven.error, asyncio.CancelledError)


async def test_knows_whether_it_has_been_kept() -> None:
    kept, broken, cancelled = a_promise(), a_promise(), a_promise()
    assert not kept.done()

    kept.set_result("kept")
    broken.set_exception(ValueError("broken"))
    cancelled.cancel()

    assert all(promise.done() for promise in (kept, broken, cancelled))
    assert kept.result() == "kept"
    with pytest.raises(ValueError, match="broken"):
        broken.result()
    with pytest.raises(asyncio.CancelledError):
        cancelled.result()


async def test_has_no_result_before_it_is_kept() -> None:
    with pytest.raises(asyncio.InvalidStateError, match="not been kept"):
        a_promise().result()


async def test_none_is_a_result() -> None:
    promise: Promise[None] = Promise(asyncio.get_running_loop())
    promise.set_result(None)

    assert promise.done()


@pytest.mark.parametrize("first", ["keep", "break", "cancel"])
async def test_is_kept_once(first: str) -> None:
    promise = a_promise()
    match first:
        case "keep":
            promise.set_result("kept")
        case "break":
            promise.set_exception(ValueError("broken"))
        case _:
            promise.cancel()

    assert not promise.cancel()
    with pytest.raises(AssertionError, match="once"):
        promise.set_result("again")
    with pytest.raises(AssertionError, match="once"):
        promise.set_exception(ValueError("again"))


async def test_a_cancellation_may_have_a_message() -> None:
    promise = a_promise()

    promise.cancel("because")

    with pytest.raises(asyncio.CancelledError, match="because"):
        promise.result()


async def test_calls_back_on_a_later_turn_as_a_future_does() -> None:
    before, after, calls = a_promise(), a_promise(), list[object]()
    before.set_result("kept")

    before.add_done_callback(calls.append)
    after.add_done_callback(calls.append)
    after.set_result("kept")
    assert calls == []
    await settle()

    assert calls == [before, after]


async def test_knows_its_loop() -> None:
    assert a_promise().get_loop() is asyncio.get_running_loop()
