"""Running a slow model beside the loop: one worker, batching whatever queued while it was busy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeAlias, final

import numpy as np

from penstock.core.clock import Clock
from penstock.core.drive import within
from penstock.core.errors import AnswerNotFinite, ModelFailed, NotReady, ServingError
from penstock.core.measures import ModelMeasure
from penstock.core.model import MODEL_THREAD
from penstock.core.values import Array
from penstock.runtimes.running import MAX_QUEUED_ROWS, Queue, Run, Waiting, deliver, run_batch

Answers: TypeAlias = list[Array | ServingError]


class Worker(Protocol):
    """Runs one batch at a time, elsewhere."""

    def __call__(self, batch: Sequence[Array], /) -> Awaitable[Answers]:
        """Return for each request's rows its outputs or the error they caused."""

    def close(self) -> None:
        """Let go of the thread or process."""


@final
class ThreadWorker:
    """Runs batches in one thread of its own, started with the first.

    Args:
        run: the model; lets go of the interpreter's lock while it works.
        model: its name.
    """

    def __init__(self, run: Run, *, model: str) -> None:
        self._run = run
        self._model = model
        self._thread: ThreadPoolExecutor | None = None

    def __call__(self, batch: Sequence[Array], /) -> Awaitable[Answers]:
        """Run the batch in the thread."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"{MODEL_THREAD}{self._model}")
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._thread, run_batch, self._run, self._model, batch)

    def close(self) -> None:
        """Take no more; a run under way is left to end."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)


@final
class BusyBatched:
    """Hands a worker one batch after the other: what queued while it was busy goes together.

    A request of more than `most_rows` rows is run in pieces between the others', so that none waits
    for all of it. A run cannot be stopped: past a deadline it goes on, and the worker stays taken
    until it ends.

    Args:
        worker: runs the batches.
        model: its name, for errors.
        max_rows: how many rows several requests may have together; 1 runs each by itself.
        most_rows: how many rows one request, or a piece of it, may have.
        clock: for deadlines.
        measure: where its runs are counted.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        model: str,
        max_rows: int,
        most_rows: int,
        clock: Clock,
        measure: ModelMeasure | None = None,
    ) -> None:
        self._worker = worker
        self._model = model
        self._max_rows = max_rows
        self._most_rows = most_rows
        self._clock = clock
        self._queue = Queue(model, MAX_QUEUED_ROWS, measure)
        self._running: asyncio.Future[Answers] | None = None
        self._closed = False

    async def __call__(self, rows: Array, deadline_s: float, /) -> Array:
        """Return the outputs for `rows`."""
        return await within(
            deadline_s, self._in_pieces(rows), clock=self._clock, name=f"model {self._model}"
        )

    async def _in_pieces(self, rows: Array) -> Array:
        if len(rows) <= self._most_rows:
            return await self._one(rows)
        pieces = []
        for start in range(0, len(rows), self._most_rows):
            try:
                pieces.append(await self._one(rows[start : start + self._most_rows]))
            except AnswerNotFinite as error:  # it names the row within the piece
                raise AnswerNotFinite(self._model, start + error.row) from error
        if len({piece.shape[1:] for piece in pieces}) > 1:
            raise ModelFailed(self._model, "gave rows of different lengths")
        return np.concatenate(pieces)

    async def _one(self, rows: Array) -> Array:
        if self._closed:
            raise NotReady(f"model {self._model}")
        waiting = self._queue.put(rows)
        if self._running is None:
            self._next()
        try:
            return await waiting.answer
        except asyncio.CancelledError:
            self._queue.forget(waiting)
            raise

    def _next(self) -> None:
        while len(self._queue):
            batch = self._queue.take(self._max_rows)
            if batch:
                arrays = [waiting.rows for waiting in batch]
                self._running = asyncio.ensure_future(self._worker(arrays))
                self._running.add_done_callback(partial(self._ended, batch))
                return

    def _ended(self, batch: Sequence[Waiting], done: asyncio.Future[Answers]) -> None:
        self._running = None
        if done.cancelled():  # closed before the run began
            deliver(batch, [NotReady(f"model {self._model}") for _ in batch])
        elif (cause := done.exception()) is not None:
            deliver(batch, [self._failed(cause) for _ in batch])
        else:
            deliver(batch, done.result())
        if not self._closed and self._running is None:  # who was answered may have asked again
            self._next()

    def _failed(self, cause: BaseException) -> ModelFailed:
        error = ModelFailed(self._model)
        error.__cause__ = cause
        return error

    def close(self) -> None:
        """Take no more; what waits fails with `NotReady`; a run under way is left to end."""
        self._closed = True
        self._queue.close()
        self._worker.close()
