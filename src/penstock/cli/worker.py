"""A worker's process: `python -m penstock.cli.worker INDEX LINK LISTENING...`, by the supervisor.

It serves what it is told over its link, and accepts from its own listening socket once it is told
to. It ends by SIGTERM, or when the supervisor has gone: nobody could tell it of changes any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any, Final, final

import msgspec
import uvloop

from penstock.cli.process import Ahead, Process, leave_hanging_models, process
from penstock.core.clock import SystemClock
from penstock.core.link import Link, LinkError
from penstock.core.log import Log
from penstock.spec.plan import Plan
from penstock.supervisor.remote import RemoteSupervisor

LEAVING_S: Final = 1.0
"""How long a worker that ends waits for a sibling to take its connections."""

_FIRST: Final = 0


@final
class Working:
    """What the supervisor's calls do.

    Args:
        index: of this worker.
        serving: does the work.
        sockets: of all workers.
        operator: the supervisor.
    """

    def __init__(
        self, index: int, serving: Process, sockets: Sequence[socket.socket], operator: Ahead
    ) -> None:
        self._index = index
        self._serving = serving
        self._sockets = sockets
        self._operator = operator
        self._announcing: asyncio.Task[None] | None = None
        self.told = asyncio.Event()
        self.listens = False

    async def answer(self, verb: str, payload: Any) -> Any:  # noqa: ANN401
        """Answer one of the supervisor's calls."""
        match verb:
            case "prepare":
                return list(await self._serving.prepare(msgspec.convert(payload, Plan)))
            case "flip":
                return await self._serving.flip(int(payload))
            case "discard":
                return await self._serving.discard(int(payload))
            case "report":
                return msgspec.to_builtins(await self._serving.report(), str_keys=False)
            case "listen":
                return self._listen()
            case "adopt":
                return await self._serving.server.adopt(int(payload), self._sockets[int(payload)])
            case "release":
                return self._serving.server.release(int(payload))
            case _:
                raise ValueError(f"a worker knows no verb {verb!r}")

    def _listen(self) -> None:
        self._serving.settle()
        self.listens = True
        self.told.set()
        if self._index == _FIRST:
            self._announcing = asyncio.ensure_future(self._announce())

    async def _announce(self) -> None:
        """Say what is served, unless a process before this one has."""
        status = await self._operator.status()
        if not status.workers[self._index].restarts:
            host, port = self._sockets[self._index].getsockname()[:2]
            self._serving.announce(host, port)

    def stop(self) -> None:
        """End, after the requests under way."""
        self._serving.server.should_exit = True
        self.told.set()


async def work(index: int, link_fd: int, listening: Sequence[int]) -> None:
    """Serve until told to end, or until the supervisor has gone."""
    clock = SystemClock()
    log = Log(clock)
    operator = Ahead()
    sockets = [socket.socket(fileno=fd) for fd in listening]
    loop = asyncio.get_running_loop()
    async with process(os.environ, index=index, log=log, operator=operator) as serving:
        working = Working(index, serving, sockets, operator)

        def lost(why: str) -> None:
            if not serving.server.should_exit:
                log.error(f"worker {index} ends: the supervisor cannot be reached ({why})")
            working.stop()

        ours = socket.socket(fileno=link_fd)
        ours.setblocking(False)
        _, link = await loop.create_connection(
            lambda: Link(working.answer, clock=clock, on_lost=lost), sock=ours
        )
        operator.supervisor = RemoteSupervisor(link)

        async def leave() -> None:
            """Have a sibling take the connections that come to this worker's socket from now on."""
            with contextlib.suppress(LinkError):
                await link.call("leaving", timeout_s=LEAVING_S)

        serving.server.on_leaving = leave
        loop.add_signal_handler(signal.SIGTERM, working.stop)
        await working.told.wait()
        if working.listens and not serving.server.should_exit:
            await serving.server.serve(sockets=[sockets[index]])
    link.close()


def main(arguments: Sequence[str]) -> int:
    """Run a worker; return its exit status."""
    index, link_fd, *listening = map(int, arguments)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it is meant for the supervisor
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(index, link_fd, listening))
    leave_hanging_models(0)
    return 0


if __name__ == "__main__":  # pragma: no cover - runs in a process of its own
    sys.exit(main(sys.argv[1:]))
