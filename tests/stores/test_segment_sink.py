"""Records as segments: when another one is begun, what is dropped, what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.stores.log_folder import SEGMENTS
from penstock.stores.log_thread import MAX_SEGMENT_S, Pace
from penstock.stores.segment import HEAD, MAX_PAYLOAD_BYTES, SegmentReader
from penstock.stores.segment_sink import SegmentSink
from penstock.stores.segment_writer import segments_in
from tests.stores.ends import packed
from tests.support import ManualClock


class Sink:
    """A sink, its clock, and what is in its folder."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.segments = folder / SEGMENTS
        self.sink = SegmentSink(folder, clock=self.clock, pace=Pace())

    def append(self, *payloads: bytes) -> None:
        self.sink.append(self.sink.encoded(b"".join(payloads), len(payloads)))

    def payloads(self) -> list[list[bytes]]:
        return [list(SegmentReader(path).payloads()) for path in segments_in(self.segments)]


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    it = Sink(tmp_path)
    assert list(it.sink.begin()) == []
    it.append(packed("one"), packed("two"))
    it.append(packed("three"))
    it.sink.close()
    assert it.payloads() == [[packed("one"), packed("two"), packed("three")]]


def test_what_killed_processes_left_is_told(tmp_path: Path) -> None:
    it = Sink(tmp_path)
    it.segments.mkdir()
    (it.segments / "0.segment").write_bytes(HEAD)
    (sentence,) = it.sink.begin()
    assert "was not closed by its process" in sentence


def test_a_segment_that_is_old_is_closed_and_another_begun(tmp_path: Path) -> None:
    it = Sink(tmp_path)
    it.append(packed("one"))
    it.clock.advance(MAX_SEGMENT_S - 1)
    it.append(packed("two"))
    it.clock.advance(1)
    it.append(packed("three"))
    it.sink.close()
    assert sorted(it.payloads()) == [[packed("one"), packed("two")], [packed("three")]]


def test_at_rest_a_segment_is_closed(tmp_path: Path) -> None:
    it = Sink(tmp_path)
    it.append(packed("one"))
    it.sink.rest()
    it.append(packed("two"))
    it.sink.close()
    assert sorted(it.payloads()) == [[packed("one")], [packed("two")]]


def test_old_segments_are_looked_for_when_one_is_begun_and_not_each_time(tmp_path: Path) -> None:
    it = Sink(tmp_path)
    it.segments.mkdir()
    old = [it.segments / f"{number}.segment" for number in range(2)]
    for path in old:
        path.write_bytes(HEAD)
    os.utime(old[0], (0.0, 0.0))
    it.append(packed("one"))
    assert [path.exists() for path in old] == [False, True]
    os.utime(old[1], (0.0, 0.0))
    it.sink.rest()
    it.append(packed("two"))
    it.sink.close()
    assert old[1].exists()


def test_a_record_that_is_too_large_is_refused(tmp_path: Path) -> None:
    it = Sink(tmp_path)
    with pytest.raises(ValueError, match="a frame of 16,777,220 bytes"):
        it.sink.encoded(b"x" * (MAX_PAYLOAD_BYTES + 1), 1)
