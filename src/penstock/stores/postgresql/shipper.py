"""Ships records from the outbox of a prediction log to a database, and waits where that is down.

    outbox ──▶ batch ──▶ one transaction: rows, and how far each segment is ──▶ names taken away

Wherever it is killed, the next one goes on from where the database says. Nothing that writes the
log waits for it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Final, final

from msgspec.structs import replace

from penstock.core.clock import Clock
from penstock.core.log import Says
from penstock.stores.postgresql.batch_store import BatchStore, Database, Stored
from penstock.stores.postgresql.database import CannotShip
from penstock.stores.postgresql.outbox import Bounds, Outbox
from penstock.stores.postgresql.reader import Batch, OutboxReader
from penstock.stores.postgresql.status import STATUS_S, ShipStatus, write_status
from penstock.stores.prediction_record import PredictionRecord, UnreadableRecord, decode_record

POLL_S: Final = 0.5
"""How often what is new in the outbox is looked for."""

FIRST_RETRY_S: Final = 0.5
"""The first pause after an attempt that failed; it doubles each time."""

LONGEST_RETRY_S: Final = 30.0
"""The longest pause between two attempts."""

LAST_S: Final = 5.0
"""How long a shipper that is told to stop goes on shipping what is there."""

BOUND_S: Final = 10.0
"""How often the outbox is looked at for being too full."""


@final
class Shipper:
    """Ships what is in an outbox.

    Args:
        outbox: where records wait; nobody else ships from it.
        database: where they go.
        clock: tells the time; no alarms are set.
        log: is told of outages, and of what is lost.
        bounds: how much may wait, and how long.
        status: of an earlier shipper: its counts are gone on with.
        step: is told each step before it is taken.

    Attributes:
        status: what has become of the records.
    """

    def __init__(
        self,
        outbox: Outbox,
        database: Database,
        *,
        clock: Clock,
        log: Says,
        bounds: Bounds,
        status: ShipStatus | None = None,
        step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._outbox = outbox
        self._database = database
        self._clock = clock
        self._log = log
        self._bounds = bounds
        self._step = step
        self._reader = OutboxReader(outbox, warn=log.warning)
        self._store = BatchStore(database)
        self._forget: tuple[str, ...] = ()
        self._bounded_s = self._told_s = float("-inf")
        self._told = ShipStatus()
        before = status or ShipStatus()
        began_s = before.began_s or clock.wall_s()
        self.status = replace(before, pid=os.getpid(), began_s=began_s, failing="", error="")

    def run(self, stopping: threading.Event, is_orphaned: Callable[[], bool]) -> None:
        """Ship what comes until told to stop, then for some seconds what is left.

        Args:
            stopping: tells to stop.
            is_orphaned: tells that whoever started this has gone.
        """
        failures = 0
        while not stopping.is_set() and not is_orphaned():
            try:
                self.ship_all(stopping.is_set)
                failures = 0
            except CannotShip as error:
                failures += 1
                self._is_down(error)
            self.tell()
            stopping.wait(retry_s(failures) if failures else POLL_S)
        until_s = self._clock.now_s() + LAST_S
        try:
            self.ship_all(lambda: self._clock.now_s() >= until_s)
        except CannotShip as error:
            self._is_down(error)
        self.tell()
        self._database.close()

    def ship_all(self, stops: Callable[[], bool] = lambda: False) -> None:
        """Ship until nothing is there to be shipped, or `stops` says so.

        Raises:
            CannotShip: the database is out of reach, or refuses; or the disk.
        """
        try:
            self._keep_bounds()
            if not self._database.is_open:
                self._forget = self._reader.begin(self._database.open())
            while self._ship_next() and not stops():
                self._keep_bounds()
                if self._clock.now_s() - self._told_s >= POLL_S:
                    self.tell()
        except OSError as error:
            raise CannotShip("outbox", f"the outbox cannot be read: {error}") from error

    def _ship_next(self) -> bool:
        """Ship one batch; tell whether there was anything."""
        self._step("read")
        batch = self._reader.next_batch()
        if batch.is_empty:
            if self._forget:
                self._database.ship((), {}, self._forget)
                self._forget = ()
            self.status = replace(self.status, caught_up_s=self._clock.wall_s())
            self._is_up()
            return False
        records = _records(batch)
        self._step("ship")
        if batch.positions:
            stored = self._store.store(records, batch.positions, self._forget)
            self._forget = ()
        else:
            stored = Stored()
        self._step("delete")
        self._forget += self._reader.done(batch)
        self._is_up()
        self._count(stored, batch.damaged + len(batch.payloads) - len(records), batch.torn_bytes)
        return True

    def _count(self, stored: Stored, unreadable: int, torn_bytes: int) -> None:
        status = self.status
        self.status = replace(
            status,
            shipped=status.shipped + stored.new,
            known=status.known + stored.known,
            bare=status.bare + stored.bare,
            refused=status.refused + stored.refused,
            unreadable=status.unreadable + unreadable,
        )
        if torn_bytes or unreadable:
            what = f"{unreadable} records cannot be read, {torn_bytes} bytes are torn"
            self._log.warning(f"not all of the outbox is shipped: {what}")
        if stored.refused:
            self._log.error(f"the database refuses {stored.refused} records: {stored.refusal}")

    # --- what it tells ---

    def _keep_bounds(self) -> None:
        now_s = self._clock.now_s()
        if now_s - self._bounded_s < BOUND_S:
            return
        self._bounded_s = now_s
        dropped = self._reader.bound(self._bounds, self._clock.wall_s())
        if dropped.segments:
            self.status = replace(self.status, dropped=self.status.dropped + dropped.records)
            self._log.error(
                f"the outbox for PostgreSQL is too full, or too old: {dropped.records} records in "
                f"{dropped.segments} segments are dropped and will not be shipped"
            )

    def _is_down(self, error: CannotShip) -> None:
        self._database.close()
        status, first = self.status, not self.status.failing
        self.status = replace(
            status,
            failures=status.failures + 1,
            outages=status.outages + first,
            failing=error.reason,
            error=error.message,
            failing_s=self._clock.wall_s() if first else status.failing_s,
        )
        if first:
            what = "records are not shipped to PostgreSQL; they wait in the outbox"
            self._log.warning(what, why=error.message, code=error.reason)

    def _is_up(self) -> None:
        status = self.status
        if status.failing:
            took_s = self._clock.wall_s() - status.failing_s
            self._log.info(f"records are shipped to PostgreSQL again, after {took_s:.0f} s")
            self.status = replace(status, failing="", error="", failing_s=0.0)

    def tell(self) -> None:
        """Write the status to its file, where something has changed, or it is time to."""
        now_s = self._clock.now_s()
        backlog = self._reader.backlog()
        status = replace(self.status, waiting=backlog.records, waiting_bytes=backlog.size_bytes)
        self.status = status
        counts = replace(status, written_s=0.0, caught_up_s=0.0)
        if counts == self._told and now_s - self._told_s < STATUS_S:
            return
        self._told, self._told_s = counts, now_s
        try:
            write_status(self._outbox, replace(status, written_s=self._clock.wall_s()))
        except OSError as error:
            self._log.error("the shipper's status cannot be written", error=error)


def retry_s(failures: int) -> float:
    """Return how long to wait after so many attempts in a row that failed."""
    return min(FIRST_RETRY_S * 2.0 ** min(failures - 1, 10), LONGEST_RETRY_S)


def _records(batch: Batch) -> list[PredictionRecord]:
    """Return those of the records that can be read."""
    found = []
    for payload in batch.payloads:
        with contextlib.suppress(UnreadableRecord):
            found.append(decode_record(payload))
    return found
