"""Waiting by a clock that is passed in."""

from __future__ import annotations

import asyncio

from penstock.core.clock import Clock


async def pause(clock: Clock, seconds: float) -> None:
    """Return once the clock has gone on by that much."""
    woken = asyncio.get_running_loop().create_future()
    timer = clock.call_at(
        clock.now_s() + seconds, lambda: None if woken.done() else woken.set_result(None)
    )
    try:
        await woken
    finally:
        timer.cancel()
