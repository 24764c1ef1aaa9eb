"""Workers without a process, a log that is kept, and a spec for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from penstock.core.snapshot import Snapshot
from penstock.spec.plan import Plan
from penstock.spec.read import read_spec, read_text
from penstock.supervisor.crew import Leader, Member
from penstock.supervisor.draft import PlanSource
from penstock.supervisor.worker import Report, Worker, WorkerLost

SPEC: Final = """\
models:
  svc: {path: svc.onnx}
  rf: {path: rf.onnx}
routes:
  iris:
    fan_out:
      aggregate: weighted
      arms:
        svc: {use: svc, weight: 60}
        rf: rf
  spare: svc
"""
WEIGHT: Final = "routes.iris.fan_out.arms.svc.weight"
AVAILABLE: Final = frozenset({"fan_out", "threshold", "constant", "timeout"})
RESERVED: Final = frozenset({"predict"})


def plans_of_text(text: str = SPEC) -> PlanSource:
    return PlanSource(lambda: read_text(text, {}, Path("penstock.yaml")), RESERVED, AVAILABLE)


def plans_of_file(path: Path, environment: Mapping[str, str] | None = None) -> PlanSource:
    return PlanSource(
        lambda: read_spec(path, environment or {}), RESERVED, AVAILABLE, watched=str(path)
    )


class Said:
    """A log that is kept: `level: sentence`, and the problems that stand with it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, event: str, **fields: object) -> None:
        self._say("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._say("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._say("error", event, fields)

    def _say(self, level: str, event: str, fields: Mapping[str, object]) -> None:
        more = "".join(f" [{name}: {value}]" for name, value in fields.items())
        self.lines.append(f"{level}: {event}{more}")

    def has(self, *parts: str) -> bool:
        """Whether a line has all of these parts."""
        return any(all(part in line for part in parts) for line in self.lines)


class FakeWorker:
    """A worker that keeps what it was asked.

    Attributes:
        asked: verbs and generations, in order.
        serves: the plan that it serves.
        problems: what it says is wrong with whatever it is to open.
        dies_of: the verb that it dies of.
        fails_of: the verb that it raises at, which no worker should.
        gate: what `prepare` waits for.
    """

    def __init__(self, pid: int = 1) -> None:
        self.pid = pid
        self.asked: list[tuple[str, int]] = []
        self.serves: Plan | None = None
        self.opened: dict[int, Plan] = {}
        self.problems: tuple[str, ...] = ()
        self.dies_of = ""
        self.fails_of = ""
        self.gate: asyncio.Future[None] | None = None
        self.measures = Snapshot()

    async def prepare(self, plan: Plan) -> tuple[str, ...]:
        self._note("prepare", plan.generation)
        if self.gate is not None:
            await self.gate
        if not self.problems:
            self.opened[plan.generation] = plan
        return self.problems

    async def flip(self, generation: int) -> None:
        self._note("flip", generation)
        self.serves = self.opened.pop(generation)

    async def discard(self, generation: int) -> None:
        self._note("discard", generation)
        self.opened.pop(generation, None)

    async def report(self) -> Report:
        self._note("report", self.generation)
        if self.gate is not None:
            await self.gate
        return Report(
            pid=self.pid,
            generation=self.generation,
            started_wall_s=1.0,
            measures=self.measures,
        )

    @property
    def generation(self) -> int:
        return 0 if self.serves is None else self.serves.generation

    def _note(self, verb: str, generation: int) -> None:
        self.asked.append((verb, generation))
        if verb == self.dies_of:
            raise WorkerLost(f"it died of {verb}")
        if verb == self.fails_of:
            raise RuntimeError(f"no {verb}")


class FakeCrew:
    """Workers that live and die as a test says.

    Attributes:
        there: those that take part in changes.
        given_up: the indexes of those that were given up, and why.
        on_prepared: called by each change when workers are asked for, to let things happen.
    """

    def __init__(self, *workers: FakeWorker) -> None:
        self.there: dict[int, Worker] = dict(enumerate(workers))
        self.size = len(workers)
        self.given_up: list[tuple[int, str]] = []
        self.leader: Leader | None = None
        self.started = 0
        self.stopped = 0
        self.on_asked: Callable[[], None] | None = None

    def workers(self) -> Mapping[int, Worker]:
        if self.on_asked is not None:
            self.on_asked()
        return dict(self.there)

    def reporting(self) -> Mapping[int, Worker]:
        return self.workers()

    def members(self) -> tuple[Member, ...]:
        return tuple(
            Member(index=index, pid=1, phase="serving", started_wall_s=1.0) for index in self.there
        )

    async def start(self) -> None:
        self.started += 1

    async def serve(self, leader: Leader) -> None:
        self.leader = leader

    def give_up(self, index: int, why: str) -> None:
        self.given_up.append((index, why))

    async def stop(self) -> None:
        self.stopped += 1
