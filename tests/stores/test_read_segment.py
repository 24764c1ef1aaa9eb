from __future__ import annotations

from pathlib import Path

import pytest

from penstock.stores import read_segment
from penstock.stores.read_segment import Found, chunks_of, is_later
from penstock.stores.segment import framed
from tests.stores.ends import packed
from tests.stores.logs import logged, write_segment


def read(path: Path) -> tuple[list[list[str]], Found]:
    found = Found()
    chunks = [[record.record_id for record in chunk] for chunk in chunks_of(path, found)]
    return chunks, found


def test_some_records_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_segment(tmp_path, "0", *(logged(str(number)) for number in range(5)))
    assert read(path)[0] == [["0", "1", "2", "3", "4"]]
    monkeypatch.setattr(read_segment, "CHUNK_RECORDS", 2)
    chunks, found = read(path)
    assert chunks == [["0", "1"], ["2", "3"], ["4"]]
    assert (found.records, found.told()) == (5, "")
    monkeypatch.setattr(read_segment, "CHUNK_BYTES", 10)
    assert len(read(path)[0]) == 5


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = write_segment(tmp_path, "0", logged("a"), b"x", b"\x92\x63\xa1a", tail=framed(b"y")[:-1])
    chunks, found = read(path)
    assert chunks == [["a"]]
    assert (found.unreadable, found.later, found.torn_bytes) == (1, 1, 11)
    assert found.told(2) == "4 records cannot be read, its last 11 bytes are torn"
    assert not found.is_of_another_version


def test_of_a_later_version(tmp_path: Path) -> None:
    found = read(write_segment(tmp_path, "0", b"\x92\x63\xa1a"))[1]
    assert found.is_of_another_version
    assert is_later(b"\x92\x63\xa1a")
    assert not is_later(b"\x91\x01")
    assert not is_later(b"x")
    assert not is_later(b"\xc1")


def test_no_segment_and_none_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.segment"
    assert read(path)[1].gone
    path.write_text("something else entirely")
    assert read(path)[1].told().startswith("it cannot be read: ")


def test_a_segment_of_another_format_is_a_later_versions(tmp_path: Path) -> None:
    path = tmp_path / "x.segment"
    path.write_bytes(b"penstock-log 3\r\n" + framed(packed("what that has")))
    assert read(path)[1].is_of_another_version
