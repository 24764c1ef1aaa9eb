"""Which segments are finished, as nobody writes to them any more; when they are compacted."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from penstock.stores.read_log import Warn
from penstock.stores.segment import SUFFIX
from penstock.stores.segment_writer import owned, segments_in

EMPTY_S: Final = 3600.0
"""After this long an empty segment is one that was never begun: its lock may not be taken yet."""

DUE_BYTES: Final = 16 * 1024 * 1024
"""Finished segments are compacted once they are this large together."""

DUE_S: Final = 3600.0
"""Or once the oldest of them has been finished for this long."""


class Due(Struct, frozen=True):
    """When finished segments are compacted by themselves: whichever comes first.

    Attributes:
        size_bytes: of all of them.
        age_s: of the oldest one.
    """

    size_bytes: int = DUE_BYTES
    age_s: float = DUE_S


def finished_in(folder: Path, wall_s: float, warn: Warn) -> list[Path]:
    """Return the finished segments of a folder, oldest first; what cannot be one is told.

    Args:
        folder: of the segments.
        wall_s: now, in seconds since the epoch.
        warn: is told in a sentence.
    """
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if os.path.lexists(path) and not os.path.isfile(path):
            warn(f"{path.name}: is no file, and left alone")
    return [path for path in segments_in(folder) if _is_finished(path, wall_s, warn)]


def names_of_finished(folder: Path, wall_s: float) -> frozenset[str]:
    """Return the names of the finished segments of a folder; what cannot be looked at has none."""
    return frozenset(path.name for path in finished_in(folder, wall_s, _pass_over))


def is_due(folder: Path, wall_s: float, due: Due, *, left: frozenset[str] = frozenset()) -> bool:
    """Tell whether the finished segments of a folder are worth compacting.

    What cannot be looked at is passed over: it will be told when the others are compacted.

    Args:
        folder: of the segments.
        wall_s: now, in seconds since the epoch.
        due: when they are.
        left: names of segments that do not count, as compacting has left them where they are.
    """
    size_bytes = 0
    for path in finished_in(folder, wall_s, _pass_over):
        if path.name in left:
            continue
        with suppress(OSError):  # it has gone meanwhile
            stat = path.stat()
            size_bytes += stat.st_size
            if size_bytes >= due.size_bytes or wall_s - stat.st_mtime >= due.age_s:
                return True
    return False


def _is_finished(path: Path, wall_s: float, warn: Warn) -> bool:
    try:
        with owned(path) as file:
            if file is None:
                return False
            stat = os.fstat(file)  # while no writer can have it
    except FileNotFoundError:
        return False
    except OSError as error:
        warn(f"{path.name}: cannot be opened: {(error.strerror or str(error)).lower()}")
        return False
    # A writer takes the lock right after it made the file, and writes only then.
    return stat.st_size > 0 or wall_s - stat.st_mtime >= EMPTY_S


def _pass_over(sentence: str) -> None:
    pass
