from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from penstock.core.link import Link
from penstock.core.snapshot import Snapshot
from penstock.spec.plan import Plan
from penstock.supervisor.worker import (
    CALL_TIMEOUT_S,
    PREPARE_TIMEOUT_S,
    LinkedWorker,
    Report,
    WorkerLost,
)
from tests.support import ManualClock, nothing_loose
from tests.waiting import until

PLAN = Plan(generation=7, path="penstock.yaml", text="models: ...", changes={"a.b": 5})
REPORT = Report(
    pid=42,
    generation=7,
    started_wall_s=1.5,
    measures=Snapshot({"penstock_requests_total": {("iris", "200"): 5.0}}),
    detail={"rss_bytes": 5},
)


class Far:
    """The process at the other end: answers what a test says.

    Attributes:
        answers: by verb; an exception is raised, a future waited for.
        asked: verbs and payloads.
        given_up: why the process was given up.
    """

    def __init__(self) -> None:
        self.answers: dict[str, object] = {}
        self.asked: list[tuple[str, object]] = []
        self.given_up: list[str] = []
        self.clock = ManualClock()
        self.links: list[Link] = []

    async def worker(self) -> LinkedWorker:
        loop = asyncio.get_running_loop()
        for end in socket.socketpair():
            end.setblocking(False)
            self.links.append(Link(self._answer, clock=self.clock))
            await loop.create_connection(lambda: self.links[-1], sock=end)
        return LinkedWorker(self.links[0], self.given_up.append)

    async def _answer(self, verb: str, payload: Any) -> object:  # noqa: ANN401
        self.asked.append((verb, payload))
        answer = self.answers.get(verb)
        if isinstance(answer, Exception):
            raise answer
        return await answer if isinstance(answer, asyncio.Future) else answer

    def never(self, verb: str) -> None:
        self.answers[verb] = asyncio.get_running_loop().create_future()


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    async with nothing_loose():
        far = Far()
        yield far
        for link in far.links:
            link.close()


async def test_a_plan_is_opened(far: Far) -> None:
    far.answers["prepare"] = []
    assert await (await far.worker()).prepare(PLAN) == ()
    (asked,) = far.asked
    assert asked[0] == "prepare"
    assert msgspec.convert(asked[1], Plan) == PLAN


async def test_what_cannot_be_opened(far: Far) -> None:
    far.answers["prepare"] = ["one", "two"]
    assert await (await far.worker()).prepare(PLAN) == ("one", "two")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (RuntimeError("a fault"), "the worker failed to open it: RuntimeError: a fault"),
        ("fine", "the worker failed to open it: Expected `array`, got `str`"),
        (None, "the worker failed to open it: Expected `array`, got `null`"),
    ],
)
async def test_a_fault_while_opening_is_a_problem(far: Far, answer: object, problem: str) -> None:
    far.answers["prepare"] = answer
    assert await (await far.worker()).prepare(PLAN) == (problem,)
    assert far.given_up == []


@pytest.mark.parametrize(
    ("verb", "payload", "call"),
    [
        ("flip", 7, lambda worker: worker.flip(7)),
        ("discard", 7, lambda worker: worker.discard(7)),
        ("listen", None, lambda worker: worker.listen()),
        ("adopt", 3, lambda worker: worker.adopt(3)),
        ("release", 3, lambda worker: worker.release(3)),
    ],
)
async def test_orders(
    far: Far, verb: str, payload: object, call: Callable[[LinkedWorker], Awaitable[None]]
) -> None:
    worker = await far.worker()
    await call(worker)
    assert far.asked == [(verb, payload)]

    far.answers[verb] = RuntimeError("a fault")
    with pytest.raises(WorkerLost, match=f"failed to {verb}: RuntimeError: a fault"):
        await call(worker)
    assert far.given_up == [f"failed to {verb}: RuntimeError: a fault"]


@pytest.mark.parametrize(
    ("verb", "call", "timeout_s"),
    [
        ("prepare", lambda worker: worker.prepare(PLAN), PREPARE_TIMEOUT_S),
        ("flip", lambda worker: worker.flip(7), CALL_TIMEOUT_S),
        ("report", lambda worker: worker.report(), CALL_TIMEOUT_S),
    ],
)
async def test_who_does_not_answer_in_time_is_given_up(
    far: Far, verb: str, call: Callable[[LinkedWorker], Awaitable[object]], timeout_s: float
) -> None:
    far.never(verb)
    asking = asyncio.ensure_future(call(await far.worker()))
    await far.clock.elapse(timeout_s - 0.1)
    assert far.given_up == []
    await far.clock.elapse(0.1)
    with pytest.raises(WorkerLost, match=f"did not answer {verb} within {timeout_s:g} s"):
        await asking
    assert far.given_up == [f"did not answer {verb} within {timeout_s:g} s"]


async def test_who_is_opening_models_need_not_report(far: Far) -> None:
    """Loading may hold the interpreter for long."""
    far.never("prepare")
    far.never("report")
    worker = await far.worker()
    opening = asyncio.ensure_future(worker.prepare(PLAN))
    reporting = asyncio.ensure_future(worker.report())
    await far.clock.elapse(CALL_TIMEOUT_S)
    with pytest.raises(WorkerLost, match="no answer to report"):
        await reporting
    assert far.given_up == []
    opening.cancel()


async def test_a_report(far: Far) -> None:
    far.answers["report"] = msgspec.to_builtins(REPORT, str_keys=False)
    assert await (await far.worker()).report() == REPORT


async def test_a_report_that_is_none(far: Far) -> None:
    far.answers["report"] = {"pid": "x"}
    with pytest.raises(WorkerLost):
        await (await far.worker()).report()
    assert far.given_up[0].startswith("answered report with something else: ")


async def test_a_process_that_has_ended(far: Far) -> None:
    worker = await far.worker()
    far.never("flip")
    asking = asyncio.ensure_future(worker.flip(7))
    await until(lambda: far.asked)
    far.links[1].close()
    with pytest.raises(WorkerLost, match="the other side closed the link"):
        await asking
    for call in (worker.flip, worker.discard):
        with pytest.raises(WorkerLost, match="the other side closed the link"):
            await call(7)
    with pytest.raises(WorkerLost):
        await worker.prepare(PLAN)
    assert far.given_up == []  # its end is seen by who watches the process
