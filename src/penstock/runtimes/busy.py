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
from penstock.core.errors import NotReady, ServingError
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
            self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"model-{self._model}")
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._thread, run_batch, self._run, self._model, batch)

    def close(self) -> None:
        """Take no more; a run under way is left to end."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)


@final
class BusyBatched:
    """Hands a worker one batch after the other: what queued while it was busy goes together.

    A request of more than `max_rows` rows is run in pieces between the others', so that none waits
    for all of it. A run cannot be stopped: past a deadline it goes on, and the worker stays taken
    until it ends.

    Args:
        worker: runs the batches.
        model: its name, for errors.
        max_rows: how many rows are run at once; 1 for models that gain nothing from a batch.
        clock: for deadlines.
    """

    def __init__(self, worker: Worker, *, model: str, max_rows: int, clock: Clock) -> None:
        self._worker = worker
        self._model = model
        self._max_rows = max_rows
        self._clock = clock
        self._queue = Queue(model, MAX_QUEUED_ROWS)
        self._running: asyncio.Future[Answers] | None = None
        self._closed = False

    async def __call__(self, rows: Array, deadline_s: float, /) -> Array:
        """Return the outputs for `rows`."""
        return await within(
            deadline_s, self._in_pieces(rows), clock=self._clock, name=f"model {self._model}"
        )

    async def _in_pieces(self, rows: Array) -> Array:
        if len(rows) <= self._max_rows:
            return await self._one(rows)
        starts = range(0, len(rows), self._max_rows)
        return np.concatenate([await self._one(rows[i : i + self._max_rows]) for i in starts])

    async def _one(self, rows: Array) -> Array:
        if self._closed:
            raise NotReady(f"model {self._model}")
        waiting = self._queue.put(rows)
        if self._running is None:
            self._next()
        try:
            return await waiting.answer
        finally:
            self._queue.forget(waiting)

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
        failure = NotReady(f"model {self._model}") if done.cancelled() else done.exception()
        if failure is None:
            deliver(batch, done.result())
        else:
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(failure)
        if not self._closed and self._running is None:  # who was answered may have asked again
            self._next()

    def close(self) -> None:
        """Take no more; what waits fails with `NotReady`; a run under way is left to end."""
        self._closed = True
        self._queue.fail_all()
        self._worker.close()
