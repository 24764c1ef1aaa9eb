"""Chooses how a model is run, by running it: one row against eight, when it is opened."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final, Literal, TypeAlias, assert_never

import numpy as np
from msgspec import Struct

from penstock.core.clock import Clock
from penstock.core.errors import ServingError
from penstock.core.measures import ModelMeasure
from penstock.core.values import Array
from penstock.runtimes.busy import BusyBatched, ThreadWorker
from penstock.runtimes.running import Run, Runner, TickBatched, row_by_row

Place: TypeAlias = Literal["inline", "thread"]

INLINE_LIMIT_S: Final = 0.0005
"""A model that takes longer for one row would hold up the loop: it runs in a thread."""

GAIN: Final = 0.8
"""A row in a batch must cost less than this share of a row alone for a batch to be worth it."""

LOOP_SLICE_S: Final = 0.001
"""How long a batch may hold the loop."""

THREAD_SLICE_S: Final = 0.020
"""How long a batch may hold the thread, beyond `THREAD_BATCH_ROWS`."""

THREAD_BATCH_ROWS: Final = 32
MAX_BATCH_ROWS: Final = 4096
BATCH: Final = 8

_SHORTEST_S: Final = 1e-8
"""No row takes less; a coarse clock may show nothing at all."""

_MOST_RUNS: Final = 7
_BUDGET_S: Final = 0.05


class Cost(Struct, frozen=True):
    """What was measured.

    Attributes:
        one_s: the shortest run of one row, in seconds.
        eight_s: the shortest run of eight rows; None where the model takes one row at a time.
    """

    one_s: float
    eight_s: float | None

    @property
    def gains(self) -> bool:
        """Whether a batch is worth it."""
        return self.eight_s is not None and self.eight_s < BATCH * self.one_s * GAIN

    @property
    def row_s(self) -> float:
        """What one more row in a batch costs."""
        if self.eight_s is None:
            return max(self.one_s, _SHORTEST_S)
        return max((self.eight_s - self.one_s) / (BATCH - 1), self.one_s / 1000, _SHORTEST_S)


UNMEASURED: Final = Cost(one_s=0.001, eight_s=None)
"""What is assumed where there is nothing to measure with: too slow for the loop, row by row."""


class Way(StrEnum):
    """How a model is run."""

    TICK = "inline, batched per tick"
    SINGLY = "inline, singly"
    BUSY = "in a thread, batched while busy"
    THREAD_SINGLY = "in a thread, singly"


def choose(cost: Cost, place: Place | None) -> Way:
    """Choose by what a run costs; `place` is what the spec demands."""
    inline = place == "inline" or (place is None and cost.one_s < INLINE_LIMIT_S)
    if inline:
        return Way.TICK if cost.gains else Way.SINGLY
    return Way.BUSY if cost.gains else Way.THREAD_SINGLY


def rows_within(cost: Cost, slice_s: float) -> int:
    """Return how many rows fit into `slice_s` seconds, at least one."""
    rows = 1 + int(max(0.0, slice_s - cost.one_s) / cost.row_s)
    return min(rows, MAX_BATCH_ROWS)


def measure(run: Run, row: Array, clock: Clock, *, batches: bool) -> Cost:
    """Run the model a few times on one row `[1, ...]` and, if it takes `batches`, on eight.

    Takes some 0.1 s at most beyond a dozen and a half runs of the model.

    Raises:
        ServingError: it fails on the one row.
    """
    one_s = _shortest(lambda: run(row), clock)
    if not batches:
        return Cost(one_s, None)
    eight = several(run, row)
    if not rows_are_apart(run, eight):
        return Cost(one_s, None)
    return Cost(one_s, _shortest(lambda: run(eight), clock))


def several(run: Run, row: Array) -> Array:
    """Return eight rows that the model can compute, as different as can be had from one."""
    rows = [row]
    for k in range(1, BATCH):
        other = _another(row, k)
        if _computes(run, other):
            rows.append(other)
    return np.resize(np.concatenate(rows), (BATCH, *row.shape[1:]))


def _another(row: Array, k: int) -> Array:
    if not row.any():
        other = row + k  # zeros are zeros whatever they are multiplied with
    else:
        other = row // (k + 1) if row.dtype.kind in "iu" else row * (1 + k / 16)
    return other.astype(row.dtype)


def _computes(run: Run, row: Array) -> bool:
    try:
        run(row)
    except ServingError:
        return False
    return True


def rows_are_apart(run: Run, eight: Array) -> bool:
    """Tell whether the model answers each of the rows among the others as it answers it alone.

    One that takes a single row whatever its file says, or lets the rows of a batch bear on each
    other, must not be batched: the rows are different callers'.
    """
    try:
        alone = [run(eight[i : i + 1]) for i in range(BATCH)]
        together = run(eight)
    except ServingError:
        return False
    if len(together) != BATCH or {one.shape for one in alone} != {(1, *together.shape[1:])}:
        return False
    return np.allclose(together, np.concatenate(alone), rtol=1e-3, atol=1e-5, equal_nan=True)


def _shortest(run: Callable[[], object], clock: Clock) -> float:
    run()  # the first one allocates
    began_s = clock.now_s()
    shortest_s = float("inf")
    for _ in range(_MOST_RUNS):
        started_s = clock.now_s()
        run()
        ended_s = clock.now_s()
        shortest_s = min(shortest_s, ended_s - started_s)
        if ended_s - began_s > _BUDGET_S:
            break
    return shortest_s


def runner_for(
    way: Way,
    cost: Cost,
    run: Run,
    *,
    model: str,
    clock: Clock,
    measure: ModelMeasure | None = None,
) -> Runner:
    """Make what runs the model in the chosen way, counted by `measure`."""
    batched = way in (Way.TICK, Way.BUSY)
    if cost.eight_s is None:
        run = row_by_row(run, model)
    loop_rows = rows_within(cost, LOOP_SLICE_S)
    thread_rows = rows_within(cost, THREAD_SLICE_S)
    if batched:
        thread_rows = max(THREAD_BATCH_ROWS, thread_rows)
    thread = BusyBatched(
        ThreadWorker(run, model=model),
        model=model,
        max_rows=thread_rows if batched else 1,
        most_rows=thread_rows,
        clock=clock,
        measure=measure,
    )
    match way:
        case Way.BUSY | Way.THREAD_SINGLY:
            return thread
        case Way.TICK | Way.SINGLY:
            return TickBatched(
                run,
                model=model,
                max_rows=loop_rows if batched else 1,
                most_rows=loop_rows,
                large=thread,
                measure=measure,
            )
        case _:
            assert_never(way)
