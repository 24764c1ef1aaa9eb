from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from penstock.cli import shipping as module
from penstock.cli.ship import OUTBOX_DAYS_VARIABLE
from penstock.cli.shipping import STOP_S, Child, Shipping, shipping
from penstock.core.clock import SystemClock
from penstock.core.stop import SHIP_S, Stop
from penstock.stores.log_settings import BadSetting
from penstock.stores.postgresql.address import VARIABLE, PostgresqlUnavailable
from penstock.stores.postgresql.outbox import Outbox
from penstock.stores.segment_writer import segments_in
from tests.postgres import asked
from tests.stores.postgresql.shipped import written
from tests.stores.postgresql.test_shipper import Said
from tests.support import ManualClock, settle
from tests.waiting import until

NOBODY = "postgresql://anna:open-sesame@localhost:1/db"


class FakeChild:
    """A process that ends when it is told, or never."""

    def __init__(self, pid: int, *, deaf: bool = False) -> None:
        self.pid = pid
        self.told: list[str] = []
        self._deaf = deaf
        self._ended = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        status: int = await asyncio.shield(self._ended)
        return status

    def end(self, status: int) -> None:
        self._ended.set_result(status)

    def terminate(self) -> None:
        self.told.append("terminate")
        if not self._deaf:
            self.end(0)

    def kill(self) -> None:
        self.told.append("kill")
        self.end(-9)


class Kept:
    """A `Shipping` of fake processes, at work."""

    def __init__(self, *, deaf: bool = False) -> None:
        self.clock = ManualClock()
        self.stop_of_all = Stop(self.clock)
        self.said = Said()
        self.children: list[FakeChild] = []
        self.refuses = False
        self._deaf = deaf
        self.task = asyncio.ensure_future(
            Shipping(self._start, stop=self.stop_of_all, log=self.said).run()
        )

    async def _start(self) -> Child:
        if self.refuses:
            raise OSError(11, "no room")
        self.children.append(FakeChild(len(self.children), deaf=self._deaf))
        return self.children[-1]

    async def stop(self) -> None:
        self.task.cancel()
        await self.clock.elapse()


async def test_one_that_ends_is_started_again_ever_later() -> None:
    kept = Kept()
    pauses = []
    for _ in range(9):
        await settle()
        kept.children[-1].end(1)
        await settle()
        started_s, count = kept.clock.now_s(), len(kept.children)
        while len(kept.children) == count:
            await kept.clock.elapse(0.5)
        pauses.append(kept.clock.now_s() - started_s)
    assert pauses == [0.5, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert kept.said.events[2] == (
        "warning: the shipper to PostgreSQL ended with status 1; it is started again in 1 s"
    )
    await kept.stop()


async def test_one_that_lived_long_is_started_again_soon() -> None:
    kept = Kept()
    for _ in range(5):
        await kept.clock.elapse(60.0)
        kept.children[-1].end(-9)
        await settle()
    assert all(
        "was ended by signal 9; it is started again in 0.5 s" in one for one in kept.said.events
    )
    await kept.stop()


async def test_one_that_cannot_be_started_is_tried_again() -> None:
    kept = Kept()
    kept.refuses = True
    await settle()
    assert kept.children == []
    assert "cannot be started (no room)" in kept.said.events[0]
    kept.refuses = False
    await kept.clock.elapse(0.5)
    assert len(kept.children) == 1
    await kept.stop()
    assert kept.task.cancelled()


async def test_told_to_stop_it_is_told_and_waited_for() -> None:
    kept = Kept()
    await settle()
    await kept.stop()
    assert kept.children[0].told == ["terminate"]
    assert kept.task.cancelled()
    assert kept.said.events == []
    assert kept.clock.timers == 0


async def test_one_that_does_not_stop_is_killed() -> None:
    kept = Kept(deaf=True)
    await settle()
    await kept.stop()
    assert not kept.task.done()
    await kept.clock.elapse(STOP_S)
    assert kept.children[0].told == ["terminate", "kill"]
    assert kept.task.cancelled()
    assert kept.said.events == ["warning: the shipper to PostgreSQL (pid 0) did not end: killed"]


async def test_what_stopped_before_it_has_left_it_less_time() -> None:
    kept = Kept(deaf=True)
    kept.stop_of_all.begin()
    await kept.clock.elapse(SHIP_S - 1.0)
    await kept.stop()
    assert kept.children[0].told == ["terminate"]
    await kept.clock.elapse(1.0)
    assert kept.children[0].told == ["terminate", "kill"]
    assert kept.task.cancelled()


async def test_nothing_is_started_where_no_database_is_named(tmp_path: Path) -> None:
    async with shipping(str(tmp_path), {}, stop=Stop(ManualClock()), log=Said()):
        assert len(asyncio.all_tasks()) == 1
    assert segments_in(tmp_path) == []


async def test_without_a_folder_it_is_said_that_nothing_is_shipped() -> None:
    said = Said()
    async with shipping(None, {VARIABLE: NOBODY}, stop=Stop(ManualClock()), log=said):
        assert len(asyncio.all_tasks()) == 1
    (event,) = said.events
    assert "there is no folder where they could wait" in event


async def test_what_the_environment_says_wrong_is_told_at_the_start(tmp_path: Path) -> None:
    for environment, error in (
        ({VARIABLE: "x:%"}, PostgresqlUnavailable),
        ({VARIABLE: NOBODY, OUTBOX_DAYS_VARIABLE: "long"}, BadSetting),
    ):
        with pytest.raises(error):
            async with shipping(str(tmp_path), environment, stop=Stop(ManualClock()), log=Said()):
                pass


async def test_a_fault_of_ours_is_said_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start(*_: object) -> Child:
        raise RuntimeError("ours")

    monkeypatch.setattr(module, "_started", start)
    said = Said()
    async with shipping(str(tmp_path), {VARIABLE: NOBODY}, stop=Stop(ManualClock()), log=said):
        await settle()
    assert said.events == ["error: the shipper to PostgreSQL was not looked after"]


async def test_a_real_one_ships_what_comes(tmp_path: Path, database: str) -> None:
    said = Said()
    environment = {**os.environ, VARIABLE: database}
    outbox = Outbox(tmp_path).path
    async with shipping(str(tmp_path), environment, stop=Stop(SystemClock()), log=said):
        written(tmp_path, range(3))
        await until(lambda: segments_in(outbox) == [])
        written(tmp_path, range(3, 5))
    assert segments_in(outbox) == []
    assert asked(database, "SELECT count(*) FROM penstock_predictions") == [(5,)]
    assert said.events == []
