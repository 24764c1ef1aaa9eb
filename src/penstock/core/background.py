"""The one place for work that no answer waits for: bounded, counted, drained at close."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final, TypeAlias, final

from msgspec import Struct

from penstock.core.clock import Clock
from penstock.core.stop import CUT_S

Work: TypeAlias = Callable[[], Coroutine[Any, Any, object]]

DEFAULT_LIMIT: Final = 256

MAX_HELD_BYTES: Final = 64 * 1024 * 1024
"""Inputs of the work of one queue, under way or waiting, all together."""

DROPPED: Final = ("full", "bytes", "late", "closing")
"""Why work of a queue is dropped."""


@final
class BackgroundScope:
    """Runs observed arms, shadows and later answers beside the requests that caused them.

    Work is never run inline: it starts in a Task of its own, on a later turn of the loop, so that
    the caller's answer is not delayed by it. What does not fit is dropped and counted. The open
    graph owns the scope and closes it.

    Args:
        limit: how much work may be under way at once.
        on_fault: is told what ended work with an error, if anybody wants to know.
    """

    def __init__(
        self,
        limit: int = DEFAULT_LIMIT,
        *,
        on_fault: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._on_fault = on_fault
        self.limit = limit
        self.started = 0
        self.dropped = 0
        self.failed = 0
        self.cancelled = 0
        self._tasks: set[asyncio.Task[object]] = set()
        self._queues: dict[str, BackgroundQueue] = {}
        self.closing = False

    @property
    def running(self) -> int:
        """How much work is under way."""
        return len(self._tasks)

    @property
    def has_room(self) -> bool:
        """Whether more work can be started."""
        return not self.closing and len(self._tasks) < self.limit

    @property
    def queues(self) -> Mapping[str, BackgroundQueue]:
        """The queues of this scope, by their names."""
        return self._queues

    def queue(self, name: str, bounds: QueueBounds, clock: Clock) -> BackgroundQueue:
        """Return a new queue of this scope; `name` is the place it is counted under."""
        queue = self._queues[name] = BackgroundQueue(self, bounds, clock)
        return queue

    def start(self, work: Work) -> bool:
        """Start `work()` in the background.

        Returns:
            False if the scope is full or closing; the work is then dropped and counted.
        """
        if not self.has_room:
            self.dropped += 1
            return False
        self.started += 1
        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return True

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fault(error)

    def fault(self, error: BaseException) -> None:
        """Count that work ended in an error, and tell of it."""
        self.failed += 1
        self.tell(error)

    def tell(self, error: BaseException) -> None:
        """Tell of an error beside an answer, which is counted elsewhere."""
        if self._on_fault is not None:
            self._on_fault(error)

    async def close(self, drain_s: float) -> int:
        """Take no more work, let what runs or waits end within `drain_s` seconds, cancel the rest.

        What does not end though it is cancelled is not waited for.

        Returns:
            How much was given up: cancelled, or never begun.
        """
        self.closing = True
        if not self._tasks:
            return 0
        try:
            await asyncio.wait(self._tasks, timeout=drain_s)
        finally:
            late = [task for task in self._tasks if not task.done()]
            waited = sum(queue.empty() for queue in self._queues.values())
            self.cancelled += len(late)
            for task in late:
                task.cancel()
        if late:
            await asyncio.wait(late, timeout=CUT_S)
        return len(late) + waited


class QueueBounds(Struct, frozen=True):
    """How much of one kind of work there may be.

    Attributes:
        at_once: how much may be under way.
        waiting: how much more may wait.
        held_bytes: how large the inputs of all of it may be together; one alone may be larger.
    """

    at_once: int
    waiting: int
    held_bytes: int = MAX_HELD_BYTES


class _Waiting(Struct, frozen=True):
    work: Work
    deadline_s: float
    size_bytes: int


@final
class BackgroundQueue:
    """Work of one kind within a scope, with bounds of its own; what waits is begun in its order.

    Args:
        scope: runs the work; its own bound counts as well.
        bounds: how much there may be.
        clock: tells when it has become too late to begin.

    Attributes:
        running: how much is under way.
        begun: how much was begun.
        dropped: how much was dropped, by the reason: `full` (too much was under way or waited),
            `bytes` (the inputs would have been too large together), `late` (its deadline passed
            while it waited), `closing` (the scope was).
        held_bytes: how large the inputs are of what is under way or waits.
    """

    def __init__(self, scope: BackgroundScope, bounds: QueueBounds, clock: Clock) -> None:
        self._scope = scope
        self._bounds = bounds
        self._now_s = clock.now_s
        self._waiting: deque[_Waiting] = deque()
        self.held_bytes = 0
        self.running = 0
        self.begun = 0
        self.dropped = dict.fromkeys(DROPPED, 0)

    @property
    def waiting(self) -> int:
        """How much waits."""
        return len(self._waiting)

    def turns_away(self) -> bool:
        """Tell whether there is no room; then that is counted as dropped.

        It is what a request meets whose shadow is frozen: `offer` says the same, for more.
        """
        bounds = self._bounds
        if len(self._waiting) < bounds.waiting or self.running < bounds.at_once:
            return False
        self.dropped["full"] += 1
        return True

    def offer(self, work: Work, *, deadline_s: float, size_bytes: int = 0) -> bool:
        """Have `work()` begun as soon as there is room, unless that is after `deadline_s`.

        Returns:
            False if there is no room to wait either, or the scope is closing; it is then dropped
            and counted.
        """
        bounds = self._bounds
        if self._scope.closing:
            return self._drop("closing")
        if self.held_bytes and self.held_bytes + size_bytes > bounds.held_bytes:
            return self._drop("bytes")
        begins = self.running < bounds.at_once and self._scope.has_room
        waits = self.running > 0 and len(self._waiting) < bounds.waiting
        if not (begins or waits):
            return self._drop("full")
        self.held_bytes += size_bytes
        one = _Waiting(work, deadline_s, size_bytes)
        if begins:
            self._begin(one)
        else:
            self._waiting.append(one)
        return True

    def _drop(self, reason: str) -> bool:
        self.dropped[reason] += 1
        return False

    def _begin(self, first: _Waiting) -> None:
        self.running += 1
        self._scope.start(partial(self._run, first))

    async def _run(self, first: _Waiting) -> None:
        """Do one after the other until nothing waits."""
        one: _Waiting | None = first
        try:
            while one is not None:
                await asyncio.sleep(0)  # whose answer is being made goes first
                await self._do(one)
                self.held_bytes -= one.size_bytes
                one = self._next()
        finally:
            self.running -= 1
            if one is not None:  # cancelled, perhaps by its own work
                self.held_bytes -= one.size_bytes
            if self._waiting and self._scope.has_room:
                self._begin(self._waiting.popleft())

    async def _do(self, one: _Waiting) -> None:
        if self._now_s() >= one.deadline_s:
            self._drop("late")
            return
        self.begun += 1
        try:
            await one.work()
        except Exception as error:  # noqa: BLE001 - told of; the others go on
            self._scope.fault(error)

    def _next(self) -> _Waiting | None:
        return self._waiting.popleft() if self._waiting else None

    def empty(self) -> int:
        """Drop what waits: the scope has closed. Return how much that was."""
        waited = len(self._waiting)
        self.dropped["closing"] += waited
        self.held_bytes -= sum(one.size_bytes for one in self._waiting)
        self._waiting.clear()
        return waited
