"""Has records shipped to PostgreSQL while a server runs: by `penstock log ship`, beside it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final, Protocol, TypeAlias, final

from penstock.cli.ship import bounds_in
from penstock.core.clock import Clock
from penstock.core.log import Says
from penstock.core.stop import SHIP_S, Stop, ended_within
from penstock.stores.postgresql.address import VARIABLE, address_in
from penstock.supervisor.backoff import FIRST_S, Backoff
from penstock.supervisor.pause import pause

STOP_S: Final = 10.0
"""How long a shipper that is told to stop may take before it is killed; nothing is lost by that."""


class Child(Protocol):
    """A process that has been started."""

    @property
    def pid(self) -> int:
        """Its process id."""

    async def wait(self) -> int:
        """Return its exit status once it has ended; negative: the signal that ended it."""

    def terminate(self) -> None:
        """Tell it to stop."""

    def kill(self) -> None:
        """Kill it."""


Start: TypeAlias = Callable[[], Awaitable[Child]]


@final
class Shipping:
    """Keeps a shipper running: starts it again, ever later, when it ends.

    Args:
        start: starts its process.
        stop: of this process, which ends the shipper; its clock tells the time.
        log: is told of its ends.
    """

    def __init__(self, start: Start, *, stop: Stop, log: Says) -> None:
        self._start = start
        self._stop_of_all = stop
        self._clock: Clock = stop.clock
        self._log = log
        self._child: Child | None = None

    async def run(self) -> None:
        """Keep it running until cancelled; then have it ship what is there, and end."""
        backoff = Backoff()
        try:
            while True:
                started_s = self._clock.now_s()
                how = await self._life()
                now_s = self._clock.now_s()
                backoff = backoff.died(now_s, now_s - started_s)
                pause_s = max(backoff.pause_s, FIRST_S)
                self._log.warning(
                    f"the shipper to PostgreSQL {how}; it is started again in {pause_s:g} s"
                )
                await pause(self._clock, pause_s)
        finally:
            await self._stop()

    async def _life(self) -> str:
        """Start it, and return how it ended."""
        try:
            self._child = await self._start()
        except OSError as error:
            return f"cannot be started ({error.strerror or error})"
        status = await self._child.wait()
        self._child = None
        return f"ended with status {status}" if status >= 0 else f"was ended by signal {-status}"

    async def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        with suppress(ProcessLookupError):
            child.terminate()
        ended = asyncio.ensure_future(child.wait())
        left_s = self._stop_of_all.left_s(SHIP_S, STOP_S)
        if await ended_within(left_s, {ended}, clock=self._clock):
            self._log.warning(f"the shipper to PostgreSQL (pid {child.pid}) did not end: killed")
            with suppress(ProcessLookupError):
                child.kill()
        await ended


@asynccontextmanager
async def shipping(
    folder: str | None, environment: Mapping[str, str], *, stop: Stop, log: Says
) -> AsyncIterator[None]:
    """Have the records of a log shipped until left, if the environment names a database.

    Args:
        folder: of the log; None where there is none.
        environment: names the database.
        stop: of this process, which ends the shipper.
        log: is told of what is odd.

    Raises:
        PostgresqlUnavailable, BadSetting: what the environment says cannot be done.
    """
    if address_in(environment) is None:
        yield
        return
    bounds_in(environment)  # what is wrong with them is said here, once, and not by the shipper
    if folder is None:
        log.warning(
            "records are not shipped to PostgreSQL: there is no folder where they could wait; "
            f"give --log-dir, or unset {VARIABLE}"
        )
        yield
        return
    ships = Shipping(partial(_started, folder, environment), stop=stop, log=log)
    running = asyncio.ensure_future(ships.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait({running})
        if not running.cancelled() and running.exception() is not None:
            log.error("the shipper to PostgreSQL was not looked after", error=running.exception())


async def _started(folder: str, environment: Mapping[str, str]) -> Child:
    command = (sys.executable, "-P", "-m", "penstock", "log", "ship")
    options = ("--log-dir", folder, "--parent", str(os.getpid()))
    return await asyncio.create_subprocess_exec(
        *command,
        *options,
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is the server's; it tells the shipper
    )
