"""Reads on in a segment, perhaps while it is written, from where the last reading ended."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from msgspec import Struct

from penstock.stores.segment import HEAD, Frame, frames_from, is_begun, records_between

_AT_ONCE: Final = 1 << 18


class Stretch(Struct, frozen=True):
    """Whole frames of a segment, one behind the other.

    Attributes:
        payloads: the records in them, as they were encoded.
        end: where the next stretch begins.
        damaged: records in damaged frames before them; they are passed over.
        closed: the segment's end has been read: nothing follows any more.
    """

    payloads: tuple[bytes, ...]
    end: int
    damaged: int = 0
    closed: bool = False


def stretch_of(path: Path, start: int, max_bytes: int) -> Stretch:
    """Return the whole frames from an offset on, up to about so many bytes, but at least one.

    Args:
        path: of the segment.
        start: 0, or the `end` of a stretch.
        max_bytes: no further frame is read once there are as many.

    Raises:
        NoSegment: the file begins with something else.
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=_AT_ONCE) as file:
        if not is_begun(file, path):
            return Stretch((), 0)
        start = max(start, len(HEAD))
        file.seek(start)
        frames: list[Frame] = []
        for frame in frames_from(file):
            frames.append(frame)
            if frame.end - start >= max_bytes:
                break
        return _joined(frames, start)


def _joined(frames: list[Frame], start: int) -> Stretch:
    return Stretch(
        tuple(record for frame in frames for record in frame.records),
        frames[-1].end if frames else start,
        sum(frame.damaged for frame in frames),
        closed=bool(frames) and frames[-1].closes,
    )


def counted(path: Path, start: int, stop: int) -> tuple[int, int]:
    """Return how many records stand between two offsets of a segment, and where the last ends.

    Args:
        path: of the segment.
        start: where a frame begins; 0 for the first one.
        stop: a frame that ends behind it is not counted.

    Raises:
        NoSegment: the file begins with something else.
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=_AT_ONCE) as file:
        is_begun(file, path)
        return records_between(file, start, stop)
