"""Dropping what has been kept long enough: whole days of files, segments, and what was damaged."""

from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

from msgspec import Struct

from penstock.stores.log_folder import DAY_S, SEGMENTS, drop_old_segments
from penstock.stores.manifests import DAMAGED, PARQUET
from penstock.stores.read_log import Warn

_DAY: Final = "day="


class Dropped(Struct, frozen=True):
    """What a run has dropped.

    Attributes:
        days: of how many routes' days.
        files: how many files were in them.
        segments: how many segments, with records that were in no file.
        damaged: how many files in `damaged/`.
    """

    days: int = 0
    files: int = 0
    segments: int = 0
    damaged: int = 0


def drop_old(folder: Path, wall_s: float, keep_days: float, warn: Warn) -> Dropped:
    """Drop what is older; what cannot be deleted is told, and tried again by the next run.

    Args:
        folder: of the log.
        wall_s: now, in seconds since the epoch.
        keep_days: how long records are kept; a day goes once all of it is older.
        warn: is told in a sentence.

    Raises:
        OSError: the folder cannot be looked at.
    """
    days = files = damaged = 0
    for day in _old_days(folder / PARQUET, wall_s - keep_days * DAY_S):
        try:
            for path in sorted(day.iterdir()):
                path.unlink()
                files += 1
            day.rmdir()
            days += 1
        except OSError as error:
            warn(f"{day}: cannot be deleted: {error.strerror}")
            continue
        with contextlib.suppress(OSError):  # other days are left in it
            day.parent.rmdir()
    segments = drop_old_segments(folder / SEGMENTS, wall_s, keep_days)
    for path in sorted((folder / DAMAGED).glob("*")):
        try:
            if path.stat().st_mtime < wall_s - keep_days * DAY_S:
                path.unlink()
                damaged += 1
        except OSError as error:
            warn(f"{path}: cannot be deleted: {error.strerror}")
    return Dropped(days, files, segments, damaged)


def _old_days(folder: Path, before_s: float) -> list[Path]:
    found = []
    for path in sorted(folder.glob(f"route=*/{_DAY}*")):
        with contextlib.suppress(ValueError):  # nothing of ours
            day = date.fromisoformat(path.name.removeprefix(_DAY))
            ends = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
            if ends.timestamp() <= before_s:
                found.append(path)
    return found
