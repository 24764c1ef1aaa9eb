"""What waits for a sink: its bounds, what is promised, what is counted and told."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from msgspec import structs

from penstock.stores import outlet as outlets
from penstock.stores.batch import Batch
from penstock.stores.log_thread import LogThread, Pace
from penstock.stores.outlet import Outlet
from tests.stores.ends import IRIS, a_batch, a_maker, an_entry, some_encoded
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

    def encoded(self, records: bytes | bytearray, count: int) -> bytes:
        return b"." * count

    def append(self, records: bytes | bytearray) -> None:
        self.asked.set()
        assert self.opened.wait(BOUND_S)
        if self.refuses:
            raise OSError(28, "No space left on device")
        self.appended.append(bytes(records))

    def rest(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Held:
    """An outlet to such a sink, with room for four records."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, promises: bool = True) -> None:
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
            promises=promises,
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


def entries(count: int, *, blocking: int = 0) -> Batch:
    """Return so many, and behind them so many that are promised."""
    policies = [IRIS] * count + [BLOCKING] * blocking
    return a_batch(*[an_entry(policy=policy) for policy in policies])


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
    held.outlet.offer(entries(1, blocking=3))  # promised before: as much again
    assert (held.counts()["full"], held.outlet.waiting) == (3, 7)
    held.outlet.offer(entries(0, blocking=1))
    held.outlet.offer(entries(0, blocking=1))  # and no more
    assert (held.counts()["full"], held.outlet.waiting) == (4, 8)
    held.stop()
    assert held.counts()["written"] == 8


def test_of_what_has_been_made_only_what_is_promised_is_kept_then(held: Held) -> None:
    held.outlet.offer(some_encoded(*"xxx", promised="p"))
    held.outlet.offer(some_encoded(*"xx"))
    assert held.counts() == {"full": 2, "gated": 4}
    held.outlet.offer(some_encoded(*"xxxxx", promised="ppp"))
    assert (held.counts()["full"], held.outlet.waiting) == (7, 7)
    held.outlet.offer(some_encoded(promised="ppp"))  # there is room for a batch, whatever its size
    held.outlet.offer(some_encoded(promised="p"))
    assert (held.counts()["full"], held.outlet.waiting) == (8, 10)
    held.stop()
    assert held.sink.appended == [b"....", b"...", b"..."]
    assert held.counts()["written"] == 10


def test_where_nothing_is_promised_there_is_room_once(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch, promises=False)
    held.outlet.offer(some_encoded(*"xxx", promised="p"))
    held.outlet.offer(some_encoded(promised="p"))
    assert held.counts()["full"] == 1
    held.stop()


def test_a_thread_that_cannot_be_had_is_told_counted_and_asked_for_again(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        held.outlet.offer(some_encoded("x", "x"))
    assert held.counts() == {"lost": 2, "gated": 1}
    assert (held.outlet.dropped, held.outlet.waiting) == (2, 0)
    assert held.outlet.detail()["failing"] == "can't start new thread"
    assert not held.outlet.has_room()
    assert held.outlet.stop(0.0)
    held.outlet.offer(some_encoded("x"))
    assert held.outlet.has_room()
    held.stop()
    assert held.counts()["written"] == 1


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
