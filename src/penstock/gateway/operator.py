"""Who does what operators ask for over HTTP: the supervisor, in this process or behind a link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from penstock.core.snapshot import Snapshot

Change: TypeAlias = tuple[str, str, str]
"""A target, a key and a value as text, as `penstock set TARGET KEY=VALUE` has them."""


class WorkerReport(Protocol):
    """What a worker says of itself."""

    @property
    def pid(self) -> int:
        """Of its process."""

    @property
    def generation(self) -> int:
        """What it serves."""

    @property
    def started_wall_s(self) -> float:
        """When its process started, in seconds since the epoch."""

    @property
    def measures(self) -> Snapshot:
        """What it has counted."""

    @property
    def detail(self) -> Mapping[str, Any]:
        """What else `/health/detail` shows of it."""


class LatestReport(Protocol):
    """What a worker said last."""

    @property
    def index(self) -> int:
        """Of the worker."""

    @property
    def fresh(self) -> bool:
        """Whether it said so just now."""

    @property
    def report(self) -> WorkerReport:
        """What it said."""


class AllReports(Protocol):
    """What all workers said last."""

    @property
    def workers(self) -> Sequence[LatestReport]:
        """Of each that has said anything yet."""

    @property
    def departed(self) -> Snapshot:
        """What those have counted that have ended."""


class MemberStatus(Protocol):
    """What is known of a worker without asking it."""

    @property
    def index(self) -> int:
        """Counts from 0."""

    @property
    def phase(self) -> str:
        """Whether it serves."""

    @property
    def restarts(self) -> int:
        """How many processes have been started in its place."""


class ServerStatus(Protocol):
    """What is served, and by whom."""

    @property
    def generation(self) -> int:
        """What is served."""

    @property
    def workers(self) -> Sequence[MemberStatus]:
        """What is known of each."""

    @property
    def refused(self) -> object | None:
        """Why the newest reload was refused, if it was."""


class Operator(Protocol):
    """Can be asked for changes, one after the other, and for what all workers count.

    What cannot be changed raises `SpecError` or `ChangeRefused`, with all reasons; a supervisor
    that does not answer raises `Unavailable`. Answers are structs, shown as JSON.
    """

    async def set(self, changes: Sequence[Change], who: str) -> object:
        """Set values in the running server, all at once; `who` wants it."""

    async def switch(self, target: str, state: str, who: str) -> object:
        """Switch a route or an arm `on`, `off`, or let it only `observe`."""

    async def reload(self, who: str) -> object:
        """Have the file read and its models opened anew."""

    async def history(self, limit: int | None = None) -> Sequence[object]:
        """Return what has changed, oldest first; at most the newest `limit` events."""

    async def status(self) -> ServerStatus:
        """Return what is served, by whom, and what is set in it."""

    async def reports(self) -> AllReports:
        """Return what all workers count and are."""
