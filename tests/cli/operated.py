"""Servers that run beside a command: their control sockets, in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Final

import uvloop

from penstock.core.clock import SystemClock
from penstock.supervisor.control import ControlServer
from penstock.supervisor.state import SOCKET_NAME
from tests.supervisor.fakes import Said
from tests.supervisor.operators import FakeOperator

BOUND_S: Final = 30.0


@contextmanager
def operated(*folders: Path) -> Iterator[FakeOperator]:
    """Serve the control sockets of these state directories, all with one operator."""
    operator = FakeOperator()
    ready, over = threading.Event(), threading.Event()

    async def serve() -> None:
        server = ControlServer(operator, clock=SystemClock(), log=Said())
        async with AsyncExitStack() as stack:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
                await stack.enter_async_context(server.serve(folder / SOCKET_NAME))
            ready.set()
            await asyncio.to_thread(over.wait)

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(BOUND_S)
        yield operator
    finally:
        over.set()
        thread.join(BOUND_S)
