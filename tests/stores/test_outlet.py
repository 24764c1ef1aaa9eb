"""What waits for a sink: its bounds, what is promised, what is counted and told."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from msgspec import structs

from penstock.core.errors import LogUnavailable, ModelFailed, SwitchedOff
from penstock.core.record import Record
from penstock.stores import outlet as outlets
from penstock.stores.log_thread import LogThread, Pace
from penstock.stores.make_record import Entry
from penstock.stores.outlet import Outlet, was_promised
from tests.stores.ends import IRIS, a_maker, a_record, an_entry
from tests.waiting import BOUND_S

BLOCKING = structs.replace(IRIS, blocks=True)


class Gated:
    """A sink that takes nothing until it is opened."""

    name = "gated"
    gone = 0

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.opened = threading.Event()
        self.appended: list[bytes] = []
        self.refuses = False

    def begin(self) -> Iterator[str]:
        return iter(())

    def encoded(self, payload: bytes) -> bytes:
        return b"."

    def append(self, records: bytes) -> None:
        self.asked.set()
        assert self.opened.wait(BOUND_S)
        if self.refuses:
            raise OSError(28, "No space left on device")
        self.appended.append(records)

    def rest(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Held:
    """An outlet to such a sink, with room for four records."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(outlets, "MAX_WAITING_RECORDS", 4)
        self.sink = Gated()
        self.sentences: list[str] = []
        pace = Pace(retry_s=0.001)
        self.outlet = Outlet(
            "gated",
            lambda: LogThread(
                self.sink,
                maker=a_maker,
                tell=lambda sentence, _: self.sentences.append(sentence),
                pace=pace,
            ),
        )

    def stop(self) -> None:
        self.sink.opened.set()
        assert self.outlet.stop(BOUND_S)

    def counts(self) -> dict[str, float]:
        return {labels[-1]: value for family, labels, value in self.outlet.readings() if value}


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    it = Held(monkeypatch)
    yield it
    it.stop()


def entries(count: int, *, blocks: bool = False) -> list[Entry]:
    return [an_entry(policy=BLOCKING if blocks else IRIS) for _ in range(count)]


def test_what_is_handed_over_is_written(held: Held) -> None:
    held.outlet.offer(entries(3))
    assert held.outlet.waiting == 3
    held.stop()
    assert held.sink.appended == [b"..."]
    assert held.outlet.waiting == 0
    assert held.counts() == {"written": 3, "gated": 3}
    assert held.outlet.detail() == {
        "waiting": 0, "written": 3, "full": 0, "lost": 0, "failing": None,
    }  # fmt: skip


def test_without_records_there_is_no_thread(held: Held) -> None:
    assert held.outlet.has_room()
    assert held.outlet.stop(0.0)
    assert held.counts() == {}
    assert held.outlet.detail()["failing"] is None


def test_what_does_not_fit_is_dropped_and_counted(held: Held) -> None:
    held.outlet.offer(entries(4))
    assert not held.outlet.has_room()
    held.outlet.offer(entries(2))
    assert held.counts() == {"full": 2, "gated": 4}
    held.outlet.offer([*entries(1), *entries(3, blocks=True)])  # promised before: as much again
    assert (held.counts()["full"], held.outlet.waiting) == (3, 7)
    held.outlet.offer(entries(1, blocks=True))
    held.outlet.offer(entries(1, blocks=True))  # and no more
    assert (held.counts()["full"], held.outlet.waiting) == (4, 8)
    held.stop()
    assert held.counts()["written"] == 8


def test_bytes_are_bounded_too(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "MAX_WAITING_BYTES", 100)
    held.outlet.offer(entries(1))
    assert not held.outlet.has_room()


def test_why_nothing_is_written_is_told(held: Held) -> None:
    held.sink.refuses = True
    held.sink.opened.set()
    held.outlet.offer(entries(1))
    while not held.outlet.detail()["failing"]:
        assert held.sink.asked.wait(BOUND_S)
    assert held.outlet.detail()["failing"] == "No space left on device"
    assert not held.outlet.has_room()
    held.sink.refuses = False
    held.stop()
    assert held.outlet.detail()["written"] == 1
    assert held.sentences[-1] == "the prediction log's gated can be written again"


@pytest.mark.parametrize(
    ("record", "promised"),
    [
        (a_record(), True),
        (a_record(outcome=ModelFailed("svc")), True),
        (a_record(outcome=LogUnavailable("routes.iris[0]")), False),
        (a_record(outcome=SwitchedOff("route iris")), False),
        (structs.replace(a_record(), request=None), False),
    ],
)
def test_what_is_promised(record: Record, promised: bool) -> None:
    assert was_promised(an_entry(record, BLOCKING)) is promised
    assert not was_promised(an_entry(record))
