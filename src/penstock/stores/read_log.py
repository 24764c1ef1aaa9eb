"""Reading a prediction log, while it is written to or afterwards."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from penstock.stores.log_folder import SEGMENTS
from penstock.stores.prediction_record import PredictionRecord, UnreadableRecord, decode_record
from penstock.stores.segment import NoSegment, SegmentReader
from penstock.stores.segment_writer import segments_in

Keep: TypeAlias = Callable[[PredictionRecord], bool]
Warn: TypeAlias = Callable[[str], None]

Json: TypeAlias = dict[str, Any]


def records_of(path: Path, warn: Warn) -> Iterator[PredictionRecord]:
    """Yield a segment's records in order; `warn` is told in a sentence what cannot be read."""
    reader = SegmentReader(path)
    unreadable = 0
    try:
        for payload in reader.payloads():
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


def newest(folder: Path, count: int, keep: Keep, warn: Warn) -> list[PredictionRecord]:
    """Return the newest records of a log, at most `count` of them, oldest first.

    Segments are read from the newest on, until they are enough; each holds what one process wrote
    for some minutes, so that the order is exact to that.
    """
    found: deque[PredictionRecord] = deque()
    for path in reversed(segments_in(folder / SEGMENTS)):
        if len(found) >= count:
            break
        wanted = deque(filter(keep, records_of(path, warn)), count - len(found))
        found.extendleft(reversed(wanted))
    return sorted(found, key=lambda record: record.time_us)


def as_json(record: PredictionRecord) -> bytes:
    """Return a record as a JSON object; a seed, which JSON cannot hold, as hexadecimal digits."""
    told: Json = msgspec.structs.asdict(record)
    told["seed"] = None if record.seed is None else f"{record.seed:016x}"
    return msgspec.json.encode(told)
