"""A thread that makes records of what the loop hands over, and appends them to a sink."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, final

from msgspec import Struct

from penstock.stores.batch import Batch, Encoded
from penstock.stores.log_folder import KEEP_DAYS
from penstock.stores.make_record import RecordMaker
from penstock.stores.segment import split
from penstock.stores.sink import Sink

RETRY_S: Final = 1.0
"""How long after a write that failed the next one is tried."""

MAX_SEGMENT_S: Final = 300.0
"""A segment that is older is closed, so that others may have it; also when nothing is written."""

KEEP_CHECK_S: Final = 3600.0
"""How often segments are looked for that have been kept long enough."""

_AT_ONCE: Final = 32
"""Records that are made before the loop's thread gets its turn, if it wants one."""

Tell = Callable[[str, BaseException | None], None]
"""Says something from this thread: what has happened, and what it comes from."""


class Pace(Struct, frozen=True, kw_only=True):
    """How long a log waits for what.

    Attributes:
        retry_s: after a write that failed, before the next one.
        segment_s: how old a segment gets.
        check_s: between looks for segments that have been kept long enough.
        keep_days: how long they are kept.
    """

    retry_s: float = RETRY_S
    segment_s: float = MAX_SEGMENT_S
    check_s: float = KEEP_CHECK_S
    keep_days: float = KEEP_DAYS


@final
class LogThread:
    """Appends batches in their order, and tries again where the sink refuses.

    Args:
        sink: takes the records.
        maker: makes what makes them; may raise OSError, and is asked again then.
        tell: says what is odd.
        pace: how long it waits for what.

    Attributes:
        done: how many records have been written or lost: they wait no more.
        done_bytes: what those held in memory.
        written: how many records were written.
        lost: how many could not be, or have gone since.
        failures: how many attempts to write failed.
        failing: why the last one did; empty where it did not.
        bytes: how much was written.
    """

    def __init__(
        self, sink: Sink, *, maker: Callable[[], RecordMaker], tell: Tell, pace: Pace
    ) -> None:
        self._sink = sink
        self._make_maker = maker
        self._tell = tell
        self._pace = pace
        self._batches: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._maker: RecordMaker | None = None
        self.done = 0
        self.done_bytes = 0
        self.written = 0
        self.lost = 0
        self._gone = 0
        self.failures = 0
        self.failing = ""
        self.bytes = 0
        # It ends with the process even where a disk never answers.
        self._thread = threading.Thread(target=self._run, name=f"log-{sink.name}", daemon=True)

    def start(self) -> None:
        """Begin: first with what killed processes have left."""
        self._thread.start()

    def write(self, batch: Batch) -> None:
        """Have a batch written; returns at once. Nothing may be added to it any more."""
        self._batches.put(batch)

    def stop(self, timeout_s: float) -> bool:
        """Write what has been handed over, and end; return whether that was done in time."""
        self._stopping.set()
        self._batches.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._prepare()
        self._recover()
        for batch in self._taken():
            self._store(batch)
        self._sink.close()
        self._look()

    def _recover(self) -> None:
        try:
            for sentence in self._sink.begin():
                self._tell(sentence, None)
        except OSError as error:
            self._tell(f"the prediction log's {self._sink.name} cannot be read", error)

    def _prepare(self) -> None:
        """Have what makes records made, before there are any: what is in its way is said now."""
        while self._maker is None and not self._stopping.is_set():
            try:
                self._maker = self._make_maker()
            except OSError as error:
                self._failed(error)
                self._stopping.wait(self._pace.retry_s)
            else:
                self._works()

    def _taken(self) -> Iterator[Batch]:
        while True:
            try:
                batch = self._batches.get(timeout=self._pace.segment_s)
            except queue.Empty:
                self._sink.rest()
                self._look()
                continue
            if batch is None:
                return
            yield batch

    def _store(self, batch: Batch) -> None:
        records: Encoded | None = None
        while True:
            is_last = self._stopping.is_set()  # told to stop, what waits is tried once more
            try:
                if records is None:
                    records = self._made(batch)
                if records.count:
                    self._append(records.records)
            except OSError as error:
                self._failed(error)
                if is_last:
                    self.lost += len(batch) if records is None else records.count
                    break
                self._stopping.wait(self._pace.retry_s)
            else:
                self.written += records.count
                break
        self.done_bytes += batch.size_bytes
        self.done += len(batch)

    def _made(self, batch: Batch) -> Encoded:
        """Return a batch as the sink takes it, without what cannot be kept."""
        if self._maker is None:
            self._maker = self._make_maker()
        made = Encoded()
        for encoded in (batch.plain, batch.promised):
            if encoded.count:
                self._add(made, encoded.records, encoded.count)
        for number, entry in enumerate(batch.entries, 1):
            try:
                payload = self._maker.payload_of(entry)
            except Exception as error:  # noqa: BLE001 - one that cannot be kept costs no other
                self._lose(error)
            else:
                self._add(made, payload, 1)
            if not number % _AT_ONCE:
                time.sleep(0)
        return made

    def _add(self, made: Encoded, records: bytes | bytearray, count: int) -> None:
        try:
            made.records += self._sink.encoded(records, count)
            made.count += count
        except Exception as error:  # noqa: BLE001 - likewise
            if count == 1:
                self._lose(error)
            else:
                self._add_each(made, records, count)

    def _add_each(self, made: Encoded, records: bytes | bytearray, count: int) -> None:
        try:
            each = split(records, count)
        except ValueError as error:
            self._lose(error, count)
        else:
            for record in each:
                self._add(made, record, 1)

    def _lose(self, error: Exception, count: int = 1) -> None:
        self.lost += count
        what = "a prediction" if count == 1 else f"{count} predictions"
        self._tell(f"{what} could not be recorded", error)

    def _append(self, records: bytearray) -> None:
        self._sink.append(records)
        self.bytes += len(records)
        self._works()
        self._look()

    def _look(self) -> None:
        """Count and tell what somebody has deleted that was counted as written."""
        gone, self._gone = self._sink.gone - self._gone, self._sink.gone
        if gone:
            self.lost += gone
            what = f"{gone} predictions that had been recorded have gone: what they were written to"
            self._tell(f"{what} in the prediction log's {self._sink.name} was deleted", None)

    def _works(self) -> None:
        if self.failing:
            self.failing = ""
            self._tell(f"the prediction log's {self._sink.name} can be written again", None)

    def _failed(self, error: OSError) -> None:
        self.failures += 1
        if not self.failing:  # one line each time that it begins
            what = f"the prediction log's {self._sink.name} cannot be written; records wait"
            self._tell(f"{what}, then they are dropped", error)
        self.failing = error.strerror or str(error)
