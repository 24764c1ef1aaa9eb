from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.supervisor import journal as module
from penstock.supervisor.journal import CannotKeep, Journal, StateCorrupt
from penstock.supervisor.overlay import Change, Event, replayed
from tests.supervisor.disk import a_full_disk


def event(number: int, path: str = "a", who: str = "anna") -> Event:
    change = Change(path=path, old=None, new=number, base=0)
    return Event(kind="set", time="t", who=who, generation=number, changes=(change,))


def line(one: Event) -> bytes:
    return msgspec.json.encode(one) + b"\n"


@contextmanager
def opened(path: Path, most: int = module.MAX_HISTORY) -> Iterator[Journal]:
    journal = Journal(path, most)
    try:
        yield journal
    finally:
        journal.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "overlay.jsonl"


def test_what_is_appended_is_there_again(path: Path) -> None:
    with opened(path) as journal:
        assert (journal.events, journal.cut) == ([], "")
        journal.append([event(1), event(2)])
        journal.append([event(3)])
        assert journal.events == [event(1), event(2), event(3)]
    with opened(path) as journal:
        assert (journal.events, journal.cut) == ([event(1), event(2), event(3)], "")
        journal.append([event(4)])
    assert path.read_bytes() == b"".join(map(line, map(event, (1, 2, 3, 4))))


def test_only_its_user_may_read_it(path: Path) -> None:
    with opened(path):
        assert path.stat().st_mode & 0o777 == 0o600


# --- a crash -----------------------------------------------------------------------------

TWO = line(event(1)) + line(event(2))


@pytest.mark.parametrize("kept_bytes", range(len(line(event(3, who="ä\n")))))
def test_a_last_line_cut_at_any_byte_is_cut_off(path: Path, kept_bytes: int) -> None:
    last = line(event(3, who="ä\n"))
    path.write_bytes(TWO + last[:kept_bytes])

    with opened(path) as journal:
        whole = kept_bytes == len(last) - 1  # only its end of line is missing
        assert journal.events == [event(1), event(2), *([event(3, who="ä\n")] if whole else [])]
        assert bool(journal.cut) is (kept_bytes > 0 and not whole)
        if journal.cut:
            assert journal.cut == f"{path}: the last line (3) is torn and has been cut off"
        journal.append([event(4)])
        after = list(journal.events)
    with opened(path) as journal:
        assert (journal.events, journal.cut) == (after, "")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60).filter(lambda one: b"\n" not in one))
def test_a_last_line_of_anything_is_cut_off(
    tmp_path_factory: pytest.TempPathFactory, torn: bytes
) -> None:
    path = tmp_path_factory.mktemp("state") / "overlay.jsonl"
    for end in (b"", b"\n"):
        path.write_bytes(TWO + torn + end)
        with opened(path) as journal:
            assert journal.events == [event(1), event(2)]
            journal.append([event(3)])
        with opened(path) as journal:
            assert (journal.events, journal.cut) == ([event(1), event(2), event(3)], "")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_crash_at_any_byte_loses_only_what_was_not_kept(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """What one append adds is there up to some event; what was appended before is all there."""
    path = tmp_path_factory.mktemp("state") / "overlay.jsonl"
    with opened(path) as journal:
        journal.append([event(1), event(2)])
        before = path.stat().st_size
        journal.append([event(3), event(4), event(5)])
    os.truncate(path, data.draw(st.integers(before, path.stat().st_size)))

    with opened(path) as journal:
        assert journal.events == list(map(event, range(1, len(journal.events) + 1)))
        assert len(journal.events) >= 2


@pytest.mark.parametrize(
    "corrupt",
    [
        b"",
        b"{}\n",
        b"nope\n",
        b"\x00\x00\n",
        b"\xff\n",
        b"[" * 100_000 + b"\n",
        line(event(9)).replace(b'"set"', b'"sett"'),
        line(event(9)).replace(b'"who"', b'"whom"'),
        line(event(9)).replace(b'"generation":9', b'"generation":"9"'),
    ],
    ids=range(9),
)
def test_a_corrupt_line_in_the_middle_ends_the_start(path: Path, corrupt: bytes) -> None:
    content = line(event(1)) + corrupt + line(event(2))
    path.write_bytes(content)
    if not corrupt:  # nothing is wrong without
        Journal(path).close()
        return
    with pytest.raises(StateCorrupt) as raised:
        Journal(path)
    assert raised.value.message == (
        f"{path}: line 2 cannot be read; mend it, or move the file away to start without what has "
        "been set"
    )
    assert path.read_bytes() == content


def test_a_corrupt_line_before_a_torn_one_ends_the_start(path: Path) -> None:
    path.write_bytes(line(event(1)) + b"nope\n" + b"{")
    with pytest.raises(StateCorrupt, match="line 2 cannot be read"):
        Journal(path)


def test_empty_lines_are_passed_over(path: Path) -> None:
    path.write_bytes(line(event(1)) + b"\n  \n" + line(event(2)) + b"\n")
    with opened(path) as journal:
        assert (journal.events, journal.cut) == ([event(1), event(2)], "")
        journal.append([event(3)])
    with opened(path) as journal:
        assert journal.events == [event(1), event(2), event(3)]


def test_a_giant_log_is_not_read(path: Path) -> None:
    path.touch()
    os.truncate(path, module.MAX_LOG_BYTES + 1)
    with pytest.raises(StateCorrupt, match="it has 67,108,865 bytes, more than a log can have"):
        Journal(path)


def test_no_file_stays_open_where_it_cannot_be_had(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    path.write_bytes(b"nope\n" + line(event(1)))
    for _ in range(5):
        with pytest.raises(StateCorrupt):
            Journal(path)
    after = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    assert after <= before


# --- a full disk -------------------------------------------------------------------------


def test_what_cannot_be_kept_leaves_the_log_as_it_was(path: Path) -> None:
    with opened(path) as journal:
        journal.append([event(1), event(2)])
        content = path.read_bytes()
        for room in (0, 10, len(line(event(3))) + 10):  # a part of it, or one of two events
            with a_full_disk(len(content) + room), pytest.raises(CannotKeep) as raised:
                journal.append([event(3), event(4)])
            assert raised.value.message == f"{path} cannot be written: File too large"
            assert path.read_bytes() == content
            assert journal.events == [event(1), event(2)]
        journal.append([event(3)])
    with opened(path) as journal:
        assert journal.events == [event(1), event(2), event(3)]


def test_what_a_failed_append_left_is_overwritten(path: Path) -> None:
    """Where even cutting it off again failed."""
    with opened(path) as journal:
        journal.append([event(1)])
        with path.open("ab") as file:
            file.write(b'{"kind":"set","time":"half a li')
        journal.append([event(2)])
    with opened(path) as journal:
        assert journal.events == [event(1), event(2)]


# --- forgetting --------------------------------------------------------------------------


def test_the_older_half_is_forgotten_but_for_what_is_in_effect(path: Path) -> None:
    with opened(path, 10) as journal:
        journal.append([event(1, "in effect"), *(event(n, "often set") for n in range(2, 11))])
        assert len(journal.events) == 10
        before = replayed([*journal.events, event(11, "often set")])
        journal.append([event(11, "often set")])
        kept = [1, *range(6, 12)]
        assert [one.generation for one in journal.events] == kept
        assert replayed(journal.events) == before
        journal.append([event(12, "often set")])
    with opened(path, 10) as journal:
        assert [one.generation for one in journal.events] == [*kept, 12]
        assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_the_log_stays_within_its_limit(path: Path) -> None:
    with opened(path, 10) as journal:
        for number in range(1, 60):
            journal.append([event(number, f"path {number % 3}")])
            assert len(journal.events) <= 10
            assert path.read_bytes().count(b"\n") == len(journal.events)
        assert replayed(journal.events).values == {f"path {n % 3}": n for n in (57, 58, 59)}


def test_a_log_that_cannot_be_shortened_stays(path: Path) -> None:
    with opened(path, 4) as journal:
        journal.append([event(n) for n in range(1, 5)])
        content = path.read_bytes()
        with a_full_disk(20), pytest.raises(CannotKeep):
            journal.append([event(5)])
        assert path.read_bytes() == content
        journal.append([event(5)])
        assert [one.generation for one in journal.events] == [3, 4, 5]
    with opened(path, 4) as journal:
        assert [one.generation for one in journal.events] == [3, 4, 5]


def test_a_longer_log_of_another_version_is_shortened_by_the_next_event(path: Path) -> None:
    path.write_bytes(b"".join(line(event(n)) for n in range(1, 31)))
    with opened(path, 10) as journal:
        assert len(journal.events) == 30
        journal.append([event(31)])
        assert [one.generation for one in journal.events] == [26, 27, 28, 29, 30, 31]


# --- what was acknowledged is never cut off -----------------------------------------------


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_last_line_that_is_whole_and_not_understood_stops_the_start(
    tmp_path: Path, end: str
) -> None:
    path = tmp_path / "overlay.jsonl"
    line = '{"kind":"step","time":"2026-11-21T00:00:00Z","who":"a","generation":3}'
    path.write_text(line + end)
    with pytest.raises(StateCorrupt, match="line 1 cannot be read"):
        Journal(path)
    assert path.read_text() == line + end
