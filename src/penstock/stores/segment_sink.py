"""Records as segments in a folder: recovered, begun, rotated, and dropped when they are old."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, final

from penstock.core.clock import Clock
from penstock.stores.log_folder import SEGMENTS, drop_old_segments
from penstock.stores.log_thread import Pace
from penstock.stores.recovery import recovered
from penstock.stores.segment import framed
from penstock.stores.segment_writer import SegmentWriter

SEGMENTS_SINK: Final = "segments"


@final
class SegmentSink:
    """Appends to this process's segments in the folder of a log.

    Args:
        folder: of the log.
        clock: tells the time; from another thread than the loop's.
        pace: how long it waits for what.
        began: is told of each segment before anything is added to it; it raises nothing.
    """

    name = SEGMENTS_SINK

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock,
        pace: Pace,
        began: Callable[[Path], None] = lambda _: None,
    ) -> None:
        self._segments = folder / SEGMENTS
        self._clock = clock
        self._pace = pace
        self._writer = SegmentWriter(self._segments, began=began)
        self._began_s = 0.0
        self._checked_s = float("-inf")

    @property
    def gone(self) -> int:
        """How many records were appended to segments that were deleted meanwhile."""
        return self._writer.gone

    def begin(self) -> Iterator[str]:
        """Close what killed processes have left open, and yield what was found.

        Raises:
            OSError: the folder cannot be read.
        """
        return recovered(self._segments)

    def encoded(self, records: bytes | bytearray, count: int) -> bytes:
        """Return records as a frame.

        Raises:
            ValueError: they are larger than a frame may be.
        """
        return framed(records, count)

    def append(self, records: bytes | bytearray) -> None:
        """Append frames, all or none; to another segment where this one is old.

        Raises:
            OSError: they cannot be written.
        """
        now_s, wall_s = self._clock.now_s(), self._clock.wall_s()
        if self._writer.is_open and now_s - self._began_s >= self._pace.segment_s:
            self._writer.close()
        if not self._writer.is_open:
            self._began_s = now_s
            self._drop_old(now_s, wall_s)
        self._writer.append(records, wall_s)

    def _drop_old(self, now_s: float, wall_s: float) -> None:
        if now_s - self._checked_s >= self._pace.check_s:
            self._checked_s = now_s
            drop_old_segments(self._segments, wall_s, self._pace.keep_days)

    def rest(self) -> None:
        """Close the segment, so that others may have it."""
        self._writer.close()

    def close(self) -> None:
        """Close the segment."""
        self._writer.close()
