"""The outbox of a prediction log: what has still to be shipped to a database.

    segments/20261121T0550-42-ab.segment ──┐
                                           ├── one file, two names
    outbox/postgresql/20261121T05...  ─────┘

Each segment that a process begins gets a second name here. Compaction and retention take away the
first one; the shipper takes away the second when all of it is in the database. Neither waits for
the other.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from calendar import timegm
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias, final

from msgspec import Struct

from penstock.core.errors import PenstockError
from penstock.core.folders import make_private
from penstock.stores.manifests import private
from penstock.stores.segment_writer import owned, segments_in

OUTBOX: Final = "outbox"
POSTGRESQL: Final = "postgresql"

MAX_OUTBOX_BYTES: Final = 2 * 1024 * 1024 * 1024
"""What waits to be shipped; of more the oldest segments that are closed are dropped, counted."""

MAX_OUTBOX_DAYS: Final = 7.0
"""How long a segment waits to be shipped after its last record; it is dropped then, counted."""

_LOCK: Final = "lock"
_ID: Final = "id"
_ID_BYTES: Final = 16


Tell: TypeAlias = Callable[[str, BaseException | None], None]


class OutboxBusy(PenstockError):
    """Another process ships what is in the outbox."""

    code = "outbox_busy"

    def __init__(self, path: Path) -> None:
        super().__init__(f"another process ships what is in {path}; there is one at a time")


class Bounds(Struct, frozen=True, kw_only=True):
    """How much may wait, and how long.

    Attributes:
        max_bytes: of all segments together.
        keep_days: after a segment's last record.
    """

    max_bytes: int = MAX_OUTBOX_BYTES
    keep_days: float = MAX_OUTBOX_DAYS


class Waiting(Struct, frozen=True):
    """A segment in an outbox.

    Attributes:
        path: of its name there.
        size_bytes: of the file.
        changed_s: when something was last added, in seconds since the epoch.
    """

    path: Path
    size_bytes: int
    changed_s: float


@final
class Outbox:
    """The outbox for one database, of the log in a folder.

    Args:
        folder: of the log.
        tell: says what is odd, and what it comes from.

    Attributes:
        path: where the segments' second names are.
    """

    def __init__(self, folder: Path, *, tell: Tell = lambda _, __: None) -> None:
        self.path = folder / OUTBOX / POSTGRESQL
        self._tell = tell

    def add(self, segment: Path) -> None:
        """Give a segment that has just been begun its second name, while nobody else has it.

        Where that cannot be done the log goes on all the same, and what is in the segment is not
        shipped.
        """
        try:
            self.make()
            os.link(segment, self.path / segment.name)
        except OSError as error:
            self._tell(f"what is in {segment.name} will not be shipped to PostgreSQL", error)

    def make(self) -> None:
        """Make its folder, unless it is there.

        Raises:
            OSError: that cannot be done.
        """
        make_private(self.path)

    def segments(self) -> Iterator[Waiting]:
        """Yield what waits, oldest first."""
        for path in segments_in(self.path):
            with contextlib.suppress(FileNotFoundError):
                seen = path.stat()
                yield Waiting(path, seen.st_size, seen.st_mtime)

    def oldest_s(self) -> float | None:
        """Return when the oldest segment that waits was begun, in seconds since the epoch."""
        oldest = next(self.segments(), None)
        if oldest is None:
            return None
        return _began_s(oldest.path.name) or oldest.changed_s

    def drop(self, path: Path) -> bool:
        """Drop a segment unless its process still writes it; tell whether it was dropped.

        Raises:
            OSError: it cannot be looked at, or not be taken away.
        """
        with owned(path) as file:
            if file is not None:
                path.unlink()
        return file is not None

    def log_id(self) -> str:
        """Return what the database knows this outbox by; made once, by whoever is alone in it.

        Were it lost, all that waits would be shipped anew, and recognized.

        Raises:
            OSError: it can neither be read nor made.
        """
        path = self.path / _ID
        with contextlib.suppress(FileNotFoundError):
            return path.read_text(encoding="ascii").strip()
        made = os.urandom(_ID_BYTES).hex()
        write_whole(path, made.encode("ascii"))
        return made

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other shippers out.

        Raises:
            OutboxBusy: one is in.
            OSError: there is no folder, and none can be made.
        """
        self.make()
        with open(self.path / _LOCK, "ab", opener=private) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OutboxBusy(self.path) from error
            yield


def _began_s(name: str) -> float | None:
    """Return when a segment was begun, as its name says it."""
    with contextlib.suppress(ValueError):
        return float(timegm(time.strptime(name.partition("-")[0], "%Y%m%dT%H%M%S")))
    return None


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file so that whoever reads it finds the old one or the new one, never half.

    A crash of the machine, unlike one of the process, may take it.

    Raises:
        OSError: it cannot be written.
    """
    new = path.with_name(f"{path.name}.new")
    with open(new, "wb", opener=private) as file:
        file.write(content)
    new.replace(path)
