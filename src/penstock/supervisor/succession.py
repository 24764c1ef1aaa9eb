"""One generation after the other.

    check -> all workers open it -> append to the log -> all workers flip to it

Whatever fails before the log has it leaves the old generation serving. Reading and checking a file,
and waiting for a disk, is done in threads: the loop may have requests to serve.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar, final

from penstock.core.clock import Clock
from penstock.core.errors import ChangeRefused, SpecError
from penstock.core.log import Says
from penstock.spec.read import Source
from penstock.supervisor.answers import Changed
from penstock.supervisor.crew import Crew
from penstock.supervisor.draft import Asked, Draft, PlanSource, drafted, wanted
from penstock.supervisor.journal import CannotKeep
from penstock.supervisor.overlay import MAX_ENTRIES, Change, Event, Kind, replayed
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

READ_S: Final = 10.0
"""How long the spec's file may take to be read."""

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
        self.state = state
        self.draft: Draft | None = None

    async def begin(self) -> None:
        """Have all workers serve the file with what is set in it.

        Raises:
            SpecError: it cannot be served.
        """
        draft = await _in_thread(self._first)
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
        """Read the file and open its models anew.

        Args:
            who: wants it.
            cause: why.
            if_other: only if the file's text is another.

        Raises:
            SpecError, ChangeRefused: what it says now cannot be served; with all reasons.
        """
        now = self.current()
        source = await self._read()
        if if_other and source.text == now.plan.text:
            return self._as_it_is(now)
        generation = now.plan.generation + 1
        draft = await _in_thread(lambda: drafted(self._plans, source, now.overlay, generation))
        return await self._make(draft, self._events(draft, who, cause))

    async def _read(self) -> Source:
        """Read the file; a disk that hangs must hold up neither other changes nor the end.

        Raises:
            ChangeRefused: it has not been read in time.
        """
        loop = asyncio.get_running_loop()
        read: asyncio.Future[Source] = loop.create_future()
        late = ChangeRefused((f"the file could not be read within {READ_S:g} s",))
        timer = self._clock.call_at(self._clock.now_s() + READ_S, partial(_fail, read, late))
        threading.Thread(target=_read_into, args=(self._plans.read, read), daemon=True).start()
        try:
            return await read
        finally:
            timer.cancel()

    def current(self) -> Draft:
        """Return what is served."""
        assert self.draft is not None, "nobody asks before begin() has returned"
        return self.draft

    # --- the steps of a change ---

    async def _make(self, draft: Draft, events: Sequence[Event]) -> Changed:
        outcome = await prepare_in_turn(self._crew.workers(), draft.plan)
        if outcome.problems:
            await discard_all(outcome.ready, draft.plan, self._log)
            raise ChangeRefused(outcome.problems)
        try:
            await _in_thread(lambda: self.state.append(events))
        except CannotKeep as error:
            await discard_all(outcome.ready, draft.plan, self._log)
            raise ChangeRefused((f"{error}; nothing has been changed",)) from error
        changes = tuple(change for event in events for change in event.changes)
        workers = await self._commit(draft, outcome)
        return Changed(
            generation=draft.plan.generation,
            changes=changes,
            workers=workers,
            of=self._crew.size,
            warnings=(*(one.sentence for one in draft.dropped), *draft.warnings),
        )

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

    def _first(self) -> Draft:
        events = self.state.events
        generation = max((event.generation for event in events), default=0) + 1
        return drafted(self._plans, self._plans.read(), replayed(events), generation)

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


def _read_into(read: Callable[[], Source], answer: asyncio.Future[Source]) -> None:
    """Read in a thread that nobody joins, and hand the source over."""
    loop = answer.get_loop()
    try:
        source = read()
    except Exception as error:  # noqa: BLE001 - who waits for it is told
        tell = partial(_fail, answer, error)
    else:
        tell = partial(_keep, answer, source)
    with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits any more
        loop.call_soon_threadsafe(tell)


def _keep(answer: asyncio.Future[Source], source: Source) -> None:
    if not answer.done():
        answer.set_result(source)


def _fail(answer: asyncio.Future[Source], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)
