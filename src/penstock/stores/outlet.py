"""The loop's side of one sink: what waits for it is bounded, what does not fit is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, final

from penstock.core import families
from penstock.core.snapshot import Reading
from penstock.stores.batch import Batch
from penstock.stores.log_thread import LogThread

MAX_WAITING_RECORDS: Final = 16_384
"""Records that may wait for a sink, a batch more or less; further ones are dropped, counted."""

MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
"""What those may hold in memory, inputs and answers mostly."""


@final
class Outlet:
    """Hands batches to the thread of one sink, as long as there is room.

    Args:
        name: of the sink.
        make_thread: makes its thread, which is started with the first batch.
        promises: what has been promised is kept here even where there is no room for more.
    """

    def __init__(
        self, name: str, make_thread: Callable[[], LogThread], *, promises: bool = False
    ) -> None:
        self.name = name
        self._make_thread = make_thread
        self._promises = promises
        self._thread: LogThread | None = None
        self._taken = 0
        self._taken_bytes = 0
        self._full = 0
        self._lost = 0
        self._threadless = ""

    @property
    def waiting(self) -> int:
        """How many records have been handed over and not been written."""
        return self._taken - (0 if self._thread is None else self._thread.done)

    @property
    def dropped(self) -> int:
        """How many records will not be written: there was no room, or the sink refused them."""
        return self._full + self._lost + (0 if self._thread is None else self._thread.lost)

    def has_room(self) -> bool:
        """Tell whether a record can be promised now: there is room, and the sink takes it."""
        return not self.failing and self._fits(1)

    @property
    def failing(self) -> str:
        """Why nothing can be written now; empty where nothing is known to be in the way."""
        return self._threadless if self._thread is None else self._thread.failing

    def _fits(self, times: int) -> bool:
        """Tell whether what waits is within its bounds, or within so many times these."""
        thread = self._thread
        done, done_bytes = (0, 0) if thread is None else (thread.done, thread.done_bytes)
        return (
            self._taken - done < times * MAX_WAITING_RECORDS
            and self._taken_bytes - done_bytes < times * MAX_WAITING_BYTES
        )

    def offer(self, batch: Batch) -> None:
        """Hand over a batch, or as much of it as there is room for; returns at once.

        What is promised has as much room again as everything else: as many requests as were under
        way when there was none left.
        """
        fitting = batch
        if not self._fits(1):
            keeps = self._promises and self._fits(2)
            fitting = batch.only_promised() if keeps else Batch()
            self._full += len(batch) - len(fitting)
        if len(fitting):
            self.begin()
            if self._thread is None:
                self._lost += len(fitting)
                return
            self._taken += len(fitting)
            self._taken_bytes += fitting.size_bytes
            self._thread.write(fitting)

    def begin(self) -> None:
        """Start the thread, if it has not been; where the system has none to give, later."""
        if self._thread is None:
            thread = self._make_thread()
            try:
                thread.start()
            except RuntimeError as error:
                self._threadless = str(error)
            else:
                self._thread = thread

    def stop(self, timeout_s: float) -> bool:
        """Write all that has been handed over, and end; return whether that was done in time."""
        return self._thread is None or self._thread.stop(timeout_s)

    def readings(self) -> Iterator[Reading]:
        """Read what became of the records."""
        name, thread = self.name, self._thread
        written, lost = (0, 0) if thread is None else (thread.written, thread.lost)
        lost += self._lost
        yield families.PREDICTION_RECORDS, (name, "written"), written
        yield families.PREDICTION_RECORDS, (name, "full"), self._full
        yield families.PREDICTION_RECORDS, (name, "lost"), lost
        yield families.PREDICTION_RECORDS_WAITING, (name,), self.waiting
        if thread is not None or self.failing:
            yield families.PREDICTION_LOG_FAILING, (name,), float(bool(self.failing))
        if thread is not None:
            yield families.PREDICTION_LOG_FAILURES, (name,), thread.failures
            yield families.PREDICTION_LOG_BYTES, (name,), thread.bytes

    def detail(self) -> dict[str, Any]:
        """Return how it is, as JSON can hold it; `failing` says why nothing is written now."""
        thread = self._thread
        return {
            "waiting": self.waiting,
            "written": 0 if thread is None else thread.written,
            "full": self._full,
            "lost": self._lost + (0 if thread is None else thread.lost),
            "failing": self.failing or None,
        }
