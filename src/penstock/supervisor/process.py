"""One worker process: how it is started, spoken to, watched and ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Sequence
from typing import Final, final

from penstock.core.clock import Clock
from penstock.core.link import Handle, Link
from penstock.supervisor.worker import LinkedWorker

LINK_GRACE_S: Final = 1.0
"""How long a process may live on once it has closed its link; then it is killed."""


@final
class WorkerProcess:
    """A process that runs, or has ended. `start_process` makes one.

    Args:
        index: of the worker.
        process: what has been started.
        clock: tells the time.

    Attributes:
        index: of the worker.
        pid: of the process.
        started_s: when, by the clock.
        started_wall_s: when, in seconds since the epoch.
        worker: what it can be asked.
        leaving: it was told to end: what it does not answer is no reason to kill it.
        ended: says how, once it has: `was killed by SIGKILL`. To be awaited with `wait` only.
    """

    worker: LinkedWorker

    def __init__(self, index: int, process: subprocess.Popen[bytes], clock: Clock) -> None:
        self.index = index
        self.pid = process.pid
        self.started_s = clock.now_s()
        self.started_wall_s = clock.wall_s()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._process = process
        self._clock = clock
        self._link: Link | None = None
        self._why = ""
        self.leaving = False
        self._watch()

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return not self.ended.done()

    async def wait(self) -> str:
        """Return how it ended, once it has; others may wait as well."""
        return await asyncio.shield(self.ended)

    async def connect(self, ours: socket.socket, answer: Handle) -> None:
        """Speak to it over our end of its socket.

        Args:
            ours: the end.
            answer: answers what it asks.
        """
        ours.setblocking(False)
        _, self._link = await asyncio.get_running_loop().create_connection(
            lambda: Link(answer, clock=self._clock, on_lost=self._hung_up), sock=ours
        )
        self.worker = LinkedWorker(self._link, self._give_up)

    def terminate(self) -> None:
        """Tell it to end when its requests under way are answered."""
        self.leaving = True
        if self.alive:
            self._process.terminate()

    def kill(self, why: str) -> None:
        """End it now; `why` is what is said of it, as in `did not answer flip within 10 s`."""
        if self.alive:
            self._why = self._why or why
            self._process.kill()

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # not on this system
            threading.Thread(target=self._wait_in_thread, args=(loop,), daemon=True).start()
        else:
            loop.add_reader(self._pidfd, self._reap_by_pidfd)

    def _reap_by_pidfd(self) -> None:
        if self._process.poll() is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._reaped()

    def _wait_in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody wants to know
            loop.call_soon_threadsafe(self._reaped)

    def _reaped(self) -> None:
        self.ended.set_result(_how(self._process.returncode, self._why))
        if self._link is not None:
            self._link.close("the process ended")

    def _give_up(self, why: str) -> None:
        if not self.leaving:  # its requests under way come first
            self.kill(why)

    def _hung_up(self, why: str) -> None:
        """Kill it if it does not end by itself: nobody can speak to it any more."""
        if self.alive:
            when_s = self._clock.now_s() + LINK_GRACE_S
            self._clock.call_at(when_s, lambda: self._give_up(f"could not be spoken to ({why})"))


async def start_process(
    index: int, command: Sequence[str], listening: Sequence[int], *, clock: Clock, answer: Handle
) -> WorkerProcess:
    """Start a worker's process, and connect to it.

    It is called with its index, the file descriptor of its end of the link, and those of all
    listening sockets, its own at the place of its index. It has a process group of its own: Ctrl-C
    reaches only the supervisor.

    Args:
        index: of the worker.
        command: a program and its first arguments.
        listening: the file descriptors of all listening sockets.
        clock: tells the time.
        answer: answers what it asks.

    Raises:
        OSError: it cannot be started.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            fds = (theirs.fileno(), *listening)
            process = subprocess.Popen(  # noqa: ASYNC220, S603 - a millisecond; our own program
                [*command, str(index), *map(str, fds)],
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        started = WorkerProcess(index, process, clock)
    except BaseException:
        ours.close()
        raise
    try:
        await started.connect(ours, answer)
    except BaseException:
        started.kill("the supervisor gave up connecting to it")
        ours.close()
        raise
    return started


def _how(status: int, why: str) -> str:
    if why:
        return f"{why} and was killed" if status == -signal.SIGKILL else f"{why} and ended"
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
