"""Writes segments: one file after the other, each this process's own while it is open."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, final

from penstock.core.folders import make_private
from penstock.stores.segment import END, HEAD, SUFFIX, records_between

MAX_SEGMENT_BYTES: Final = 64 * 1024 * 1024
"""A segment that is larger is closed, and another one begun."""

NEW: Final = ".new"
"""Behind the name of a segment that is not one yet: its process has not got the lock."""

_FILE_MODE: Final = 0o600


@final
class SegmentWriter:
    """Adds frames to a segment, and begins another one when it has grown large.

    What has been added survives the death of the process, as the system has it; a crash of the
    machine may take what was added since the segment was begun.

    Args:
        folder: where segments lie; made when the first one is begun.
        max_bytes: of a segment.
        began: is told of each segment before anything is added to it, while nobody else can have
            it; it raises nothing.

    Attributes:
        gone: how many records have been added that are nowhere any more: somebody deleted the
            segment while it was written to.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = MAX_SEGMENT_BYTES,
        began: Callable[[Path], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._began = began
        self._file = -1
        self._path = folder
        self._size = 0
        self.gone = 0

    @property
    def is_open(self) -> bool:
        """Whether a segment is open."""
        return self._file >= 0

    def append(self, frames: bytes | bytearray, wall_s: float) -> None:
        """Add frames: all of them or, where this raises, none.

        Args:
            frames: any number of them.
            wall_s: now, in seconds since the epoch; stands in the name of a new segment.

        Raises:
            OSError: they cannot be written.
        """
        if self._file >= 0 and not self._is_there():
            self.close()
        if self._file < 0:
            self._begin(wall_s)
        try:
            _write_all(self._file, frames)
        except OSError as error:
            self._take_back()
            if error.errno == errno.EFBIG:  # it has no room for more, but another one has
                self.close()
            raise
        self._size += len(frames)
        if self._size >= self._max_bytes:
            self.close()

    def _begin(self, wall_s: float) -> None:
        make_private(self._folder)
        at = time.strftime("%Y%m%dT%H%M%S", time.gmtime(wall_s))
        name = f"{at}-{os.getpid()}-{os.urandom(4).hex()}{SUFFIX}"
        path, new = self._folder / name, self._folder / f"{name}{NEW}"
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file = os.open(new, flags, _FILE_MODE)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write_all(file, HEAD)
            os.rename(new, path)  # others see it only when it is locked, and has a head
        except OSError:
            os.close(file)
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
        self._file, self._path, self._size = file, path, len(HEAD)
        self._began(path)

    def _is_there(self) -> bool:
        """Tell whether the segment is still where others look for it."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._file))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _take_back(self) -> None:
        """Cut off what was written in part; where not even that is possible, leave the segment."""
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            self._leave()

    def close(self) -> None:
        """Close the segment, if one is open: nothing will be added to it any more."""
        if self._file < 0:
            return
        try:
            if not os.fstat(self._file).st_nlink:
                self.gone += self._records()
            _write_all(self._file, END)
            os.fsync(self._file)
        except OSError:
            pass  # it reads as that of a killed process, and is whole all the same
        finally:
            self._leave()

    def _records(self) -> int:
        """Return how many records were added to the segment."""
        with os.fdopen(os.dup(self._file), "rb") as file:
            return records_between(file, 0)[0]

    def _leave(self) -> None:
        file, self._file = self._file, -1
        os.close(file)


def _write_all(file: int, content: bytes | bytearray) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(file, left) :]


def segments_in(folder: Path) -> list[Path]:
    """Return the segments of a folder, oldest first; none where there is no such folder.

    What has such a name and is no file is none: to open a named pipe would be to wait for somebody
    who writes to it.
    """
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if os.path.isfile(path))


@contextmanager
def owned(path: Path) -> Iterator[int | None]:
    """Yield a segment's file, locked, or None while the process that writes it still has it.

    Raises:
        OSError: it cannot be opened; it may be gone.
    """
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file
    finally:
        os.close(file)
