"""What the shipper tells of itself: a small file in the outbox, as it is a process of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from penstock.core import families
from penstock.core.snapshot import Reading
from penstock.stores.postgresql.outbox import Outbox, write_whole

STATUS: Final = "status.json"

STATUS_S: Final = 5.0
"""How often the shipper says that it lives, where nothing else has changed."""


class ShipStatus(Struct, frozen=True, kw_only=True):
    """What has become of the records in an outbox; counters go on where an earlier shipper ended.

    Attributes:
        pid: of the shipper.
        written_s: when this was written; instants are in seconds since the epoch.
        began_s: when the first shipper of this outbox began.
        caught_up_s: when nothing waited the last time; 0 where that was never so.
        shipped: records that are in the database.
        known: records that were there already: a shipper was killed before it could note it.
        bare: records that are there without inputs and answers, as the database refuses those.
        refused: records that the database refuses.
        unreadable: records that are damaged, or of a later version.
        dropped: records that were dropped, as the outbox was full, or they waited too long.
        failures: attempts that failed, as the database was out of reach or refused all.
        outages: times when it did, for however many attempts.
        failing: why the last attempt failed, in a word; empty where it did not.
        error: the same as a sentence.
        failing_s: since when.
        waiting: records that are still to be shipped.
        waiting_bytes: what they are in the segments.
    """

    pid: int = 0
    written_s: float = 0.0
    began_s: float = 0.0
    caught_up_s: float = 0.0
    shipped: int = 0
    known: int = 0
    bare: int = 0
    refused: int = 0
    unreadable: int = 0
    dropped: int = 0
    failures: int = 0
    outages: int = 0
    failing: str = ""
    error: str = ""
    failing_s: float = 0.0
    waiting: int = 0
    waiting_bytes: int = 0


def write_status(outbox: Outbox, status: ShipStatus) -> None:
    """Write a status into its outbox.

    Raises:
        OSError: it cannot be written.
    """
    write_whole(outbox.path / STATUS, msgspec.json.encode(status))


def read_status(folder: Path) -> ShipStatus | None:
    """Return what the shipper of the log in a folder has told last; None where there is nothing."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        content = (Outbox(folder).path / STATUS).read_bytes()
        return msgspec.json.decode(content, type=ShipStatus)
    return None


def ship_readings(folder: Path, wall_s: float) -> Iterator[Reading]:
    """Read what the shipper of the log in a folder has counted; of one server, not of a worker.

    Args:
        folder: of the log.
        wall_s: now, in seconds since the epoch.
    """
    status = read_status(folder) or ShipStatus(failing="no_shipper")
    for outcome in ("shipped", "bare", "known", "refused", "unreadable", "dropped"):
        yield families.POSTGRESQL_RECORDS, (outcome,), getattr(status, outcome)
    yield families.POSTGRESQL_WAITING, (), status.waiting
    yield families.POSTGRESQL_WAITING_BYTES, (), status.waiting_bytes
    yield families.POSTGRESQL_FAILURES, (), status.failures
    yield families.POSTGRESQL_FAILING, (), 1 if status.failing else 0
    behind_s = _behind_s(folder, status, wall_s)
    if behind_s is not None:
        yield families.POSTGRESQL_BEHIND, (), behind_s


def ship_detail(folder: Path, wall_s: float) -> Mapping[str, Any]:
    """Return what `/health/detail` shows of the shipper: no addresses, no texts of errors.

    Args:
        folder: of the log.
        wall_s: now, in seconds since the epoch.
    """
    status = read_status(folder)
    behind_s = _behind_s(folder, status or ShipStatus(), wall_s)
    rounded_s = None if behind_s is None else round(behind_s, 3)
    if status is None:
        return {"behind_s": rounded_s, "failing": "no_shipper"}
    told: dict[str, Any] = {
        "pid": status.pid,
        "told_s_ago": round(max(0.0, wall_s - status.written_s), 3),
        "behind_s": rounded_s,
        "shipped": status.shipped,
        "waiting": status.waiting,
        "waiting_bytes": status.waiting_bytes,
        "failing": status.failing or None,
    }
    if status.failing:
        since = datetime.fromtimestamp(status.failing_s, UTC).isoformat(timespec="seconds")
        told["failing_since"] = since.replace("+00:00", "Z")
    return told


def _behind_s(folder: Path, status: ShipStatus, wall_s: float) -> float | None:
    """Return how long ago nothing waited; None where nothing ever did, and no shipper was there.

    Where that was never so, it counts from the first shipper's begin, or from that of the oldest
    segment that waits, if it is older.
    """
    since_s = status.caught_up_s
    if not since_s:
        known = (status.began_s, Outbox(folder).oldest_s())
        since_s = min((one for one in known if one), default=0.0)
    return max(0.0, wall_s - since_s) if since_s else None
