from __future__ import annotations

import asyncio

import pytest

from penstock.core.families import FAMILIES, Kind
from penstock.core.snapshot import Snapshot
from penstock.supervisor.reports import COLLECT_S, Ledger, Reports
from tests.supervisor.fakes import FakeWorker
from tests.support import ManualClock, nothing_loose, settle

COUNTER = next(one for one in FAMILIES if one.kind is Kind.COUNTER).name
GAUGE = next(one for one in FAMILIES if one.kind is Kind.GAUGE).name


def counted(counter: float, gauge: float = 0.0) -> Snapshot:
    return Snapshot({COUNTER: {("iris",): counter}, GAUGE: {("iris",): gauge}})


def count_of(snapshot: Snapshot) -> float:
    return snapshot.numbers.get(COUNTER, {}).get(("iris",), 0.0)


def seen(reports: Reports) -> list[tuple[int, bool, int]]:
    return [(one.index, one.fresh, one.report.pid) for one in reports.workers]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_all_are_asked_at_once(clock: ManualClock) -> None:
    ledger = Ledger(clock)
    async with nothing_loose():
        reports = await ledger.collect({1: FakeWorker(11), 0: FakeWorker(10)})
    assert seen(reports) == [(0, True, 10), (1, True, 11)]
    assert reports.departed == Snapshot()


async def test_nobody_is_there(clock: ManualClock) -> None:
    assert seen(await Ledger(clock).collect({})) == []


async def test_what_a_late_one_said_last_counts(clock: ManualClock) -> None:
    ledger = Ledger(clock)
    late, other = FakeWorker(10), FakeWorker(11)
    late.measures = counted(5)
    await ledger.collect({0: late, 1: other})
    late.gate = asyncio.get_running_loop().create_future()
    collecting = asyncio.ensure_future(ledger.collect({0: late, 1: other}))
    await clock.elapse(COLLECT_S)
    reports = await collecting
    assert seen(reports) == [(0, False, 10), (1, True, 11)]
    assert count_of(reports.workers[0].report.measures) == 5

    again = asyncio.ensure_future(ledger.collect({0: late, 1: other}))
    await settle()
    assert late.asked.count(("report", 0)) == 2  # it is not asked a third time
    late.measures = counted(9)
    late.gate.set_result(None)
    reports = await again
    assert seen(reports) == [(0, True, 10), (1, True, 11)]
    assert count_of(reports.workers[0].report.measures) == 9
    assert clock.timers == 0


async def test_one_that_has_not_said_anything_yet_is_left_out(clock: ManualClock) -> None:
    ledger = Ledger(clock)
    worker = FakeWorker()
    worker.dies_of = "report"
    assert seen(await ledger.collect({0: worker})) == []


async def test_what_those_counted_that_ended_stays(clock: ManualClock) -> None:
    ledger = Ledger(clock)
    total = 0.0
    for pid in range(1, 5):
        worker = FakeWorker(pid)
        worker.measures = counted(10.0 * pid, gauge=3.0)
        reports = await ledger.collect({0: worker})
        total += 10.0 * pid
        assert count_of(reports.departed) + 10.0 * pid == total
        ledger.depart(0)
    reports = await ledger.collect({})
    assert seen(reports) == []
    assert count_of(reports.departed) == total
    assert GAUGE not in reports.departed.numbers


async def test_one_that_ends_unseen_counts_nothing(clock: ManualClock) -> None:
    ledger = Ledger(clock)
    ledger.depart(0)
    assert (await ledger.collect({})).departed == Snapshot()


async def test_an_answer_of_a_predecessor_is_not_its_replacement_s(clock: ManualClock) -> None:
    ledger = Ledger(clock)
    old, new = FakeWorker(10), FakeWorker(11)
    old.gate = asyncio.get_running_loop().create_future()
    collecting = asyncio.ensure_future(ledger.collect({0: old}))
    await settle()
    ledger.depart(0)
    old.gate.set_result(None)
    assert seen(await collecting) == []
    assert seen(await ledger.collect({0: new})) == [(0, True, 11)]


async def test_a_fault_of_a_worker_in_this_process_is_raised(clock: ManualClock) -> None:
    worker = FakeWorker()
    worker.fails_of = "report"
    with pytest.raises(RuntimeError, match="no report"):
        await Ledger(clock).collect({0: worker})


async def test_what_one_says_as_it_ends_counts(clock: ManualClock) -> None:
    ledger = Ledger(clock)
    worker = FakeWorker(10)
    worker.measures = counted(5)
    await ledger.collect({0: worker})
    worker.measures = counted(8)
    ledger.note(0, await worker.report())
    ledger.depart(0)
    assert count_of((await ledger.collect({})).departed) == 8
