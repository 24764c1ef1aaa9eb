"""Taking records on the loop: batches, bounds, what is counted, and a stop that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest
from msgspec import structs

from penstock.core import families
from penstock.core.errors import ModelFailed
from penstock.core.log import Log
from penstock.core.record import Role
from penstock.gateway.status import status_of
from penstock.stores import outlet, prediction_log
from penstock.stores.line_sink import LineSink
from penstock.stores.log_thread import Pace
from penstock.stores.policy import LogPolicy
from penstock.stores.prediction_log import FLUSH_RECORDS, FLUSH_S, PredictionLog
from penstock.stores.segment import HEAD
from penstock.stores.segment_writer import segments_in
from penstock.stores.sinks import LogPlaces
from tests.stores.ends import IRIS, a_record, logged
from tests.support import ManualClock, a_request, scores, settle
from tests.waiting import until


class Logging:
    """A log in a folder, and what it says."""

    def __init__(
        self,
        folder: Path | None,
        *,
        sinks: tuple[str, ...] = (),
        key: bytes | None = None,
        pace: Pace = Pace(),  # noqa: B008 - it is frozen
    ) -> None:
        self.lines: list[str] = []
        self.clock = ManualClock()
        log = Log(self.clock, write=self._say, human=True)
        places = LogPlaces(None if folder is None else str(folder), sinks)
        self.log = PredictionLog(
            places, clock=self.clock, log=log, status_of=status_of, key=key, pace=pace
        )

    def _say(self, line: str) -> bool:
        self.lines.append(line)
        return True

    def take(self, count: int, policy: LogPolicy = IRIS) -> None:
        for number in range(count):
            self.log.taker(policy)(a_record(number))

    def counts(self) -> Mapping[str, float]:
        return {
            " ".join(labels) or family.name: value
            for family, labels, value in self.log.readings()
            if value and family.labels in ((), ("sink", "outcome"))
        }


def nothing_in(folder: Path) -> bool:
    return not list(folder.iterdir())


async def test_a_stop_loses_nothing(tmp_path: Path) -> None:
    it = Logging(tmp_path)
    it.take(3)
    assert it.log.waiting == 3
    assert nothing_in(tmp_path)
    await it.log.close()
    assert [one.request_id for one in logged(tmp_path)] == ["r0", "r1", "r2"]
    assert it.counts()["segments written"] == 3
    assert it.log.waiting == 0
    assert it.clock.timers == 0
    assert it.lines == []


async def test_records_are_handed_over_after_a_while(tmp_path: Path) -> None:
    it = Logging(tmp_path)
    it.take(1)
    await it.clock.elapse(FLUSH_S - 0.001)
    assert nothing_in(tmp_path)
    it.take(1)
    await it.clock.elapse(0.001)
    await until(lambda: it.log.waiting == 0)
    assert len(logged(tmp_path)) == 2
    assert it.clock.timers == 0
    await it.log.close()


async def test_or_when_there_are_many(tmp_path: Path) -> None:
    it = Logging(tmp_path)
    it.take(FLUSH_RECORDS)
    assert it.clock.timers == 0
    await until(lambda: it.log.waiting == 0)
    it.take(1)
    assert it.log.waiting == 1
    await it.log.close()
    assert len(logged(tmp_path)) == FLUSH_RECORDS + 1


async def test_or_when_they_are_large(tmp_path: Path) -> None:
    it = Logging(tmp_path)
    it.log.taker(IRIS)(a_record(rows=[[0.0] * (prediction_log.FLUSH_BYTES // 4)]))
    await until(lambda: it.log.waiting == 0)
    await it.log.close()


async def test_so_are_small_ones_that_hold_much_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_log, "FLUSH_BYTES", 1000)
    it = Logging(tmp_path)
    it.take(20)
    await until(lambda: it.log.waiting < 20)
    await it.log.close()
    assert len(logged(tmp_path)) == 20


async def test_those_that_are_promised_are_handed_over_with_the_others(tmp_path: Path) -> None:
    it = Logging(tmp_path)
    it.take(1)
    it.take(1, structs.replace(IRIS, blocks=True))
    assert it.log.waiting == 2
    await it.clock.elapse(FLUSH_S)
    await until(lambda: it.log.waiting == 0)
    assert len(logged(tmp_path)) == 2
    await it.log.close()


async def test_all_kinds_together_are_no_more_than_a_batch(tmp_path: Path) -> None:
    it = Logging(tmp_path)
    kinds = [it.log.taker(IRIS), it.log.taker(structs.replace(IRIS, blocks=True))]
    failed = a_record(outcome=ModelFailed("svc"))
    for number in range(FLUSH_RECORDS):
        kinds[number % 2](failed if number % 3 else a_record(number))
    assert it.clock.timers == 0
    await until(lambda: it.log.waiting == 0)
    assert it.log.detail()["sinks"]["segments"]["written"] == FLUSH_RECORDS
    await it.log.close()


async def test_what_is_promised_is_kept_where_there_is_no_room_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlet, "MAX_WAITING_RECORDS", 1)
    folder = tmp_path / "log"
    folder.write_text("in the way")
    it = Logging(folder, pace=Pace(retry_s=0.001))
    it.take(1)
    it.log.flush()
    it.log.taker(IRIS)(a_record(1))
    it.log.taker(structs.replace(IRIS, blocks=True))(a_record(2))
    it.log.flush()
    assert it.counts()["segments full"] == 1
    folder.unlink()
    await until(lambda: it.log.waiting == 0)
    await it.log.close()
    assert [one.request_id for one in logged(folder)] == ["r0", "r2"]


async def test_what_is_in_the_way_of_a_promise_is_known_before_the_first_one(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "log"
    folder.write_text("in the way")
    it = Logging(folder, pace=Pace(retry_s=0.001))
    it.log.recorder({"iris": IRIS})
    assert it.log.has_room()
    it.log.recorder({"iris": structs.replace(IRIS, blocks=True)})
    await until(lambda: not it.log.has_room())
    folder.unlink()
    await until(it.log.has_room)
    await it.log.close()


async def test_large_answers_that_are_not_kept_are_not_held(tmp_path: Path) -> None:
    it = Logging(tmp_path)
    it.log.taker(IRIS)(a_record(outcome=scores([0.0] * (prediction_log.FLUSH_BYTES // 4))))
    assert it.log.waiting == 1  # it is not handed over at once, as large inputs are
    await it.log.close()
    (told,) = logged(tmp_path)
    assert (told.output, told.left_out) == (None, ("output",))


async def test_nothing_is_promised_while_the_disk_refuses(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.write_text("in the way")
    it = Logging(folder, pace=Pace(retry_s=0.001))
    it.take(1)
    assert it.log.has_room()
    it.log.flush()
    await until(lambda: not it.log.has_room())
    folder.unlink()
    await until(it.log.has_room)
    await it.log.close()


async def test_who_is_not_among_the_sample_is_counted(tmp_path: Path) -> None:
    it = Logging(tmp_path)
    it.take(3, structs.replace(IRIS, sample_percent=0.0))
    assert it.counts() == {"penstock_prediction_records_left_out_total": 3}
    await it.log.close()


async def test_only_routes_that_are_logged_are(tmp_path: Path) -> None:
    it = Logging(tmp_path)
    it.log.taker(IRIS)(a_record(1))
    record = it.log.recorder({"iris": IRIS})
    other = structs.replace(a_request(), route="another")
    record(structs.replace(a_record(2, role=Role.SHADOW), request=other))
    record(a_record(3, place="routes.iris[0].mirror.shadow", role=Role.SHADOW))
    record(structs.replace(a_record(4, role=Role.OBSERVE), request=None))
    await it.log.close()
    assert [(one.request_id, one.role) for one in logged(tmp_path)] == [
        ("r1", "primary"),
        ("r3", "shadow"),
    ]


async def test_where_there_is_no_sink_it_is_said_once_and_counted() -> None:
    it = Logging(None)
    it.log.recorder({})
    it.log.begin()
    assert it.lines == []
    it.log.recorder({"iris": IRIS})(a_record(role=Role.SHADOW))
    it.log.recorder({"iris": IRIS})  # of the next generation
    assert len(it.lines) == 1
    assert "predictions are not recorded" in it.lines[0]
    assert not it.log.has_room()
    assert it.counts() == {"none lost": 1}
    assert it.log.detail() == {"folder": None, "sinks": {}, "left_out": 0, "lost": 1}
    await it.log.close()


async def test_each_segment_is_told_of_while_nothing_is_in_it(tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []

    def began(path: Path) -> None:
        told.append((path.name, path.stat().st_size))

    clock = ManualClock()
    log = Log(clock, write=lambda _: True)
    places = LogPlaces(str(tmp_path))
    predictions = PredictionLog(places, clock=clock, log=log, status_of=status_of, began=began)
    predictions.taker(IRIS)(a_record())
    await predictions.close()
    (path,) = segments_in(tmp_path / "segments")
    assert told == [(path.name, len(HEAD))]


# --- lines on standard output ------------------------------------------------------------


@pytest.fixture
def stdout(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Yield the reading end of what stands for standard output."""
    reads, writes = os.pipe()
    monkeypatch.setattr(prediction_log, "LineSink", partial(LineSink, writes))
    yield reads
    os.close(writes)
    os.close(reads)


def lines(reads: int) -> list[dict[str, object]]:
    return [json.loads(line) for line in os.read(reads, 1 << 16).splitlines()]


async def test_both_sinks_get_every_record_and_it_is_the_same(tmp_path: Path, stdout: int) -> None:
    it = Logging(tmp_path, sinks=("stdout",))
    take = it.log.taker(structs.replace(IRIS, keys=frozenset({"field:user"})))
    for number in range(3):
        record = a_record(number)
        assert record.request is not None
        request = structs.replace(record.request, fields={"field:user": "ada"})
        take(structs.replace(record, request=request))
    take(structs.replace(a_record(3), request=None))
    await it.log.close()
    told, kept = lines(stdout), logged(tmp_path)
    assert [one["request_id"] for one in told] == ["r0", "r1", "r2", "r3"]
    assert [one["record_id"] for one in told] == [one.record_id for one in kept]
    assert len({one.record_id for one in kept}) == 4
    assert [one["groups"] for one in told] == [one.groups for one in kept]
    assert it.counts()["segments written"] == it.counts()["stdout written"] == 4
    assert set(it.log.detail()["sinks"]) == {"segments", "stdout"}


async def test_records_that_are_made_at_once_are_in_both_too(tmp_path: Path, stdout: int) -> None:
    it = Logging(tmp_path, sinks=("stdout",))
    it.take(3)
    await it.log.close()
    told, kept = lines(stdout), logged(tmp_path)
    assert [one["record_id"] for one in told] == [one.record_id for one in kept]
    assert [one.request_id for one in kept] == ["r0", "r1", "r2"]


async def test_it_needs_no_folder(stdout: int) -> None:
    it = Logging(None, sinks=("stdout",))
    it.log.recorder({"iris": IRIS})(a_record(1, role=Role.SHADOW))
    assert it.log.has_room()
    await it.log.close()
    assert [one["request_id"] for one in lines(stdout)] == ["r1"]
    assert len(it.lines) == 1
    assert "give PENSTOCK_LOG_KEY" in it.lines[0]


async def test_digests_are_by_the_key_that_is_given(stdout: int) -> None:
    digests = set()
    for _ in range(2):
        it = Logging(None, sinks=("stdout",), key=b"k" * 32)
        it.log.recorder({"iris": IRIS})
        it.log.taker(structs.replace(IRIS, keeps_input=False))(a_record())
        await it.log.close()
        digests |= {one["input_digest"] for one in lines(stdout)}
        assert it.lines == []
    assert len(digests) == 1


async def test_a_reader_that_does_not_read_holds_up_no_segment(
    tmp_path: Path, stdout: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlet, "MAX_WAITING_RECORDS", FLUSH_RECORDS)
    it = Logging(tmp_path, sinks=("stdout",))
    for _ in range(20):
        it.take(FLUSH_RECORDS)
        await until(lambda: it.log.waiting == 0)
        assert it.log.has_room()
    counts = it.counts()
    assert counts["segments written"] == 20 * FLUSH_RECORDS
    assert counts["stdout full"] > 0
    assert counts["stdout full"] % FLUSH_RECORDS == 0
    assert "segments full" not in counts
    stopping = asyncio.ensure_future(it.log.close())
    while not stopping.done():
        os.set_blocking(stdout, False)
        with contextlib.suppress(BlockingIOError):
            os.read(stdout, 1 << 20)
        await asyncio.sleep(0)
    counts = it.counts()
    assert counts["stdout full"] + counts["stdout written"] == 20 * FLUSH_RECORDS


async def test_a_folder_that_cannot_be_read_holds_up_no_line(tmp_path: Path, stdout: int) -> None:
    folder = tmp_path / "log"
    folder.write_text("in the way")
    it = Logging(folder, sinks=("stdout",))
    it.take(1)
    await it.log.close()
    assert [one["request_id"] for one in lines(stdout)] == ["r0"]
    assert it.counts()["segments lost"] == 1
    assert "1 predictions could not be recorded" in it.lines[-1]


# --- the end -----------------------------------------------------------------------------


async def test_what_comes_after_the_end_is_lost_and_counted(tmp_path: Path) -> None:
    it = Logging(tmp_path)
    it.take(1)
    await it.log.close()
    it.take(2)
    assert not it.log.has_room()
    assert (it.counts()["segments written"], it.counts()["none lost"]) == (1, 2)
    it.log.flush()


async def test_what_a_disk_refuses_at_the_end_is_lost_and_told(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.write_text("in the way")
    it = Logging(folder, pace=Pace(retry_s=0.001))
    it.take(3)
    it.log.flush()
    await until(lambda: not it.log.has_room())
    it.take(2)
    await it.log.close()
    assert it.counts()["segments lost"] == 5
    told = [line for line in it.lines if "5 predictions could not be recorded" in line]
    assert len(told) == 1
    assert "segments" in told[0]


async def test_a_disk_that_never_answers_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_log, "CLOSE_TIMEOUT_S", 0.0)
    it = Logging(tmp_path)
    it.take(FLUSH_RECORDS * 20)
    await it.log.close()
    await settle()
    hurried = [line for line in it.lines if "could not be recorded in time" in line]
    assert len(hurried) == 1 or it.log.waiting == 0
    await until(lambda: it.log.waiting == 0)


async def test_what_a_killed_process_left_is_told_at_the_start(tmp_path: Path) -> None:
    Logging(tmp_path / "none").log.begin()
    assert nothing_in(tmp_path)
    (tmp_path / "segments").mkdir()
    (tmp_path / "segments" / "0.segment").write_bytes(b"")
    it = Logging(tmp_path)
    it.log.begin()
    it.log.begin()
    await until(lambda: it.lines)
    assert "was not closed by its process" in it.lines[0]
    await it.log.close()


def test_every_reading_is_of_a_family() -> None:
    told = [family for family, _, _ in Logging(None).log.readings()]
    assert set(told) <= set(families.FAMILIES)
