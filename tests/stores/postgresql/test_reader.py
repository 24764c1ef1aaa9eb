from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.stores.postgresql import reader
from penstock.stores.postgresql.outbox import Bounds, Outbox
from penstock.stores.postgresql.reader import Backlog, Batch, Dropped, OutboxReader
from penstock.stores.prediction_record import decode_record
from penstock.stores.segment import HEAD
from penstock.stores.segment_writer import owned, segments_in
from tests.stores.postgresql.shipped import WALL_S, a_frame, a_writer, written

DAY_S = 86400.0


class Reads:
    """A reader of the outbox in a folder, and what it warned of."""

    def __init__(self, folder: Path, *, max_bytes: int = 1 << 20) -> None:
        self.warnings: list[str] = []
        self.outbox = Outbox(folder)
        self.reader = OutboxReader(self.outbox, warn=self.warnings.append, max_bytes=max_bytes)

    def next(self) -> Batch:
        return self.reader.next_batch()

    def all(self) -> list[str]:
        """Ship all there is; return the ids."""
        shipped: list[str] = []
        while not (batch := self.next()).is_empty:
            shipped += ids(batch)
            self.reader.done(batch)
        return shipped

    def segments(self) -> list[Path]:
        return segments_in(self.outbox.path)


def ids(batch: Batch) -> list[str]:
    return [decode_record(payload).record_id for payload in batch.payloads]


def test_an_empty_outbox(tmp_path: Path) -> None:
    reads = Reads(tmp_path)
    assert reads.next().is_empty
    assert reads.reader.backlog() == Backlog()
    assert reads.reader.begin({"gone": 7}) == ("gone",)


def test_a_segment_is_followed_while_it_is_written(tmp_path: Path) -> None:
    reads = Reads(tmp_path)
    writer = a_writer(tmp_path)
    writer.append(a_frame(0) + a_frame(1), WALL_S)
    assert reads.all() == ["r0", "r1"]
    assert reads.next().is_empty
    writer.append(a_frame(2), WALL_S)
    assert reads.reader.backlog().records == 1
    assert reads.all() == ["r2"]
    assert len(reads.segments()) == 1
    writer.close()
    batch = reads.next()
    assert (batch.payloads, batch.positions, batch.finished) == ((), {}, tuple(reads.segments()))
    (name,) = reads.reader.done(batch)
    assert reads.segments() == []
    assert name.endswith(".segment")
    assert len(segments_in(tmp_path / "segments")) == 1


def test_batches_have_a_bound_and_go_over_segments(tmp_path: Path) -> None:
    for number in range(3):
        written(tmp_path, [2 * number, 2 * number + 1], wall_s=WALL_S + number)
    size = len(a_frame(0)) - 11
    reads = Reads(tmp_path, max_bytes=3 * size)
    batches = []
    while not (batch := reads.next()).is_empty:
        batches.append(ids(batch))
        reads.reader.done(batch)
    assert batches == [["r0", "r1", "r2"], ["r3", "r4", "r5"], []]


def test_it_goes_on_where_the_database_says(tmp_path: Path) -> None:
    first = Reads(tmp_path, max_bytes=1)
    writer = written(tmp_path, range(4), closed=False)
    shipped = []
    positions: dict[str, int] = {}
    for _ in range(2):
        batch = first.next()
        shipped += ids(batch)
        positions |= batch.positions
        first.reader.done(batch)
    later = Reads(tmp_path)
    assert later.reader.begin({**positions, "another": 9}) == ("another",)
    assert later.reader.backlog().records == 2
    assert shipped + later.all() == ["r0", "r1", "r2", "r3"]
    writer.close()


def test_a_segment_that_was_shipped_and_not_taken_away_is(tmp_path: Path) -> None:
    reads = Reads(tmp_path)
    written(tmp_path, range(2))
    batch = reads.next()
    again = Reads(tmp_path)
    assert again.reader.begin(batch.positions) == ()
    assert again.all() == []
    assert again.segments() == []


def test_what_a_killed_process_left_is_finished(tmp_path: Path) -> None:
    writer = written(tmp_path, range(2), closed=False)
    os.write(writer._file, a_frame(2)[:-3])
    reads = Reads(tmp_path)
    batch = reads.next()
    assert (ids(batch), batch.finished) == (["r0", "r1"], ())
    reads.reader.done(batch)
    assert reads.next().is_empty
    writer._leave()
    batch = reads.next()
    assert batch.torn_bytes == len(a_frame(2)) - 3
    reads.reader.done(batch)
    assert reads.segments() == []


def test_a_write_that_was_taken_back_after_it_was_read(tmp_path: Path) -> None:
    writer = written(tmp_path, range(2), closed=False)
    reads = Reads(tmp_path)
    assert reads.all() == ["r0", "r1"]
    (path,) = reads.segments()
    os.truncate(path, len(HEAD) + len(a_frame(0)))
    assert reads.all() == ["r0"]  # all anew; the database recognizes it
    writer.append(a_frame(7, model="another, longer"), WALL_S)
    writer.append(a_frame(8), WALL_S)
    assert reads.all() == ["r7", "r8"]
    os.truncate(path, len(HEAD))
    writer.append(a_frame(9, model="m" * 2000), WALL_S)
    assert reads.all() == ["r9"]
    writer.close()
    assert reads.all() == []
    assert reads.segments() == []


def test_what_comes_while_a_process_ends_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = written(tmp_path, [0], closed=False)
    reads = Reads(tmp_path)
    assert reads.all() == ["r0"]

    @contextmanager
    def late(path: Path) -> Iterator[int | None]:
        writer.append(a_frame(1), WALL_S)
        writer.close()
        with owned(path) as file:
            yield file

    monkeypatch.setattr(reader, "owned", late)
    batch = reads.next()
    assert (ids(batch), len(batch.finished)) == (["r1"], 1)
    reads.reader.done(batch)
    assert reads.segments() == []


def test_what_is_counted_is_counted_anew_where_some_was_taken_back(tmp_path: Path) -> None:
    writer = written(tmp_path, range(3), closed=False)
    reads = Reads(tmp_path)
    assert reads.reader.backlog().records == 3
    os.truncate(reads.segments()[0], len(HEAD) + len(a_frame(0)))
    assert reads.reader.backlog().records == 1
    writer.close()


def test_damage_in_the_middle_is_counted_and_no_end(tmp_path: Path) -> None:
    written(tmp_path, range(3))
    reads = Reads(tmp_path)
    (path,) = reads.segments()
    with path.open("r+b") as file:
        file.seek(len(HEAD) + len(a_frame(0)) + 20)
        file.write(b"\xff\xff")
    batch = reads.next()
    assert (ids(batch), batch.damaged) == (["r0", "r2"], 1)
    assert reads.reader.backlog().records == 3
    reads.reader.done(batch)
    assert reads.reader.backlog() == Backlog()


def test_what_is_damaged_waits_no_more_once_what_follows_is_shipped(tmp_path: Path) -> None:
    writer = written(tmp_path, range(3), closed=False)
    reads = Reads(tmp_path)
    (path,) = reads.segments()
    with path.open("r+b") as file:
        file.seek(len(HEAD) + len(a_frame(0)) + 20)
        file.write(b"\xff\xff")
    assert reads.reader.backlog().records == 3
    reads.reader.done(reads.next())
    assert reads.reader.backlog().records == 0
    writer.close()


def test_what_is_no_segment_is_told_once_and_left(tmp_path: Path) -> None:
    reads = Reads(tmp_path)
    reads.outbox.make()
    (reads.outbox.path / "0.segment").write_bytes(b"of a later version, perhaps")
    written(tmp_path, [5])
    assert reads.all() == ["r5"]
    assert reads.next().is_empty
    (warning,) = reads.warnings
    assert "0.segment cannot be shipped" in warning
    assert [path.name for path in reads.segments()] == ["0.segment"]
    assert reads.reader.bound(Bounds(max_bytes=1), WALL_S).segments == 1


def test_a_segment_that_somebody_takes_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, [0])
    reads = Reads(tmp_path)
    (waiting,) = reads.outbox.segments()
    waiting.path.unlink()
    monkeypatch.setattr(reads.outbox, "segments", lambda: iter([waiting]))
    assert reads.next().is_empty
    assert reads.reader.backlog().records == 0
    assert reads.reader.bound(Bounds(max_bytes=1), WALL_S) == Dropped()
    assert reads.warnings == []


def test_what_waits_is_counted_as_it_comes_and_goes(tmp_path: Path) -> None:
    reads = Reads(tmp_path, max_bytes=1)
    writer = written(tmp_path, range(5), closed=False)
    backlog = reads.reader.backlog()
    assert backlog == Backlog(5, 5 * len(a_frame(0)), 1)
    reads.reader.done(reads.next())
    reads.reader.done(reads.next())
    assert reads.reader.backlog() == Backlog(3, 3 * len(a_frame(0)), 1)
    writer.append(a_frame(5), WALL_S)
    assert reads.reader.backlog().records == 4
    late = reads.next()
    writer.append(a_frame(6), WALL_S)
    reads.reader.done(late)
    assert reads.reader.backlog().records == 4
    writer.close()
    assert len(reads.all()) == 4
    assert reads.reader.backlog() == Backlog()


def test_the_oldest_are_dropped_beyond_the_bounds(tmp_path: Path) -> None:
    for number in range(4):
        written(tmp_path, [2 * number, 2 * number + 1], wall_s=WALL_S + number)
    live = written(tmp_path, [8], closed=False, wall_s=WALL_S + 4)
    reads = Reads(tmp_path)
    paths = reads.segments()
    for number, path in enumerate(paths):
        os.utime(path, (WALL_S, WALL_S + number * DAY_S))
    size = paths[0].stat().st_size
    wall_s = WALL_S + 5 * DAY_S
    bound = reads.reader.bound
    assert bound(Bounds(max_bytes=5 * size, keep_days=9), wall_s) == Dropped()
    batch = Reads(tmp_path, max_bytes=1).next()
    reads.reader.begin(batch.positions)
    live_bytes = paths[-1].stat().st_size
    kept = Bounds(max_bytes=3 * size + live_bytes, keep_days=9)
    assert bound(kept, wall_s) == Dropped(segments=1, records=1)
    assert bound(Bounds(max_bytes=9 * size, keep_days=3.5), wall_s) == Dropped(1, 2)
    assert bound(Bounds(max_bytes=1, keep_days=0.001), wall_s) == Dropped(2, 4)
    assert reads.segments() == paths[-1:]
    assert reads.all() == ["r8"]
    live.close()
