"""Has a server's prediction log compacted when that is due, by a process of low priority.

python -m penstock.cli.compacting LOG_FOLDER KEEP_DAYS
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias, final

from msgspec import Struct

from penstock.cli.log import uncollected
from penstock.core import families
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.log import Says
from penstock.core.measures import Measures
from penstock.core.snapshot import Reading
from penstock.stores.compact_rules import CompactorBusy
from penstock.stores.finished import Due, is_due, names_of_finished
from penstock.stores.log_folder import SEGMENTS
from penstock.stores.sinks import LogPlaces
from penstock.supervisor.pause import pause

CHECK_S: Final = 60.0
"""How often it is looked whether compacting is due; twice as rarely after each failure in a row."""

LONGEST_CHECK_S: Final = 3600.0
"""How rarely it is looked at most."""

ANYWAY_S: Final = 6 * 3600.0
"""After this long without a run there is one all the same: what is old is dropped by it."""

MAX_RUN_S: Final = 3600.0
"""A run that takes longer is ended: the next one goes on from there."""

MAX_SAID_BYTES: Final = 16 * 1024
"""What is kept of what a run says: the end of it, where it also says why it failed."""

NICENESS: Final = 10
BUSY: Final = 75
"""The exit status where another compactor is at work."""


class Ended(Struct, frozen=True):
    """How a run ended.

    Attributes:
        status: of its process; 0 where all went well.
        said: on its standard error.
    """

    status: int
    said: str = ""


Run: TypeAlias = Callable[[], Awaitable[Ended]]
"""Compacts once."""


@final
class Compacting:
    """Looks now and then whether compacting is due, and has it done.

    Args:
        folder: of the log.
        due: when it is.
        run: does it.
        installed: whether what it needs is installed.
        clock: tells the time.
        log: is told what is odd, and why runs fail.

    Attributes:
        done: how many runs went well.
        failed: how many did not.
    """

    def __init__(
        self, folder: Path, *, due: Due, run: Run, installed: bool, clock: Clock, log: Says
    ) -> None:
        self._folder = folder
        self._due = due
        self._run = run
        self._installed = installed
        self._clock = clock
        self._log = log
        self._ran_s = clock.now_s()
        self._failure = ""
        self._in_a_row = 0
        self._left: frozenset[str] = frozenset()
        self._warned: frozenset[str] = frozenset()
        self.done = 0
        self.failed = 0

    def readings(self) -> Iterator[Reading]:
        """Read what became of the runs."""
        yield families.PREDICTION_LOG_COMPACTIONS, ("done",), self.done
        yield families.PREDICTION_LOG_COMPACTIONS, ("failed",), self.failed

    async def keep_on(self) -> None:
        """Look again and again; ends only where what it needs is not installed, which is said."""
        while True:
            await pause(self._clock, min(CHECK_S * 2.0**self._in_a_row, LONGEST_CHECK_S))
            try:
                if not await asyncio.to_thread(self._is_due):
                    continue
            except OSError as error:
                self._fails(Ended(-1, f"it cannot be looked at: {error.strerror or error}"))
                continue
            if not self._installed:
                self._log.warning(
                    "the prediction log is not compacted: its segments stay as they are; with "
                    "penstock[log] installed, Parquet files are made of them"
                )
                return
            await self._once()

    def _is_due(self) -> bool:
        if not self._folder.is_dir():
            return False
        if self._installed and self._clock.now_s() - self._ran_s >= ANYWAY_S:
            return True
        now_s = self._clock.wall_s()
        return is_due(self._folder / SEGMENTS, now_s, self._due, left=self._left)

    def _finished(self) -> frozenset[str]:
        return names_of_finished(self._folder / SEGMENTS, self._clock.wall_s())

    async def _once(self) -> None:
        self._ran_s = self._clock.now_s()
        try:
            before = await asyncio.to_thread(self._finished)
            ended = await self._run()
            after = await asyncio.to_thread(self._finished)
        except OSError as error:
            ended = Ended(-1, f"it could not be started: {error.strerror or error}")
        if ended.status == BUSY:
            return  # whoever is at it does what is to be done
        if ended.status:
            self._fails(ended)
            return
        self.done += 1
        self._in_a_row, self._failure = 0, ""
        self._left = before & after  # of a later version, say: not due until something else is
        self._warn(ended.said.splitlines())

    def _fails(self, ended: Ended) -> None:
        self.failed += 1
        self._in_a_row = min(self._in_a_row + 1, 10)
        *lines, why = ended.said.strip().splitlines() or [f"it ended with status {ended.status}"]
        self._warn(lines)
        if why != self._failure:  # said once, and counted
            self._failure = why
            self._log.error("the prediction log could not be compacted", why=why)

    def _warn(self, lines: Sequence[str]) -> None:
        """Say what the run before has not said."""
        for line in lines:
            if line not in self._warned:
                self._log.warning(line)
        self._warned = frozenset(lines)


@asynccontextmanager
async def compacting(
    places: LogPlaces,
    *,
    clock: Clock,
    log: Says,
    measures: Measures,
) -> AsyncIterator[None]:
    """Have a log compacted while a server runs; a run under way is ended with it.

    Args:
        places: where the log is, if there is one, how long it is kept, and when it is due.
        clock: tells the time.
        log: is told what is odd.
        measures: count the runs.
    """
    if places.folder is None:
        yield
        return
    folder = Path(places.folder)
    keeper = Compacting(
        folder,
        due=places.due,
        run=by_command(command_of(folder, places.keep_days)),
        installed=importlib.util.find_spec("pyarrow") is not None,
        clock=clock,
        log=log,
    )
    with measures.watching(keeper.readings):
        task = asyncio.ensure_future(keeper.keep_on())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and task.exception() is not None:
                log.error("the prediction log was not compacted any more", error=task.exception())


def command_of(folder: Path, keep_days: float) -> tuple[str, ...]:
    """Return the command that compacts a log."""
    return (sys.executable, "-P", "-m", "penstock.cli.compacting", str(folder), str(keep_days))


def by_command(command: Sequence[str], timeout_s: float = MAX_RUN_S) -> Run:
    """Return what runs a command, and ends it when it is cancelled or takes too long."""

    async def run() -> Ended:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(timeout_s):
                assert process.stderr is not None
                said = b""
                while piece := await process.stderr.read(MAX_SAID_BYTES):
                    said = (said + piece)[-MAX_SAID_BYTES:]
                status = await process.wait()
        except TimeoutError:
            return Ended(-1, f"it was ended after {timeout_s:g} s")
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        return Ended(status, said.decode(errors="replace"))

    return run


def main(arguments: Sequence[str]) -> int:
    """Compact a log once; return the exit status: 0, 1 for a failure, 75 where another does it."""
    from penstock.stores.parquet import compact_log

    folder, keep_days = arguments
    try:
        with uncollected():
            compact_log(Path(folder), time.time(), float(keep_days), _warn)
    except CompactorBusy:
        return BUSY
    except PenstockError as error:
        _warn(error.message)
        return 1
    return 0


def _warn(sentence: str) -> None:
    print(sentence, file=sys.stderr)


if __name__ == "__main__":  # pragma: no cover - runs in a process of its own
    os.nice(NICENESS)
    sys.exit(main(sys.argv[1:]))
