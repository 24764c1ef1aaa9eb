"""Shipping to a database that can be refused by, lost, and found again: a fake one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.stores.postgresql.batch_store import SURE_REFUSALS
from penstock.stores.postgresql.database import CannotShip
from penstock.stores.postgresql.outbox import Bounds, Outbox
from penstock.stores.postgresql.shipper import BOUND_S, LAST_S, POLL_S, Shipper, retry_s
from penstock.stores.postgresql.status import STATUS, ShipStatus, read_status
from penstock.stores.prediction_record import SCHEMA
from penstock.stores.segment import END, framed
from penstock.stores.segment_writer import segments_in
from tests.stores.ends import packed
from tests.stores.postgresql.shipped import WALL_S, FakeDatabase, a_frame, a_writer, written
from tests.support import ManualClock


class Said:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def info(self, event: str, **fields: object) -> None:
        self.events.append(f"info: {event}")

    def warning(self, event: str, **fields: object) -> None:
        self.events.append(f"warning: {event}")

    def error(self, event: str, **fields: object) -> None:
        self.events.append(f"error: {event}")


class Ships:
    """A shipper of the outbox in a folder, and all that is around it."""

    def __init__(self, folder: Path, database: FakeDatabase | None = None) -> None:
        self.folder = folder
        self.database = database or FakeDatabase()
        self.clock = ManualClock()
        self.said = Said()
        self.outbox = Outbox(folder)
        self.outbox.make()
        self.shipper = self.anew()

    def anew(self, **options: Bounds) -> Shipper:
        bounds = options.get("bounds", Bounds())
        return Shipper(
            self.outbox,
            self.database,
            clock=self.clock,
            log=self.said,
            bounds=bounds,
            status=read_status(self.folder),
        )

    @property
    def status(self) -> ShipStatus:
        return self.shipper.status

    def left(self) -> int:
        return len(segments_in(self.outbox.path))

    def fails(self) -> CannotShip:
        with pytest.raises(CannotShip) as raised:
            self.shipper.ship_all()
        return raised.value


class Stopping(threading.Event):
    """Stops after some turns, and keeps how long was waited between them."""

    def __init__(self, turns: int, between: Callable[[int], None] = lambda _: None) -> None:
        super().__init__()
        self.waited: list[float | None] = []
        self._turns = turns
        self._between = between

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout)
        self._between(len(self.waited))
        if len(self.waited) >= self._turns:
            self.set()
        return self.is_set()


def test_all_is_shipped_and_taken_away(tmp_path: Path) -> None:
    ships = Ships(tmp_path)
    written(tmp_path, range(3))
    live = written(tmp_path, [3, 4], closed=False, wall_s=WALL_S + 1)
    ships.shipper.ship_all()
    assert sorted(ships.database.rows) == ["r0", "r1", "r2", "r3", "r4"]
    assert ships.left() == 1
    assert list(ships.database.positions) == [segments_in(ships.outbox.path)[0].name]
    live.close()
    ships.shipper.ship_all()
    assert ships.left() == 0
    assert ships.database.positions == {}
    assert (ships.status.shipped, ships.status.known) == (5, 0)
    assert ships.status.caught_up_s == ships.clock.wall_s()
    transactions = ships.database.ships
    ships.shipper.ship_all()
    assert ships.database.ships == transactions
    assert ships.said.events == []


def test_what_is_there_already_is_recognized(tmp_path: Path) -> None:
    ships = Ships(tmp_path)
    written(tmp_path, range(3))
    ships.shipper.ship_all()
    written(tmp_path, [1, 2, 3], wall_s=WALL_S + 1)
    ships.shipper.ship_all()
    assert (ships.status.shipped, ships.status.known) == (4, 2)


def test_an_outage_is_said_once_and_waited_out(tmp_path: Path) -> None:
    ships = Ships(tmp_path)
    written(tmp_path, range(3))
    ships.database.down = "nobody is there"

    def between(turn: int) -> None:
        ships.clock.advance(60.0)
        ships.database.down = "" if turn == 8 else ships.database.down

    stopping = Stopping(10, between)
    ships.shipper.run(stopping, lambda: False)
    assert stopping.waited == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, POLL_S, POLL_S]
    assert ships.said.events == [
        "warning: records are not shipped to PostgreSQL; they wait in the outbox",
        "info: records are shipped to PostgreSQL again, after 480 s",
    ]
    status = ships.status
    assert (status.failures, status.outages, status.failing) == (8, 1, "")
    assert (status.shipped, status.waiting) == (3, 0)
    assert not ships.database.is_open


def test_while_it_is_down_the_status_says_so(tmp_path: Path) -> None:
    ships = Ships(tmp_path)
    written(tmp_path, range(3))
    ships.database.down = "nobody is there"
    ships.shipper.run(Stopping(2), lambda: False)
    status = read_status(tmp_path)
    assert status is not None
    assert (status.failing, status.error) == ("down", "nobody is there")
    assert (status.waiting, status.waiting_bytes) == (3, 3 * len(a_frame(0)) + len(END))
    assert (status.outages, status.failing_s) == (1, ships.clock.wall_s())


def test_pauses_grow_to_a_bound() -> None:
    assert [retry_s(failures) for failures in (1, 2, 3, 7, 8, 10_000)] == [0.5, 1, 2, 30, 30, 30]


def test_told_to_stop_it_ships_what_is_there(tmp_path: Path) -> None:
    ships = Ships(tmp_path)
    stopping = Stopping(1, lambda _: written(tmp_path, [0, 1]).close())
    ships.shipper.run(stopping, lambda: False)
    assert sorted(ships.database.rows) == ["r0", "r1"]
    assert ships.left() == 0


def test_told_to_stop_it_ships_for_some_seconds_only(tmp_path: Path) -> None:
    ships = Ships(tmp_path)
    ships.shipper._reader._max_bytes = 1
    stopping = Stopping(1, lambda _: written(tmp_path, range(10)).close())
    ship = ships.database.ship

    def slowly(*what: object) -> int:
        ships.clock.advance(LAST_S / 2.5)
        return ship(*what)  # type: ignore[arg-type]

    ships.database.ship = slowly  # type: ignore[method-assign, assignment]
    ships.shipper.run(stopping, lambda: False)
    assert len(ships.database.rows) == 3


def test_it_stops_with_whoever_started_it(tmp_path: Path) -> None:
    ships = Ships(tmp_path)
    written(tmp_path, [0])
    ships.shipper.run(threading.Event(), lambda: True)
    assert list(ships.database.rows) == ["r0"]


def test_down_until_the_end(tmp_path: Path) -> None:
    ships = Ships(tmp_path)
    written(tmp_path, [0])
    ships.database.down = "nobody is there"
    ships.shipper.run(Stopping(1), lambda: False)
    assert (ships.status.failures, ships.status.outages) == (2, 1)


def test_it_tells_when_the_first_one_began(tmp_path: Path) -> None:
    ships = Ships(tmp_path)
    ships.database.down = "nobody is there"
    began_s = ships.clock.wall_s()
    ships.shipper.tell()
    ships.clock.advance(60.0)
    assert ships.anew().status.began_s == began_s
    assert ships.status.caught_up_s == 0.0


def test_counts_go_on_where_an_earlier_shipper_ended(tmp_path: Path) -> None:
    ships = Ships(tmp_path)
    written(tmp_path, range(3))
    ships.shipper.ship_all()
    ships.shipper.tell()
    written(tmp_path, [3], wall_s=WALL_S + 1)
    ships.shipper = ships.anew()
    ships.shipper.ship_all()
    assert ships.status.shipped == 4


def test_the_status_is_written_where_it_has_changed_or_to_show_life(tmp_path: Path) -> None:
    ships = Ships(tmp_path)
    path = ships.outbox.path / STATUS

    def told() -> bool:
        path.unlink(missing_ok=True)
        ships.shipper.tell()
        return path.exists()

    assert told()
    assert not told()
    ships.clock.advance(4.9)
    assert not told()
    ships.clock.advance(0.2)
    assert told()
    written(tmp_path, [0])
    assert told()


def test_a_status_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    ships = Ships(tmp_path)
    (ships.outbox.path / f"{STATUS}.new").mkdir()
    ships.shipper.tell()
    assert ships.said.events == ["error: the shipper's status cannot be written"]


def test_long_work_is_told_of_meanwhile(tmp_path: Path) -> None:
    ships = Ships(tmp_path)
    ships.shipper._reader._max_bytes = 1
    written(tmp_path, range(5))
    seen: list[int] = []
    ship = ships.database.ship

    def slowly(*what: object) -> int:
        ships.clock.advance(POLL_S)
        status = read_status(tmp_path)
        seen.append(-1 if status is None else status.waiting)
        return ship(*what)  # type: ignore[arg-type]

    ships.database.ship = slowly  # type: ignore[method-assign, assignment]
    ships.shipper.ship_all()
    assert seen == [-1, 4, 3, 2, 1, 0]


# --- what cannot be read, or is refused ---


def test_records_that_cannot_be_read_are_counted_and_said(tmp_path: Path) -> None:
    ships = Ships(tmp_path)
    writer = a_writer(tmp_path)
    writer.append(a_frame(0) + framed(packed("no record")) + a_frame(1, schema=SCHEMA + 1), WALL_S)
    writer.append(a_frame(2), WALL_S)
    writer.close()
    ships.shipper.ship_all()
    assert sorted(ships.database.rows) == ["r0", "r2"]
    assert ships.status.unreadable == 2
    (event,) = ships.said.events
    assert "2 records cannot be read, 0 bytes are torn" in event


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_one_that_is_refused_costs_no_other(tmp_path: Path, count: int) -> None:
    ships = Ships(tmp_path)
    ships.database.refuses = {"r1"}
    written(tmp_path, [1, *range(2, count + 2)])
    ships.shipper.ship_all()
    assert sorted(ships.database.rows) == sorted(f"r{one}" for one in range(2, count + 2))
    assert (ships.status.refused, ships.status.shipped) == (1, count)
    assert ships.left() == 0
    assert any("the database refuses 1 records: r1 is refused" in one for one in ships.said.events)


def test_one_that_is_refused_for_its_values_is_stored_without_them(tmp_path: Path) -> None:
    ships = Ships(tmp_path)
    ships.database.refuses = ships.database.takes_bare = {"r0", "r1"}
    ships.database.rows["r1"] = ()
    written(tmp_path, [0, 1])
    ships.shipper.ship_all()
    assert ships.database.rows["r0"][21] == ["input", "output", "arms", "trail", "groups"]
    status = ships.status
    assert (status.bare, status.known, status.shipped, status.refused) == (1, 1, 0, 0)
    assert ships.said.events == []


def test_one_with_what_is_no_json_is_stored_without_it(tmp_path: Path) -> None:
    ships = Ships(tmp_path)
    writer = a_writer(tmp_path)
    ext = b"\xd4\x01x"  # MessagePack's extension type: no JSON
    given = a_frame(0, input="i")[11:].replace(b"\xa1i", ext)
    writer.append(framed(given) + a_frame(1), WALL_S)
    writer.close()
    ships.shipper.ship_all()
    assert "input" in ships.database.rows["r0"][21]
    assert (ships.status.bare, ships.status.shipped) == (1, 1)


@pytest.mark.parametrize("count", [1, 3, 4 * SURE_REFUSALS])
def test_a_database_that_refuses_all_is_down_and_nothing_is_lost(
    tmp_path: Path, count: int
) -> None:
    ships = Ships(tmp_path)
    ships.database.refuses = {f"r{number}" for number in range(count)}
    written(tmp_path, range(count))
    error = ships.fails()
    assert error.reason == "refused"
    assert "takes none of the records" in error.message
    assert ships.left() == 1
    assert not ships.database.rows
    assert not ships.database.positions
    assert ships.status.refused == 0
    ships.database.refuses = set()
    ships.shipper.ship_all()
    assert len(ships.database.rows) == count


def test_one_that_is_refused_waits_for_another_that_is_not(tmp_path: Path) -> None:
    ships = Ships(tmp_path)
    ships.database.refuses = {"r0"}
    writer = written(tmp_path, [0], closed=False)
    ships.fails()
    writer.append(a_frame(1), WALL_S)
    ships.shipper.ship_all()
    assert list(ships.database.rows) == ["r1"]
    assert ships.status.refused == 1
    writer.close()


# --- bounds ---


def test_what_is_too_much_is_dropped_counted_and_said(tmp_path: Path) -> None:
    ships = Ships(tmp_path)
    ships.shipper = ships.anew(bounds=Bounds(max_bytes=1))
    ships.database.down = "nobody is there"
    written(tmp_path, range(3))
    ships.fails()
    assert ships.left() == 0
    assert ships.status.dropped == 3
    (event,) = ships.said.events
    assert "3 records in 1 segments are dropped and will not be shipped" in event
    written(tmp_path, [4], wall_s=WALL_S + 1)
    ships.fails()
    assert ships.left() == 1  # looked at now and then only
    ships.clock.advance(BOUND_S)
    ships.fails()
    assert (ships.left(), ships.status.dropped) == (0, 4)


def test_an_outbox_that_cannot_be_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ships = Ships(tmp_path)

    def refuse() -> None:
        raise PermissionError(13, "no")

    monkeypatch.setattr(ships.outbox, "segments", refuse)
    assert ships.fails().reason == "outbox"


def test_the_status_file_holds_no_more_than_its_fields(tmp_path: Path) -> None:
    ships = Ships(tmp_path)
    ships.shipper.tell()
    told = json.loads((ships.outbox.path / STATUS).read_bytes())
    assert set(told) == set(ShipStatus.__struct_fields__)
