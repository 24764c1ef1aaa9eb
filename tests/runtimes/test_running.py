from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.drive import Driven
from penstock.core.errors import AnswerNotFinite, ModelFailed, NotReady, Overloaded, ServingError
from penstock.core.measures import ModelMeasure
from penstock.core.values import Array
from penstock.runtimes.running import (
    MAX_QUEUED_ROWS,
    Queue,
    TickBatched,
    checked,
    deliver,
    of_columns,
    row_by_row,
    run_batch,
)
from tests.support import Start, both_ways, settle

SOON_S = 1.0


def table(*rows: Sequence[float]) -> Array:
    return np.array(rows, dtype=np.float64)


def column(*values: float) -> Array:
    return table(*([value] for value in values))


class Doubling:
    """A model: twice its rows; fails where one is 13, is not finite where one is negative."""

    def __init__(self) -> None:
        self.runs: list[int] = []

    def __call__(self, rows: Array) -> Array:
        self.runs.append(len(rows))
        if (rows == 13).any():
            raise ModelFailed("doubling") from ValueError("13 brings bad luck")
        return np.where(rows < 0, np.nan, rows * 2)


class Beside:
    """A runner that keeps what is given to it."""

    def __init__(self) -> None:
        self.given: list[int] = []
        self.closed = False

    async def __call__(self, rows: Array, deadline_s: float, /) -> Array:
        self.given.append(len(rows))
        return rows * 2

    def close(self) -> None:
        self.closed = True


def ticking(run: Doubling, *, max_rows: int = 100) -> tuple[TickBatched, Beside]:
    beside = Beside()
    runner = TickBatched(run, model="doubling", max_rows=max_rows, most_rows=max_rows, large=beside)
    return runner, beside


async def at_once(*answers: Awaitable[Array]) -> list[Array | BaseException]:
    return await asyncio.gather(*map(waited_for, answers), return_exceptions=True)


async def waited_for(answer: Awaitable[Array]) -> Array:
    return await answer


# --- checked, of_columns -----------------------------------------------------------------


def test_an_answer_has_a_row_for_each_row() -> None:
    with pytest.raises(ModelFailed, match=r"^model m gave 1 rows for 2$"):
        checked(lambda rows: rows[:1], "m", column(1, 2))


def test_an_answer_is_finite() -> None:
    with pytest.raises(AnswerNotFinite) as caught:
        checked(lambda rows: rows, "m", table([1, 2], [3, np.inf], [np.nan, 4]))
    assert caught.value.row == 1
    assert caught.value.path == "$.data[1]"


def test_an_answer_of_whole_numbers_is_finite() -> None:
    rows = np.array([[2**62]], dtype=np.int64)
    assert checked(lambda rows: rows, "m", rows) is rows


def test_an_answer_may_have_more_axes() -> None:
    image = np.zeros((2, 3, 3))
    image[1, 2, 2] = np.nan
    with pytest.raises(AnswerNotFinite) as caught:
        checked(lambda rows: rows, "m", image)
    assert caught.value.row == 1


def test_columns_are_as_many_as_labels() -> None:
    scores = table([1, 2])
    assert of_columns(scores, "m", 2) is scores
    assert of_columns(scores, "m", 0) is scores
    with pytest.raises(ModelFailed, match=r"gave answers of shape \[2\] for 3 labels$"):
        of_columns(scores, "m", 3)


# --- row_by_row --------------------------------------------------------------------------


def test_a_model_of_one_row_is_run_row_by_row() -> None:
    run = Doubling()
    assert row_by_row(run, "m")(column(1, 2, 3)).tolist() == [[2], [4], [6]]
    assert run.runs == [1, 1, 1]
    rows = column(4)
    assert row_by_row(lambda rows: rows, "m")(rows) is rows


@pytest.mark.parametrize("shapes", [[(1, 2), (1, 3)], [(2, 1), (0, 1)], [(2, 1), (2, 1)]])
def test_rows_that_do_not_go_together(shapes: list[tuple[int, ...]]) -> None:
    answers = iter(shapes)
    with pytest.raises(ModelFailed, match=r"^model m gave rows of different lengths$"):
        row_by_row(lambda rows: np.zeros(next(answers)), "m")(column(1, 2))


# --- run_batch ---------------------------------------------------------------------------


def test_one_request_is_run_as_it_is() -> None:
    run = Doubling()
    rows = column(1, 2)
    (answer,) = run_batch(run, "m", [rows])
    assert isinstance(answer, np.ndarray)
    assert answer.tolist() == [[2], [4]]
    assert run.runs == [2]


def test_a_batch_is_run_at_once_and_parted_again() -> None:
    run = Doubling()
    answers = run_batch(run, "m", [column(1), column(2, 3), column(4)])
    assert [as_lists(answer) for answer in answers] == [[[2]], [[4], [6]], [[8]]]
    assert run.runs == [4]


def as_lists(answer: Array | BaseException) -> object:
    assert isinstance(answer, np.ndarray), answer
    return answer.tolist()


def test_a_bad_row_fails_its_own_request_only() -> None:
    first, second, third = run_batch(Doubling(), "m", [column(1), column(2, 13), column(3)])
    assert as_lists(first) == [[2]]
    assert isinstance(second, ModelFailed)
    assert str(second.__cause__) == "13 brings bad luck"
    assert as_lists(third) == [[6]]


def test_a_row_that_is_not_finite_is_named_within_its_request() -> None:
    first, second = run_batch(Doubling(), "m", [column(1, 2, 3), column(4, -5)])
    assert as_lists(first) == [[2], [4], [6]]
    assert isinstance(second, AnswerNotFinite)
    assert second.row == 1


def test_a_run_that_raises_what_it_should_not_fails_all_the_same() -> None:
    def stacked(rows: Array) -> Array:
        return np.stack([rows, rows[:1]])

    (failed,) = run_batch(stacked, "m", [column(1, 2)])
    assert isinstance(failed, ModelFailed)
    assert isinstance(failed.__cause__, ValueError)


def test_requests_that_fail_alike_have_errors_of_their_own() -> None:
    first, second = run_batch(Doubling(), "m", [column(13), column(13)])
    assert isinstance(first, ServingError)
    assert isinstance(second, ServingError)
    assert first is not second


# --- Queue -------------------------------------------------------------------------------


async def test_a_queue_gives_out_requests_in_order() -> None:
    queue = Queue("m", 100)
    put = [queue.put(column(value)) for value in (1, 2, 3)]
    assert len(queue) == 3
    assert queue.take(2) == put[:2]
    assert queue.take(2) == put[2:]
    assert not len(queue)


async def test_a_queue_is_counted_until_it_is_closed() -> None:
    counted = ModelMeasure()
    queue = Queue("m", 100, counted)
    waiting = [queue.put(column(1, 2)), queue.put(column(3)), queue.put(column(4))]
    assert counted.queued_rows == queue.rows() == 4
    waiting[1].answer.set_result(column(6))  # nobody waits for it any more
    queue.take(3)
    assert counted.queued_rows == 1
    assert (sum(counted.rows.counts), counted.rows.total) == (1, 2.0)
    queue.forget(waiting[2])
    assert counted.queued_rows == 0
    queue.put(column(5))
    queue.close()
    assert counted.queued_rows == 0


async def test_what_nobody_waits_for_is_no_run() -> None:
    counted = ModelMeasure()
    queue = Queue("m", 100, counted)
    queue.put(column(1)).answer.set_result(column(2))
    assert queue.take(9) == []
    assert sum(counted.rows.counts) == 0


async def test_runs_together_with_other_models_are_counted() -> None:
    counted = ModelMeasure()
    runner = TickBatched(
        Doubling(), model="m", max_rows=9, most_rows=9, large=Beside(), measure=counted
    )
    runner.run(column(1, 2, 3))
    assert counted.rows.total == 3.0


async def test_a_queue_gives_out_one_request_at_least() -> None:
    queue = Queue("m", 100)
    large, small = queue.put(column(1, 2, 3)), queue.put(column(4))
    assert queue.take(2) == [large]
    assert queue.take(2) == [small]


async def test_a_queue_gives_out_like_shapes_together() -> None:
    queue = Queue("m", 100)
    put = [queue.put(rows) for rows in (column(1), column(2), table([3, 4]), column(5))]
    assert [queue.take(9), queue.take(9), queue.take(9)] == [put[:2], put[2:3], put[3:]]


async def test_a_queue_is_bounded_by_rows() -> None:
    queue = Queue("m", 3)
    queue.put(column(1, 2))
    with pytest.raises(Overloaded) as caught:
        queue.put(column(3, 4))
    assert str(caught.value) == str(Overloaded("the queue of model m", 3, "rows"))
    queue.put(column(3))
    queue.take(3)
    queue.put(column(5, 6, 7))


async def test_an_empty_queue_takes_any_request() -> None:
    queue = Queue("m", 3)
    queue.put(column(1, 2, 3, 4))
    with pytest.raises(Overloaded):
        queue.put(column(5))


async def test_what_is_forgotten_makes_room() -> None:
    queue = Queue("m", 3)
    first, second = queue.put(column(1, 2)), queue.put(column(3))
    queue.forget(first)
    queue.forget(first)
    assert queue.put(column(4, 5)).rows.tolist() == [[4], [5]]
    assert queue.take(1) == [second]


async def test_nobody_is_given_what_nobody_waits_for() -> None:
    queue = Queue("m", 3)
    gone, there = queue.put(column(1)), queue.put(column(2))
    gone.answer.cancel()
    assert queue.take(9) == [there]


async def test_all_that_waits_fails_each_with_an_error_of_its_own() -> None:
    queue = Queue("m", 9)
    put = [queue.put(column(value)) for value in (1, 2, 3)]
    put[1].answer.cancel()
    queue.close()
    assert not len(queue)
    errors = await at_once(put[0].answer, put[2].answer)
    assert [str(error) for error in errors] == ["model m is not ready"] * 2
    assert errors[0] is not errors[1]
    queue.put(column(1, 2, 3, 4, 5, 6, 7, 8, 9))


async def test_answers_go_to_who_still_waits() -> None:
    queue = Queue("m", 9)
    put = [queue.put(column(value)) for value in (1, 2, 3)]
    put[0].answer.cancel()
    deliver(put, [column(2), column(4), NotReady("m")])
    assert put[1].answer.result().tolist() == [[4]]
    with pytest.raises(NotReady):
        put[2].answer.result()
    with pytest.raises(asyncio.CancelledError):
        put[0].answer.result()


# --- TickBatched -------------------------------------------------------------------------


async def test_what_arrives_in_one_pass_is_run_together() -> None:
    run = Doubling()
    runner, beside = ticking(run)
    answers = await at_once(*(runner(column(value), SOON_S) for value in (1, 2, 3)))
    assert [as_lists(answer) for answer in answers] == [[[2]], [[4]], [[6]]]
    assert run.runs == [3]
    assert as_lists(await runner(column(4), SOON_S)) == [[8]]
    assert run.runs == [3, 1]
    assert beside.given == []


async def test_no_more_is_run_in_one_pass_than_belongs_on_the_loop() -> None:
    run = Doubling()
    runner, _ = ticking(run, max_rows=2)
    answers = [runner(column(value), SOON_S) for value in range(5)]
    after_each_pass = []
    for _ in range(4):
        await asyncio.sleep(0)
        after_each_pass.append(list(run.runs))
    assert after_each_pass == [[2], [2, 2], [2, 2, 1], [2, 2, 1]]
    assert [as_lists(answer) for answer in await at_once(*answers)] == [[[2 * v]] for v in range(5)]


async def test_large_requests_are_run_beside() -> None:
    run = Doubling()
    runner, beside = ticking(run, max_rows=2)
    answers = await at_once(runner(column(1, 2, 3), SOON_S), runner(column(4, 5), SOON_S))
    assert [as_lists(answer) for answer in answers] == [[[2], [4], [6]], [[8], [10]]]
    assert beside.given == [3]
    assert run.runs == [2]


async def test_shapes_are_run_apart() -> None:
    run = Doubling()
    runner, _ = ticking(run)
    answers = await at_once(*(runner(rows, SOON_S) for rows in (column(1), table([2, 3]))))
    assert [as_lists(answer) for answer in answers] == [[[2]], [[4, 6]]]
    assert run.runs == [1, 1]


async def test_a_bad_row_fails_its_own_request_only_on_the_loop_too() -> None:
    runner, _ = ticking(Doubling())
    answers = await at_once(*(runner(column(value), SOON_S) for value in (1, 13, -1, 2)))
    assert [type(answer) for answer in answers] == [
        np.ndarray,
        ModelFailed,
        AnswerNotFinite,
        np.ndarray,
    ]


@both_ways
async def test_who_is_cancelled_is_not_run_for(start: Start) -> None:
    run = Doubling()
    runner, _ = ticking(run)
    late = asyncio.get_running_loop().create_future()

    async def ask(value: float) -> Array:
        await late
        return await runner(column(value), SOON_S)

    asking = [start(ask(value)) for value in (1, 2, 3)]
    await settle()
    late.set_result(None)
    await asyncio.sleep(0)  # all are woken and wait in the queue; the run follows
    asking[0].cancel()
    await settle()
    assert [one.cancelled() for one in asking] == [True, False, False]
    assert [as_lists(await one) for one in asking[1:]] == [[[4]], [[6]]]
    assert run.runs == [2]


async def test_nothing_is_run_where_all_are_cancelled() -> None:
    run = Doubling()
    runner, _ = ticking(run)
    answers = [runner(column(value), SOON_S) for value in (1, 2)]
    for answer in answers:
        answer.cancel()  # type: ignore[attr-defined]  # a promise, which Awaitable does not tell
    await settle()
    assert run.runs == []
    assert as_lists(await runner(column(3), SOON_S)) == [[6]]


async def test_what_waits_is_bounded() -> None:
    runner, _ = ticking(Doubling(), max_rows=MAX_QUEUED_ROWS)
    first = runner(np.zeros((MAX_QUEUED_ROWS, 1)), SOON_S)
    with pytest.raises(Overloaded):
        await runner(column(1), SOON_S)
    assert len(await first) == MAX_QUEUED_ROWS
    assert as_lists(await runner(column(1), SOON_S)) == [[2]]


async def test_what_passes_everything_still_answers_its_batch() -> None:
    passed = list[BaseException]()

    class Ends(BaseException):
        pass

    def run(rows: Array) -> Array:
        raise Ends

    runner = TickBatched(run, model="m", max_rows=9, most_rows=9, large=Beside())
    waiting = [runner(column(1), SOON_S), runner(column(2), SOON_S)]
    try:
        runner._flush()
    except Ends as error:
        passed.append(error)
    found = await at_once(*waiting)
    assert len(passed) == 1
    assert [str(error) for error in found] == ["model m raised an error"] * 2
    assert found[0] is not found[1]


async def test_closing_fails_what_waits_and_what_comes() -> None:
    run = Doubling()
    runner, beside = ticking(run, max_rows=2)
    waiting = [runner(column(value), SOON_S) for value in (1, 2, 3)]
    runner.close()
    answers = await at_once(*waiting, runner(column(4), SOON_S))
    assert [type(answer) for answer in answers] == [NotReady] * 4
    assert beside.closed
    assert run.runs == []


class Asking:
    """Asks again from within the very call that brings the answer, as driven coroutines do."""

    def __init__(self, runner: TickBatched, times: int) -> None:
        self.runner = runner
        self.times = times
        self.answers: list[object] = []

    async def __call__(self) -> None:
        for value in range(self.times):
            self.answers.append(as_lists(await self.runner(column(value), SOON_S)))


async def test_who_is_answered_may_ask_again_at_once() -> None:
    run = Doubling()
    runner, _ = ticking(run, max_rows=2)
    asking = [Asking(runner, 3) for _ in range(3)]
    driven = [Driven(one()) for one in asking]
    for one in driven:
        one.start()
    await settle()
    assert [one.done for one in driven] == [True] * 3
    assert [one.answers for one in asking] == [[[[0]], [[2]], [[4]]]] * 3
    assert max(run.runs) == 2


SHAPES = [(1,), (2,), (3,), (2, 2)]
REQUESTS = st.lists(
    st.tuples(st.integers(1, 12), st.sampled_from(SHAPES), st.integers(-1, 14)), max_size=12
)


@given(requests=REQUESTS, max_rows=st.integers(1, 20))
def test_batched_answers_are_those_of_single_runs(
    requests: list[tuple[int, tuple[int, ...], int]], max_rows: int
) -> None:
    """Each caller gets what its own rows give alone, whoever else asks at the same time."""
    arrays = [
        np.arange(n * np.prod(shape), dtype=np.float64).reshape(n, *shape) % 12 * 1.0
        for n, shape, _ in requests
    ]
    for i, (array, (_, _, special)) in enumerate(zip(arrays, requests, strict=True)):
        array.flat[array.size // 2] = special
        array.flat[0] = i + 100.0 if array.size > 1 else array.flat[0]

    async def together() -> list[Array | BaseException]:
        runner, _ = ticking(Doubling(), max_rows=max_rows)
        answers = await at_once(*(runner(array, SOON_S) for array in arrays))
        await settle()
        return answers

    with asyncio.Runner() as loop:
        answers = loop.run(together())
    for array, answer in zip(arrays, answers, strict=True):
        if len(array) > max_rows:  # the fake beside
            assert isinstance(answer, np.ndarray)
            np.testing.assert_array_equal(answer, array * 2)
            continue
        (alone,) = run_batch(Doubling(), "doubling", [array])
        if isinstance(alone, ServingError):
            assert type(answer) is type(alone)
            assert str(answer) == str(alone)
        else:
            assert isinstance(answer, np.ndarray)
            np.testing.assert_array_equal(answer, alone)
