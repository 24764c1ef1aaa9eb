"""Whom the supervisor leads: one worker in its own process, or several that it starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypeAlias, final

from msgspec import Struct

from penstock.core.clock import Clock
from penstock.spec.plan import Plan
from penstock.supervisor.worker import Report, Worker

Phase: TypeAlias = Literal["opening", "serving", "leaving", "down"]


class Member(Struct, frozen=True, kw_only=True):
    """What is known of a worker without asking it.

    Attributes:
        index: counts from 0; a replacement has its predecessor's.
        pid: of its process; 0 while there is none.
        phase: `opening` what it is to serve, `serving`, `leaving` when it was told to end by
            somebody else, or `down` until it is started again.
        started_wall_s: when its process was started, in seconds since the epoch.
        restarts: how many processes have been started in its place.
    """

    index: int
    pid: int
    phase: Phase
    started_wall_s: float
    restarts: int = 0


class Leader(Protocol):
    """What a crew asks of who leads it, once it serves."""

    def current(self) -> Plan:
        """Return what a replacement is to serve before it accepts anything."""

    def reported(self, index: int, report: Report) -> None:
        """Take what a worker says unasked: the last that it counts before it ends."""

    def departed(self, index: int) -> None:
        """Take note that a worker has ended; its replacement has the same index."""

    async def answer(self, verb: str, payload: Any) -> Any:  # noqa: ANN401
        """Answer what a worker asks."""


class Crew(Protocol):
    """The workers, as many of them as are alive."""

    @property
    def size(self) -> int:
        """How many there are when all are alive."""

    def workers(self) -> Mapping[int, Worker]:
        """Return those that take part in changes, by their index."""

    def reporting(self) -> Mapping[int, Worker]:
        """Return those that are asked what they count: also who takes part in no more changes."""

    def members(self) -> tuple[Member, ...]:
        """Return what is known of each, in order, also of those that are down."""

    async def start(self) -> None:
        """Start all; they serve nothing yet."""

    async def serve(self, leader: Leader) -> None:
        """Have all accept connections; from now on replace whoever dies."""

    def give_up(self, index: int, why: str) -> None:
        """End a worker that cannot serve what the others serve; it is replaced."""

    async def stop(self) -> None:
        """End all, after a while for their requests under way."""


@final
class Alone:
    """A crew of one worker in this very process, whose life somebody else looks after.

    Args:
        clock: tells when it was started.

    Attributes:
        worker: the gateway's own; it is there before the crew is started.
    """

    worker: Worker

    def __init__(self, clock: Clock) -> None:
        self._started_wall_s = clock.wall_s()
        self._phase: Phase = "opening"

    @property
    def size(self) -> int:
        """One."""
        return 1

    def workers(self) -> Mapping[int, Worker]:
        """Return the one."""
        return {0: self.worker}

    def reporting(self) -> Mapping[int, Worker]:
        """Return the one."""
        return {0: self.worker}

    def members(self) -> tuple[Member, ...]:
        """Return the one."""
        started = self._started_wall_s
        return (Member(index=0, pid=os.getpid(), phase=self._phase, started_wall_s=started),)

    async def start(self) -> None:
        """Do nothing: it runs."""

    async def serve(self, leader: Leader) -> None:
        """Do nothing: whoever owns the worker listens for it."""
        del leader
        self._phase = "serving"

    def give_up(self, index: int, why: str) -> None:
        """Do nothing: this process cannot be replaced from within."""

    async def stop(self) -> None:
        """Do nothing: whoever owns the worker closes it."""
        self._phase = "down"
