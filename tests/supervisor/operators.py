"""An operator that does what a test says, and keeps what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from penstock.supervisor.answers import Active, Changed, Refused, Status
from penstock.supervisor.crew import Member
from penstock.supervisor.draft import Asked
from penstock.supervisor.overlay import Change, Event
from penstock.supervisor.reports import Reports
from tests.supervisor.fakes import WEIGHT

CHANGE = Change(path=WEIGHT, old=60, new=5.0, base=60)
CHANGED = Changed(generation=7, changes=(CHANGE,), workers=2, of=2)
RELOADED = Changed(generation=8, workers=2, of=2, warnings=("something is dropped",))
TIME = "2025-06-15T12:00:00.000Z"
EVENTS = (
    Event(kind="generation", time=TIME, who="penstock", generation=1, cause="start", digest="ab12"),
    Event(kind="set", time=TIME, who="anna", generation=2, changes=(CHANGE,)),
)
STATUS = Status(
    generation=7,
    path="penstock.yaml",
    digest="ab12",
    state="/state",
    no_state="",
    workers=(Member(index=0, pid=42, phase="serving", started_wall_s=1.5, restarts=3),),
    active=(Active(path=WEIGHT, value=5.0, base=60, who="anna", time=TIME),),
    refused=Refused(time=TIME, who="penstock", cause="SIGHUP", problems=("a", "b")),
)


class FakeOperator:
    """Answers the same whatever it is asked.

    Attributes:
        asked: verbs and what came with them.
        error: raised instead of any answer.
        gate: waited for before any answer.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.error: Exception | None = None
        self.gate: asyncio.Future[None] | None = None
        self.changed = CHANGED
        self.status_now = STATUS
        self.events: tuple[Event, ...] = EVENTS

    async def set(self, changes: Sequence[Asked], who: str) -> Changed:
        await self._note("set", list(changes), who)
        return self.changed

    async def switch(self, target: str, state: str, who: str) -> Changed:
        await self._note("switch", target, state, who)
        return self.changed

    async def reload(self, who: str, cause: str = "reload") -> Changed:
        await self._note("reload", who, cause)
        return RELOADED

    async def history(self, limit: int | None = None) -> tuple[Event, ...]:
        await self._note("history", limit)
        return self.events

    async def status(self) -> Status:
        await self._note("status")
        return self.status_now

    async def reports(self) -> Reports:
        await self._note("reports")
        return Reports(workers=())

    async def _note(self, *what: object) -> None:
        self.asked.append(what)
        if self.gate is not None:
            await self.gate
        if self.error is not None:
            raise self.error
