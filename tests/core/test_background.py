from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio

from penstock.core.background import DEFAULT_LIMIT, BackgroundScope
from tests.support import Start, both_ways, nothing_loose, settle

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
    assert scope.running == 0
