from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pytest

from penstock.core.errors import ModelFailed
from penstock.core.measures import ModelMeasure
from penstock.core.values import Array
from penstock.runtimes.busy import BusyBatched
from penstock.runtimes.probe import (
    INLINE_LIMIT_S,
    LOOP_SLICE_S,
    MAX_BATCH_ROWS,
    THREAD_BATCH_ROWS,
    THREAD_SLICE_S,
    UNMEASURED,
    Cost,
    Place,
    Way,
    choose,
    measure,
    rows_are_apart,
    rows_within,
    runner_for,
    several,
)
from penstock.runtimes.running import TickBatched
from tests.support import ManualClock

QUICK: Final = Cost(one_s=20e-6, eight_s=24.5e-6)
QUICK_ALONE: Final = Cost(one_s=20e-6, eight_s=150e-6)
SLOW: Final = Cost(one_s=0.003, eight_s=0.0045)
SLOW_ALONE: Final = Cost(one_s=0.003, eight_s=0.024)
ONE_ROW: Final = Cost(one_s=21e-6, eight_s=None)
NOTHING: Final = Cost(one_s=0.0, eight_s=0.0)
"""A clock too coarse to show anything."""

ROW: Final = np.array([[3.0]])


class Timed:
    """A model that takes time by the clock: `one_s` for a row, `more_s` for each one more."""

    def __init__(self, clock: ManualClock, one_s: float, more_s: float) -> None:
        self._clock = clock
        self._one_s = one_s
        self._more_s = more_s
        self.runs: list[int] = []

    def __call__(self, rows: Array) -> Array:
        self._clock.advance(self._one_s + self._more_s * (len(rows) - 1))
        self.runs.append(len(rows))
        return rows * 2


# --- choose ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cost", "place", "way"),
    [
        (QUICK, None, Way.TICK),
        (QUICK_ALONE, None, Way.SINGLY),
        (ONE_ROW, None, Way.SINGLY),
        (SLOW, None, Way.BUSY),
        (SLOW_ALONE, None, Way.THREAD_SINGLY),
        (NOTHING, None, Way.SINGLY),
        (UNMEASURED, None, Way.THREAD_SINGLY),
        (Cost(INLINE_LIMIT_S, None), None, Way.THREAD_SINGLY),
        (SLOW, "inline", Way.TICK),
        (SLOW_ALONE, "inline", Way.SINGLY),
        (UNMEASURED, "inline", Way.SINGLY),
        (QUICK, "thread", Way.BUSY),
        (QUICK_ALONE, "thread", Way.THREAD_SINGLY),
    ],
)
def test_a_way_is_chosen_by_what_a_run_costs(cost: Cost, place: Place | None, way: Way) -> None:
    assert choose(cost, place) is way


@pytest.mark.parametrize(
    ("cost", "slice_s", "rows"),
    [
        (QUICK, LOOP_SLICE_S, 1525),
        (SLOW, LOOP_SLICE_S, 1),
        (SLOW, THREAD_SLICE_S, 80),
        (SLOW_ALONE, THREAD_SLICE_S, 6),
        (Cost(20e-6, 20e-6), THREAD_SLICE_S, MAX_BATCH_ROWS),
        (Cost(20e-6, 10e-6), THREAD_SLICE_S, MAX_BATCH_ROWS),
        (ONE_ROW, 100e-6, 4),
        (NOTHING, LOOP_SLICE_S, MAX_BATCH_ROWS),
        (Cost(0.0, None), LOOP_SLICE_S, MAX_BATCH_ROWS),
    ],
)
def test_so_many_rows_fit_into_a_slice(cost: Cost, slice_s: float, rows: int) -> None:
    assert rows_within(cost, slice_s) == rows


# --- measure -----------------------------------------------------------------------------


def test_one_row_is_measured_against_eight() -> None:
    clock = ManualClock()
    run = Timed(clock, one_s=0.001, more_s=0.0001)
    cost = measure(run, ROW, clock, batches=True)
    assert cost.one_s == pytest.approx(0.001)
    assert cost.eight_s == pytest.approx(0.0017)
    assert cost.row_s == pytest.approx(0.0001)
    assert cost.gains
    assert set(run.runs) == {1, 8}


def test_the_shortest_run_counts() -> None:
    clock = ManualClock()
    runs = iter([0.5, 0.004, 0.001, 0.002, 0.001, 0.003, 0.001, 0.001])

    def uneven(rows: Array) -> Array:
        clock.advance(next(runs))
        return rows

    assert measure(uneven, ROW, clock, batches=False).one_s == pytest.approx(0.001)


def test_a_slow_model_is_run_twice_only() -> None:
    clock = ManualClock()
    run = Timed(clock, one_s=3.0, more_s=0.0)
    assert measure(run, ROW, clock, batches=False) == Cost(one_s=3.0, eight_s=None)
    assert run.runs == [1, 1]


def only_one(rows: Array) -> Array:
    if len(rows) > 1:
        raise ModelFailed("m")
    return rows


def the_first(rows: Array) -> Array:
    return rows[:1]


def shares(rows: Array) -> Array:
    share: Array = rows / rows.sum()
    return share


def wider(rows: Array) -> Array:
    return np.ones((len(rows), len(rows)))


def normalises(rows: Array) -> Array:
    apart: Array = rows - rows.mean(axis=0)
    return apart


def one_number(rows: Array) -> Array:
    return np.zeros((1, 1))


def others_rows(rows: Array) -> Array:
    return rows[::-1]


@pytest.mark.parametrize("datatype", ["float64", "float32", "int64", "uint8"])
@pytest.mark.parametrize("first", [3.0, 0.0, 1.0])
@pytest.mark.parametrize(
    "run", [only_one, the_first, shares, wider, normalises, one_number, others_rows]
)
def test_a_model_whose_rows_are_not_apart_is_never_batched(
    run: Callable[[Array], Array], first: float, datatype: str
) -> None:
    row = np.array([[first, 1.0]], dtype=datatype)
    with np.errstate(all="ignore"):
        assert measure(run, row, ManualClock(), batches=True).eight_s is None


def test_rows_of_zeros_are_made_different_ones_too() -> None:
    for datatype in ("float32", "int64"):
        rows = several(lambda rows: rows, np.zeros((1, 2), dtype=datatype))
        assert rows.dtype == datatype
        assert rows.tolist() == [[k, k] for k in range(8)]


def test_rows_are_compared_that_the_model_can_compute() -> None:
    def picky(rows: Array) -> Array:
        if (rows > 3.5).any():
            raise ModelFailed("m")
        return rows

    rows = several(picky, ROW)
    assert rows.tolist() == [[3.0], [3.1875], [3.375]] * 2 + [[3.0], [3.1875]]
    assert several(picky, np.array([[3.5]])).tolist() == [[3.5]] * 8
    assert rows_are_apart(picky, rows)


def test_a_model_that_fails_for_what_it_answered_before_is_never_batched() -> None:
    runs = iter(range(100))

    def tires(rows: Array) -> Array:
        if next(runs) > 20:
            raise ModelFailed("m")
        return rows

    assert measure(tires, ROW, ManualClock(), batches=True).eight_s is None


def test_rows_may_differ_as_sums_in_another_order_do() -> None:
    def nearly(rows: Array) -> Array:
        return np.where(len(rows) > 1, rows + 1e-6, rows)

    assert measure(nearly, ROW, ManualClock(), batches=True).eight_s is not None


def test_an_answer_that_is_not_finite_is_as_good_as_another() -> None:
    def strange(rows: Array) -> Array:
        return np.full((len(rows), 2), [np.nan, np.inf])

    assert measure(strange, ROW, ManualClock(), batches=True).eight_s is not None


def test_a_row_that_fails_is_not_measured() -> None:
    def fail(rows: Array) -> Array:
        raise ModelFailed("m")

    with pytest.raises(ModelFailed):
        measure(fail, ROW, ManualClock(), batches=True)


# --- runner_for --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "cost", "kind", "together", "one"),
    [
        (Way.TICK, QUICK, TickBatched, 1525, 1525),
        (Way.SINGLY, QUICK_ALONE, TickBatched, 1, 53),
        (Way.SINGLY, ONE_ROW, TickBatched, 1, 47),
        (Way.BUSY, SLOW, BusyBatched, 80, 80),
        (Way.BUSY, SLOW_ALONE, BusyBatched, THREAD_BATCH_ROWS, THREAD_BATCH_ROWS),
        (Way.THREAD_SINGLY, SLOW_ALONE, BusyBatched, 1, 6),
        (Way.THREAD_SINGLY, UNMEASURED, BusyBatched, 1, 20),
    ],
)
async def test_a_way_has_its_runner(
    way: Way, cost: Cost, kind: type, together: int, one: int
) -> None:
    runner = runner_for(way, cost, lambda rows: rows, model="m", clock=ManualClock())
    assert isinstance(runner, TickBatched | BusyBatched)
    assert type(runner) is kind
    assert (runner._max_rows, runner._most_rows) == (together, one)
    runner.close()


@pytest.mark.parametrize("cost", [SLOW, SLOW_ALONE, ONE_ROW])
@pytest.mark.parametrize("way", Way)
async def test_every_way_gives_the_same_answers(way: Way, cost: Cost) -> None:
    clock, runs = ManualClock(), []

    def run(rows: Array) -> Array:
        runs.append(len(rows))
        return rows * 2

    counted = ModelMeasure()
    runner = runner_for(way, cost, run, model="m", clock=clock, measure=counted)
    for count in (1, 3, 300):
        rows = np.arange(count * 1.0).reshape(count, 1)
        outputs = await runner(rows, clock.now_s() + 1.0)
        np.testing.assert_array_equal(outputs, rows * 2)
    runner.close()
    assert (max(runs) == 1) is (cost is ONE_ROW)
    assert counted.rows.total == 304.0
    assert counted.queued_rows == 0
