"""Operates a server: what is served, what operators change in it, and who serves it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final, TypeVar, final

from penstock.core.clock import Clock
from penstock.core.errors import ChangeRefused, SpecError
from penstock.core.log import Says
from penstock.core.stop import ended_within
from penstock.spec.plan import Plan
from penstock.supervisor.answers import Active, Changed, Refused, Status
from penstock.supervisor.crew import Crew
from penstock.supervisor.draft import Asked, PlanSource
from penstock.supervisor.overlay import Event
from penstock.supervisor.pause import pause
from penstock.supervisor.reports import REFRESH_S, Ledger, Reports
from penstock.supervisor.state import State
from penstock.supervisor.succession import WRITE_FIRST_S, Succession, time_of_day
from penstock.supervisor.verbs import answered
from penstock.supervisor.watch import POLL_S, Watch
from penstock.supervisor.worker import Report

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
        self._stopping: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._refused: Refused | None = None
        self._watch = None if plans.watched is None else Watch(plans.watched, log, clock)

    # --- the life of the server ---

    async def start(self) -> None:
        """Start the workers, and have all of them serve the file with what is set in it.

        Cancelling this ends them again. A reload that is asked for meanwhile comes after it.

        Raises:
            SpecError: it cannot be served; no worker is left.
        """
        async with self._lock:
            try:
                if self._watch is not None:
                    await self._watch.look()  # before it is read: no change is missed
                await self._crew.start()
                await self._succession.begin()
                await self._crew.serve(self)
            except BaseException:
                await self.stop()
                raise
        if self._watch is not None:
            self._spawn(self._follow(self._watch))
        if self._crew.size > 1:
            self._spawn(self._refresh())

    def stop(self) -> asyncio.Future[None]:
        """End the workers, after a while for their requests; begins at once, if it has not yet.

        A change under way is refused unless it is being written down: then it is made.
        """
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._end())
        return asyncio.shield(self._stopping)

    async def _end(self) -> None:
        tasks = [task for task in self._tasks if task.cancel()]
        await ended_within(WRITE_FIRST_S, tasks, clock=self._clock)
        await asyncio.gather(self._crew.stop(), asyncio.gather(*tasks, return_exceptions=True))

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
        return await self._apart(self._in_turn(lambda: self._succession.set(asked, who)))

    async def switch(self, target: str, state: str, who: str) -> Changed:
        """Switch a route or an arm `on`, `off`, or let it only `observe`.

        Raises:
            SpecError, ChangeRefused: as `set` does.
        """
        return await self.set([(target, "state", state)], who)

    async def reload(self, who: str, cause: str = "reload") -> Changed:
        """Read the file anew; returns when all workers serve it. Models that changed are opened.

        What operators have set stays, where the file still says what it said then.

        Raises:
            SpecError: the file has mistakes; with all of them.
            ChangeRefused: what would be served cannot be; with all reasons.
        """
        return await self._reload(who, cause)

    def reload_soon(self, who: str, cause: str) -> None:
        """Reload for somebody who does not wait, as a signal; the log tells how it ends."""
        if self._reload_waits or self._stopping is not None:
            return  # a storm of signals asks for one
        self._reload_waits = True
        self._spawn(self._reload_asked(who, cause))

    async def history(self, limit: int | None = None) -> tuple[Event, ...]:
        """Return what has changed, oldest first; at most the newest `limit` events."""
        events = self._succession.state.events
        return tuple(events if limit is None else events[max(0, len(events) - limit) :])

    async def status(self) -> Status:
        """Return what is served, by whom, and what is set in it."""
        draft = self._succession.current()
        return Status(
            generation=draft.plan.generation,
            path=draft.plan.path,
            digest=draft.digest,
            state=self._succession.state.folder,
            no_state=self._succession.state.refusal,
            workers=self._crew.members(),
            active=tuple(
                Active(path=path, value=one.value, base=one.base, who=one.who, time=one.time)
                for path, one in draft.overlay.entries.items()
            ),
            refused=self._refused,
        )

    async def reports(self) -> Reports:
        """Return what all workers count and are; takes a second at most."""
        return await self._ledger.collect(self._crew.reporting())

    # --- what the crew asks ---

    def current(self) -> Plan:
        """Return the plan that is served."""
        return self._succession.current().plan

    def reported(self, index: int, report: Report) -> None:
        """Keep what a worker says unasked, as it ends."""
        self._ledger.note(index, report)

    def departed(self, index: int) -> None:
        """Keep what a worker has counted that has ended."""
        self._ledger.depart(index)

    async def answer(self, verb: str, payload: Any) -> Any:  # noqa: ANN401
        """Answer what a worker asks for its callers: the verbs of the control socket."""
        return await answered(self, verb, payload)

    # --- one change at a time ---

    async def _apart(self, change: Coroutine[Any, Any, Changed]) -> Changed:
        """Make a change in a Task of its own: whoever asked may leave meanwhile."""
        if self._stopping is None:
            task = self._spawn(change)
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            await asyncio.wait({task})
            if not task.cancelled():
                return task.result()
        change.close()
        raise ChangeRefused(("the server stops: nothing is changed any more",))

    async def _in_turn(self, change: Callable[[], Coroutine[Any, Any, Changed]]) -> Changed:
        """Make a change when those before it are made."""
        if self._waiting >= MAX_WAITING:
            raise ChangeRefused((f"{MAX_WAITING} changes wait already; try again later",))
        self._waiting += 1
        try:
            async with self._lock:
                return await change()
        finally:
            self._waiting -= 1

    async def _reload(
        self,
        who: str,
        cause: str,
        *,
        if_other: bool = False,
        begins: Callable[[], None] = lambda: None,
    ) -> Changed:
        def reload() -> Coroutine[Any, Any, Changed]:
            begins()
            return self._succession.reload(who, cause, if_other=if_other)

        async def reload_in_turn() -> Changed:
            with self._noted(who, cause):
                return await self._in_turn(reload)

        return await self._apart(reload_in_turn())

    @contextlib.contextmanager
    def _noted(self, who: str, cause: str) -> Iterator[None]:
        """Keep why a reload is refused, until one is not."""
        try:
            yield
        except (SpecError, ChangeRefused) as error:
            now = time_of_day(self._clock)
            self._refused = Refused(time=now, who=who, cause=cause, problems=error.problems)
            raise
        self._refused = None

    # --- what happens by itself ---

    async def _reload_asked(self, who: str, cause: str) -> None:
        waits = True

        def begins() -> None:  # who asks from now on means what comes after this
            nonlocal waits
            waits = self._reload_waits = False

        try:
            with self._told(cause):
                self._say(await self._reload(who, cause, begins=begins), cause)
        finally:
            if waits:  # it has been refused before its turn
                self._reload_waits = False

    async def _follow(self, watch: Watch) -> None:
        cause = "the file changed"
        while True:
            await pause(self._clock, POLL_S)
            if not await watch.look():
                continue
            before = self._refused if watch.tried else None
            ended = watch.refused
            with self._told(cause, before):
                try:
                    self._say(await self._reload("penstock", cause, if_other=True), cause)
                except SpecError:  # it would be wrong the next time as well
                    ended = watch.taken
                    raise
                ended = watch.taken
            ended()

    @contextlib.contextmanager
    def _told(self, cause: str, before: Refused | None = None) -> Iterator[None]:
        """Say why a reload fails that nobody waits for; the same reasons as before are not said."""
        try:
            yield
        except (SpecError, ChangeRefused) as error:
            if before is None or before.problems != error.problems:
                serving = f"generation {self.current().generation} goes on serving"
                problems = "\n".join(error.problems)
                self._log.error(f"not reloaded ({cause}): {serving}", problems=problems)
        except Exception as error:  # noqa: BLE001 - a fault of ours; it must not end the watching
            self._log.error(f"not reloaded ({cause}): something went wrong here", error=error)

    def _say(self, changed: Changed, cause: str) -> None:
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
