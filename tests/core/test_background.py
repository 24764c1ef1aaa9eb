from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio

from penstock.core.background import (
    DEFAULT_LIMIT,
    BackgroundQueue,
    BackgroundScope,
    QueueBounds,
)
from tests.support import START_S, ManualClock, Start, both_ways, nothing_loose, settle

A_WHILE_S = 60.0


@pytest_asyncio.fixture(autouse=True)
async def _nothing_loose() -> AsyncIterator[None]:
    async with nothing_loose():
        yield


class Work:
    """Waits until it is let go; notes how it ended."""

    def __init__(self) -> None:
        self.gate = asyncio.get_running_loop().create_future()
        self.ends = list[str]()

    async def __call__(self) -> None:
        self.ends.append("started")
        try:
            await self.gate
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise
        self.ends.append("done")


async def failing() -> None:
    raise ValueError("nobody will see this")


# --- running -----------------------------------------------------------------------------


@both_ways
async def test_work_starts_on_a_later_turn(start: Start) -> None:
    scope, work = BackgroundScope(), Work()

    async def starting() -> tuple[bool, list[str]]:
        taken = scope.start(work)
        return taken, list(work.ends)

    assert await start(starting()) == (True, [])
    await settle()
    assert work.ends == ["started"]
    assert (scope.started, scope.running) == (1, 1)

    work.gate.set_result(None)
    await settle()
    assert work.ends == ["started", "done"]
    assert (scope.running, scope.failed, scope.dropped) == (0, 0, 0)


async def test_what_fails_is_counted_and_disturbs_nobody() -> None:
    scope = BackgroundScope()
    scope.start(failing)
    await settle()

    assert (scope.started, scope.running, scope.failed) == (1, 0, 1)


async def test_what_fails_is_told_to_who_wants_to_know() -> None:
    faults = list[BaseException]()
    scope, work = BackgroundScope(on_fault=faults.append), Work()
    scope.start(failing)
    scope.start(work)
    await settle()
    assert [str(fault) for fault in faults] == ["nobody will see this"]

    work.gate.cancel()
    await settle()
    assert (len(faults), scope.failed) == (1, 1)


async def test_work_that_cancels_itself_has_not_failed() -> None:
    scope, work = BackgroundScope(), Work()
    scope.start(work)
    await settle()
    work.gate.cancel()
    await settle()

    assert (scope.running, scope.failed) == (0, 0)


async def test_what_does_not_fit_is_dropped_and_counted_and_never_made() -> None:
    scope, made = BackgroundScope(limit=2), list[int]()
    works = [Work(), Work(), Work()]

    def making(i: int) -> asyncio.Future[None]:
        raise AssertionError(f"work {i} was made")

    assert scope.start(works[0])
    assert scope.start(works[1])
    assert not scope.start(partial(making, 2))  # type: ignore[arg-type]
    assert (scope.started, scope.running, scope.dropped) == (2, 2, 1)
    assert made == []

    works[0].gate.set_result(None)
    await settle()
    assert scope.start(works[2])

    works[1].gate.set_result(None)
    works[2].gate.set_result(None)
    await settle()
    assert scope.running == 0


async def test_a_scope_holds_256_unless_told_otherwise() -> None:
    assert BackgroundScope().limit == DEFAULT_LIMIT == 256


# --- closing -----------------------------------------------------------------------------


async def test_closing_what_does_nothing_returns_at_once() -> None:
    assert await BackgroundScope().close(A_WHILE_S) == 0


async def test_closing_lets_work_end() -> None:
    scope, work = BackgroundScope(), Work()
    scope.start(work)
    closing = asyncio.ensure_future(scope.close(A_WHILE_S))
    await settle()
    assert not closing.done()

    work.gate.set_result(None)

    assert await closing == 0
    assert work.ends == ["started", "done"]


async def test_closing_counts_what_fails_meanwhile() -> None:
    scope = BackgroundScope()
    scope.start(failing)

    assert await scope.close(A_WHILE_S) == 0
    assert scope.failed == 1


async def test_closing_cancels_what_does_not_end_in_time() -> None:
    scope, slow, quick = BackgroundScope(), Work(), Work()
    scope.start(slow)
    scope.start(quick)
    await settle()
    quick.gate.set_result(None)
    await settle()

    assert await scope.close(0.0) == 1
    assert slow.ends == ["started", "cancelled"]
    assert quick.ends == ["started", "done"]
    assert (scope.running, scope.cancelled) == (0, 1)


async def test_closing_does_not_wait_for_what_does_not_heed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("penstock.core.background.CUT_S", 0.0)
    scope, gate = BackgroundScope(), asyncio.Event()

    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await gate.wait()
        await gate.wait()

    scope.start(deaf)
    await settle()
    assert await scope.close(0.0) == 1
    assert (scope.running, scope.cancelled) == (1, 1)
    gate.set()
    await settle()
    assert scope.running == 0


async def test_a_closing_scope_drops_new_work() -> None:
    scope, work = BackgroundScope(), Work()
    scope.start(work)
    closing = asyncio.ensure_future(scope.close(A_WHILE_S))
    await settle()

    assert not scope.start(failing)
    assert scope.dropped == 1

    work.gate.set_result(None)
    await closing
    assert not scope.start(failing)
    assert scope.dropped == 2


async def test_closing_that_is_cancelled_cancels_the_work() -> None:
    scope, work = BackgroundScope(), Work()
    scope.start(work)
    closing = asyncio.ensure_future(scope.close(A_WHILE_S))
    await settle()

    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await settle()

    assert work.ends == ["started", "cancelled"]
    assert (scope.running, scope.cancelled) == (0, 1)


# --- queues ------------------------------------------------------------------------------


SOON_S = START_S + 30.0


def a_queue(
    scope: BackgroundScope, at_once: int = 1, waiting: int = 2, clock: ManualClock | None = None
) -> BackgroundQueue:
    return scope.queue("a", QueueBounds(at_once, waiting, 100), clock or ManualClock())


def counts(queue: BackgroundQueue) -> dict[str, int]:
    told = {name: getattr(queue, name) for name in ("running", "waiting", "begun", "held_bytes")}
    return {name: count for name, count in {**told, **queue.dropped}.items() if count}


@both_ways
async def test_offered_work_is_begun_after_what_is_ready_already(start: Start) -> None:
    scope, work = BackgroundScope(), Work()
    queue = a_queue(scope)
    order = list[str]()

    async def offering() -> None:
        assert queue.offer(work, deadline_s=SOON_S)
        asyncio.get_running_loop().call_soon(lambda: order.append("answer" + str(work.ends)))

    await start(offering())
    await settle()
    assert order == ["answer[]"]
    assert work.ends == ["started"]
    assert counts(queue) == {"running": 1, "begun": 1}
    assert scope.queues == {"a": queue}
    work.gate.set_result(None)
    await settle()
    assert counts(queue) == {"begun": 1}


async def test_what_waits_is_begun_in_its_order() -> None:
    scope, works = BackgroundScope(), [Work() for _ in range(5)]
    queue = a_queue(scope, at_once=2, waiting=2)
    taken = [queue.offer(work, deadline_s=SOON_S) for work in works]
    await settle()
    assert taken == [True, True, True, True, False]
    assert counts(queue) == {"running": 2, "waiting": 2, "begun": 2, "full": 1}
    works[1].gate.set_result(None)
    await settle()
    assert [work.ends for work in works[2:]] == [["started"], [], []]
    works[2].gate.set_result(None)
    works[0].gate.set_result(None)
    works[3].gate.set_result(None)
    await settle()
    assert [work.ends[-1:] for work in works] == [["done"]] * 4 + [[]]
    assert counts(queue) == {"begun": 4, "full": 1}
    assert (scope.running, scope.started) == (0, 2)


async def test_inputs_of_all_that_is_held_are_bounded_by_their_size() -> None:
    scope, works = BackgroundScope(), [Work() for _ in range(3)]
    queue = a_queue(scope, waiting=9)
    assert queue.offer(works[0], deadline_s=SOON_S, size_bytes=40)
    assert queue.offer(works[1], deadline_s=SOON_S, size_bytes=40)
    assert not queue.offer(works[2], deadline_s=SOON_S, size_bytes=21)
    assert queue.offer(works[2], deadline_s=SOON_S, size_bytes=20)
    await settle()
    assert counts(queue) == {
        "running": 1, "waiting": 2, "begun": 1, "held_bytes": 100, "bytes": 1,
    }  # fmt: skip
    works[0].gate.set_result(None)
    await settle()
    assert queue.held_bytes == 60
    works[1].gate.set_result(None)
    works[2].gate.set_result(None)
    await settle()
    assert counts(queue) == {"begun": 3, "bytes": 1}


async def test_one_alone_may_be_larger_than_that() -> None:
    scope, work = BackgroundScope(), Work()
    queue = a_queue(scope)
    assert queue.offer(work, deadline_s=SOON_S, size_bytes=1000)
    assert not queue.offer(work, deadline_s=SOON_S, size_bytes=1)
    work.gate.set_result(None)
    await settle()
    assert counts(queue) == {"begun": 1, "bytes": 1}


async def test_a_full_queue_turns_away_and_counts_that() -> None:
    scope, work = BackgroundScope(), Work()
    queue = a_queue(scope, at_once=1, waiting=1)
    found = []
    for _ in range(4):
        found.append(queue.turns_away())
        if not found[-1]:
            assert queue.offer(work, deadline_s=SOON_S)
    assert found == [False, False, True, True]
    assert queue.dropped["full"] == 2
    work.gate.set_result(None)
    await settle()
    assert not queue.turns_away()
    assert counts(queue) == {"begun": 2, "full": 2}


async def test_the_scopes_own_bound_counts_as_well() -> None:
    scope, others, work = BackgroundScope(2), Work(), Work()
    queue = a_queue(scope, at_once=2)
    assert scope.start(others)
    assert queue.offer(work, deadline_s=SOON_S)
    assert queue.offer(work, deadline_s=SOON_S)  # it waits for the first
    await settle()
    assert counts(queue) == {"running": 1, "waiting": 1, "begun": 1}
    work.gate.set_result(None)
    await settle()
    scope.start(others)
    assert not queue.offer(work, deadline_s=SOON_S)  # nobody of the queue is there to take it
    assert scope.dropped == 0
    assert counts(queue) == {"begun": 2, "full": 1}
    others.gate.set_result(None)
    await settle()


async def test_what_has_waited_too_long_is_not_begun() -> None:
    clock, scope, first, second = ManualClock(), BackgroundScope(), Work(), Work()
    queue = a_queue(scope, clock=clock)
    queue.offer(first, deadline_s=START_S + 1.0)
    queue.offer(second, deadline_s=START_S + 1.0)
    await settle()
    clock.advance(1.0)
    first.gate.set_result(None)
    await settle()
    assert (first.ends, second.ends) == (["started", "done"], [])
    assert counts(queue) == {"begun": 1, "late": 1}


async def test_work_that_fails_does_not_keep_the_next_from_being_begun() -> None:
    faults: list[BaseException] = []
    scope, work = BackgroundScope(on_fault=faults.append), Work()
    queue = a_queue(scope)
    queue.offer(failing, deadline_s=SOON_S)
    queue.offer(work, deadline_s=SOON_S)
    await settle()
    assert (work.ends, scope.failed, len(faults)) == (["started"], 1, 1)
    work.gate.set_result(None)
    await settle()


async def test_work_that_cancels_itself_does_not_either() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    scope, work = BackgroundScope(), Work()
    queue = a_queue(scope)
    queue.offer(cancelled, deadline_s=SOON_S, size_bytes=50)
    queue.offer(work, deadline_s=SOON_S)
    await settle()
    assert (work.ends, queue.running) == (["started"], 1)
    work.gate.set_result(None)
    await settle()
    queue.offer(cancelled, deadline_s=SOON_S)
    await settle()
    assert counts(queue) == {"begun": 3}


async def test_what_waits_at_the_close_is_begun_while_there_is_time() -> None:
    scope, work = BackgroundScope(), Work()
    queue = a_queue(scope)
    queue.offer(work, deadline_s=SOON_S)
    queue.offer(work, deadline_s=SOON_S)
    closing = asyncio.ensure_future(scope.close(A_WHILE_S))
    await settle()
    assert not queue.offer(work, deadline_s=SOON_S)
    work.gate.set_result(None)
    assert await closing == 0
    assert counts(queue) == {"begun": 2, "closing": 1}


async def test_what_still_waits_after_that_is_dropped_and_counted() -> None:
    scope, work, waiting = BackgroundScope(), Work(), Work()
    queue = a_queue(scope)
    queue.offer(work, deadline_s=SOON_S, size_bytes=50)
    queue.offer(waiting, deadline_s=SOON_S, size_bytes=50)
    await settle()
    assert await scope.close(0.0) == 2
    assert (work.ends, waiting.ends) == (["started", "cancelled"], [])
    assert counts(queue) == {"begun": 1, "closing": 1}
