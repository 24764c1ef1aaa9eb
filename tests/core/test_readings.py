"""What others count becomes readings of families that are declared."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import pytest
from msgspec import Struct

import penstock
from penstock.core import families, readings
from penstock.core.background import BackgroundScope, QueueBounds
from penstock.core.families import Family
from penstock.core.log import Log
from penstock.core.measures import Measures
from penstock.core.readings import (
    background_readings,
    log_readings,
    pool_readings,
    process_readings,
    resident_bytes,
)
from tests.support import ManualClock


class Counts(Struct, frozen=True, kw_only=True):
    """As a pool gives them."""

    open: int = 5
    busy: int = 2
    waiting: int = 3
    skipped: int = 1
    requests: int = 100
    retries: int = 4
    connect_failures: int = 6
    broken: int = 7
    late: int = 8


async def test_background() -> None:
    async def work() -> None:
        raise ValueError

    scope = BackgroundScope(1)
    assert scope.start(work)
    assert not scope.start(work)
    told = {family: value for family, _, value in background_readings(scope)}
    await scope.close(1.0)
    assert told == {
        families.BACKGROUND_RUNNING: 1,
        families.BACKGROUND_STARTED: 1,
        families.BACKGROUND_DROPPED: 1,
        families.BACKGROUND_FAILED: 0,
        families.BACKGROUND_CANCELLED: 0,
    }


async def test_shadows() -> None:
    async def work() -> None:
        raise AssertionError

    scope, clock = BackgroundScope(), ManualClock()
    copies = scope.queue("routes.a[0].mirror", QueueBounds(1, 1), clock)
    for _ in range(3):
        copies.offer(work, deadline_s=clock.now_s(), size_bytes=8)
    at = ("routes.a[0].mirror",)

    def told() -> dict[tuple[Family, tuple[str, ...]], float]:
        found = {(family, labels): value for family, labels, value in background_readings(scope)}
        return {key: value for key, value in found.items() if value and key[1]}

    assert told() == {
        (families.SHADOW_COPIES, (*at, "full")): 1,
        (families.SHADOWS_RUNNING, at): 1,
        (families.SHADOWS_WAITING, at): 1,
        (families.SHADOWS_HELD_BYTES, at): 16,
    }
    await scope.close(60.0)
    copies.offer(work, deadline_s=clock.now_s())
    assert told() == {
        (families.SHADOW_COPIES, (*at, "full")): 1,
        (families.SHADOW_COPIES, (*at, "late")): 2,
        (families.SHADOW_COPIES, (*at, "closing")): 1,
    }


def test_pool() -> None:
    told = {(family, labels): value for family, labels, value in pool_readings("svc", Counts())}
    assert told == {
        (families.POOL_CONNECTIONS, ("svc", "busy")): 2,
        (families.POOL_CONNECTIONS, ("svc", "other")): 3,
        (families.POOL_WAITING, ("svc",)): 3,
        (families.POOL_SKIPPED, ("svc",)): 1,
        (families.POOL_EVENTS, ("svc", "request")): 100,
        (families.POOL_EVENTS, ("svc", "retry")): 4,
        (families.POOL_EVENTS, ("svc", "connect_failure")): 6,
        (families.POOL_EVENTS, ("svc", "broken")): 7,
        (families.POOL_EVENTS, ("svc", "late")): 8,
    }


def test_log() -> None:
    log = Log(ManualClock(), write=lambda _: False, human=True)
    log.error("failed")
    assert list(log_readings(log)) == [(families.LOG_LEFT_OUT, (), 1)]


def process() -> dict[Family, tuple[tuple[str, ...], float]]:
    return {family: (labels, value) for family, labels, value in process_readings("3", 77.0)}


def test_process() -> None:
    before_s = time.process_time()
    told = process()
    assert told[families.INFO] == ((penstock.__version__,), 1)
    assert told[families.START_TIME] == (("3",), 77.0)
    labels, cpu_s = told[families.CPU_SECONDS]
    assert labels == ("3",)
    assert before_s <= cpu_s <= time.process_time()
    assert 1e6 < told[families.RESIDENT_BYTES][1] < 1e12
    assert 2 < told[families.OPEN_FDS][1] <= told[families.FDS_LIMIT][1]


def test_descriptors_are_counted_without_the_one_that_counts() -> None:
    before = process()[families.OPEN_FDS][1]
    opened = os.dup(0)
    try:
        assert process()[families.OPEN_FDS][1] == before + 1
    finally:
        os.close(opened)


def test_no_limit_of_descriptors_is_infinity(monkeypatch: pytest.MonkeyPatch) -> None:
    infinite = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda _: (infinite, infinite))
    assert process()[families.FDS_LIMIT][1] == float("inf")


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_a_system_without_proc(
    platform: str, unit: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(readings, "_STATM", str(tmp_path / "statm"))
    monkeypatch.setattr(readings, "_FDS", str(tmp_path / "fd"))
    monkeypatch.setattr(sys, "platform", platform)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    assert resident_bytes() >= usage.ru_maxrss * unit > 0
    assert families.OPEN_FDS not in process()


def test_all_of_them_can_be_watched() -> None:
    measures = Measures()
    with measures.watching(lambda: process_readings("0", 1.0)):
        numbers = measures.snapshot().numbers
    assert numbers[families.INFO.name] == {(penstock.__version__,): 1}
    assert list(measures.snapshot().numbers) == [families.CPU_SECONDS.name]
