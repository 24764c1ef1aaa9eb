"""Reading a log that is being written, was torn, or holds what is not known."""

from __future__ import annotations

import json
from pathlib import Path

from penstock.stores.prediction_record import PredictionRecord, encode_fields
from penstock.stores.read_log import Follower, as_json, newest, records_of
from penstock.stores.segment import END, FRAME, HEAD, MAX_PAYLOAD_BYTES, framed
from penstock.stores.segment_writer import SegmentWriter
from tests.stores.ends import packed


def a_segment(folder: Path, name: str, *times: int, tail: bytes = END) -> Path:
    (folder / "segments").mkdir(exist_ok=True)
    path = folder / "segments" / f"{name}.segment"
    records = (PredictionRecord(1, str(time), route=f"r{time % 2}", time_us=time) for time in times)
    path.write_bytes(HEAD + b"".join(framed(encode_fields(record)) for record in records) + tail)
    return path


def times(folder: Path, count: int, route: str = "") -> tuple[list[int], list[str]]:
    warnings: list[str] = []
    told = newest(folder, count, lambda one: route in ("", one.route), warnings.append)
    return [record.time_us for record in told], warnings


def test_the_newest(tmp_path: Path) -> None:
    a_segment(tmp_path, "1", 1, 2, 3)
    a_segment(tmp_path, "2", 4, 6, tail=b"")
    a_segment(tmp_path, "3", 5, 7, tail=framed(b"x")[:-1])
    assert times(tmp_path, 3) == ([5, 6, 7], [])
    assert times(tmp_path, 100) == ([1, 2, 3, 4, 5, 6, 7], [])
    assert times(tmp_path, 3, "r0") == ([2, 4, 6], [])
    assert times(tmp_path / "none", 3) == ([], [])


def test_the_newest_are_so_by_their_time_not_by_their_place(tmp_path: Path) -> None:
    a_segment(tmp_path, "1", 1, 2, 3)
    a_segment(tmp_path, "2", 7, 8, 9, 4, 5, 6)  # a batch has its records by kind
    assert times(tmp_path, 3) == ([7, 8, 9], [])
    assert times(tmp_path, 7) == ([3, 4, 5, 6, 7, 8, 9], [])


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    unreadable = framed(packed("nonsense") + b"\x91\x09", 2)
    path = a_segment(tmp_path, "1", 1, 2, tail=unreadable + END)
    path.write_bytes(path.read_bytes().replace(b"\x011", b"\x012", 1))
    (tmp_path / "segments" / "2.segment").write_text("another file")
    told, warnings = times(tmp_path, 9)
    assert len(told) <= 2
    assert warnings[0].startswith("2.segment: cannot be read: ")
    assert warnings[1].startswith("1.segment: ")


def test_a_segment_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    warnings: list[str] = []
    assert list(records_of(tmp_path / "gone.segment", warnings.append)) == []
    assert warnings == []


def test_json() -> None:
    record = PredictionRecord(1, "id", seed=2**64 - 1, trail=(("a", 0.0, 1.5),))
    told = json.loads(as_json(record))
    assert told["seed"] == "f" * 16
    assert told["trail"] == [["a", 0.0, 1.5]]
    assert list(told) == list(PredictionRecord.__struct_fields__)
    assert json.loads(as_json(PredictionRecord()))["seed"] is None


# --- following -----------------------------------------------------------------------


def frame(time: int) -> bytes:
    return framed(encode_fields(PredictionRecord(1, str(time), time_us=time)))


def more(follower: Follower) -> list[int]:
    return [record.time_us for record in follower.more()]


def test_what_comes_is_told_once(tmp_path: Path) -> None:
    old = a_segment(tmp_path, "1", 1, 2)
    writer = SegmentWriter(tmp_path / "segments")
    writer.append(frame(3), 0.0)
    follower = Follower(tmp_path, print)
    follower.pass_over()
    writer.append(frame(4), 0.0)
    told = newest(tmp_path, 9, lambda one: True, print, follower.ends)
    assert [record.time_us for record in told] == [1, 2, 3]
    assert more(follower) == [4]
    assert more(follower) == []
    writer.append(frame(5) + frame(6), 0.0)
    writer.close()
    writer.append(frame(7), 1.0)
    assert more(follower) == [5, 6, 7]
    writer.close()
    old.unlink()
    assert more(follower) == []
    assert old.name not in follower.ends
    a_segment(tmp_path, "9", 9)
    assert more(follower) == [9]


def test_what_is_torn_may_become_whole(tmp_path: Path) -> None:
    path = a_segment(tmp_path, "1", 1, tail=b"")
    follower = Follower(tmp_path, print)
    follower.pass_over()
    whole = frame(2)
    for cut in (3, len(whole) - 1):
        path.write_bytes(path.read_bytes()[: follower.ends[path.name]] + whole[:cut])
        assert more(follower) == []
    path.write_bytes(path.read_bytes()[: follower.ends[path.name]] + whole)
    assert more(follower) == [2]


def test_zeros_are_no_end(tmp_path: Path) -> None:
    path = a_segment(tmp_path, "1", 1, tail=bytes(8))
    follower = Follower(tmp_path, print)
    assert more(follower) == [1]
    path.write_bytes(path.read_bytes()[:-8] + frame(2) + END)
    assert more(follower) == [2]


def test_what_is_no_segment_of_this_version_is_told_once(tmp_path: Path) -> None:
    warnings: list[str] = []
    follower = Follower(tmp_path, warnings.append)
    a_segment(tmp_path, "1", 1)
    other = a_segment(tmp_path, "2", 2, 3)
    other.write_bytes(other.read_bytes().replace(b"penstock-log 2", b"penstock-log 1"))
    begun = tmp_path / "segments" / "3.segment"
    begun.write_bytes(HEAD[:3])
    assert more(follower) == [1]
    assert more(follower) == []
    assert len(warnings) == 1
    assert warnings[0].endswith("is no segment of the prediction log, or of another version")
    begun.write_bytes(HEAD + frame(4))
    assert more(follower) == [4]


def test_damage_is_told_and_passed_over(tmp_path: Path) -> None:
    warnings: list[str] = []
    follower = Follower(tmp_path, warnings.append)
    damaged = bytearray(frame(2))
    damaged[-1] ^= 1
    a_segment(tmp_path, "1", 1, tail=bytes(damaged) + frame(3) + framed(packed("nonsense")))
    a_segment(tmp_path, "2", tail=FRAME.pack(MAX_PAYLOAD_BYTES + 1, 0) + b"x" * 99)
    (tmp_path / "segments" / "3.segment").symlink_to(tmp_path / "nowhere")
    assert more(follower) == [1, 3]
    assert warnings == ["1.segment: 1 records cannot be read", "1.segment: a record cannot be read"]
    follower.pass_over()
    assert more(follower) == []
