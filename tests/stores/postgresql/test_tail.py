"""Reading on in a segment: while it is written, torn, damaged, and written anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.stores.postgresql.tail import Stretch, frames_between, stretch_of
from penstock.stores.segment import END, FRAME, HEAD, MAX_PAYLOAD_BYTES, NoSegment, framed

MUCH = 1 << 20


def put(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path


def test_what_comes_is_read_on(tmp_path: Path) -> None:
    path = put(tmp_path / "a", HEAD)
    assert stretch_of(path, 0, MUCH) == Stretch((), len(HEAD))
    put(path, HEAD, framed(b"one"), framed(b"two")[:-1])
    first = stretch_of(path, 0, MUCH)
    assert first.payloads == (b"one",)
    put(path, HEAD, framed(b"one"), framed(b"two"), framed(b"three"))
    second = stretch_of(path, first.end, MUCH)
    assert second.payloads == (b"two", b"three")
    put(path, HEAD, framed(b"one"), framed(b"two"), framed(b"three"), END)
    assert stretch_of(path, second.end, MUCH) == Stretch((), second.end + len(END), closed=True)


def test_a_head_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    assert stretch_of(put(tmp_path / "a", HEAD[:5]), 0, MUCH) == Stretch((), 0)
    with pytest.raises(NoSegment):
        stretch_of(put(tmp_path / "a", b"something else, of any length"), 0, MUCH)


def test_a_stretch_has_a_bound_and_at_least_one_record(tmp_path: Path) -> None:
    path = put(tmp_path / "a", HEAD, *[framed(bytes(100))] * 10)
    assert len(stretch_of(path, 0, 1).payloads) == 1
    assert len(stretch_of(path, 0, 300).payloads) == 3


def test_what_is_damaged_is_passed_over_once_something_whole_follows(tmp_path: Path) -> None:
    bad = FRAME.pack(3, 0) + b"bad"
    path = put(tmp_path / "a", HEAD, framed(b"one"), bad)
    only = stretch_of(path, 0, MUCH)
    assert (only.payloads, only.damaged) == ((b"one",), 0)
    put(path, HEAD, framed(b"one"), bad, framed(b"two"))
    rest = stretch_of(path, only.end, MUCH)
    assert (rest.payloads, rest.damaged) == ((b"two",), 1)
    put(path, HEAD, bad, END)
    closed = stretch_of(path, 0, MUCH)
    assert (closed.payloads, closed.damaged, closed.closed) == ((), 1, True)


@pytest.mark.parametrize(
    "tail", [bytes(64), FRAME.pack(MAX_PAYLOAD_BYTES + 1, 7) + b"x", b"\x01", END[:-1]]
)
def test_nothing_is_read_behind_what_is_no_frame(tmp_path: Path, tail: bytes) -> None:
    path = put(tmp_path / "a", HEAD, framed(b"one"), tail)
    stretch = stretch_of(path, 0, MUCH)
    assert (stretch.payloads, stretch.closed) == ((b"one",), False)
    assert frames_between(path, 0, MUCH) == (1, stretch.end)


def test_frames_are_counted_between_offsets(tmp_path: Path) -> None:
    frames = [framed(bytes([one]) * one) for one in range(1, 6)]
    path = put(tmp_path / "a", HEAD, *frames, END)
    size = len(HEAD) + sum(map(len, frames))
    assert frames_between(path, 0, MUCH) == (5, size)
    second = len(HEAD) + len(frames[0]) + len(frames[1])
    assert frames_between(path, 0, second) == (2, second)
    assert frames_between(path, second, size) == (3, size)
    assert frames_between(path, second, second + 3) == (0, second)
    assert frames_between(path, 0, second + 1) == (2, second)


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    st.lists(st.integers(0, 400), max_size=8),
    st.integers(1, 100),
)
def test_any_steps_give_all_records_in_their_order(
    tmp_path_factory: pytest.TempPathFactory,
    payloads: list[bytes],
    sizes: list[int],
    max_bytes: int,
) -> None:
    path = tmp_path_factory.mktemp("segments") / "a"
    whole = HEAD + b"".join(map(framed, payloads)) + END
    read: list[bytes] = []
    stretch = Stretch((), 0)
    for there in (*sorted(sizes), *[len(whole)] * (len(payloads) + 1)):
        path.write_bytes(whole[:there])
        stretch = stretch_of(path, stretch.end, max_bytes)
        read += stretch.payloads
        if stretch.closed:
            break
    assert stretch.closed
    assert read == payloads
