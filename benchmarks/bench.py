"""What all scenarios share: how long to measure, on which cores, and where temporary files go."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).resolve().parent.parent
RESULT_MARK: Final = "RESULT "
GRACE_S: Final = 60.0


class MeasurementFailed(Exception):
    """A server did not start or answered wrongly, or a generator ended without a result."""


class ToolMissing(Exception):
    """A program that a scenario cannot do without is not installed."""

    def __init__(self, tool: str) -> None:
        super().__init__(f"{tool} is not installed")


@dataclass(frozen=True, slots=True)
class Cores:
    """Where the server runs and where the load does; the same core if the machine has one."""

    server: tuple[int, ...]
    load: tuple[int, ...]
    every: tuple[int, ...]

    @classmethod
    def of_this_machine(cls) -> "Cores":
        """The first two cores that this process may use."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls((allowed[0],), (allowed[min(1, len(allowed) - 1)],), tuple(allowed))

    def shared(self) -> "Cores":
        """All cores for the server, and the same for the load."""
        return Cores(self.every, self.every, self.every)


@dataclass(frozen=True, slots=True)
class Bench:
    """The settings of one run of the benchmarks."""

    rounds: int
    seconds: float
    warm_up_s: float
    cores: Cores
    workspace: Path

    def on_all_cores(self) -> "Bench":
        """The same, with server and load side by side on every core."""
        return replace(self, cores=self.cores.shared())

    @property
    def wrk(self) -> str | None:
        """Where wrk is, if it is installed."""
        return shutil.which("wrk")

    def body_file(self, name: str, body: bytes) -> Path:
        """Writes a request's body for the generators to read."""
        path = self.workspace / f"{name}.body"
        path.write_bytes(body)
        return path


def say(text: str) -> None:
    """Tells whoever waits what is going on, apart from the tables on standard output."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def pin(*cores: int, niceness: int = 0) -> Callable[[], None]:
    """What a child process calls to bind itself, and its children, to some cores."""

    def bind() -> None:
        os.sched_setaffinity(0, cores)
        os.nice(niceness)

    return bind


@contextmanager
def load_process(
    command: Sequence[str], cores: Sequence[int], *, niceness: int = 0
) -> Iterator[subprocess.Popen[str]]:
    """Runs a generator or a probe on the load's cores, and stops it if the block fails."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        preexec_fn=pin(*cores, niceness=niceness),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def read_result(process: subprocess.Popen[str], timeout_s: float) -> dict[str, Any]:
    """Waits for a generator or a probe and reads the result line that it prints.

    Raises:
        MeasurementFailed: it printed none, or did not end in time.
    """
    try:
        output, errors = process.communicate(timeout=timeout_s + GRACE_S)
    except subprocess.TimeoutExpired as error:
        raise MeasurementFailed(str(error)) from error
    for line in output.splitlines():
        if line.startswith(RESULT_MARK):
            result: dict[str, Any] = json.loads(line.removeprefix(RESULT_MARK))
            return result
    message = f"{process.args!r} printed no result:\n{output}\n{errors}"
    raise MeasurementFailed(message)
