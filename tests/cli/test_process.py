"""How a process's work is run to its end; what it serves is in `tests/e2e`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Final

import pytest

from penstock.cli.process import run

HANGING: Final = """
import asyncio, threading
from penstock.cli.process import run

async def work():
    begun = threading.Event()

    def hang():
        begun.set()
        threading.Event().wait()

    hanging = asyncio.ensure_future(asyncio.to_thread(hang))
    while not begun.is_set():
        await asyncio.sleep(0)
    hanging.cancel()
    print("all is done")

run(work())
print("not reached")
"""


def test_what_is_to_be_done_is_done_and_threads_come_back() -> None:
    done: list[str] = []

    async def work() -> None:
        await asyncio.to_thread(done.append, "in a thread")
        done.append("on the loop")

    run(work())
    assert done == ["in a thread", "on the loop"]


def test_what_fails_is_raised() -> None:
    async def work() -> None:
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is"):
        run(work())


def test_a_thread_that_hangs_does_not_hold_up_the_end() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=30, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "all is done\n", "")
