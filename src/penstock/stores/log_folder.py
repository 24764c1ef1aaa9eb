"""The folder of a prediction log: where things lie in it, its key, how long segments are kept."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from penstock.core.folders import make_private
from penstock.stores.segment import SUFFIX
from penstock.stores.segment_writer import NEW, owned, segments_in

LOG_NAME: Final = "log"
"""Of the folder, in a state directory."""

LOG_VARIABLE: Final = "PENSTOCK_LOG_DIR"
"""Names the folder in the environment."""

SEGMENTS: Final = "segments"
KEY: Final = "key"

KEEP_DAYS: Final = 30.0
"""How long a segment is kept after its last record."""

_KEY_BYTES: Final = 32
DAY_S: Final = 86400.0


def key_of(folder: Path) -> bytes:
    """Return the key of a log's digests; made once, and the same for all its processes.

    Raises:
        OSError: it can neither be read nor made, or the file holds something else.
    """
    path = folder / KEY
    try:
        return _read_key(path)
    except FileNotFoundError:
        make_private(folder)
    made = folder / f"{KEY}.{os.getpid()}.{os.urandom(4).hex()}"
    file = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, os.urandom(_KEY_BYTES))
        os.fsync(file)
        _read_key(made)  # a disk may take a part
        with contextlib.suppress(FileExistsError):
            os.link(made, path)  # whole at once; of several processes the first one's counts
    finally:
        os.close(file)
        os.unlink(made)
    return _read_key(path)


def _read_key(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise OSError(
            f"{path} has {len(key)} bytes, and the key of a log has {_KEY_BYTES}: put back the one "
            "that was there, or delete it; with another one digests are not those of before"
        )
    return key


def drop_old_segments(folder: Path, wall_s: float, keep_days: float = KEEP_DAYS) -> int:
    """Delete the segments that nobody writes and whose last record is older; return how many.

    So are files that never became segments.

    Args:
        folder: of the segments.
        wall_s: now, in seconds since the epoch.
        keep_days: how long they are kept.
    """
    dropped = 0
    for path in (*segments_in(folder), *folder.glob(f"*{SUFFIX}{NEW}")):
        with contextlib.suppress(OSError):  # gone meanwhile, or it stays until the next time
            if path.stat().st_mtime > wall_s - keep_days * DAY_S:
                continue
            with owned(path) as file:
                if file is not None:
                    path.unlink()
                    dropped += 1
    return dropped
