"""Segments read back, whole, torn at every byte, damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.stores.segment import (
    END,
    HEAD,
    MAX_PAYLOAD_BYTES,
    NoSegment,
    OtherVersion,
    SegmentReader,
    framed,
)

PAYLOADS = [b"one", b"two and more", b"x" * 300]
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


def test_a_last_frame_that_does_not_add_up_is_torn(path: Path) -> None:
    torn = framed(b"last")[:-1] + b"!"
    payloads, reader = read(path, WHOLE[: -len(END)] + torn)
    assert payloads == PAYLOADS
    assert (reader.damaged, reader.torn_bytes) == (0, len(torn))


def test_a_length_beyond_all_bounds_is_none(path: Path) -> None:
    absurd = (MAX_PAYLOAD_BYTES + 1).to_bytes(4, "little") + bytes(64)
    payloads, reader = read(path, HEAD + framed(b"one") + absurd)
    assert (payloads, reader.torn_bytes) == ([b"one"], len(absurd))


def test_what_stands_behind_the_end_is_no_frame(path: Path) -> None:
    payloads, reader = read(path, WHOLE + framed(b"more"))
    assert (payloads, reader.closed) == (PAYLOADS, True)
    assert reader.torn_bytes == len(framed(b"more"))


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


@pytest.mark.parametrize("head", [b"penstock-log 2\r\n", b"penstock-log 10\r\n"])
def test_another_version(path: Path, head: bytes) -> None:
    with pytest.raises(OtherVersion, match="of a later version"):
        read(path, head + framed(b"one"))
