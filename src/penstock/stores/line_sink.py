"""Records as lines of JSON on standard output, for whoever ships logs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
from collections.abc import Iterator
from typing import Final, final

from penstock.stores.prediction_record import decode_record
from penstock.stores.read_log import as_json

STDOUT_SINK: Final = "stdout"

STDOUT: Final = 1


@final
class LineSink:
    """Writes lines to a descriptor that several processes may have; each line is whole.

    While one process writes, others wait: the descriptor is locked, where the system can do that
    (Linux can, also of a pipe). Otherwise a line of more than 4 kB may have another within it.

    Args:
        descriptor: of standard output.
    """

    name = STDOUT_SINK

    def __init__(self, descriptor: int = STDOUT) -> None:
        self._descriptor = descriptor
        self._written = 0  # of what could not be written to its end

    def begin(self) -> Iterator[str]:
        """Yield nothing: nothing is left."""
        return iter(())

    def encoded(self, payload: bytes) -> bytes:
        """Return a record as a line."""
        return as_json(decode_record(payload)) + b"\n"

    def append(self, records: bytes) -> None:
        """Write lines, however long their reader takes.

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

    def _write(self, records: bytes) -> None:
        whole = memoryview(records)
        while self._written < len(whole):
            try:
                self._written += os.write(self._descriptor, whole[self._written :])
            except BlockingIOError:  # somebody whose it is as well has made it so
                polled = select.poll()
                polled.register(self._descriptor, select.POLLOUT)
                polled.poll()
        self._written = 0

    def rest(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Leave the descriptor as it is: it is not ours."""
