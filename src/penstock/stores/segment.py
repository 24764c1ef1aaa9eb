"""A segment: a file of frames that is only ever added to. Reading one, whole or torn.

    head     16 bytes: what it is, and the version of this format
    frame    4 bytes length, 4 bytes CRC-32 of the payload, the payload
    end      length 0 and a mark: the segment was closed, nothing follows

What a killed process leaves behind ends without an end, perhaps within a frame; everything before
that frame is whole. A frame whose sum is wrong although others follow was damaged on the disk: it
is passed over and counted.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, final

SUFFIX: Final = ".segment"
HEAD: Final = b"penstock-log 1\r\n"
ANY_HEAD: Final = re.compile(rb"penstock-log [0-9]")
"""How the head of every version begins."""

FRAME: Final = struct.Struct("<II")
END: Final = FRAME.pack(0, zlib.crc32(b"end"))
"""What closes a segment."""

MAX_PAYLOAD_BYTES: Final = 16 * 1024 * 1024
"""The largest record; a length beyond is no length."""

_AT_ONCE: Final = 1 << 20


class NoSegment(Exception):
    """A file that is no segment of a version that is known here."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is no segment of the prediction log, or of a later version")


class OtherVersion(NoSegment):
    """A segment of a version that is not known here: it is left for that version."""


def framed(payload: bytes) -> bytes:
    """Return a payload as a frame."""
    return FRAME.pack(len(payload), zlib.crc32(payload)) + payload


@final
class SegmentReader:
    """Reads the payloads of a segment, in their order; it may be written to meanwhile.

    Args:
        path: of the file.

    Attributes:
        whole_bytes: how far it is whole, as far as it has been read.
        records: how many payloads were whole.
        damaged: how many frames were passed over.
        closed: its end has been read.
        torn_bytes: what stands behind the last whole frame and is none, once it has been read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.whole_bytes = 0
        self.records = 0
        self.damaged = 0
        self.closed = False
        self.torn_bytes = 0
        self._doubtful = 0

    def payloads(self) -> Iterator[bytes]:
        """Yield the payloads.

        Raises:
            OtherVersion: another version of Penstock has written it.
            NoSegment: the file begins with something else.
            OSError: it cannot be read.
        """
        with self.path.open("rb", buffering=_AT_ONCE) as file:
            head = file.read(len(HEAD))
            if head != HEAD[: len(head)]:
                raise OtherVersion(self.path) if ANY_HEAD.match(head) else NoSegment(self.path)
            if len(head) == len(HEAD):
                self.whole_bytes = len(HEAD)
                yield from self._frames(file)
            self.torn_bytes = max(0, os.fstat(file.fileno()).st_size - self.whole_bytes)

    def _frames(self, file: BinaryIO) -> Iterator[bytes]:
        while len(head := file.read(FRAME.size)) == FRAME.size:
            if head == END:
                self.closed = True
                self._is_whole_to(file.tell())
                return
            length, check = FRAME.unpack(head)
            if not 0 < length <= MAX_PAYLOAD_BYTES:  # zeros are what a crash leaves of a block
                return
            payload = file.read(length)
            if len(payload) < length:
                return
            if zlib.crc32(payload) == check:
                self._is_whole_to(file.tell())
                self.records += 1
                yield payload
            else:
                self._doubtful += 1

    def _is_whole_to(self, offset: int) -> None:
        """Take what was doubtful before this as damaged: it is not torn, as something follows."""
        self.whole_bytes = offset
        self.damaged += self._doubtful
        self._doubtful = 0
