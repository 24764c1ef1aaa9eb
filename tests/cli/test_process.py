"""How a process's work is run to its end; what it serves is in `tests/e2e`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from penstock.cli import compacting
from penstock.cli.process import process, run
from penstock.core.clock import SystemClock
from penstock.core.link import Link
from penstock.core.log import Log
from penstock.stores.finished import Due
from penstock.stores.sinks import LogPlaces
from penstock.supervisor.remote import RemoteSupervisor
from tests.gateway.opening import ROOT
from tests.stores.logs import by_files, logged, write_segment
from tests.support import settle

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


async def never(verb: str, payload: Any) -> Any:  # noqa: ANN401
    raise AssertionError(verb)


async def test_the_first_process_has_the_log_of_all_compacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compacting, "CHECK_S", 0.0)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    write_segment(tmp_path, "0", logged("a"))
    places = LogPlaces(str(tmp_path), keep_days=1e6, due=Due(size_bytes=1))
    clock = SystemClock()
    operator = RemoteSupervisor(Link(never, clock=clock))
    async with process({}, index=1, log=Log(clock), operator=operator, places=places):
        await settle()
    assert by_files(tmp_path) == {}
    async with (
        asyncio.timeout(30.0),
        process({}, index=0, log=Log(clock), operator=operator, places=places),
    ):
        while not by_files(tmp_path):
            await settle()
