"""Reading on in a segment: while it is written, torn, damaged, and written anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.msgpack import encode

from penstock.stores.postgresql.tail import Stretch, counted, stretch_of
from penstock.stores.segment import END, FRAME, HEAD, MAX_PAYLOAD_BYTES, NoSegment, framed
from tests.stores.ends import packed

MUCH = 1 << 20


def put(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path


def test_what_comes_is_read_on(tmp_path: Path) -> None:
    path = put(tmp_path / "a", HEAD)
    assert stretch_of(path, 0, MUCH) == Stretch((), len(HEAD))
    put(path, HEAD, framed(packed("one")), framed(packed("two"))[:-1])
    first = stretch_of(path, 0, MUCH)
    assert first.payloads == (packed("one"),)
    put(path, HEAD, framed(packed("one")), framed(packed("two")), framed(packed("three")))
    second = stretch_of(path, first.end, MUCH)
    assert second.payloads == (packed("two"), packed("three"))
    put(path, HEAD, framed(packed("one")), framed(packed("two")), framed(packed("three")), END)
    assert stretch_of(path, second.end, MUCH) == Stretch((), second.end + len(END), closed=True)


def test_a_head_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    assert stretch_of(put(tmp_path / "a", HEAD[:5]), 0, MUCH) == Stretch((), 0)
    with pytest.raises(NoSegment):
        stretch_of(put(tmp_path / "a", b"something else, of any length"), 0, MUCH)


def test_a_stretch_has_a_bound_and_at_least_one_record(tmp_path: Path) -> None:
    path = put(tmp_path / "a", HEAD, *[framed(packed("x" * 98))] * 10)
    assert len(stretch_of(path, 0, 1).payloads) == 1
    assert len(stretch_of(path, 0, 300).payloads) == 3


def test_what_is_damaged_is_passed_over_once_something_whole_follows(tmp_path: Path) -> None:
    bad = FRAME.pack(3, 0) + b"bad"
    path = put(tmp_path / "a", HEAD, framed(packed("one")), bad)
    only = stretch_of(path, 0, MUCH)
    assert (only.payloads, only.damaged) == ((packed("one"),), 0)
    put(path, HEAD, framed(packed("one")), bad, framed(packed("two")))
    rest = stretch_of(path, only.end, MUCH)
    assert (rest.payloads, rest.damaged) == ((packed("two"),), 1)
    put(path, HEAD, bad, END)
    closed = stretch_of(path, 0, MUCH)
    assert (closed.payloads, closed.damaged, closed.closed) == ((), 1, True)


@pytest.mark.parametrize(
    "tail", [bytes(64), FRAME.pack(MAX_PAYLOAD_BYTES + 1, 7) + b"x", b"\x01", END[:-1]]
)
def test_nothing_is_read_behind_what_is_no_frame(tmp_path: Path, tail: bytes) -> None:
    path = put(tmp_path / "a", HEAD, framed(packed("one")), tail)
    stretch = stretch_of(path, 0, MUCH)
    assert (stretch.payloads, stretch.closed) == ((packed("one"),), False)
    assert counted(path, 0, MUCH) == (1, stretch.end)


def test_records_are_counted_between_offsets(tmp_path: Path) -> None:
    frames = [framed(packed("x") * one, one) for one in range(1, 6)]
    path = put(tmp_path / "a", HEAD, *frames, END)
    size = len(HEAD) + sum(map(len, frames))
    assert counted(path, 0, MUCH) == (15, size)
    second = len(HEAD) + len(frames[0]) + len(frames[1])
    assert counted(path, 0, second) == (3, second)
    assert counted(path, second, size) == (12, size)
    assert counted(path, second, second + 3) == (0, second)
    assert counted(path, 0, second + 1) == (3, second)


@given(
    st.lists(st.lists(st.binary(max_size=40).map(encode), min_size=1, max_size=3), max_size=8),
    st.lists(st.integers(0, 400), max_size=8),
    st.integers(1, 100),
)
def test_any_steps_give_all_records_in_their_order(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[bytes]],
    sizes: list[int],
    max_bytes: int,
) -> None:
    path = tmp_path_factory.mktemp("segments") / "a"
    frames = [framed(b"".join(batch), len(batch)) for batch in batches]
    whole = HEAD + b"".join(frames) + END
    read: list[bytes] = []
    stretch = Stretch((), 0)
    for there in (*sorted(sizes), *[len(whole)] * (len(batches) + 1)):
        path.write_bytes(whole[:there])
        stretch = stretch_of(path, stretch.end, max_bytes)
        read += stretch.payloads
        if stretch.closed:
            break
    assert stretch.closed
    assert read == [payload for batch in batches for payload in batch]
