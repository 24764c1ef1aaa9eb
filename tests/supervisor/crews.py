"""Real worker processes, a leader for them, and connections to their sockets."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from penstock.spec.plan import Plan
from penstock.supervisor.processes import Processes
from penstock.supervisor.worker import Report
from tests.supervisor.fakes import Said
from tests.support import ManualClock, settle
from tests.waiting import until

WORKER: Final = str(Path(__file__).parent / "scripted_worker.py")
DRAIN_S: Final = 30.0


def command(mode: str = "plain") -> list[str]:
    return [sys.executable, "-P", WORKER, mode]


def plan(text: str = "", generation: int = 1) -> Plan:
    return Plan(generation=generation, path="penstock.yaml", text=text)


class FakeLeader:
    """Says what is served, and keeps what it was asked; fails so many times of a death."""

    def __init__(self) -> None:
        self.plan = plan()
        self.gone: list[int] = []
        self.asked: list[tuple[str, object]] = []
        self.last: dict[int, Report] = {}
        self.fails = 0

    def current(self) -> Plan:
        return self.plan

    def reported(self, index: int, report: Report) -> None:
        self.last[index] = report

    def departed(self, index: int) -> None:
        if self.fails:
            self.fails -= 1
            raise RuntimeError("a fault of the leader")
        self.gone.append(index)

    async def answer(self, verb: str, payload: Any) -> Any:  # noqa: ANN401
        self.asked.append((verb, payload))
        return verb


class RealCrew:
    """Worker processes, each with a listening socket at a port of its own."""

    def __init__(self, count: int, run: Sequence[str]) -> None:
        self.sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        self.clock = ManualClock()
        self.said = Said()
        self.leader = FakeLeader()
        self.crew = Processes(
            run,
            [one.fileno() for one in self.sockets],
            clock=self.clock,
            log=self.said,
            drain_s=DRAIN_S,
        )

    async def start(self) -> None:
        """Have all serve the leader's plan."""
        await self.crew.start()
        for worker in self.crew.workers().values():
            assert await worker.prepare(self.leader.plan) == ()
            await worker.flip(self.leader.plan.generation)
        await self.crew.serve(self.leader)

    async def stop(self) -> None:
        """End all, however they are."""
        stopping = asyncio.ensure_future(self.crew.stop())
        await settle()
        for seat in self.crew._seats:
            if seat.process is not None:
                seat.process.kill("the test is over")
        await until(stopping.done)
        await stopping
        for one in self.sockets:
            one.close()

    def pid(self, index: int) -> int:
        return self.crew.members()[index].pid

    def phases(self) -> list[str]:
        return [one.phase for one in self.crew.members()]

    async def ask(self, index: int) -> tuple[int, int, int]:
        """Return who answers at a socket: its index, process id and generation."""
        reader, writer = await asyncio.open_connection(*self.sockets[index].getsockname())
        try:
            async with asyncio.timeout(30.0):
                answer = await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()
        worker, pid, generation = map(int, answer.split())
        return worker, pid, generation
