"""Waiting for what sockets, threads and processes bring about."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final

LOOK_S: Final = 0.002

BOUND_S: Final = 30.0
"""How long what must come is waited for."""


async def until(true: Callable[[], object]) -> None:
    """Return once something is so; the loop is run until then."""
    async with asyncio.timeout(BOUND_S):
        while True:
            if true():
                return
            await asyncio.sleep(0)


def until_blocking(true: Callable[[], object]) -> None:
    """Return once something is so that other processes bring about; blocks until then."""
    gave_up = threading.Event()
    timer = threading.Timer(BOUND_S, gave_up.set)
    timer.start()
    try:
        while not true():
            assert not gave_up.wait(LOOK_S)
    finally:
        timer.cancel()
