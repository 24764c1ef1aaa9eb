"""The thread that writes: batches in their order, tries again, ends with everything written."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from msgspec import structs

from penstock.core.clock import Clock
from penstock.gateway.status import status_of
from penstock.stores.batch import OVERHEAD_BYTES
from penstock.stores.log_folder import SEGMENTS, key_of
from penstock.stores.log_thread import LogThread, Pace
from penstock.stores.make_record import RecordMaker
from penstock.stores.segment import HEAD, SegmentReader, framed
from penstock.stores.segment_sink import SegmentSink
from penstock.stores.segment_writer import segments_in
from tests.stores.ends import a_batch, a_maker, a_record, an_entry, logged, packed, some_encoded
from tests.support import ManualClock, a_request
from tests.waiting import BOUND_S, until

QUICK = Pace(retry_s=0.001)


class Told:
    """A thread, and what it says."""

    def __init__(self, folder: Path, *, pace: Pace = QUICK, clock: Clock | None = None) -> None:
        self.sentences: list[str] = []
        self.heard = threading.Event()
        sink = SegmentSink(folder, clock=clock or ManualClock(), pace=pace)
        self.thread = LogThread(
            sink,
            maker=lambda: RecordMaker(key_of(folder), status_of),
            tell=self.tell,
            pace=pace,
        )
        self.thread.start()

    def tell(self, sentence: str, error: BaseException | None) -> None:
        self.sentences.append(f"{sentence}: {error}" if error else sentence)
        self.heard.set()

    def stop(self) -> None:
        assert self.thread.stop(BOUND_S)


def ids(folder: Path) -> list[str]:
    return [record.request_id for record in logged(folder)]


def test_batches_are_written_in_their_order(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.thread.write(a_batch(*[an_entry(a_record(n)) for n in range(100)]))
    told.thread.write(a_batch(an_entry(a_record(100))))
    told.stop()
    assert ids(tmp_path) == [f"r{n}" for n in range(101)]
    thread = told.thread
    assert (thread.done, thread.done_bytes, thread.written) == (
        101,
        10100 + 2 * OVERHEAD_BYTES,
        101,
    )
    assert (thread.lost, thread.failures) == (0, 0)
    (path,) = segments_in(tmp_path / SEGMENTS)
    assert thread.bytes == path.stat().st_size - len(HEAD) - 8
    assert told.sentences == []


def test_what_killed_processes_left_is_told_first(tmp_path: Path) -> None:
    (tmp_path / SEGMENTS).mkdir()
    (tmp_path / SEGMENTS / "0.segment").write_bytes(HEAD + framed(b"x")[:-1])
    told = Told(tmp_path)
    told.stop()
    (sentence,) = told.sentences
    assert "0 records are whole, the last 11 bytes, of 1 records, were torn" in sentence


def test_a_disk_that_refuses_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.write_text("in the way")
    told = Told(folder)
    told.thread.write(a_batch(an_entry(a_record(1))))
    told.thread.write(a_batch(an_entry(a_record(2))))
    assert told.heard.wait(BOUND_S)
    assert "segments cannot be written; records wait" in told.sentences[-1]
    assert told.thread.done == 0
    folder.unlink()
    told.stop()
    assert (told.thread.written, told.thread.lost) == (2, 0)
    assert told.thread.failures > 0
    assert told.thread.failing == ""
    assert len(told.sentences) == 2
    assert told.sentences[1] == "the prediction log's segments can be written again"
    assert ids(folder) == ["r1", "r2"]


async def test_a_key_that_is_none_is_told_at_the_start_and_once(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"short")
    told = Told(tmp_path)
    assert told.heard.wait(BOUND_S)
    told.thread.write(a_batch(an_entry(a_record(1))))
    await until(lambda: told.thread.failures > 2)
    (sentence,) = told.sentences
    assert f"{tmp_path / 'key'} has 5 bytes" in sentence
    (tmp_path / "key").unlink()
    told.stop()
    assert (told.thread.written, told.thread.lost) == (1, 0)
    assert told.sentences[1:] == ["the prediction log's segments can be written again"]


async def test_what_is_deleted_while_it_is_written_is_lost_and_told(tmp_path: Path) -> None:
    told = Told(tmp_path / "log", pace=Pace(segment_s=BOUND_S))
    told.thread.write(a_batch(*[an_entry(a_record(n)) for n in range(3)]))
    await until(lambda: told.thread.written == 3)
    shutil.rmtree(tmp_path / "log")
    told.thread.write(a_batch(an_entry(a_record(3))))
    told.stop()
    assert ids(tmp_path / "log") == ["r3"]
    assert (told.thread.written, told.thread.lost, told.thread.done) == (4, 3, 4)
    assert told.sentences == [
        "3 predictions that had been recorded have gone: what they were written to in the "
        "prediction log's segments was deleted"
    ]


async def test_also_when_nothing_is_written_any_more(tmp_path: Path) -> None:
    told = Told(tmp_path, pace=Pace(segment_s=BOUND_S))
    told.thread.write(a_batch(an_entry(), an_entry()))
    await until(lambda: told.thread.written == 2)
    for path in segments_in(tmp_path / SEGMENTS):
        path.unlink()
    told.stop()
    assert told.thread.lost == 2


def test_at_the_end_what_cannot_be_written_is_lost_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.write_text("in the way")
    told = Told(folder, pace=Pace(retry_s=BOUND_S))
    told.thread.write(a_batch(*[an_entry(a_record(n)) for n in range(3)]))
    told.thread.write(a_batch(*[an_entry(a_record(n)) for n in range(2)]))
    told.stop()
    assert (told.thread.done, told.thread.written, told.thread.lost) == (5, 0, 5)
    assert told.thread.done_bytes == 500 + 2 * OVERHEAD_BYTES


def test_a_record_that_cannot_be_made_costs_no_other(tmp_path: Path) -> None:
    strange = np.empty((1, 1), dtype=object)
    strange[0, 0] = object()
    fields = {"field:x": object()}
    broken = structs.replace(a_record(1), request=a_request(fields=fields))  # type: ignore[arg-type]
    policy = structs.replace(an_entry().policy, groups=("field:x",))
    told = Told(tmp_path)
    told.thread.write(a_batch(an_entry(broken, policy), an_entry(a_record(2))))
    told.stop()
    assert ids(tmp_path) == ["r2"]
    assert (told.thread.written, told.thread.lost, told.thread.done) == (1, 1, 2)
    assert told.sentences[0].startswith("a prediction could not be recorded: ")


def test_a_record_that_is_too_large_is_none(tmp_path: Path) -> None:
    long = structs.replace(a_record(1), request_id="x" * (17 * 1024 * 1024))
    told = Told(tmp_path)
    told.thread.write(a_batch(an_entry(long)))
    told.stop()
    assert told.thread.lost == 1


def spin(true: Callable[[], bool]) -> None:
    """Return once another thread has brought something about."""
    given_up = threading.Event()
    timer = threading.Timer(BOUND_S, given_up.set)
    timer.start()
    while not true():
        assert not given_up.is_set()
    timer.cancel()


async def test_a_segment_is_closed_too_when_nothing_is_written_any_more(tmp_path: Path) -> None:
    told = Told(tmp_path, pace=Pace(segment_s=0.001))
    told.thread.write(a_batch(an_entry()))
    await until(lambda: told.thread.done)
    (path,) = segments_in(tmp_path / SEGMENTS)
    size = path.stat().st_size
    await until(lambda: path.stat().st_size == size + 8 or told.thread.bytes + 24 == size)
    told.stop()


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / SEGMENTS).mkdir()
    (tmp_path / SEGMENTS / "a.segment").symlink_to("/proc/self/clear_refs")  # cannot be read
    told = Told(tmp_path)
    told.stop()
    assert "cannot be read" in told.sentences[0]


class Strange:
    """A sink that cannot look at what was left, and tells when it may rest."""

    name = "strange"
    gone = 0

    def __init__(self, most_bytes: int = 1 << 20) -> None:
        self.most_bytes = most_bytes
        self.rested = threading.Event()

    def begin(self) -> Iterator[str]:
        raise OSError("no such thing")

    def encoded(self, records: bytes | bytearray, count: int) -> bytes:
        if len(records) > self.most_bytes:
            raise ValueError("too large")
        return bytes(records)

    def append(self, records: bytes | bytearray) -> None:
        """Take them."""

    def rest(self) -> None:
        self.rested.set()

    def close(self) -> None:
        """Nothing."""


def test_what_was_left_may_be_out_of_reach_and_the_sink_rests_when_nothing_comes() -> None:
    sentences: list[str] = []
    sink = Strange()
    thread = LogThread(
        sink,
        maker=a_maker,
        tell=lambda sentence, _: sentences.append(sentence),
        pace=Pace(segment_s=0.001),
    )
    thread.start()
    assert sink.rested.wait(BOUND_S)
    thread.write(a_batch(an_entry()))
    assert thread.stop(BOUND_S)
    assert thread.written == 1
    assert sentences == ["the prediction log's strange cannot be read"]


def test_what_has_been_made_is_written_together(tmp_path: Path) -> None:
    told = Told(tmp_path)
    batch = some_encoded("a", "b", promised=["c"])
    batch.add(an_entry())
    told.thread.write(batch)
    told.stop()
    (path,) = segments_in(tmp_path / SEGMENTS)
    payloads = list(SegmentReader(path).payloads())
    assert payloads[:3] == [packed("a"), packed("b"), packed("c")]
    assert (len(payloads), told.thread.written, told.thread.done) == (4, 4, 4)


def test_of_what_has_been_made_one_that_cannot_be_kept_costs_no_other() -> None:
    errors: list[object] = []
    thread = LogThread(
        Strange(most_bytes=4),
        maker=a_maker,
        tell=lambda sentence, error: errors.append(error),
        pace=QUICK,
    )
    thread.start()
    thread.write(some_encoded("a", "too large", "b"))
    assert thread.stop(BOUND_S)
    assert (thread.written, thread.lost, thread.done) == (2, 1, 3)
    assert [str(error) for error in errors] == ["no such thing", "too large"]


def test_a_batch_that_cannot_even_be_taken_apart_is_lost_and_the_thread_goes_on() -> None:
    errors: list[object] = []
    thread = LogThread(
        Strange(most_bytes=4),
        maker=a_maker,
        tell=lambda sentence, error: errors.append(sentence),
        pace=QUICK,
    )
    thread.start()
    broken = some_encoded("too large")
    broken.plain.count = 3
    thread.write(broken)
    thread.write(some_encoded("a"))
    assert thread.stop(BOUND_S)
    assert (thread.written, thread.lost, thread.done) == (1, 3, 4)
    assert errors[1:] == ["3 predictions could not be recorded"]


def test_what_has_been_made_and_cannot_be_written_at_the_end_is_lost_and_counted(
    tmp_path: Path,
) -> None:
    (tmp_path / SEGMENTS).write_text("in the way")
    told = Told(tmp_path, pace=Pace(retry_s=BOUND_S))
    told.thread.write(some_encoded("a", "b"))
    told.stop()
    assert (told.thread.done, told.thread.written, told.thread.lost) == (2, 0, 2)
