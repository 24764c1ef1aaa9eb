"""A segment: a file of frames that is only ever added to. Reading one, whole or torn.

    head     16 bytes: what it is, and the version of this format
    frame    4 bytes length, 4 bytes CRC-32 of the payload, the payload: a MessagePack list of
             records, as its header (an array of 16 bits, 3 bytes) and these one behind the other
    end      length 0 and a mark: the segment was closed, nothing follows

What a killed process leaves behind ends without an end, perhaps within a frame; everything before
that frame is whole. A frame whose sum is wrong although others follow was damaged on the disk: it
is passed over, and its records are counted, as its header says.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, final

import msgspec
from msgspec import Struct

SUFFIX: Final = ".segment"
HEAD: Final = b"penstock-log 2\r\n"
ANY_HEAD: Final = re.compile(rb"penstock-log [0-9]")
"""How the head of every version begins."""

FRAME: Final = struct.Struct("<II")
END: Final = FRAME.pack(0, zlib.crc32(b"end"))
"""What closes a segment."""

MAX_PAYLOAD_BYTES: Final = 16 * 1024 * 1024
"""The largest frame; a length beyond is no length."""

MAX_FRAME_RECORDS: Final = 1024
"""Records of one frame: four times as many as are handed over together."""

_LIST: Final = struct.Struct(">BH")
"""How a payload begins: MessagePack's type of a list, and how many records are in it."""

_LIST_TYPE: Final = 0xDC
_AT_ONCE: Final = 1 << 20

_decode_list = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class NoSegment(Exception):
    """A file that is no segment of a version that is known here."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is no segment of the prediction log, or of another version")


class OtherVersion(NoSegment):
    """A segment of a version that is not known here: it is left for that version."""


def framed(records: bytes | bytearray, count: int = 1) -> bytes:
    """Return records as a frame.

    Args:
        records: each encoded in MessagePack, one behind the other.
        count: how many they are, at most `MAX_FRAME_RECORDS`.

    Raises:
        ValueError: they are more, or larger, than a frame may hold.
    """
    payload = _listed(records, count)
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a frame of {len(payload):,} bytes")
    return FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def split(records: bytes | bytearray, count: int) -> list[bytes]:
    """Return each of some records that are encoded one behind the other.

    Raises:
        ValueError: they are not as many, or more than a frame may hold.
    """
    return _each(_listed(records, count))


def _listed(records: bytes | bytearray, count: int) -> bytes:
    if count > MAX_FRAME_RECORDS:
        raise ValueError(f"{count:,} records in one frame")
    return _LIST.pack(_LIST_TYPE, count) + records


def _each(payload: bytes) -> list[bytes]:
    # As bytes: a msgspec.Raw would keep the whole payload in memory.
    return [bytes(record) for record in _decode_list(payload)]


class Frame(Struct, frozen=True):
    """A frame that is whole, or the end.

    Attributes:
        records: each as it was encoded; none of the end.
        end: the offset behind it.
        damaged: how many records stand in damaged frames right before it.
        closes: it is the segment's end.
    """

    records: Sequence[bytes]
    end: int
    damaged: int = 0
    closes: bool = False


def frames_from(file: BinaryIO) -> Iterator[Frame]:
    """Yield the frames from where a file stands, up to what is torn, or was never written."""
    damaged = 0
    while (length := _length(head := file.read(FRAME.size))) is not None:
        if not length:
            yield Frame((), file.tell(), damaged, closes=True)
            return
        payload = file.read(length)
        if len(payload) < length:
            return
        records = _undamaged(payload, FRAME.unpack(head)[1])
        if records is None:
            damaged += _said_count(payload, length)
        else:
            yield Frame(records, file.tell(), damaged)
            damaged = 0


def records_between(file: BinaryIO, start: int, stop: int | None = None) -> tuple[int, int]:
    """Return how many records are whole by their frames' lengths, and where the last frame ends.

    Only heads are looked at: quick, and what is damaged counts.

    Args:
        file: of the segment.
        start: where a frame begins; 0 for the first one.
        stop: a frame that ends behind it is not counted; the file's end unless given.
    """
    size = os.fstat(file.fileno()).st_size
    stop = size if stop is None else min(stop, size)
    count, at = 0, max(start, len(HEAD))
    file.seek(at)
    while length := _length(file.read(FRAME.size)):
        behind = at + FRAME.size + length
        if behind > stop:
            break
        count += _said_count(file.read(min(_LIST.size, length)), length)
        at = behind
        file.seek(at)
    return count, at


def _length(head: bytes) -> int | None:
    """Return the length that a frame's head says; 0 of the end, None of what is no head."""
    if len(head) < FRAME.size:
        return None
    if head == END:
        return 0
    length: int = FRAME.unpack(head)[0]
    return length if 0 < length <= MAX_PAYLOAD_BYTES else None  # a crash leaves zeros of a block


def _undamaged(payload: bytes, check: int) -> Sequence[bytes] | None:
    """Return the records of a frame; None where it is damaged, or was never one of ours."""
    if zlib.crc32(payload) != check or payload[0] != _LIST_TYPE:
        return None
    try:
        return _each(payload) or None
    except (msgspec.DecodeError, RecursionError):
        return None


def _said_records(file: BinaryIO, at: int) -> int:
    """Return how many records a torn frame says that it had; 0 where it says nothing."""
    file.seek(at)
    length = _length(file.read(FRAME.size))
    start = file.read(_LIST.size)
    return _said_count(start, length) if length and len(start) == _LIST.size else 0


def _said_count(start: bytes, length: int) -> int:
    """Return how many records a frame says that it has, by the start of its payload.

    It may be damaged: one, where it says more than a frame may hold, or than there is room for.
    """
    if len(start) < _LIST.size or start[0] != _LIST_TYPE:
        return 1
    count: int = _LIST.unpack_from(start)[1]
    return count if 0 < count <= min(MAX_FRAME_RECORDS, length - _LIST.size) else 1


@final
class SegmentReader:
    """Reads the records of a segment, in their order; it may be written to meanwhile.

    Args:
        path: of the file.

    Attributes:
        whole_bytes: how far it is whole, as far as it has been read.
        records: how many records were whole.
        damaged: how many were passed over, as their frames are damaged.
        closed: its end has been read.
        torn_bytes: what stands behind the last whole frame and is none, once it has been read.
        torn_records: how many records were in it, as far as it says so.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.whole_bytes = 0
        self.records = 0
        self.damaged = 0
        self.closed = False
        self.torn_bytes = 0
        self.torn_records = 0

    def payloads(self) -> Iterator[bytes]:
        """Yield the records as they were encoded.

        Raises:
            OtherVersion: another version of Penstock has written it.
            NoSegment: the file begins with something else.
            OSError: it cannot be read.
        """
        with self.path.open("rb", buffering=_AT_ONCE) as file:
            if is_begun(file, self.path):
                self.whole_bytes = len(HEAD)
                for frame in frames_from(file):
                    yield from self._read(frame)
            self.torn_bytes = max(0, os.fstat(file.fileno()).st_size - self.whole_bytes)
            if self.torn_bytes and self.whole_bytes and not self.closed:
                self.torn_records = _said_records(file, self.whole_bytes)

    def _read(self, frame: Frame) -> Sequence[bytes]:
        self.whole_bytes = frame.end
        self.damaged += frame.damaged
        self.closed = frame.closes
        self.records += len(frame.records)
        return frame.records


def is_begun(file: BinaryIO, path: Path) -> bool:
    """Read the head of a segment; tell whether it is there to its end.

    Raises:
        OtherVersion: another version of Penstock has written it.
        NoSegment: the file begins with something else.
    """
    head = file.read(len(HEAD))
    if head != HEAD[: len(head)]:
        raise OtherVersion(path) if ANY_HEAD.match(head) else NoSegment(path)
    return len(head) == len(HEAD)
