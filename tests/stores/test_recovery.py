"""What killed processes have left is closed, once, and told."""

from __future__ import annotations

from pathlib import Path

from penstock.stores.recovery import recovered
from penstock.stores.segment import END, HEAD, SegmentReader, framed
from penstock.stores.segment_writer import SegmentWriter
from tests.stores.ends import packed

BODY = framed(packed("one")) + framed(packed("two"))


def told(folder: Path) -> list[str]:
    return list(recovered(folder))


def whole(path: Path) -> tuple[list[bytes], bool, int]:
    reader = SegmentReader(path)
    return list(reader.payloads()), reader.closed, reader.torn_bytes


def test_no_folder(tmp_path: Path) -> None:
    assert told(tmp_path / "segments") == []


def test_a_segment_that_was_not_closed_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.segment"
    path.write_bytes(HEAD + BODY)
    assert told(tmp_path) == [
        "the segment a.segment of the prediction log was not closed by its process: "
        "2 records are whole"
    ]
    assert whole(path) == ([packed("one"), packed("two")], True, 0)
    assert told(tmp_path) == []


def test_what_is_torn_is_told_once_and_stays_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.segment"
    torn = framed(packed("three"))[:-2]
    path.write_bytes(HEAD + BODY + torn)
    (sentence,) = told(tmp_path)
    assert sentence.endswith(
        "2 records are whole, the last 15 bytes, of 1 records, were torn and are skipped"
    )
    assert path.read_bytes() == HEAD + BODY + torn + END
    assert whole(path) == ([packed("one"), packed("two")], False, len(torn + END))
    assert told(tmp_path) == []


def test_no_end_of_what_is_torn_is_taken_for_another(tmp_path: Path) -> None:
    frame = framed(packed("three") * 9, 9)
    for size in range(1, len(frame)):
        path = tmp_path / f"{size:02}.segment"
        path.write_bytes(HEAD + BODY + frame[:size])
    assert len(told(tmp_path)) == len(frame) - 1
    for path in tmp_path.iterdir():
        assert whole(path)[0] == [packed("one"), packed("two")]


def test_one_length_that_a_disk_has_changed_costs_no_byte_that_follows(tmp_path: Path) -> None:
    path = tmp_path / "a.segment"
    content = bytearray(HEAD + BODY)
    content[len(HEAD) + 2] ^= 1
    path.write_bytes(content)
    (sentence,) = told(tmp_path)
    assert "0 records are whole" in sentence
    assert path.read_bytes() == content + END


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.segment").write_bytes(HEAD + BODY.replace(b"one", b"eno"))
    (sentence,) = told(tmp_path)
    assert sentence.endswith("1 records are whole, 1 are damaged and are skipped")


def test_a_segment_of_which_not_even_the_head_was_written(tmp_path: Path) -> None:
    for size in range(len(HEAD)):
        path = tmp_path / f"{size:02}.segment"
        path.write_bytes(HEAD[:size])
    assert len(told(tmp_path)) == len(HEAD)
    assert whole(tmp_path / "05.segment") == ([], True, 0)
    assert told(tmp_path) == []


def test_what_is_being_written_is_left_alone(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.append(BODY, 0.0)
    assert told(tmp_path) == []
    writer.close()
    assert told(tmp_path) == []


def test_another_file_is_told_and_left(tmp_path: Path) -> None:
    path = tmp_path / "a.segment"
    path.write_bytes(b"something else altogether")
    (sentence,) = told(tmp_path)
    assert sentence.startswith("the segment a.segment of the prediction log cannot be read: ")
    assert path.read_bytes() == b"something else altogether"


def test_a_segment_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.segment").symlink_to(tmp_path / "gone")
    assert told(tmp_path) == []


def test_more_behind_the_end_is_told_and_left(tmp_path: Path) -> None:
    path = tmp_path / "a.segment"
    path.write_bytes(HEAD + BODY + END + BODY)
    (sentence,) = told(tmp_path)
    assert sentence.endswith("has more behind its end")


def test_a_tail_of_zeros_is_cut_off_and_the_segment_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.segment"
    path.write_bytes(HEAD + BODY + bytes(64))
    (sentence,) = told(tmp_path)
    assert sentence.endswith("2 records are whole, the last 64 bytes were torn and are skipped")
    assert path.read_bytes() == HEAD + BODY + END
