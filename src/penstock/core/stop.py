"""How the time of a stop is shared out: each phase has an instant by which it is over.

    SIGTERM
    + 20 s      requests under way have been answered, or are cut off
    + 25.75 s   background work has ended (5 s at most), or is given up
    + 28 s      the prediction log is written (10 s at most), spans are sent
    + 28.25 s   a serving process has ended; a worker that has not is killed 0.25 s later
    + 29 s      the shipper to PostgreSQL has ended (10 s at most), or is killed

Kubernetes kills a pod after 30 s. What ends sooner leaves its time to what follows. A phase that
does not end in time is left: what comes after it, the prediction log above all, has its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final, final

from penstock.core.clock import Clock

DRAIN_S: Final = 20.0
"""How long after the signal requests under way may take to end; then they are cut off."""

CUT_S: Final = 0.25
"""How long what has been cancelled may take to end: to answer that it was, say."""

CLOSE_S: Final = 25.75
"""When graphs, models and background work are closed."""

WRITE_S: Final = 28.0
"""When the prediction log is closed, and spans have been sent."""

END_S: Final = 28.25
"""When a serving process has ended."""

SHIP_S: Final = 29.0
"""When the shipper to PostgreSQL has ended, after all that write."""

MAX_STOP_S: Final = 29.5
"""How long a stop takes in all, at most."""


@final
class Stop:
    """The stop of one process, which may not have begun yet.

    Args:
        clock: tells the time.

    Attributes:
        clock: tells the time.
        cuts: requests under way have had their time: what is cancelled now, the stop has cut off.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.cuts = False
        self._began_s: float | None = None

    def begin(self) -> None:
        """Begin; it has one beginning, however often it is told."""
        if self._began_s is None:
            self._began_s = self.clock.now_s()

    def left_s(self, until_s: float, most_s: float = float("inf")) -> float:
        """Return how long a phase may take, in seconds.

        Args:
            until_s: how long after the beginning it is over; where it has not begun, after now.
            most_s: how long it takes at most in any case.
        """
        gone_s = 0.0 if self._began_s is None else self.clock.now_s() - self._began_s
        return max(0.0, min(until_s - gone_s, most_s))

    async def ended_by(
        self, until_s: float, work: Iterable[asyncio.Future[Any]]
    ) -> set[asyncio.Future[Any]]:
        """Wait for work as `ended_within` does, but so long as `left_s` says."""
        return await ended_within(self.left_s(until_s), work, clock=self.clock)


async def ended_within(
    seconds: float, work: Iterable[asyncio.Future[Any]], *, clock: Clock
) -> set[asyncio.Future[Any]]:
    """Wait until all work has ended, or time is over; return what has not. Nothing is cancelled."""
    pending = {one for one in work if not one.done()}
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = clock.call_at(clock.now_s() + seconds, lambda: over.set_result(None))
    try:
        while pending and not over.done():
            await asyncio.wait({over, *pending}, return_when=asyncio.FIRST_COMPLETED)
            pending = {one for one in pending if not one.done()}
    finally:
        timer.cancel()
    return pending
