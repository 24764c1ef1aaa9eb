"""What the supervisor asks of a worker, and a worker in another process.

In one process the worker is the gateway's own; with several it stands behind a link, and whoever
does not answer in time is given up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeAlias, final

import msgspec
from msgspec import Struct

from penstock.core.link import Link, LinkError, LinkFailed, LinkTimedOut
from penstock.core.snapshot import Snapshot
from penstock.spec.plan import Plan

CALL_TIMEOUT_S: Final = 10.0
"""How long a worker process may take to answer anything but `prepare`; then it is replaced."""

PREPARE_TIMEOUT_S: Final = 120.0
"""How long a worker process may take to open a generation; then it is replaced."""

MOST_MISSED: Final = 3
"""Reports in a row that a worker may owe while it opens a generation; then it is replaced."""


class Report(Struct, frozen=True, kw_only=True):
    """What a worker says of itself.

    Attributes:
        pid: of its process.
        generation: what it serves; 0 before the first.
        started_wall_s: when its process started, in seconds since the epoch.
        measures: what it has counted so far.
        detail: whatever else `/health/detail` shows of it, as MessagePack can hold it.
    """

    pid: int
    generation: int
    started_wall_s: float
    measures: Snapshot = Snapshot()
    detail: Mapping[str, Any] = {}


class WorkerLost(Exception):
    """The worker's process has ended, or is being ended; the text says why."""


class Worker(Protocol):
    """Serves one generation, and opens the next one beside it.

    A worker in another process raises `WorkerLost` from any of these.
    """

    async def prepare(self, plan: Plan) -> tuple[str, ...]:
        """Open a plan's graph beside the one that is served.

        Returns:
            Why it cannot be served, as sentences; nothing when it is ready to be flipped to.
        """

    async def flip(self, generation: int) -> None:
        """Serve the generation that has been prepared, from the next request on."""

    async def discard(self, generation: int) -> None:
        """Close a generation that has been prepared; does nothing where none has been."""

    async def report(self) -> Report:
        """Return what the worker counts and is."""


def report_from(plain: object) -> Report:
    """Return the report that came through a link.

    Raises:
        msgspec.ValidationError: it is none.
    """
    return msgspec.convert(plain, Report)


GiveUp: TypeAlias = Callable[[str], None]


@final
class LinkedWorker:
    """A worker behind a link. The verbs are `prepare`, `flip`, `discard`, `report`, and below.

    Args:
        link: to the worker's process.
        give_up: ends the process; it is told why.
    """

    def __init__(self, link: Link, give_up: GiveUp) -> None:
        self._link = link
        self._give_up = give_up
        self._preparing = 0
        self._missed = 0

    async def prepare(self, plan: Plan) -> tuple[str, ...]:
        """Have the worker open a plan's graph; what it raises is a problem, too."""
        self._preparing += 1
        try:
            problems = await self._asked("prepare", plan, PREPARE_TIMEOUT_S)
            return msgspec.convert(problems, tuple[str, ...])
        except (LinkFailed, msgspec.ValidationError) as error:
            return (f"the worker failed to open it: {error}",)
        finally:
            self._preparing -= 1

    async def flip(self, generation: int) -> None:
        """Have the worker serve what it prepared."""
        await self._call("flip", generation)

    async def discard(self, generation: int) -> None:
        """Have the worker close what it prepared."""
        await self._call("discard", generation)

    async def report(self) -> Report:
        """Ask the worker what it counts and is."""
        try:
            return report_from(await self._call("report"))
        except msgspec.ValidationError as error:
            raise self._lost(f"answered report with something else: {error}") from error

    async def listen(self) -> None:
        """Have the worker accept connections from the socket of its own index."""
        await self._call("listen")

    async def announce(self) -> None:
        """Have the worker print what is served, once for all of them."""
        await self._call("announce")

    async def adopt(self, index: int) -> None:
        """Have the worker accept from another worker's socket as well."""
        await self._call("adopt", index)

    async def release(self, index: int) -> None:
        """Have the worker no longer accept from another worker's socket."""
        await self._call("release", index)

    async def _call(self, verb: str, payload: object = None) -> Any:  # noqa: ANN401
        try:
            return await self._asked(verb, payload, CALL_TIMEOUT_S)
        except LinkFailed as error:
            raise self._lost(f"failed to {verb}: {error}") from error

    async def _asked(self, verb: str, payload: object, timeout_s: float) -> Any:  # noqa: ANN401
        try:
            answer = await self._link.call(verb, payload, timeout_s=timeout_s)
        except LinkFailed:
            raise
        except LinkTimedOut as error:
            # Opening models may hold the interpreter, but not for ever.
            self._missed += 1
            if verb == "report" and self._preparing and self._missed < MOST_MISSED:
                raise WorkerLost(str(error)) from error
            raise self._lost(f"did not answer {verb} within {timeout_s:g} s") from error
        except LinkError as error:
            raise WorkerLost(str(error)) from error
        self._missed = 0
        return answer

    def _lost(self, why: str) -> WorkerLost:
        self._give_up(why)
        return WorkerLost(why)
