"""Records as lines of JSON on standard output, for whoever ships logs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import time
from collections.abc import Iterator
from typing import Final, final

from penstock.stores.prediction_record import decode_record
from penstock.stores.read_log import as_json
from penstock.stores.segment import split

STDOUT_SINK: Final = "stdout"

STDOUT: Final = 1
_LINE_END: Final = ord("\n")

_AT_ONCE: Final = 32
"""Lines that are made before the loop's thread gets its turn, if it wants one."""


@final
class LineSink:
    """Writes lines to a descriptor that several processes may have; each line is whole.

    While one process writes, others wait: the descriptor is locked, where the system can do that
    (Linux can, also of a pipe). Otherwise a line of more than 4 kB may have another within it.

    Args:
        descriptor: of standard output.
    """

    name = STDOUT_SINK
    gone = 0

    def __init__(self, descriptor: int = STDOUT) -> None:
        self._descriptor = descriptor
        self._given = b""  # what could not be written to its end
        self._whole = memoryview(b"")  # that, behind the end of a line that was cut off
        self._written = 0  # of that
        self._cut = False

    def begin(self) -> Iterator[str]:
        """Yield nothing: nothing is left."""
        return iter(())

    def encoded(self, records: bytes | bytearray, count: int) -> bytes:
        """Return each record as a line."""
        lines = []
        for number, record in enumerate(split(records, count), 1):
            lines.append(as_json(decode_record(record)) + b"\n")
            if not number % _AT_ONCE:
                time.sleep(0)
        return b"".join(lines)

    def append(self, records: bytes | bytearray) -> None:
        """Write lines, however long their reader takes.

        What could not be written to its end is gone on with when it is given once more; where
        something else is given, the line that was begun is ended first.

        Raises:
            OSError: nobody reads them, or they are a file's and the disk is full.
        """
        with contextlib.suppress(OSError):
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            self._write(records)
        finally:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def _write(self, records: bytes | bytearray) -> None:
        if records != self._given:
            self._whole, self._written = memoryview(b"\n" * self._cut + records), 0
            self._given = bytes(records)
        whole = self._whole
        while self._written < len(whole):
            try:
                self._written += os.write(self._descriptor, whole[self._written :])
                self._cut = whole[self._written - 1] != _LINE_END
            except BlockingIOError:  # somebody whose it is as well has made it so
                polled = select.poll()
                polled.register(self._descriptor, select.POLLOUT)
                polled.poll()
        self._given, self._whole, self._written = b"", memoryview(b""), 0

    def rest(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Leave the descriptor as it is: it is not ours."""
