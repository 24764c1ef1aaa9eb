"""The one place for work that no answer waits for: bounded, counted, drained at close."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias, final

Work: TypeAlias = Callable[[], Coroutine[Any, Any, object]]

DEFAULT_LIMIT: Final = 256


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
        self._tasks: set[asyncio.Task[object]] = set()
        self._closing = False

    @property
    def running(self) -> int:
        """How much work is under way."""
        return len(self._tasks)

    def start(self, work: Work) -> bool:
        """Start `work()` in the background.

        Returns:
            False if the scope is full or closing; the work is then dropped and counted.
        """
        if self._closing or len(self._tasks) >= self.limit:
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
        if error is None:
            return
        self.failed += 1
        if self._on_fault is not None:
            self._on_fault(error)

    async def close(self, drain_s: float) -> int:
        """Take no more work, let what runs end within `drain_s` seconds, cancel the rest.

        Returns:
            How many were cancelled.
        """
        self._closing = True
        if not self._tasks:
            return 0
        try:
            await asyncio.wait(self._tasks, timeout=drain_s)
        finally:
            late = [task for task in self._tasks if not task.done()]
            for task in late:
                task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return len(late)
