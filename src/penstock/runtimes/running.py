"""Running a model for many requests: the queue, the batch, and the quick way on the loop itself.

A `Run` is synchronous: rows in, outputs out, batchable along the first axis. What waits between a
request and its run is bounded, and a run that fails for a batch is repeated request by request, so
that one bad row never fails its neighbours.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeAlias, final

import numpy as np

from penstock.core.errors import AnswerNotFinite, ModelFailed, NotReady, Overloaded, ServingError
from penstock.core.measures import ModelMeasure
from penstock.core.promise import Promise
from penstock.core.values import Array

Run: TypeAlias = Callable[[Array], Array]
"""Rows `[n, ...]` to outputs `[n, ...]`; raises `ModelFailed`. May be called from any thread."""

MAX_QUEUED_ROWS: Final = 20_000
"""What may wait for one model; a request is always taken when nothing waits."""


class Runner(Protocol):
    """Runs a model for one request's rows."""

    def __call__(self, rows: Array, deadline_s: float, /) -> Awaitable[Array]:
        """Return the outputs for `rows`, to be awaited.

        Raises:
            Overloaded: too many rows wait already.
            DeadlineExceeded: no answer by `deadline_s`, where this waits at all.
            AnswerNotFinite, ModelFailed: what the model did.
        """

    def close(self) -> None:
        """Take no more; what waits fails with `NotReady`."""


def of_columns(outputs: Array, model: str, columns: int) -> Array:
    """Return the outputs as they are; `columns` is how many a row must have, 0 for any number.

    Raises:
        ModelFailed: a row has another number.
    """
    if columns and outputs.shape[1:] != (columns,):
        shape = list(outputs.shape[1:])
        raise ModelFailed(model, f"gave answers of shape {shape} for {columns} labels")
    return outputs


def row_by_row(run: Run, model: str) -> Run:
    """Return the run of a model that takes one row at a time as a run of any number of rows."""

    def run_rows(rows: Array) -> Array:
        if len(rows) == 1:
            return run(rows)
        outputs = [run(rows[i : i + 1]) for i in range(len(rows))]
        if {(1, *one.shape[1:]) for one in outputs} != {outputs[0].shape}:
            raise ModelFailed(model, "gave rows of different lengths")
        return np.concatenate(outputs)

    return run_rows


def checked(run: Run, model: str, rows: Array) -> Array:
    """Run the model; see that there is one finite output per row.

    Raises:
        ModelFailed: it raised, or gave another number of rows.
        AnswerNotFinite: it gave NaN or infinity.
    """
    outputs = run(rows)
    if len(outputs) != len(rows):
        raise ModelFailed(model, f"gave {len(outputs)} rows for {len(rows)}")
    if outputs.dtype.kind == "f" and not np.isfinite(outputs).all():
        finite = np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)
        raise AnswerNotFinite(model, int(finite.argmin()))
    return outputs


class Waiting:
    """One request's rows in a queue."""

    __slots__ = ("answer", "rows")

    def __init__(self, rows: Array, answer: Promise[Array]) -> None:
        self.rows = rows
        self.answer = answer


@final
class Queue:
    """Requests waiting for a run, in order, with a bound on their rows.

    Args:
        model: its name, for errors.
        max_rows: the bound.
        measure: where the rows that wait are counted.
    """

    def __init__(self, model: str, max_rows: int, measure: ModelMeasure | None = None) -> None:
        self._model = model
        self._max_rows = max_rows
        self._measure = measure or ModelMeasure()
        self._measure.add_queue(self.rows)
        self._waiting: deque[Waiting] = deque()
        self._rows = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the requests, looked up once: a look-up is a system call."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def __len__(self) -> int:
        return len(self._waiting)

    def rows(self) -> int:
        """Return how many rows wait."""
        return self._rows

    def put(self, rows: Array) -> Waiting:
        """Append one request's rows.

        Raises:
            Overloaded: they do not fit, and something waits already.
        """
        if self._waiting and self._rows + len(rows) > self._max_rows:
            raise Overloaded(f"the queue of model {self._model}", self._max_rows, "rows")
        waiting = Waiting(rows, Promise(self.loop))
        self._waiting.append(waiting)
        self._rows += len(rows)
        return waiting

    def forget(self, waiting: Waiting) -> None:
        """Take out what nobody waits for any more, if no run has taken it yet."""
        try:
            self._waiting.remove(waiting)
        except ValueError:
            return
        self._rows -= len(waiting.rows)

    def take(self, max_rows: int) -> list[Waiting]:
        """Take requests of like shape, at least one, of at most `max_rows` rows together."""
        queue = self._waiting
        batch: list[Waiting] = []
        taken = 0
        shape = queue[0].rows.shape[1:]
        while queue:
            rows = queue[0].rows
            if batch and (taken + len(rows) > max_rows or rows.shape[1:] != shape):
                break
            taken += len(rows)
            batch.append(queue.popleft())
        self._rows -= taken
        batch = [waiting for waiting in batch if not waiting.answer.done()]
        if batch:
            self._measure.rows.observe(sum(len(waiting.rows) for waiting in batch))
        return batch

    def close(self) -> None:
        """Fail all that waits with `NotReady`, each with an error of its own: it gets a trail."""
        self._measure.remove_queue(self.rows)
        waiting = list(self._waiting)
        self._waiting.clear()
        self._rows = 0
        deliver(waiting, [NotReady(f"model {self._model}") for _ in waiting])


def run_batch(run: Run, model: str, batch: Sequence[Array]) -> list[Array | ServingError]:
    """Run several requests' rows together, or one by one where that fails.

    Returns:
        For each request its outputs, or the error that its own rows caused.
    """
    if len(batch) == 1:
        return [_attempt(run, model, batch[0])]
    outputs = _attempt(run, model, np.concatenate(batch))
    if isinstance(outputs, ServingError):
        return [_attempt(run, model, rows) for rows in batch]
    answers: list[Array | ServingError] = []
    start = 0
    for rows in batch:
        end = start + len(rows)
        answers.append(outputs[start:end])
        start = end
    return answers


def _attempt(run: Run, model: str, rows: Array) -> Array | ServingError:
    try:
        return checked(run, model, rows)
    except ServingError as error:
        return error
    except Exception as error:  # noqa: BLE001 - whoever waits has to be answered
        failed = ModelFailed(model)
        failed.__cause__ = error
        return failed


def deliver(batch: Sequence[Waiting], answers: Sequence[Array | ServingError]) -> None:
    """Hand each answer to whom still waits for it."""
    for waiting, answer in zip(batch, answers, strict=True):
        if waiting.answer.done():
            continue
        if isinstance(answer, ServingError):
            waiting.answer.set_exception(answer)
        else:
            waiting.answer.set_result(answer)


@final
class TickBatched:
    """Runs together what arrived in one pass of the event loop, on the loop itself.

    There is no timer: the run follows at the end of the same pass. Requests of more rows than
    belong on the loop go to a worker thread.

    Args:
        run: the model.
        model: its name, for errors.
        max_rows: how many rows several requests may have together; 1 runs each by itself.
        most_rows: how many rows one request may have.
        large: runs the requests that have more.
        measure: where its runs are counted.
    """

    def __init__(
        self,
        run: Run,
        *,
        model: str,
        max_rows: int,
        most_rows: int,
        large: Runner,
        measure: ModelMeasure | None = None,
    ) -> None:
        self._run = run
        self._model = model
        self._max_rows = max_rows
        self._most_rows = most_rows
        self._large = large
        self._measure = measure or ModelMeasure()
        self._queue = Queue(model, MAX_QUEUED_ROWS, self._measure)

    def __call__(self, rows: Array, deadline_s: float, /) -> Awaitable[Array]:
        """Return the outputs for `rows`, after the current pass of the loop."""
        if len(rows) > self._most_rows:
            return self._large(rows, deadline_s)
        waiting = self._queue.put(rows)
        if len(self._queue) == 1:
            self._queue.loop.call_soon(self._flush)
        return waiting.answer

    def _flush(self) -> None:
        if not len(self._queue):
            return
        batch = self._queue.take(self._max_rows)
        if len(self._queue):
            self._queue.loop.call_soon(self._flush)
        if batch:
            try:
                answers = run_batch(self._run, self._model, [waiting.rows for waiting in batch])
            except BaseException:  # goes on, once those who wait have been answered
                deliver(batch, [ModelFailed(self._model) for _ in batch])
                raise
            deliver(batch, answers)

    def run(self, rows: Array) -> Array:
        """Run the model at once, for one that batches several models itself.

        Raises:
            NotReady: this is closed.
        """
        self._measure.rows.observe(len(rows))
        return self._run(rows)

    def close(self) -> None:
        """Take no more; what waits fails with `NotReady`."""
        self._run = self._refuse
        self._queue.close()
        self._large.close()

    def _refuse(self, rows: Array) -> Array:
        raise NotReady(f"model {self._model}")
