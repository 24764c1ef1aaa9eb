"""The log of what operators change: one JSON object a line, on the disk before it is in effect.

A crash while a line is written leaves a torn last line: it was never in effect, and is cut off. Any
other line that cannot be read is a reason to stop: values may hang on it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, final

import msgspec

from penstock.core.errors import PenstockError
from penstock.supervisor.overlay import Event, shortened

MAX_HISTORY: Final = 10_000
"""Events that are kept; beyond, the older half is forgotten but for what is still in effect."""

MAX_LOG_BYTES: Final = 64 * 1024 * 1024
"""The largest log that is read."""

_MODE: Final = 0o600
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode


class StateCorrupt(PenstockError):
    """A line of the log, other than its last, cannot be read; ends the start."""

    code = "state_corrupt"

    def __init__(self, path: str, what: str) -> None:
        super().__init__(
            f"{path}: {what}; mend it, or move the file away to start without what has been set"
        )


class CannotKeep(PenstockError):
    """The log cannot be written; nothing of what was to be written is in it."""

    code = "cannot_keep"

    def __init__(self, path: str, cause: OSError) -> None:
        super().__init__(f"{path} cannot be written: {cause.strerror or cause}")


@final
class Journal:
    """The log's file, open. Its methods wait for the disk.

    Args:
        path: of the file; it is made where there is none.
        most: how many events it may hold.

    Attributes:
        events: all of them, oldest first.
        cut: a sentence on the torn last line that was cut off; empty where there was none.

    Raises:
        StateCorrupt: a line other than the last cannot be read.
        OSError: the file cannot be had.
    """

    def __init__(self, path: Path, most: int = MAX_HISTORY) -> None:
        self._path = path
        self._most = most
        self._fd = _opened(path)
        try:
            self.events, self._size, self.cut = self._read()
            if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
                self._write(b"\n")  # an editor left the last line without
            elif self.cut:
                os.ftruncate(self._fd, self._size)
            _sync_folder(path.parent)
        except BaseException:
            os.close(self._fd)
            raise

    def append(self, events: Sequence[Event]) -> None:
        """Add events; they are on the disk when this returns.

        Raises:
            CannotKeep: the disk is full, or worse; the log is as it was.
        """
        try:
            if len(self.events) + len(events) > self._most:
                self._shorten(self._most // 2)
            self._write(b"".join(_encode(event) + b"\n" for event in events))
        except OSError as error:
            raise CannotKeep(str(self._path), error) from error
        self.events = [*self.events, *events]

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _read(self) -> tuple[list[Event], int, str]:
        """Return the events, how many bytes of the file they are, and what is to be cut off."""
        size = os.fstat(self._fd).st_size
        if size > MAX_LOG_BYTES:
            raise StateCorrupt(str(self._path), f"it has {size:,} bytes, more than a log can have")
        with open(os.dup(self._fd), "rb") as file:
            *lines, last = file.read().split(b"\n")
        events: list[Event] = []
        good = 0
        for number, line in enumerate(lines, 1):
            event = _event(line)
            if event is None and line.strip():
                if number == len(lines) and not last and not _is_event(line):
                    return events, good, self._torn(number)
                raise StateCorrupt(str(self._path), f"line {number} cannot be read")
            events.extend(() if event is None else (event,))
            good += len(line) + 1
        if last and _is_event(last) and _event(last) is None:
            raise StateCorrupt(str(self._path), f"line {len(lines) + 1} cannot be read")
        unfinished = _event(last)
        if unfinished is not None:
            return [*events, unfinished], good + len(last), ""
        return events, good, self._torn(len(lines) + 1) if last else ""

    def _torn(self, number: int) -> str:
        return f"{self._path}: the last line ({number}) is torn and has been cut off"

    def _write(self, data: bytes) -> None:
        try:
            os.ftruncate(self._fd, self._size)  # an earlier failure may have left something
            os.lseek(self._fd, self._size, os.SEEK_SET)
            _write_all(self._fd, data)
            os.fsync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):  # it is tried again before anything is written
                os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)

    def _shorten(self, most: int) -> None:
        """Write what is to be kept into a new file, and put it in the old one's place."""
        kept = shortened(self.events, most)
        data = b"".join(_encode(event) + b"\n" for event in kept)
        new = self._path.with_name(f"{self._path.name}.new")
        fd = _opened(new)
        try:
            os.ftruncate(fd, 0)
            _write_all(fd, data)
            os.fsync(fd)
            new.replace(self._path)
            _sync_folder(self._path.parent)
        except OSError:
            os.close(fd)
            raise
        os.close(self._fd)
        self._fd, self._size, self.events = fd, len(data), list(kept)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)


def _event(line: bytes) -> Event | None:
    try:
        return _decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _is_event(line: bytes) -> bool:
    """Tell whether a line is whole: it was acknowledged, if by another version of ours."""
    try:
        return "kind" in msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
