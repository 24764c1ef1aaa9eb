from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.clock import Clock, SystemClock
from penstock.core.errors import (
    AnswerNotFinite,
    DeadlineExceeded,
    ModelFailed,
    NotReady,
    Overloaded,
    ServingError,
)
from penstock.core.values import Array
from penstock.runtimes.busy import Answers, BusyBatched, ThreadWorker
from penstock.runtimes.running import MAX_QUEUED_ROWS, Run, run_batch
from tests.support import START_S, ManualClock, Start, both_ways, settle

LATER_S: Final = START_S + 30.0
PATIENCE_S: Final = 30.0


def column(*values: float) -> Array:
    return np.array([[value] for value in values], dtype=np.float64)


def lists(answers: Sequence[Array | BaseException]) -> list[object]:
    return [answer.tolist() if isinstance(answer, np.ndarray) else answer for answer in answers]


class Held:
    """A model that works when it is let go: twice its rows, NaN for rows below zero.

    Attributes:
        runs: how many rows each run had.
        threads: where the runs were.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun = asyncio.Event()
        self._free = threading.Event()
        self.runs: list[int] = []
        self.threads: set[str] = set()

    def __call__(self, rows: Array) -> Array:
        self.runs.append(len(rows))
        self.threads.add(threading.current_thread().name)
        self._loop.call_soon_threadsafe(self._begun.set)
        assert self._free.wait(PATIENCE_S)
        return np.where(rows < 0, np.nan, rows * 2)

    async def begun(self) -> None:
        """Wait until a run is under way."""
        await self._begun.wait()

    def release(self) -> None:
        self._free.set()


@asynccontextmanager
async def in_a_thread(
    run: Run, *, max_rows: int = 100, clock: Clock | None = None
) -> AsyncIterator[BusyBatched]:
    worker = ThreadWorker(run, model="m")
    busy = BusyBatched(
        worker, model="m", max_rows=max_rows, most_rows=max_rows, clock=clock or ManualClock()
    )
    try:
        yield busy
    finally:
        busy.close()
        join_threads()


def model_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("model-m")]


def join_threads() -> None:
    for thread in model_threads():
        thread.join(PATIENCE_S)


class Elsewhere:
    """A worker whose runs end when and as the test says.

    Attributes:
        batches: the rows of what it was given.
        ends: a future for each batch.
    """

    def __init__(self) -> None:
        self.batches: list[list[object]] = []
        self.ends: list[asyncio.Future[Answers]] = []
        self.closed = False

    def __call__(self, batch: Sequence[Array], /) -> Awaitable[Answers]:
        self.batches.append([rows.tolist() for rows in batch])
        self.ends.append(asyncio.get_running_loop().create_future())
        return self.ends[-1]

    def answer(self, *answers: Array | ServingError) -> None:
        self.ends[-1].set_result(list(answers))

    def close(self) -> None:
        self.closed = True


def elsewhere(*, max_rows: int = 100) -> tuple[BusyBatched, Elsewhere, ManualClock]:
    worker, clock = Elsewhere(), ManualClock()
    busy = BusyBatched(worker, model="m", max_rows=max_rows, most_rows=max_rows, clock=clock)
    return busy, worker, clock


# --- batching ----------------------------------------------------------------------------


@both_ways
async def test_what_queues_while_it_is_busy_goes_together(start: Start) -> None:
    busy, worker, _ = elsewhere()
    asking = [start(busy(column(value), LATER_S)) for value in (1, 2, 3)]
    await settle()
    assert worker.batches == [[[[1]]]]
    worker.answer(column(10))
    await settle()
    assert worker.batches == [[[[1]]], [[[2]], [[3]]]]
    worker.answer(column(20), column(30))
    assert lists(await asyncio.gather(*asking)) == [[[10]], [[20]], [[30]]]


async def test_no_more_goes_together_than_it_may() -> None:
    busy, worker, _ = elsewhere(max_rows=2)
    asking = [asyncio.ensure_future(busy(column(v), LATER_S)) for v in range(4)]
    for answers in ([column(0)], [column(1), column(2)], [column(3)]):
        await settle()
        worker.answer(*answers)
    assert lists(await asyncio.gather(*asking)) == [[[0]], [[1]], [[2]], [[3]]]
    assert worker.batches == [[[[0]]], [[[1]], [[2]]], [[[3]]]]


async def test_each_gets_its_own_answer_or_error() -> None:
    busy, worker, _ = elsewhere()
    asking = [asyncio.ensure_future(busy(column(v), LATER_S)) for v in range(3)]
    await settle()
    worker.answer(column(0))
    await settle()
    worker.answer(ModelFailed("m"), column(2))
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(answer) for answer in answers] == [np.ndarray, ModelFailed, np.ndarray]


async def test_it_runs_in_one_thread_beside_the_loop() -> None:
    held = Held()
    async with in_a_thread(held) as busy:
        asking = [asyncio.ensure_future(busy(column(v), LATER_S)) for v in (1, 2, 3)]
        await held.begun()
        passes = 0
        for _ in range(100):  # the loop goes on while the run is under way
            await asyncio.sleep(0)
            passes += 1
        assert not any(one.done() for one in asking)
        held.release()
        assert lists(await asyncio.gather(*asking)) == [[[2]], [[4]], [[6]]]
    assert passes == 100
    assert held.runs == [1, 2]
    assert held.threads == {"model-m_0"}
    assert model_threads() == []


# --- deadline and cancellation -----------------------------------------------------------


@both_ways
async def test_a_deadline_passes_while_waiting(start: Start) -> None:
    busy, worker, clock = elsewhere()
    first = start(busy(column(1), LATER_S))
    late = start(busy(column(2), START_S + 1.0))
    await clock.elapse(1.0)
    with pytest.raises(DeadlineExceeded, match=r"^the deadline passed at model m$"):
        await late
    worker.answer(column(10))
    assert lists([await first]) == [[[10]]]
    await settle()
    assert worker.batches == [[[[1]]]]  # never run


@both_ways
async def test_a_deadline_passes_during_the_run(start: Start) -> None:
    clock, held = ManualClock(), Held()
    async with in_a_thread(held, clock=clock) as busy:
        late = start(busy(column(1), START_S + 1.0))
        await held.begun()
        await clock.elapse(1.0)
        with pytest.raises(DeadlineExceeded):
            await late
        after = start(busy(column(2), LATER_S))
        await settle()
        assert held.runs == [1]  # it cannot be stopped: the thread stays taken
        held.release()
        assert lists([await after]) == [[[4]]]
        assert held.runs == [1, 1]


@both_ways
async def test_who_is_cancelled_is_not_run_for(start: Start) -> None:
    busy, worker, _ = elsewhere()
    asking = [start(busy(column(value), LATER_S)) for value in (1, 2, 3)]
    await settle()
    asking[1].cancel()
    await settle()
    assert asking[1].cancelled()
    worker.answer(column(10))
    await settle()
    assert worker.batches[1:] == [[[[3]]]]
    worker.answer(column(30))
    assert lists([await asking[0], await asking[2]]) == [[[10]], [[30]]]


async def test_who_is_cancelled_as_the_run_ends_is_passed_over() -> None:
    busy, worker, _ = elsewhere()
    asking = [asyncio.ensure_future(busy(column(value), LATER_S)) for value in (1, 2)]
    await settle()
    asking[1].cancel()
    await asyncio.sleep(0)
    worker.answer(column(10))  # ends in the very pass in which the cancelling arrives
    await settle()
    assert [one.cancelled() for one in asking] == [False, True]
    assert len(worker.batches) == 1
    after = asyncio.ensure_future(busy(column(3), LATER_S))
    await settle()
    worker.answer(column(30))
    assert lists([await after]) == [[[30]]]


async def test_who_is_cancelled_during_the_run_leaves_it_to_end() -> None:
    busy, worker, _ = elsewhere()
    gone = asyncio.ensure_future(busy(column(1), LATER_S))
    await settle()
    gone.cancel()
    await settle()
    assert gone.cancelled()
    after = asyncio.ensure_future(busy(column(2), LATER_S))
    await settle()
    assert len(worker.batches) == 1
    worker.answer(column(10))
    await settle()
    worker.answer(column(20))
    assert lists([await after]) == [[[20]]]


# --- bound -------------------------------------------------------------------------------


async def test_what_waits_is_bounded() -> None:
    busy, worker, _ = elsewhere(max_rows=MAX_QUEUED_ROWS)
    running = asyncio.ensure_future(busy(column(1), LATER_S))
    await settle()
    waiting = asyncio.ensure_future(busy(np.zeros((MAX_QUEUED_ROWS, 1)), LATER_S))
    await settle()
    with pytest.raises(Overloaded, match="the queue of model m"):
        await busy(column(2), LATER_S)
    worker.answer(column(10))
    await settle()
    worker.answer(np.zeros((MAX_QUEUED_ROWS, 1)))
    assert len(await running) == 1
    assert len(await waiting) == MAX_QUEUED_ROWS


# --- pieces ------------------------------------------------------------------------------


async def test_a_large_request_is_run_in_pieces_between_the_others() -> None:
    busy, worker, _ = elsewhere(max_rows=2)
    large = asyncio.ensure_future(busy(column(1, 2, 3, 4, 5), LATER_S))
    small = asyncio.ensure_future(busy(column(6), LATER_S))
    for answers in ([column(1, 2)], [column(6)], [column(3, 4)], [column(5)]):
        await settle()
        worker.answer(*answers)
    assert lists([await large, await small]) == [[[1], [2], [3], [4], [5]], [[6]]]
    assert worker.batches == [[[[1], [2]]], [[[6]]], [[[3], [4]]], [[[5]]]]


async def test_a_row_that_is_not_finite_is_named_within_the_whole_request() -> None:
    run = Held()
    run.release()
    async with in_a_thread(run, max_rows=3) as busy:
        with pytest.raises(AnswerNotFinite) as caught:
            await busy(column(0, 1, 2, 3, 4, 5, 6, -7, 8, 9), LATER_S)
    assert caught.value.row == 7
    assert caught.value.path == "$.data[7]"
    assert run.runs == [3, 3, 3]


async def test_pieces_that_do_not_go_together() -> None:
    def as_wide_as_the_first(rows: Array) -> Array:
        return np.zeros((len(rows), int(rows[0, 0])))

    async with in_a_thread(as_wide_as_the_first, max_rows=1) as busy:
        with pytest.raises(ModelFailed, match="gave rows of different lengths"):
            await busy(column(1, 2), LATER_S)


async def test_a_deadline_ends_a_large_request_between_its_pieces() -> None:
    busy, worker, clock = elsewhere(max_rows=1)
    large = asyncio.ensure_future(busy(column(1, 2, 3), START_S + 1.0))
    await settle()
    worker.answer(column(1))
    await clock.elapse(1.0)
    with pytest.raises(DeadlineExceeded):
        await large
    worker.answer(column(2))
    await settle()
    assert len(worker.batches) == 2


# --- failures ----------------------------------------------------------------------------


async def test_a_worker_that_fails_fails_its_batch_each_with_an_error_of_its_own() -> None:
    busy, worker, _ = elsewhere()
    asking = [asyncio.ensure_future(busy(column(value), LATER_S)) for value in (1, 2, 3)]
    await settle()
    worker.answer(column(10))
    await settle()
    cause = OSError("no more processes")
    worker.ends[-1].set_exception(cause)
    first, *errors = await asyncio.gather(*asking, return_exceptions=True)
    assert lists([first]) == [[[10]]]
    assert [str(error) for error in errors] == ["model m raised an error"] * 2
    assert all(isinstance(error, ModelFailed) and error.__cause__ is cause for error in errors)
    assert errors[0] is not errors[1]
    after = asyncio.ensure_future(busy(column(4), LATER_S))
    await settle()
    worker.answer(column(40))
    assert lists([await after]) == [[[40]]]


async def test_a_run_that_is_called_off_was_never_ready() -> None:
    busy, worker, _ = elsewhere()
    asking = asyncio.ensure_future(busy(column(1), LATER_S))
    await settle()
    worker.ends[-1].cancel()
    with pytest.raises(NotReady):
        await asking


# --- closing -----------------------------------------------------------------------------


@both_ways
async def test_closing_fails_what_waits_and_what_comes(start: Start) -> None:
    busy, worker, _ = elsewhere()
    asking = [start(busy(column(value), LATER_S)) for value in (1, 2, 3)]
    await settle()
    busy.close()
    assert worker.closed
    with pytest.raises(NotReady, match=r"^model m is not ready$"):
        await busy(column(4), LATER_S)
    worker.answer(column(10))
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert lists(answers[:1]) == [[[10]]]  # it was under way
    assert [type(answer) for answer in answers[1:]] == [NotReady] * 2
    assert len(worker.batches) == 1


async def test_closing_leaves_a_run_in_the_thread_to_end() -> None:
    held = Held()
    async with in_a_thread(held) as busy:
        asking = asyncio.ensure_future(busy(column(1), LATER_S))
        await held.begun()
        busy.close()
        held.release()
        assert lists([await asking]) == [[[2]]]
    assert model_threads() == []


async def test_closing_a_thread_that_has_not_been_started() -> None:
    async with in_a_thread(Held()):
        assert model_threads() == []


# --- property ----------------------------------------------------------------------------

SHAPES = [(1,), (2,), (2, 2)]


@given(
    requests=st.lists(
        st.tuples(st.integers(1, 9), st.sampled_from(SHAPES), st.integers(-1, 1)), max_size=10
    ),
    max_rows=st.integers(1, 12),
)
def test_batched_answers_are_those_of_single_runs(
    requests: list[tuple[int, tuple[int, ...], int]], max_rows: int
) -> None:
    """Each caller gets what its own rows give alone, whoever else asks at the same time."""
    arrays: list[Array] = [
        np.arange(n * np.prod(shape), dtype=np.float64).reshape(n, *shape) + 100 * i
        for i, (n, shape, _) in enumerate(requests)
    ]
    for array, (n, _, sign) in zip(arrays, requests, strict=True):
        array[n // 2] *= sign

    def doubled(rows: Array) -> Array:
        return np.where(rows < 0, np.nan, rows * 2)

    async def together() -> list[Array | BaseException]:
        async with in_a_thread(doubled, max_rows=max_rows, clock=SystemClock()) as busy:
            asking = [busy(array, SystemClock().now_s() + PATIENCE_S) for array in arrays]
            return await asyncio.gather(*asking, return_exceptions=True)

    with asyncio.Runner() as loop:
        answers = loop.run(together())
    for array, answer in zip(arrays, answers, strict=True):
        (alone,) = run_batch(doubled, "m", [array])
        if isinstance(alone, ServingError):
            assert str(answer) == str(alone)
        else:
            assert isinstance(answer, np.ndarray)
            np.testing.assert_array_equal(answer, alone)
