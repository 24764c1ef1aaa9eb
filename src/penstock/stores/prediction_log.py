"""The prediction log of one process: takes records on the event loop, has them written beside it.

    recorder ──▶ batch ──▶ 256 records or 50 ms ──┬──▶ thread ──▶ segments in a folder
                                                  └──▶ thread ──▶ lines on standard output

To take a record costs the loop an append, and of a plain answer its encoding. A killed process
loses what has not been handed to the system: what came within the last 50 ms, and what a thread had
not come to; a normal stop loses nothing. A sink that does not keep up has its own bounded queue:
what does not fit is dropped and counted there, and no other sink and no answer knows of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, final

from penstock.core import families
from penstock.core.clock import Clock, Timer
from penstock.core.ids import IdSource
from penstock.core.log import Says
from penstock.core.record import Record, Recorder
from penstock.core.snapshot import Reading
from penstock.stores.batch import Batch
from penstock.stores.line_sink import LineSink
from penstock.stores.log_folder import key_of
from penstock.stores.log_thread import LogThread, Pace
from penstock.stores.make_record import RecordMaker, StatusOf, entry_of
from penstock.stores.outlet import Outlet
from penstock.stores.policy import LogPolicy, Policies
from penstock.stores.quick_record import quick_record
from penstock.stores.segment_sink import SegmentSink
from penstock.stores.sink import Sink
from penstock.stores.sinks import LogPlaces

FLUSH_RECORDS: Final = 256
"""Records that are handed over together."""

FLUSH_BYTES: Final = 1024 * 1024
"""What those of one kind (see `batch.py`) may hold; with more all are handed over before."""

FLUSH_S: Final = 0.050
"""How long after it came a record is handed over at the latest."""

CLOSE_TIMEOUT_S: Final = 10.0
"""How long a stop waits for what is left to be written."""

_KEY_BYTES: Final = 32


@final
class PredictionLog:
    """Takes records, and has them written to all sinks.

    The first sink is the folder's segments where there is a folder: whether a record can be
    promised (`on_full: block`) is for it to say.

    Args:
        places: where records go; where that is nowhere, every record is lost, and counted.
        clock: tells the time, and when what came must be handed over.
        log: is told what is odd.
        status_of: the status that an error is answered with.
        key: of digests; the folder's own unless given.
        began: is told, in the segments' thread, of each segment before anything is added to it; it
            raises nothing.
        pace: how long it waits for what.
    """

    def __init__(
        self,
        places: LogPlaces,
        *,
        clock: Clock,
        log: Says,
        status_of: StatusOf,
        key: bytes | None = None,
        began: Callable[[Path], None] = lambda _: None,
        pace: Pace = Pace(),  # noqa: B008 - it is frozen
    ) -> None:
        self._places = places
        self._clock = clock
        self._now_s = clock.now_s
        self._wall_s = clock.wall_s
        self._log = log
        self._status_of = status_of
        self._key = key
        self._own_key = os.urandom(_KEY_BYTES)
        self._began = began
        self._pace = pace
        self._new_id = IdSource().new_id
        self._outlets = self._made_outlets(places)
        self._batch = Batch()
        self._count = 0
        self._timer: Timer | None = None
        self._closed = False
        self._said = False
        self._left_out = 0
        self._nowhere = 0

    # --- on the loop ---------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many records have been taken and not been written by the first sink."""
        return self._count + (self._outlets[0].waiting if self._outlets else 0)

    def has_room(self) -> bool:
        """Tell whether a record can be promised now: there is room, and the sink takes it."""
        return bool(self._outlets) and not self._closed and self._outlets[0].has_room()

    def recorder(self, policies: Policies) -> Recorder:
        """Return what takes the records of shadows and observed arms of these routes' requests.

        It passes over those of other routes. What takes a route's own records is its `taker`.
        """
        if policies and not self._said:
            self._said = True
            self._warn()
        if self._outlets and any(policy.blocks for policy in policies.values()):
            self._outlets[0].begin()  # what is in its way is known before anything is promised
        return _GraphRecorder({name: self.taker(policy) for name, policy in policies.items()})

    def _warn(self) -> None:
        if not self._outlets:
            self._log.warning(
                "predictions are not recorded: there is no folder for them; give --log-dir, or "
                "--log-sink stdout"
            )
        elif self._places.folder is None and self._key is None:
            self._log.warning(
                "digests in the prediction log can be compared within one process only: there is "
                "no folder for their key; give PENSTOCK_LOG_KEY"
            )

    def taker(self, policy: LogPolicy) -> Recorder:
        """Return what takes the records of requests to a route; that returns at once."""
        return partial(self._take, policy, policy.is_plain)

    def _take(self, policy: LogPolicy, is_plain: bool, record: Record) -> None:
        if policy.sample_percent < 100.0 and not policy.samples(record):
            self._left_out += 1
            return
        if self._closed or not self._outlets:
            self._nowhere += 1
            return
        request, batch = record.request, self._batch
        record_id = "" if request is None else request.record_id
        if not record_id:
            record_id = self._new_id()
        encoded = batch.promised if policy.blocks else batch.plain
        ended_s = self._wall_s()
        if is_plain and quick_record(record, policy, ended_s, record_id, encoded):
            held_bytes = len(encoded.records)
        else:
            batch.add(entry_of(record, policy, ended_s, record_id))
            held_bytes = batch.entry_bytes
        count = self._count = self._count + 1
        if count >= FLUSH_RECORDS or held_bytes >= FLUSH_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = self._clock.call_at(self._now_s() + FLUSH_S, self.flush)

    def flush(self) -> None:
        """Hand over what has been taken."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._count:
            batch, self._batch, self._count = self._batch, Batch(), 0
            for outlet in self._outlets:
                outlet.offer(batch)

    def begin(self) -> None:
        """Have what killed processes have left looked at now, not at the first record."""
        folder = self._places.folder
        if folder is not None and Path(folder).is_dir():
            self._outlets[0].begin()

    async def close(self, timeout_s: float | None = None) -> None:
        """Write all that has been taken, and tell what cannot be; what comes later is lost.

        Args:
            timeout_s: how long that may take; `CLOSE_TIMEOUT_S` unless given.
        """
        timeout_s = CLOSE_TIMEOUT_S if timeout_s is None else timeout_s
        before = [outlet.dropped for outlet in self._outlets]
        self.flush()
        self._closed = True
        stops = [asyncio.to_thread(one.stop, timeout_s) for one in self._outlets]
        in_time = await asyncio.gather(*stops)
        for outlet, dropped, was_in_time in zip(self._outlets, before, in_time, strict=True):
            if lost := outlet.dropped - dropped:
                self._log.error(f"{lost} predictions could not be recorded", sink=outlet.name)
            if not was_in_time:
                what = f"{outlet.waiting} predictions could not be recorded in time"
                self._log.error(what, sink=outlet.name)

    def readings(self) -> Iterator[Reading]:
        """Read what became of the records."""
        yield families.PREDICTION_RECORDS_LEFT_OUT, (), self._left_out
        yield families.PREDICTION_RECORDS, ("none", "lost"), self._nowhere
        for outlet in self._outlets:
            yield from outlet.readings()

    def detail(self) -> dict[str, Any]:
        """Return how the log is, as JSON can hold it."""
        return {
            "folder": self._places.folder,
            "sinks": {outlet.name: outlet.detail() for outlet in self._outlets},
            "left_out": self._left_out,
            "lost": self._nowhere,
        }

    # --- threads -------------------------------------------------------------------------

    def _made_outlets(self, places: LogPlaces) -> tuple[Outlet, ...]:
        made: list[Outlet] = []
        if places.folder is not None:
            folder = Path(places.folder)
            segments = SegmentSink(folder, clock=self._clock, pace=self._pace, began=self._began)
            made.append(self._outlet(segments, partial(self._maker, folder), promises=True))
        if places.stdout:
            made.append(self._outlet(LineSink(), self._maker_of_lines, promises=not made))
        return tuple(made)

    def _outlet(self, sink: Sink, maker: Callable[[], RecordMaker], *, promises: bool) -> Outlet:
        return Outlet(sink.name, partial(self._thread, sink, maker), promises=promises)

    def _maker(self, folder: Path) -> RecordMaker:
        return self._made(self._key or key_of(folder))

    def _maker_of_lines(self) -> RecordMaker:
        """Return what makes lines; a folder that cannot be read must not hold them up."""
        if self._key is None and self._places.folder is not None:
            with contextlib.suppress(OSError):
                return self._maker(Path(self._places.folder))
        return self._made(self._key or self._own_key)

    def _made(self, key: bytes) -> RecordMaker:
        return RecordMaker(key, self._status_of)

    def _thread(self, sink: Sink, maker: Callable[[], RecordMaker]) -> LogThread:
        loop = asyncio.get_running_loop()

        def tell(sentence: str, error: BaseException | None) -> None:
            say: Callable[[], None]
            if error is None:
                say = partial(self._log.warning, sentence)
            else:
                say = partial(self._log.error, sentence, error=error)
            with contextlib.suppress(RuntimeError):  # the loop has ended before this thread
                loop.call_soon_threadsafe(say)

        return LogThread(sink, maker=maker, tell=tell, pace=self._pace)


@final
class _GraphRecorder:
    __slots__ = ("_takers",)

    def __init__(self, takers: Mapping[str, Recorder]) -> None:
        self._takers = takers

    def __call__(self, record: Record) -> None:
        """Take a record if its request came in by a route that is logged."""
        take = None if record.request is None else self._takers.get(record.request.route)
        if take is not None:
            take(record)
