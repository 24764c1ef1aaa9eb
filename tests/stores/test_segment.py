"""Segments read back, whole, torn at every byte, damaged."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from penstock.stores.segment import (
    END,
    FRAME,
    HEAD,
    MAX_FRAME_RECORDS,
    MAX_PAYLOAD_BYTES,
    NoSegment,
    OtherVersion,
    SegmentReader,
    framed,
    records_between,
    split,
)
from tests.stores.ends import packed

PAYLOADS = [packed("one"), packed("two and more"), packed("x" * 300)]
WHOLE = HEAD + b"".join(map(framed, PAYLOADS)) + END


def read(path: Path, content: bytes) -> tuple[list[bytes], SegmentReader]:
    path.write_bytes(content)
    reader = SegmentReader(path)
    return list(reader.payloads()), reader


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.segment"


def test_whole(path: Path) -> None:
    payloads, reader = read(path, WHOLE)
    assert payloads == PAYLOADS
    assert (reader.records, reader.whole_bytes, reader.closed) == (3, len(WHOLE), True)
    assert (reader.torn_bytes, reader.damaged) == (0, 0)


def test_torn_at_every_byte(path: Path) -> None:
    ends = [len(HEAD)]
    for payload in PAYLOADS:
        ends.append(ends[-1] + len(framed(payload)))
    for size in range(len(WHOLE)):
        payloads, reader = read(path, WHOLE[:size])
        count = sum(end <= size for end in ends[1:])
        assert payloads == PAYLOADS[:count]
        whole = ends[count] if size >= len(HEAD) else 0
        assert (reader.whole_bytes, reader.torn_bytes) == (whole, size - whole)
        assert not reader.closed


def test_a_frame_that_was_damaged_costs_no_other(path: Path) -> None:
    at = WHOLE.index(b"two")
    payloads, reader = read(path, WHOLE[:at] + b"T" + WHOLE[at + 1 :])
    assert payloads == [PAYLOADS[0], PAYLOADS[2]]
    assert (reader.damaged, reader.closed, reader.torn_bytes) == (1, True, 0)
    payloads, reader = read(path, WHOLE.replace(b"xxx", b"yyy", 1))
    assert (payloads, reader.damaged, reader.closed) == (PAYLOADS[:2], 1, True)


def test_a_frame_of_several_records_is_there_or_not(path: Path) -> None:
    several = framed(b"".join(PAYLOADS), len(PAYLOADS))
    payloads, reader = read(path, HEAD + several + framed(packed("one")))
    assert payloads == [*PAYLOADS, packed("one")]
    assert (reader.records, reader.damaged) == (4, 0)
    damaged = several.replace(b"two", b"tow")
    payloads, reader = read(path, HEAD + damaged + framed(packed("one")))
    assert (payloads, reader.damaged) == ([packed("one")], 3)
    payloads, reader = read(path, HEAD + several[:-1])
    assert (payloads, reader.damaged, reader.torn_bytes) == ([], 0, len(several) - 1)


@pytest.mark.parametrize(
    ("payload", "records"),
    [(b"x", 1), (b"\xdc\x00\x02\xc1\xc1", 2), (b"\x93\x01\x02\x03\x04", 1), (b"\xdc\x00\x00!", 1)],
)
def test_a_frame_that_is_no_list_of_records_is_damaged(
    path: Path, payload: bytes, records: int
) -> None:
    frame = FRAME.pack(len(payload), zlib.crc32(payload)) + payload
    payloads, reader = read(path, HEAD + frame + END)
    assert (payloads, reader.damaged, reader.closed) == ([], records, True)


def test_no_more_records_are_said_to_be_damaged_than_there_is_room_for(path: Path) -> None:
    several = bytearray(framed(b"".join(PAYLOADS), len(PAYLOADS)))
    several[FRAME.size + 1 : FRAME.size + 3] = b"\xff\xff"
    _, reader = read(path, HEAD + bytes(several) + END)
    assert reader.damaged == 1


def test_how_many_records_are_torn_is_said_where_their_frame_says_it(path: Path) -> None:
    several = framed(b"".join(PAYLOADS), len(PAYLOADS))
    start = FRAME.size + 3
    for size in (1, FRAME.size, start - 1, start, len(several) - 1):
        _, reader = read(path, WHOLE[: -len(END)] + several[:size])
        assert (reader.torn_bytes, reader.torn_records) == (size, 3 * (size >= start))
    assert read(path, WHOLE + several)[1].torn_records == 0  # behind the end


def test_records_are_counted_by_heads_alone(path: Path) -> None:
    frames = [framed(packed("x") * count, count) for count in (1, 300, 2)]
    path.write_bytes(HEAD + b"".join(frames) + END)
    first, second = len(HEAD) + len(frames[0]), len(HEAD) + len(frames[0]) + len(frames[1])
    with path.open("rb") as file:
        assert records_between(file, 0) == (303, second + len(frames[2]))
        assert records_between(file, first, second) == (300, second)
        assert records_between(file, first, second - 1) == (0, first)


def test_a_frame_has_a_bound() -> None:
    with pytest.raises(ValueError, match="1,025 records in one frame"):
        framed(b"", MAX_FRAME_RECORDS + 1)
    with pytest.raises(ValueError, match="1,025 records in one frame"):
        split(b"", MAX_FRAME_RECORDS + 1)
    with pytest.raises(ValueError, match="a frame of 16,777,219 bytes"):
        framed(bytes(MAX_PAYLOAD_BYTES))


def test_a_last_frame_that_does_not_add_up_is_torn(path: Path) -> None:
    torn = framed(packed("last"))[:-1] + b"!"
    payloads, reader = read(path, WHOLE[: -len(END)] + torn)
    assert payloads == PAYLOADS
    assert (reader.damaged, reader.torn_bytes) == (0, len(torn))


def test_a_length_beyond_all_bounds_is_none(path: Path) -> None:
    absurd = (MAX_PAYLOAD_BYTES + 1).to_bytes(4, "little") + bytes(64)
    payloads, reader = read(path, HEAD + framed(packed("one")) + absurd)
    assert (payloads, reader.torn_bytes) == ([packed("one")], len(absurd))


def test_what_stands_behind_the_end_is_no_frame(path: Path) -> None:
    payloads, reader = read(path, WHOLE + framed(packed("more")))
    assert (payloads, reader.closed) == (PAYLOADS, True)
    assert reader.torn_bytes == len(framed(packed("more")))


@pytest.mark.parametrize("zeros", [1, 8, 9, 4096])
def test_zeros_are_no_end(path: Path, zeros: int) -> None:
    """What a crash of the machine leaves of blocks that were never written."""
    payloads, reader = read(path, WHOLE[: -len(END)] + bytes(zeros))
    assert (payloads, reader.closed, reader.torn_bytes) == (PAYLOADS, False, zeros)


@pytest.mark.parametrize("content", [b"x", b"penstock-log x\r\n", b'{"a": 1}' * 10])
def test_another_file(path: Path, content: bytes) -> None:
    with pytest.raises(NoSegment, match=r"a\.segment is no segment") as caught:
        read(path, content)
    assert type(caught.value) is NoSegment


@pytest.mark.parametrize(
    "head", [b"penstock-log 1\r\n", b"penstock-log 3\r\n", b"penstock-log 20\r\n"]
)
def test_another_version(path: Path, head: bytes) -> None:
    with pytest.raises(OtherVersion, match="of another version"):
        read(path, head + framed(packed("one")))
