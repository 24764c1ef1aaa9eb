from __future__ import annotations

from pathlib import Path

import pytest

from penstock.core.families import FAMILIES
from penstock.stores.postgresql.outbox import Outbox
from penstock.stores.postgresql.status import (
    STATUS,
    ShipStatus,
    read_status,
    ship_detail,
    ship_readings,
    write_status,
)
from tests.stores.postgresql.shipped import WALL_S, written

STATUS_NOW = ShipStatus(
    pid=42,
    written_s=WALL_S - 1,
    caught_up_s=WALL_S - 90,
    shipped=7,
    bare=1,
    known=2,
    refused=3,
    unreadable=4,
    dropped=5,
    failures=6,
    outages=1,
    failing="57P03",
    error="at host db.example.com: not yet",
    failing_s=WALL_S - 60,
    waiting=11,
    waiting_bytes=1234,
)


def put(folder: Path, status: ShipStatus) -> None:
    outbox = Outbox(folder)
    outbox.make()
    write_status(outbox, status)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    put(tmp_path, STATUS_NOW)
    assert read_status(tmp_path) == STATUS_NOW


@pytest.mark.parametrize("content", [b"", b"{", b'{"pid":"x"}', b"\xff"])
def test_what_nobody_can_read_is_no_status(tmp_path: Path, content: bytes) -> None:
    outbox = Outbox(tmp_path)
    outbox.make()
    (outbox.path / STATUS).write_bytes(content)
    assert read_status(tmp_path) is None


def test_its_counts_are_metrics(tmp_path: Path) -> None:
    put(tmp_path, STATUS_NOW)
    read = {
        (family.name, labels): value for family, labels, value in ship_readings(tmp_path, WALL_S)
    }
    assert read == {
        ("penstock_postgresql_records_total", ("shipped",)): 7,
        ("penstock_postgresql_records_total", ("bare",)): 1,
        ("penstock_postgresql_records_total", ("known",)): 2,
        ("penstock_postgresql_records_total", ("refused",)): 3,
        ("penstock_postgresql_records_total", ("unreadable",)): 4,
        ("penstock_postgresql_records_total", ("dropped",)): 5,
        ("penstock_postgresql_waiting_records", ()): 11,
        ("penstock_postgresql_waiting_bytes", ()): 1234,
        ("penstock_postgresql_failures_total", ()): 6,
        ("penstock_postgresql_failing", ()): 1,
        ("penstock_postgresql_behind_seconds", ()): 90.0,
    }
    assert {name for name, _ in read} <= {family.name for family in FAMILIES}


def test_no_shipper_is_a_failing_one(tmp_path: Path) -> None:
    read = {family.name: value for family, _, value in ship_readings(tmp_path, WALL_S)}
    assert read["penstock_postgresql_failing"] == 1
    assert "penstock_postgresql_behind_seconds" not in read
    assert ship_detail(tmp_path, WALL_S) == {"behind_s": None, "failing": "no_shipper"}


def behind_s(folder: Path) -> float | None:
    """Return how long ago nothing waited, as both tell it."""
    read = {family.name: value for family, _, value in ship_readings(folder, WALL_S)}
    told_s = ship_detail(folder, WALL_S)["behind_s"]
    assert read.get("penstock_postgresql_behind_seconds") == told_s
    return None if told_s is None else float(told_s)


def test_what_has_never_caught_up_is_behind_since_the_oldest_that_waits(tmp_path: Path) -> None:
    written(tmp_path, [0], wall_s=WALL_S - 600.0)
    assert behind_s(tmp_path) == 600.0
    put(tmp_path, ShipStatus(began_s=WALL_S - 60.0))
    assert behind_s(tmp_path) == 600.0
    put(tmp_path, ShipStatus(began_s=WALL_S - 60.0, caught_up_s=WALL_S - 1.0))
    assert behind_s(tmp_path) == 1.0


def test_a_shipper_that_has_never_caught_up_is_behind_since_its_begin(tmp_path: Path) -> None:
    put(tmp_path, ShipStatus())
    assert behind_s(tmp_path) is None
    put(tmp_path, ShipStatus(began_s=WALL_S - 60.0))
    assert behind_s(tmp_path) == 60.0


def test_the_detail_says_no_address(tmp_path: Path) -> None:
    put(tmp_path, STATUS_NOW)
    assert ship_detail(tmp_path, WALL_S) == {
        "pid": 42,
        "told_s_ago": 1.0,
        "behind_s": 90.0,
        "shipped": 7,
        "waiting": 11,
        "waiting_bytes": 1234,
        "failing": "57P03",
        "failing_since": "2025-06-15T15:05:40Z",
    }
    put(tmp_path, ShipStatus(written_s=WALL_S + 1, caught_up_s=WALL_S))
    told = ship_detail(tmp_path, WALL_S)
    assert (told["failing"], told["told_s_ago"]) == (None, 0.0)
    assert "failing_since" not in told
