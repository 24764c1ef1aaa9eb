"""Operates a server: what is served, what operators change in it, and who serves it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar, final

from penstock.core.clock import Clock
from penstock.core.errors import ChangeRefused, SpecError
from penstock.core.log import Says
from penstock.spec.plan import Plan
from penstock.supervisor.answers import Active, Changed, Refused, Status
from penstock.supervisor.crew import Crew
from penstock.supervisor.draft import Asked, PlanSource
from penstock.supervisor.overlay import Event
from penstock.supervisor.pause import pause
from penstock.supervisor.reports import REFRESH_S, Ledger, Reports
from penstock.supervisor.state import State
from penstock.supervisor.succession import Succession, time_of_day
from penstock.supervisor.verbs import answered
from penstock.supervisor.watch import POLL_S, Watch

MAX_WAITING: Final = 16
"""Changes that are under way or wait for the one before; further ones are refused."""

T = TypeVar("T")


@final
class Supervisor:
    """Leads a crew of workers, and answers whoever operates the server. One change at a time.

    Args:
        plans: the file, and how it is checked.
        crew: the workers.
        state: keeps what operators change; whoever opened it closes it after `stop`.
        clock: tells the time of the day, and when to look at the file.
        log: is told what happened.
    """

    def __init__(
        self, plans: PlanSource, crew: Crew, state: State, *, clock: Clock, log: Says
    ) -> None:
        self._succession = Succession(plans, crew, state, clock=clock, log=log)
        self._crew = crew
        self._clock = clock
        self._log = log
        self._ledger = Ledger(clock)
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._reload_waits = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._refused: Refused | None = None
        self._watch = None if plans.watched is None else Watch(plans.watched, log)

    # --- the life of the server ---

    async def start(self) -> None:
        """Start the workers, and have all of them serve the file with what is set in it.

        Raises:
            SpecError: it cannot be served; no worker is left.
        """
        try:
            if self._watch is not None:
                await self._watch.look()  # before it is read: no change is missed
            await self._crew.start()
            await self._succession.begin()
            await self._crew.serve(self)
        except BaseException:
            await self._crew.stop()
            raise
        if self._watch is not None:
            self._spawn(self._follow(self._watch))
        if self._crew.size > 1:
            self._spawn(self._refresh())

    async def stop(self) -> None:
        """End the workers, after a while for their requests; a change under way is given up."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._crew.stop()

    # --- what operators ask ---

    async def set(self, changes: Sequence[Asked], who: str) -> Changed:
        """Set values in the running server, all at once; returns when all workers serve them.

        Args:
            changes: targets, keys and values, as `penstock set TARGET KEY=VALUE` has them.
            who: whose doing it is.

        Raises:
            SpecError: there is no such target, key or value; with all reasons.
            ChangeRefused: what would be served cannot be, or cannot be kept; with all reasons.
        """
        asked = tuple(changes)
        return await self._in_turn(lambda: self._succession.set(asked, who))

    async def switch(self, target: str, state: str, who: str) -> Changed:
        """Switch a route or an arm `on`, `off`, or let it only `observe`.

        Raises:
            SpecError, ChangeRefused: as `set` does.
        """
        return await self.set([(target, "state", state)], who)

    async def reload(self, who: str, cause: str = "reload") -> Changed:
        """Read the file and open its models anew; returns when all workers serve them.

        What operators have set stays, where the file still says what it said then.

        Raises:
            SpecError: the file has mistakes; with all of them.
            ChangeRefused: what would be served cannot be; with all reasons.
        """
        return await self._in_turn(lambda: self._reload(who, cause))

    def reload_soon(self, who: str, cause: str) -> None:
        """Reload for somebody who does not wait, as a signal; the log tells how it ends."""
        if self._reload_waits:
            return  # a storm of signals asks for one
        self._reload_waits = True
        self._spawn(self._reload_and_tell(who, cause, asked=True))

    async def history(self, limit: int | None = None) -> tuple[Event, ...]:
        """Return what has changed, oldest first; at most the newest `limit` events."""
        events = self._succession.state.events
        return tuple(events if limit is None else events[max(0, len(events) - limit) :])

    async def status(self) -> Status:
        """Return what is served, by whom, and what is set in it."""
        draft = self._succession.current()
        state = self._succession.state
        return Status(
            generation=draft.plan.generation,
            path=draft.plan.path,
            digest=draft.digest,
            state=state.folder,
            no_state=state.refusal,
            workers=self._crew.members(),
            active=tuple(
                Active(path=path, value=one.value, base=one.base, who=one.who, time=one.time)
                for path, one in draft.overlay.entries.items()
            ),
            refused=self._refused,
        )

    async def reports(self) -> Reports:
        """Return what all workers count and are; takes a second at most."""
        return await self._ledger.collect(self._crew.workers())

    # --- what the crew asks ---

    def current(self) -> Plan:
        """Return the plan that is served."""
        return self._succession.current().plan

    def departed(self, index: int) -> None:
        """Keep what a worker has counted that has ended."""
        self._ledger.depart(index)

    async def answer(self, verb: str, payload: Any) -> Any:  # noqa: ANN401
        """Answer what a worker asks for its callers: the verbs of the control socket."""
        return await answered(self, verb, payload)

    # --- one change at a time ---

    async def _in_turn(self, change: Callable[[], Coroutine[Any, Any, Changed]]) -> Changed:
        """Make a change when those before it are made; whoever asked may leave meanwhile."""
        if self._waiting >= MAX_WAITING:
            raise ChangeRefused((f"{MAX_WAITING} changes wait already; try again later",))
        self._waiting += 1
        task = self._spawn(self._alone(change))
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Changed]) -> None:
        self._waiting -= 1
        if not task.cancelled():
            task.exception()  # whoever asked may have left: nobody else looks at it

    async def _alone(self, change: Callable[[], Coroutine[Any, Any, Changed]]) -> Changed:
        async with self._lock:
            return await change()

    async def _reload(self, who: str, cause: str, *, if_other: bool = False) -> Changed:
        try:
            changed = await self._succession.reload(who, cause, if_other=if_other)
        except (SpecError, ChangeRefused) as error:
            now = time_of_day(self._clock)
            self._refused = Refused(time=now, who=who, cause=cause, problems=error.problems)
            raise
        self._refused = None
        return changed

    # --- what happens by itself ---

    async def _follow(self, watch: Watch) -> None:
        while True:
            await pause(self._clock, POLL_S)
            if await watch.look():
                await self._reload_and_tell("penstock", "the file changed", if_other=True)

    async def _reload_and_tell(
        self, who: str, cause: str, *, if_other: bool = False, asked: bool = False
    ) -> None:
        def reload() -> Coroutine[Any, Any, Changed]:
            if asked:
                self._reload_waits = False  # who asks from now on means what comes after this
            return self._reload(who, cause, if_other=if_other)

        try:
            changed = await self._in_turn(reload)
        except (SpecError, ChangeRefused) as error:
            serving = f"generation {self.current().generation} goes on serving"
            self._log.error(
                f"not reloaded ({cause}): {serving}", problems="\n".join(error.problems)
            )
        except Exception as error:  # noqa: BLE001 - a fault of ours; it must not end the watching
            self._log.error(f"not reloaded ({cause}): something went wrong here", error=error)
        else:
            if not changed.already:
                by = f"{changed.workers} of {changed.of} workers"
                self._log.info(f"reloaded ({cause}): generation {changed.generation}, by {by}")

    async def _refresh(self) -> None:
        while True:
            await pause(self._clock, REFRESH_S)
            await self.reports()

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
