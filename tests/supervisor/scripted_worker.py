"""A worker process that does what a plan's text says: `MODE INDEX LINK LISTENING...`.

To open `refuse` fails, `raise` raises, `die` and `segfault` end it, `die once PATH` ends the first
that opens it, `hang` never ends; to flip to `deaf` never ends. It answers a connection with its
index, its process id and its generation. In the mode `mute first` the first dies of announcing; in
`leaving` it leaves at SIGTERM and says what it has counted, and in `leaving for long` it stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

from penstock.core.clock import SystemClock
from penstock.core.link import Link


class Scripted:
    def __init__(self, mode: str, index: int, listening: Sequence[socket.socket]) -> None:
        self._mode = mode
        self._index = index
        self._sockets = listening
        self._plans: dict[int, str] = {}
        self._generation = 0
        self._started_wall_s = time.time()
        self.counted = 1.0

    async def answer(self, verb: str, payload: Any) -> object:  # noqa: ANN401
        match verb:
            case "prepare":
                return await self._prepare(payload["generation"], payload["text"])
            case "flip":
                if self._plans.pop(payload) == "deaf":
                    await asyncio.get_running_loop().create_future()
                self._generation = payload
            case "discard":
                self._plans.pop(payload, None)
            case "report":
                return self.report()
            case "announce":
                if self._mode == "mute first" and self._index == 0:
                    os._exit(3)
                os.write(1, f"announced by {self._index}\n".encode())
            case "listen":
                self._accept_from(self._index)
            case "adopt":
                self._accept_from(payload)
            case "release":
                asyncio.get_running_loop().remove_reader(self._sockets[payload])
            case _:
                raise ValueError(verb)
        return None

    async def _prepare(self, generation: int, text: str) -> list[str]:
        match text.split():
            case ["refuse"]:
                return ["no room", "no file"]
            case ["raise"]:
                raise RuntimeError("a fault of the worker")
            case ["die"]:
                os._exit(3)
            case ["segfault"]:
                os.kill(os.getpid(), signal.SIGSEGV)
            case ["die", "once", path]:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path)
                    os._exit(3)
            case ["hang"]:
                await asyncio.get_running_loop().create_future()
            case _:
                pass
        self._plans[generation] = text
        return []

    def report(self) -> object:
        if self._mode == "babbling":
            return "so and so"
        return {
            "pid": os.getpid(),
            "generation": self._generation,
            "started_wall_s": self._started_wall_s,
            "measures": {"numbers": {"penstock_requests_total": {("iris", "200"): self.counted}}},
        }

    def _accept_from(self, index: int) -> None:
        listening = self._sockets[index]
        asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        try:
            connection, _ = listening.accept()
        except BlockingIOError:  # another one was quicker
            return
        with connection:
            connection.sendall(f"{self._index} {os.getpid()} {self._generation}".encode())


async def work(mode: str, index: int, link_fd: int, listening: Sequence[int]) -> None:
    sockets = [socket.socket(fileno=fd) for fd in listening]
    for one in sockets:
        one.setblocking(False)
    ours = socket.socket(fileno=link_fd)
    ours.setblocking(False)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    scripted = Scripted(mode, index, sockets)
    link = Link(scripted.answer, clock=SystemClock(), on_lost=lambda _: ended.set())

    async def leave() -> None:
        await link.call("leaving", timeout_s=10.0)
        if mode == "leaving":
            scripted.counted = 5.0
            await link.call("last", scripted.report(), timeout_s=10.0)
            ended.set()

    leaving: list[asyncio.Task[None]] = []
    if mode == "stubborn":
        loop.add_signal_handler(signal.SIGTERM, lambda: None)
    elif mode.startswith("leaving"):
        loop.add_signal_handler(signal.SIGTERM, lambda: leaving.append(loop.create_task(leave())))
    else:
        loop.add_signal_handler(signal.SIGTERM, ended.set)
    await loop.create_connection(lambda: link, sock=ours)
    if mode == "hanging up":
        link.close()
        await loop.create_future()
    await ended.wait()


def main(mode: str, index: str, link_fd: str, *listening: str) -> None:
    if mode == "exiting":
        sys.exit(3)
    asyncio.run(work(mode, int(index), int(link_fd), list(map(int, listening))))


if __name__ == "__main__":
    main(*sys.argv[1:])
