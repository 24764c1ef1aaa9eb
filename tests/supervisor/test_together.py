"""A supervisor, its overlay and real worker processes, with things going wrong meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from penstock.core.clock import SystemClock
from penstock.core.errors import ChangeRefused, SpecError
from penstock.core.snapshot import merged
from penstock.supervisor.control import ControlServer, connected
from penstock.supervisor.draft import PlanSource
from penstock.supervisor.processes import Processes
from penstock.supervisor.state import SOCKET_NAME, State, open_state
from penstock.supervisor.supervisor import Supervisor
from tests.supervisor.crews import command
from tests.supervisor.fakes import WEIGHT, Said, plans_of_text
from tests.waiting import until


class Server:
    """All of it, in the order in which `penstock serve` puts it together."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self.said = Said()
        self.sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(workers)]
        self.crew = Processes(
            command(),
            [one.fileno() for one in self.sockets],
            clock=SystemClock(),
            log=self.said,
            drain_s=10.0,
        )
        self.state: State = open_state(folder / "state")
        self.supervisor = Supervisor(
            plans_of_text(), self.crew, self.state, clock=SystemClock(), log=self.said
        )

    async def stop(self) -> None:
        await self.supervisor.stop()
        self.state.close()
        for one in self.sockets:
            one.close()

    async def set(self, weight: int) -> None:
        await self.supervisor.set([("iris/svc", "weight", str(weight))], "anna")

    def says(self, text: str) -> None:
        """Have the next generation's text be something the scripted workers obey."""
        plans = self.supervisor._succession._plans
        read = plans.read

        def reading() -> object:
            source = read()
            return type(source)(source.path, text, source.root, source.lines, source.problems)

        self.supervisor._succession._plans = PlanSource(
            reading,  # type: ignore[arg-type]
            plans.reserved,
            plans.available,
        )

    async def generations(self) -> list[int]:
        reports = await self.supervisor.reports()
        return [one.report.generation for one in reports.workers if one.fresh]


Serving = Callable[..., Awaitable[Server]]


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Serving]:
    made: list[Server] = []

    async def start(workers: int = 2) -> Server:
        made.append(Server(tmp_path, workers))
        await made[-1].supervisor.start()
        return made[-1]

    yield start
    for one in made:
        await one.stop()


async def test_changes_reach_all_processes(serving: Serving) -> None:
    server = await serving()
    for number in range(2, 12):
        await server.set(number)
        assert await server.generations() == [number, number]


async def test_changes_while_workers_are_killed(serving: Serving) -> None:
    """Every change is made, each worker ends up with the last, and none is asked twice at once."""
    server = await serving(3)

    async def kill() -> None:
        for index in (0, 2):
            pid = server.crew.members()[index].pid
            os.kill(pid, signal.SIGKILL)
            await until(lambda: server.crew.members()[index].phase == "down")  # noqa: B023
            await until(lambda: server.crew.members()[index].phase == "serving")  # noqa: B023

    killing = asyncio.ensure_future(kill())
    weight = 1
    while not killing.done():
        weight += 1
        await server.set(weight)
    await killing
    await server.set(weight + 1)
    assert await server.generations() == [weight + 1] * 3
    assert server.supervisor.current().changes == {WEIGHT: float(weight + 1)}
    events = await server.supervisor.history()
    assert [event.generation for event in events] == list(range(1, weight + 2))


async def test_a_file_that_kills_who_opens_it_kills_no_more_than_two(serving: Serving) -> None:
    server = await serving(3)
    last = server.crew.members()[2].pid
    server.says("die")
    with pytest.raises(SpecError, match="worker 0 died while it opened it"):
        await server.supervisor.reload("anna")
    await until(lambda: [one.restarts for one in server.crew.members()] == [1, 1, 0])
    await until(lambda: [one.phase for one in server.crew.members()] == ["serving"] * 3)
    assert server.crew.members()[2].pid == last
    assert await server.generations() == [1, 1, 1]


async def test_one_that_dies_of_it_while_another_does_not(serving: Serving) -> None:
    server = await serving()
    server.says(f"die once {server.folder / 'mark'}")
    changed = await server.supervisor.reload("anna")
    assert (changed.generation, changed.workers, changed.of) == (2, 1, 2)
    await until(lambda: [one.phase for one in server.crew.members()] == ["serving"] * 2)
    assert await server.generations() == [2, 2]


@pytest.mark.parametrize("text", ["refuse", "raise"])
async def test_what_no_worker_can_open_leaves_the_old_generation(
    serving: Serving, text: str
) -> None:
    server = await serving()
    pids = [one.pid for one in server.crew.members()]
    server.says(text)
    with pytest.raises(ChangeRefused, match=r"no room|a fault of the worker"):
        await server.supervisor.reload("anna")
    assert await server.generations() == [1, 1]
    assert [one.pid for one in server.crew.members()] == pids


async def test_what_a_killed_worker_counted_is_not_lost(serving: Serving) -> None:
    server = await serving()

    async def total() -> float:
        reports = await server.supervisor.reports()
        together = merged([*(one.report.measures for one in reports.workers), reports.departed])
        return sum(together.numbers["penstock_requests_total"].values())

    assert await total() == 2.0
    for deaths in (1, 2):
        pid = server.crew.members()[0].pid
        os.kill(pid, signal.SIGKILL)
        await until(lambda: server.crew.members()[0].pid not in (0, pid))  # noqa: B023
        await until(lambda: server.crew.members()[0].phase == "serving")
        assert await total() == 2.0 + deaths


async def test_over_its_control_socket_and_a_restart(tmp_path: Path) -> None:
    for generation in (1, 4):
        server = Server(tmp_path, 2)
        await server.supervisor.start()
        control = ControlServer(server.supervisor, clock=SystemClock(), log=server.said)
        path = tmp_path / "state" / SOCKET_NAME
        async with control.serve(path), connected(path, clock=SystemClock()) as asked:
            status = await asked.status()
            assert status.generation == generation
            assert {one.path for one in status.active} == ({WEIGHT} if generation > 1 else set())
            changed = await asked.set([("iris/svc", "weight", str(generation))])
            assert (changed.generation, changed.workers) == (generation + 1, 2)
            with pytest.raises(ChangeRefused, match="there is no route"):
                await asked.switch("irish", "off")
            await asked.reload()
            events = await asked.history(2)
            assert [event.kind for event in events] == ["set", "generation"]
            assert await server.generations() == [generation + 2] * 2
        await server.stop()
