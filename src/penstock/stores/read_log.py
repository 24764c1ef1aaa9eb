"""Reading the newest of a prediction log, while it is written to. Works without any extra."""

from __future__ import annotations

import contextlib
import heapq
import os
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias, final

import msgspec

from penstock.stores.log_folder import SEGMENTS
from penstock.stores.prediction_record import PredictionRecord, UnreadableRecord, decode_record
from penstock.stores.segment import (
    END,
    HEAD,
    Frame,
    NoSegment,
    SegmentReader,
    frames_from,
    is_begun,
)
from penstock.stores.segment_writer import segments_in

Keep: TypeAlias = Callable[[PredictionRecord], bool]
Warn: TypeAlias = Callable[[str], None]

Json: TypeAlias = dict[str, Any]

_TIME: Final = attrgetter("time_us")

NOWHERE: Final[Mapping[str, int]] = {}


def records_of(path: Path, warn: Warn, upto: int | None = None) -> Iterator[PredictionRecord]:
    """Yield a segment's records in their order.

    Args:
        path: of the segment.
        warn: is told in a sentence what cannot be read.
        upto: where to stop, in bytes; at the end unless given.
    """
    reader = SegmentReader(path)
    unreadable = 0
    try:
        for payload in reader.payloads():
            if upto is not None and reader.whole_bytes > upto:
                break
            try:
                yield decode_record(payload)
            except UnreadableRecord:
                unreadable += 1
    except FileNotFoundError:
        return  # it has been taken away meanwhile: what was in it stands elsewhere
    except (OSError, NoSegment) as error:
        warn(f"{path.name}: cannot be read: {error}")
    if unreadable or reader.damaged:
        warn(f"{path.name}: {unreadable + reader.damaged} records cannot be read")


def newest(
    folder: Path, count: int, keep: Keep, warn: Warn, ends: Mapping[str, int] = NOWHERE
) -> list[PredictionRecord]:
    """Return the newest records of a log's segments, at most `count` of them, oldest first.

    Segments are read from the newest on, until they are enough; each holds what one process wrote
    for some minutes, so that the order is exact to that.

    Args:
        folder: of the log.
        count: how many, at most.
        keep: which of them.
        warn: is told in a sentence what cannot be read.
        ends: where to stop, by the segment's name.
    """
    found: list[PredictionRecord] = []
    for path in reversed(segments_in(folder / SEGMENTS)):
        if len(found) >= count:
            break
        told = records_of(path, warn, ends.get(path.name))
        found += heapq.nlargest(count - len(found), filter(keep, told), key=_TIME)
    return sorted(found, key=_TIME)


@final
class Follower:
    """Reads what is added to a log.

    Args:
        folder: of the log.
        warn: is told in a sentence what cannot be read.

    Attributes:
        ends: how far each segment has been read, or passed over, in bytes.
    """

    def __init__(self, folder: Path, warn: Warn) -> None:
        self._segments = folder / SEGMENTS
        self._warn = warn
        self._closed: set[str] = set()
        self.ends: dict[str, int] = {}

    def pass_over(self) -> None:
        """Take what is there as read."""
        for path in segments_in(self._segments):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                self._pass(path.name, file)

    def more(self) -> Iterator[PredictionRecord]:
        """Yield what has been added since."""
        paths = segments_in(self._segments)
        names = {path.name for path in paths}
        self.ends = {name: end for name, end in self.ends.items() if name in names}
        self._closed &= names
        for path in paths:
            if path.name not in self._closed:
                with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                    if self._is_begun(path, file):
                        yield from self._added(path.name, file)

    def _is_begun(self, path: Path, file: BinaryIO) -> bool:
        """Tell whether a file is a segment that can be read; what is none is told, once."""
        try:
            return path.name in self.ends or is_begun(file, path)
        except NoSegment as error:
            self._closed.add(path.name)
            self._warn(f"{path.name}: cannot be read: {error}")
            return False

    def _pass(self, name: str, file: BinaryIO) -> None:
        size = os.fstat(file.fileno()).st_size
        tail = os.pread(file.fileno(), len(END), max(0, size - len(END)))
        if size > len(HEAD) and tail == END:
            self._closed.add(name)
            self.ends[name] = size
        else:
            for _ in self._frames(name, file):
                pass

    def _added(self, name: str, file: BinaryIO) -> Iterator[PredictionRecord]:
        for frame in self._frames(name, file):
            for payload in frame.records:
                try:
                    yield decode_record(payload)
                except UnreadableRecord:
                    self._warn(f"{name}: a record cannot be read")

    def _frames(self, name: str, file: BinaryIO) -> Iterator[Frame]:
        """Yield whole frames from where the last ones ended; what is torn may yet become whole."""
        file.seek(self.ends.get(name, len(HEAD)))
        for frame in frames_from(file):
            if frame.closes:
                self._closed.add(name)
            if frame.damaged:
                self._warn(f"{name}: {frame.damaged} records cannot be read")
            self.ends[name] = frame.end
            yield frame


def as_json(record: PredictionRecord) -> bytes:
    """Return a record as a JSON object; a seed, which JSON cannot hold, as hexadecimal digits."""
    told: Json = msgspec.structs.asdict(record)
    told["seed"] = None if record.seed is None else f"{record.seed:016x}"
    return msgspec.json.encode(told)
