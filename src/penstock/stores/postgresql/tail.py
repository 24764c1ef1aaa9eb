"""Reads on in a segment, perhaps while it is written, from where the last reading ended."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct

from penstock.stores.segment import END, FRAME, HEAD, MAX_PAYLOAD_BYTES, NoSegment

_AT_ONCE: Final = 1 << 18


class Stretch(Struct, frozen=True):
    """Whole frames of a segment, one behind the other.

    Attributes:
        payloads: theirs.
        end: where the next stretch begins.
        damaged: frames whose sum is wrong although others follow; they are passed over.
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
        head = file.read(len(HEAD))
        if head != HEAD[: len(head)]:
            raise NoSegment(path)
        if len(head) < len(HEAD):
            return Stretch((), 0)
        start = max(start, len(HEAD))
        file.seek(start)
        return _read(file, start, max_bytes)


def _read(file: BinaryIO, start: int, max_bytes: int) -> Stretch:
    payloads: list[bytes] = []
    at = end = start
    damaged = doubtful = 0
    for length, check in _heads(file):
        if not length:
            return Stretch(tuple(payloads), at + FRAME.size, damaged + doubtful, closed=True)
        payload = file.read(length)
        if len(payload) < length:
            break
        at += FRAME.size + length
        if zlib.crc32(payload) != check:
            doubtful += 1  # damaged if something whole follows; else the segment is torn here
            continue
        payloads.append(payload)
        end, damaged, doubtful = at, damaged + doubtful, 0
        if end - start >= max_bytes:
            break
    return Stretch(tuple(payloads), end, damaged)


def _heads(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield length and sum of each frame, 0 as the length of the end; whoever reads stops there."""
    while len(head := file.read(FRAME.size)) == FRAME.size:
        length, check = FRAME.unpack(head)
        if length > MAX_PAYLOAD_BYTES or (not length and head != END):
            return
        yield length, check


def frames_between(path: Path, start: int, stop: int) -> tuple[int, int]:
    """Return how many frames are whole by their length, and where the last of them ends.

    Only heads are looked at: quick, and a damaged one counts.

    Args:
        path: of the segment.
        start: where a frame begins; 0 for the first one.
        stop: what begins here or behind is not counted.

    Raises:
        OSError: it cannot be read.
    """
    count, at = 0, max(start, len(HEAD))
    with path.open("rb", buffering=_AT_ONCE) as file:
        stop = min(stop, os.fstat(file.fileno()).st_size)
        file.seek(at)
        for length, _ in _heads(file):
            behind = at + FRAME.size + length
            if not length or behind > stop:
                break
            file.seek(length, os.SEEK_CUR)
            count, at = count + 1, behind
    return count, at
