"""One generation after the other.

    check -> all workers open it -> append to the log -> all workers flip to it

Whatever fails before the log has it leaves the old generation serving. Reading and checking a file,
and waiting for a disk, is done in threads: the loop may have requests to serve.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar, final

from penstock.core.clock import Clock
from penstock.core.errors import ChangeRefused, SpecError
from penstock.core.log import Says
from penstock.spec.read import Source
from penstock.supervisor.answers import Changed
from penstock.supervisor.crew import Crew
from penstock.supervisor.disk import Disk, DiskHangs
from penstock.supervisor.draft import Asked, Draft, PlanSource, drafted, wanted
from penstock.supervisor.journal import CannotKeep
from penstock.supervisor.overlay import MAX_ENTRIES, Change, Event, Kind, replayed
from penstock.supervisor.pause import pause
from penstock.supervisor.phases import (
    Outcome,
    catch_up,
    discard_all,
    flip_all,
    prepare_all,
    prepare_in_turn,
)
from penstock.supervisor.state import NoState, State
from penstock.supervisor.worker import Worker, WorkerLost

FINISH_S: Final = 15.0
"""How long the end waits for a change that is being written to the log and flipped to."""

WRITE_FIRST_S: Final = 0.25
"""How long the end of the workers waits for it; with a slow disk they end meanwhile."""

T = TypeVar("T")


@final
class Succession:
    """Leads a crew from generation to generation. Its methods are called one at a time.

    Args:
        plans: the file, and how it is checked.
        crew: the workers.
        state: keeps what operators change.
        clock: tells the time of the day.
        log: is told what happened.

    Attributes:
        draft: what is served; None before the first.
        state: what keeps it; without a disk where the disk has failed from the start.
    """

    def __init__(
        self, plans: PlanSource, crew: Crew, state: State, *, clock: Clock, log: Says
    ) -> None:
        self._plans = plans
        self._crew = crew
        self._clock = clock
        self._log = log
        self._disk = Disk(clock)
        self.state = state
        self.draft: Draft | None = None

    async def begin(self) -> None:
        """Have all workers serve the file with what is set in it.

        Raises:
            SpecError: it cannot be served.
        """
        try:
            source = await self._disk.ask(self._plans.read)
        except DiskHangs as hangs:
            raise SpecError((_unread(hangs),)) from hangs
        draft = await _in_thread(lambda: self._first(source))
        outcome = await prepare_all(self._crew.workers(), draft.plan)
        problems = outcome.problems
        if not problems and len(outcome.ready) < self._crew.size:
            problems = ("a worker died while it opened the models",)
        if problems:
            raise SpecError(problems)
        events = self._events(draft, "penstock", "start")
        try:
            await _in_thread(lambda: self.state.append(events))
        except CannotKeep as error:
            self.state = NoState(str(error))
        if self.state.cut:
            self._log.warning(self.state.cut)
        if self.state.refusal:
            self._log.warning(f"nothing can be set in this server: {self.state.refusal}")
        await self._commit(draft, outcome)

    async def set(self, asked: Sequence[Asked], who: str) -> Changed:
        """Set values, all at once.

        Raises:
            SpecError, ChangeRefused: they cannot be set; with all reasons.
        """
        now = self.current()
        if self.state.refusal:
            raise ChangeRefused((f"nothing can be set in this server: {self.state.refusal}",))
        changes = await _in_thread(lambda: wanted(now, asked))
        if not changes:
            return self._as_it_is(now)
        generation = now.plan.generation + 1
        event = self._event("set", who, generation, changes=changes)
        overlay = now.overlay.after(event)
        if len(overlay.entries) > MAX_ENTRIES:
            raise ChangeRefused((f"{MAX_ENTRIES} values are set; write them into the file",))
        draft = await _in_thread(lambda: drafted(self._plans, now.source, overlay, generation))
        return await self._make(draft, (event,))

    async def reload(self, who: str, cause: str, *, if_other: bool = False) -> Changed:
        """Read the file anew; models that have changed are opened.

        Args:
            who: wants it.
            cause: why.
            if_other: only if the file's text is another.

        Raises:
            SpecError, ChangeRefused: what it says now cannot be served; with all reasons.
        """
        now = self.current()
        try:
            source = await self._disk.ask(self._plans.read)
        except DiskHangs as hangs:
            raise ChangeRefused((_unread(hangs),)) from hangs
        if if_other and source.text == now.plan.text:
            return self._as_it_is(now)
        generation = now.plan.generation + 1
        draft = await _in_thread(lambda: drafted(self._plans, source, now.overlay, generation))
        return await self._make(draft, self._events(draft, who, cause))

    def current(self) -> Draft:
        """Return what is served."""
        assert self.draft is not None, "nobody asks before begin() has returned"
        return self.draft

    # --- the steps of a change ---

    async def _make(self, draft: Draft, events: Sequence[Event]) -> Changed:
        outcome = await prepare_in_turn(self._crew.workers(), draft.plan)
        if outcome.problems:
            await discard_all(outcome.ready, draft.plan, self._log)
            refused = SpecError if outcome.deadly else ChangeRefused
            raise refused(outcome.problems)
        return await self._finished(self._finish(draft, outcome, events))

    async def _finish(self, draft: Draft, outcome: Outcome, events: Sequence[Event]) -> Changed:
        """Write down what all have opened, and have them flip to it."""
        try:
            await _in_thread(lambda: self.state.append(events))
        except BaseException as error:
            await discard_all(outcome.ready, draft.plan, self._log)
            if isinstance(error, CannotKeep):
                raise ChangeRefused((f"{error}; nothing has been changed",)) from error
            raise
        changes = tuple(change for event in events for change in event.changes)
        workers = await self._commit(draft, outcome)
        return Changed(
            generation=draft.plan.generation,
            changes=changes,
            workers=workers,
            of=self._crew.size,
            warnings=(*(one.sentence for one in draft.dropped), *draft.warnings),
        )

    async def _finished(self, work: Coroutine[Any, Any, T]) -> T:
        """Do what must not be left half done: who is cancelled waits for it all the same.

        The log would have a change that nobody serves. A disk that hangs is not waited for.
        """
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            timer = asyncio.ensure_future(pause(self._clock, FINISH_S))
            await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
            timer.cancel()
            if task.done():
                return task.result()
            task.cancel()
            raise

    async def _commit(self, draft: Draft, outcome: Outcome) -> int:
        """Have all flip; return how many serve the new generation."""
        self.draft = draft  # from here on a replacement opens this one
        workers = self._crew.workers()  # some may have ended, others have taken their place
        ready = {index: one for index, one in workers.items() if outcome.ready.get(index) is one}
        late = {index: one for index, one in workers.items() if index not in ready}
        for sentence in (*(one.sentence for one in draft.dropped), *draft.warnings):
            self._log.warning(sentence)
        flipped, caught_up = await asyncio.gather(
            flip_all(ready, draft.plan, self._log), self._bring_along(late, draft)
        )
        return flipped + caught_up

    async def _bring_along(self, late: Mapping[int, Worker], draft: Draft) -> int:
        done = await asyncio.gather(*(self._bring(*one, draft) for one in late.items()))
        return sum(done)

    async def _bring(self, index: int, worker: Worker, draft: Draft) -> bool:
        try:
            problems = await catch_up(worker, draft.plan)
        except WorkerLost:
            return False
        if problems:  # it would go on to serve the old one
            self._crew.give_up(index, f"cannot open generation {draft.plan.generation}")
        return not problems

    # --- what the steps are made of ---

    def _first(self, source: Source) -> Draft:
        events = self.state.events
        generation = max((event.generation for event in events), default=0) + 1
        return drafted(self._plans, source, replayed(events), generation)

    def _events(self, draft: Draft, who: str, cause: str) -> tuple[Event, ...]:
        generation = draft.plan.generation
        began = self._event("generation", who, generation, cause=cause, digest=draft.digest)
        if not draft.dropped:
            return (began,)
        dropped = tuple(one.change for one in draft.dropped)
        return self._event("dropped", who, generation, changes=dropped), began

    def _event(
        self,
        kind: Kind,
        who: str,
        generation: int,
        *,
        changes: tuple[Change, ...] = (),
        cause: str = "",
        digest: str = "",
    ) -> Event:
        return Event(
            kind=kind,
            time=time_of_day(self._clock),
            who=who,
            generation=generation,
            changes=changes,
            cause=cause,
            digest=digest,
        )

    def _as_it_is(self, now: Draft) -> Changed:
        size = self._crew.size
        return Changed(generation=now.plan.generation, workers=size, of=size, already=True)


def time_of_day(clock: Clock) -> str:
    """Return the time of the day, RFC 3339 in UTC, in milliseconds."""
    now = datetime.fromtimestamp(clock.wall_s(), UTC)
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _unread(hangs: DiskHangs) -> str:
    return f"the file could not be read: {hangs}"


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)
