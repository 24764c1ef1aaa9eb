from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from penstock.core.errors import ChangeRefused, Unavailable
from penstock.core.link import Link
from penstock.core.snapshot import Snapshot
from penstock.supervisor.remote import REPORT_TIMEOUT_S, RemoteSupervisor
from penstock.supervisor.reports import Latest, Reports
from penstock.supervisor.verbs import answered
from penstock.supervisor.worker import Report
from tests.supervisor.operators import CHANGED, EVENTS, RELOADED, STATUS, FakeOperator
from tests.support import ManualClock, nothing_loose, settle

Connect = Callable[[Callable[[str, Any], Awaitable[object]]], Awaitable[RemoteSupervisor]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def connect(clock: ManualClock) -> AsyncIterator[Connect]:
    links: list[Link] = []

    async def make(handler: Callable[[str, Any], Awaitable[object]]) -> RemoteSupervisor:
        loop = asyncio.get_running_loop()
        for end, serves in zip(socket.socketpair(), (handler, handler), strict=True):
            end.setblocking(False)
            links.append(Link(serves, clock=clock))
            await loop.create_connection(lambda: links[-1], sock=end)
        return RemoteSupervisor(links[-1])

    async with nothing_loose():
        yield make
        for link in links:
            link.close()


async def test_it_is_asked_as_the_supervisor_itself(connect: Connect) -> None:
    operator = FakeOperator()

    async def answer(verb: str, payload: object) -> object:
        return await answered(operator, verb, payload)

    remote = await connect(answer)
    assert await remote.set([("iris/svc", "weight", "5")], "anna") == CHANGED
    assert await remote.switch("iris", "off", "anna") == CHANGED
    assert await remote.reload("anna", "SIGHUP") == RELOADED
    assert await remote.history(5) == EVENTS
    assert await remote.status() == STATUS
    assert await remote.reports() == Reports(workers=())
    assert operator.asked == [
        ("set", [("iris/svc", "weight", "5")], "anna"),
        ("switch", "iris", "off", "anna"),
        ("reload", "anna", "SIGHUP"),
        ("history", 5),
        ("status",),
        ("reports",),
    ]


async def test_reports_survive_the_way(connect: Connect) -> None:
    measures = Snapshot({"penstock_requests_total": {("iris", "200"): 5.0}})
    report = Report(pid=42, generation=7, started_wall_s=1.5, measures=measures, detail={"a": [1]})
    reports = Reports(workers=(Latest(index=1, fresh=True, report=report),), departed=measures)

    async def answer(verb: str, payload: object) -> object:
        return {"ok": reports}

    assert await (await connect(answer)).reports() == reports


async def test_a_refusal_is_raised_with_all_reasons(connect: Connect) -> None:
    async def answer(verb: str, payload: object) -> object:
        return {"refused": ["one", "two"]}

    with pytest.raises(ChangeRefused) as raised:
        await (await connect(answer)).reload()
    assert raised.value.problems == ("one", "two")


async def test_a_fault_at_the_other_end(connect: Connect) -> None:
    async def answer(verb: str, payload: object) -> object:
        raise RuntimeError("a fault of ours")

    with pytest.raises(Unavailable, match="has not answered: RuntimeError: a fault of ours"):
        await (await connect(answer)).status()


async def test_no_answer(connect: Connect, clock: ManualClock) -> None:
    asked = asyncio.Event()

    async def answer(verb: str, payload: object) -> object:
        asked.set()
        await asyncio.get_running_loop().create_future()
        return None

    asking = asyncio.ensure_future((await connect(answer)).status())
    await asked.wait()
    await clock.elapse(REPORT_TIMEOUT_S)
    with pytest.raises(Unavailable, match="no answer to status within 3 s"):
        await asking


@pytest.mark.parametrize("answer", [None, 5, {}, [], {"ok": None}, {"ok": {"generation": "x"}}])
async def test_an_answer_that_is_not_understood(connect: Connect, answer: object) -> None:
    async def answers(verb: str, payload: object) -> object:
        return answer

    with pytest.raises(Unavailable, match="answer to status is not understood"):
        await (await connect(answers)).status()
    await settle()
