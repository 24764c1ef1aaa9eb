"""Reads what is in an outbox in batches, and takes away what has been shipped."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, final

from msgspec import Struct
from msgspec.structs import replace

from penstock.stores.log_folder import DAY_S
from penstock.stores.postgresql.outbox import Bounds, Outbox, Waiting
from penstock.stores.postgresql.tail import Stretch, counted, stretch_of
from penstock.stores.segment import HEAD, NoSegment
from penstock.stores.segment_writer import owned

MAX_BATCH_BYTES: Final = 2 * 1024 * 1024
"""Records that are shipped together, a frame more or less."""


class Batch(Struct, frozen=True):
    """What is shipped together.

    Attributes:
        payloads: of the records, in the order of their segments.
        positions: how far each segment's records have been shipped then, by its name.
        records: how many of each segment those are.
        finished: segments of which nothing is left then.
        damaged: records that are passed over, as they are damaged.
        torn_bytes: what stands at the ends of finished segments and is no record.
    """

    payloads: tuple[bytes, ...] = ()
    positions: Mapping[str, int] = {}
    records: Mapping[str, int] = {}
    finished: tuple[Path, ...] = ()
    damaged: int = 0
    torn_bytes: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do for it."""
        return not self.positions and not self.finished


class Backlog(Struct, frozen=True):
    """What waits to be shipped.

    Attributes:
        records: how many.
        size_bytes: what they are in the segments.
        segments: in how many they are, or may still come.
    """

    records: int = 0
    size_bytes: int = 0
    segments: int = 0


class Dropped(Struct, frozen=True):
    """What has been dropped, as the outbox was full, or it waited too long.

    Attributes:
        segments: how many.
        records: how many in them had not been shipped.
    """

    segments: int = 0
    records: int = 0


class _Part(Struct, frozen=True):
    """What a batch takes of one segment."""

    stretch: Stretch
    finished: bool = False
    torn_bytes: int = 0


class _Counted(Struct, frozen=True):
    """How many records wait in a segment between its position and an offset.

    Attributes:
        at: where what is counted ends.
        stop: the size that the file had then; nothing more is to be found before it grows.
        records: how many.
    """

    at: int
    stop: int = -1
    records: int = 0


@final
class OutboxReader:
    """Knows how far each segment in an outbox has been shipped.

    Args:
        outbox: to be read.
        warn: is told in a sentence what cannot be read; once of each segment.
        max_bytes: of a batch.
    """

    def __init__(
        self, outbox: Outbox, *, warn: Callable[[str], None], max_bytes: int = MAX_BATCH_BYTES
    ) -> None:
        self._outbox = outbox
        self._warn = warn
        self._max_bytes = max_bytes
        self._positions: dict[str, int] = {}
        self._counted: dict[str, _Counted] = {}
        self._unreadable: set[str] = set()

    def begin(self, positions: Mapping[str, int]) -> tuple[str, ...]:
        """Go on from where the database says; return the names that it may forget."""
        there = {one.path.name for one in self._outbox.segments()}
        self._positions = {name: at for name, at in positions.items() if name in there}
        self._counted.clear()
        return tuple(name for name in positions if name not in there)

    def next_batch(self) -> Batch:
        """Return what is to be shipped next; empty where there is nothing now."""
        payloads: list[bytes] = []
        positions: dict[str, int] = {}
        records: dict[str, int] = {}
        finished: list[Path] = []
        damaged = torn_bytes = 0
        left = self._max_bytes
        for one in self._outbox.segments():
            part = self._part_of(one, left)
            if part is None:
                continue
            stretch = part.stretch
            if stretch.payloads:
                payloads += stretch.payloads
                positions[one.path.name] = stretch.end
                records[one.path.name] = len(stretch.payloads) + stretch.damaged
                left -= sum(map(len, stretch.payloads))
            if part.finished:
                finished.append(one.path)
            damaged += stretch.damaged
            torn_bytes += part.torn_bytes
            if left <= 0:
                break
        return Batch(tuple(payloads), positions, records, tuple(finished), damaged, torn_bytes)

    def _part_of(self, segment: Waiting, max_bytes: int) -> _Part | None:
        path = segment.path
        try:
            return self._read(path, self._positions.get(path.name, 0), max_bytes)
        except FileNotFoundError:
            return None  # somebody has taken it away
        except (OSError, NoSegment) as error:
            if path.name not in self._unreadable:
                self._unreadable.add(path.name)
                self._warn(f"{path.name} cannot be shipped: {error}")
            return None

    def _read(self, path: Path, start: int, max_bytes: int) -> _Part:
        stretch = stretch_of(path, start, max_bytes)
        if stretch.closed:
            return _Part(stretch, finished=True)
        if stretch.payloads:
            return _Part(stretch)
        if start and path.stat().st_size != start and counted(path, 0, start)[1] != start:
            # A write that failed was read before it was taken back, and something else stands
            # there now. What is shipped twice is recognized by its key.
            return self._read(path, 0, max_bytes)
        with owned(path) as file:
            if file is None:
                return _Part(stretch)
            stretch = stretch_of(path, start, max_bytes)  # nobody adds to it any more
            if stretch.payloads or stretch.closed:
                return _Part(stretch, finished=stretch.closed)
            return _Part(stretch, True, path.stat().st_size - stretch.end)

    def done(self, batch: Batch) -> tuple[str, ...]:
        """Note that a batch is in the database; return the names that it may forget.

        Raises:
            OSError: a segment cannot be taken away.
        """
        for name, position in batch.positions.items():
            self._positions[name] = position
            known = self._counted.pop(name, None)
            if known is not None and known.at >= position:
                left = max(0, known.records - batch.records[name])
                self._counted[name] = replace(known, records=left)
        for path in batch.finished:
            path.unlink(missing_ok=True)
        return self._forget(path.name for path in batch.finished)

    def backlog(self) -> Backlog:
        """Count what waits now."""
        records = size_bytes = segments = 0
        for one in self._outbox.segments():
            segments += 1
            with contextlib.suppress(OSError):
                records += self._records(one)
            at = self._positions.get(one.path.name, len(HEAD))
            size_bytes += max(0, one.size_bytes - at)
        return Backlog(records, size_bytes, segments)

    def _records(self, segment: Waiting) -> int:
        """Return how many records wait in a segment; only what has come since is counted anew."""
        name, stop = segment.path.name, segment.size_bytes
        known = self._counted.get(name)
        if known is None or known.at > stop:  # a write that failed has been taken back
            known = _Counted(self._positions.get(name, 0))
        if known.stop != stop:
            try:
                more, at = counted(segment.path, known.at, stop)
            except NoSegment:
                more, at = 0, known.at
            known = self._counted[name] = _Counted(at, stop, known.records + more)
        return known.records

    def bound(self, bounds: Bounds, wall_s: float) -> Dropped:
        """Drop the oldest segments that are closed, until the rest is within the bounds.

        Args:
            bounds: how much may wait, and how long.
            wall_s: now, in seconds since the epoch.
        """
        waiting = list(self._outbox.segments())
        total = sum(one.size_bytes for one in waiting)
        records, dropped = 0, list[str]()
        for one in waiting:
            if total <= bounds.max_bytes and one.changed_s > wall_s - bounds.keep_days * DAY_S:
                continue
            with contextlib.suppress(OSError):  # gone meanwhile, or it stays until the next time
                lost = self._records(one)
                if self._outbox.drop(one.path):
                    total -= one.size_bytes
                    records += lost
                    dropped.append(one.path.name)
        self._forget(dropped)
        return Dropped(len(dropped), records)

    def _forget(self, names: Iterator[str] | list[str]) -> tuple[str, ...]:
        forgotten = tuple(names)
        for name in forgotten:
            self._positions.pop(name, None)
            self._counted.pop(name, None)
            self._unreadable.discard(name)
        return forgotten
