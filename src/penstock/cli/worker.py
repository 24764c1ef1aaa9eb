"""A worker's process, started by the supervisor.

    python -m penstock.cli.worker LOG_FOLDER LOG_SINKS KEEP_DAYS INDEX LINK LISTENING...

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

from penstock.cli.process import Process, process, run
from penstock.core.clock import SystemClock
from penstock.core.link import Link, LinkError
from penstock.core.log import Log
from penstock.core.stop import END_S, Stop
from penstock.spec.plan import Plan
from penstock.stores.sinks import LogPlaces, log_places
from penstock.supervisor.remote import RemoteSupervisor

LEAVING_S: Final = 1.0
"""How long a worker that ends waits for a sibling to take its connections, and to be heard."""


@final
class Working:
    """What the supervisor's calls do.

    Args:
        index: of this worker.
        serving: does the work.
        sockets: of all workers.
        stop: of the process.
    """

    def __init__(
        self, index: int, serving: Process, sockets: Sequence[socket.socket], stop: Stop
    ) -> None:
        self._index = index
        self._stop = stop
        self._serving = serving
        self._sockets = sockets
        self._preparing: asyncio.Task[Any] | None = None
        self.told = asyncio.Event()
        self.listens = False

    @property
    def told_to_end(self) -> bool:
        """Whether it ends."""
        return self._serving.server.should_exit

    async def answer(self, verb: str, payload: Any) -> Any:  # noqa: ANN401
        """Answer one of the supervisor's calls."""
        match verb:
            case "prepare":
                return await self._prepare(msgspec.convert(payload, Plan))
            case "flip":
                return await self._serving.flip(int(payload))
            case "discard":
                return await self._serving.discard(int(payload))
            case "report":
                return msgspec.to_builtins(await self._serving.report(), str_keys=False)
            case "listen":
                return self._listen()
            case "announce":
                return self._serving.announce(*self._sockets[self._index].getsockname()[:2])
            case "adopt":
                return await self._serving.server.adopt(int(payload), self._sockets[int(payload)])
            case "release":
                return self._serving.server.release(int(payload))
            case _:
                raise ValueError(f"a worker knows no verb {verb!r}")

    async def _prepare(self, plan: Plan) -> list[str]:
        self._preparing = asyncio.current_task()
        try:
            return list(await self._serving.prepare(plan))
        finally:
            self._preparing = None

    def _listen(self) -> None:
        self._serving.settle()
        self.listens = True
        self.told.set()

    def stop(self) -> None:
        """End, after the requests under way."""
        self._stop.begin()
        self._serving.server.should_exit = True
        self.told.set()

    def leave_off(self) -> None:
        """Open nothing more: what never ends to be opened would hold up the end."""
        if self._preparing is not None:
            self._preparing.cancel()


async def work(places: LogPlaces, index: int, link_fd: int, listening: Sequence[int]) -> None:
    """Serve until told to end, or until the supervisor has gone."""
    clock = SystemClock()
    log = Log(clock)
    stop = Stop(clock)
    sockets = [socket.socket(fileno=fd) for fd in listening]

    async def answer(verb: str, payload: Any) -> Any:  # noqa: ANN401
        return await working.answer(verb, payload)

    def lost(why: str) -> None:
        if not working.told_to_end:
            log.error(f"worker {index} ends: the supervisor cannot be reached ({why})")
        working.stop()

    async def leave() -> None:
        """Have a sibling take the connections that come to this worker's socket from now on."""
        with contextlib.suppress(LinkError):
            await link.call("leaving", timeout_s=LEAVING_S)

    link = Link(answer, clock=clock, on_lost=lost)
    async with process(
        os.environ,
        index=index,
        log=log,
        operator=RemoteSupervisor(link),
        places=places,
        stop=stop,
    ) as serving:
        working = Working(index, serving, sockets, stop)  # there before the link is connected
        serving.server.on_leaving = leave
        serving.server.listening = sockets
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, working.stop)
        ours = socket.socket(fileno=link_fd)
        ours.setblocking(False)
        await loop.create_connection(lambda: link, sock=ours)
        await working.told.wait()
        if working.listens and not working.told_to_end:
            await serving.server.serve(sockets=[sockets[index]])
        working.leave_off()
    if working.listens:
        with contextlib.suppress(LinkError):
            last = msgspec.to_builtins(serving.last(), str_keys=False)
            await link.call("last", last, timeout_s=stop.left_s(END_S, LEAVING_S))
    link.close()


def main(arguments: Sequence[str]) -> int:
    """Run a worker; return its exit status."""
    folder, sinks, keep_days, *numbers = arguments
    index, link_fd, *listening = map(int, numbers)
    places = log_places(
        os.environ,
        folder=folder or None,
        sinks=sinks.split(","),
        emptied=True,
        keep_days=float(keep_days),
    )
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it is meant for the supervisor
    run(work(places, index, link_fd, listening))
    return 0


if __name__ == "__main__":  # pragma: no cover - runs in a process of its own
    sys.exit(main(sys.argv[1:]))
