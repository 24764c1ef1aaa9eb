"""Waiting for what sockets, threads and processes bring about, without sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

BOUND_S: Final = 30.0
"""How long what must come is waited for."""


async def until(true: Callable[[], object]) -> None:
    """Return once something is so; the loop is run until then."""
    async with asyncio.timeout(BOUND_S):
        while True:
            if true():
                return
            await asyncio.sleep(0)
