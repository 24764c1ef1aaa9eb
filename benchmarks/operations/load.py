"""The load beside the server: a process of its own that is told where one phase ends."""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import REPOSITORY, MeasurementFailed
from benchmarks.load.fates import Failure, Fate, Seen
from benchmarks.load.steady import KEEP, RENEW

PATIENCE_S: Final = 60.0
OK: Final = "{"
"""What an answer of 200 begins with; others begin with their status."""


@dataclass(frozen=True, slots=True)
class Phase:
    """What became of the requests that were due in one phase."""

    name: str
    seconds: float
    due: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    generator_late_p99_ms: float
    idle_closes: int
    fates: dict[str, int]
    answers: dict[str, Seen]
    failures: list[Failure]

    @property
    def ok(self) -> int:
        """How many were answered with 200."""
        return sum(seen.count for answer, seen in self.answers.items() if answer.startswith(OK))

    @property
    def refusals(self) -> dict[str, Seen]:
        """The other statuses with their codes."""
        return {text: seen for text, seen in self.answers.items() if not text.startswith(OK)}


def phase_of(result: dict[str, Any]) -> Phase:
    """A phase from what the load process printed."""
    answers = {answer: Seen(*seen) for answer, seen in result.pop("answers").items()}
    failures = [Failure(Fate(fate), *rest) for fate, *rest in result.pop("failures")]
    phase = Phase(**result, answers=answers, failures=failures)
    booked = sum(seen.count for seen in answers.values()) + sum(phase.fates.values())
    if booked != phase.due:
        message = f"{phase.name}: {phase.due} requests were due, and {booked} have a fate"
        raise MeasurementFailed(message)
    return phase


class SteadyLoad:
    """A load process that is sending."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.printed: queue.Queue[str] = queue.Queue()
        self.done: dict[str, Phase] = {}
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        """Takes every line that the process prints; an empty one is its end."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed.put(line)
        self.printed.put("")

    def line(self) -> str:
        """The next line that the process prints.

        Raises:
            MeasurementFailed: it ended, or printed none in time.
        """
        try:
            line = self.printed.get(timeout=PATIENCE_S)
        except queue.Empty:
            line = ""
        if not line:
            message = "the load process ended, or says nothing"
            raise MeasurementFailed(message)
        return line

    def tell(self, line: str) -> None:
        """Writes a line to the process."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def begin(self, name: str) -> None:
        """Begins a phase."""
        self.tell(name)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Has the load close no connection of its own accord during the block."""
        self.tell(KEEP)
        try:
            yield
        finally:
            self.tell(RENEW)

    def end(self, name: str) -> Phase:
        """Ends the phase and waits for the last of its answers; the load goes on."""
        self.begin(f"after {name}")
        return self.phase(name)

    def finish(self, name: str) -> Phase:
        """Ends the last phase, and the load."""
        self.begin("")
        return self.phase(name)

    def phase(self, name: str) -> Phase:
        """Waits for the result of a phase."""
        while name not in self.done:
            line = self.line()
            if line.startswith("PHASE "):
                phase = phase_of(json.loads(line.removeprefix("PHASE ")))
                self.done[phase.name] = phase
        return self.done[name]


@contextmanager
def steady_load(
    port: int, path: str, body: Path, connections: int, rate: float
) -> Iterator[SteadyLoad]:
    """Holds a load for the block."""
    module = [sys.executable, "-m", "benchmarks.load.steady"]
    process = subprocess.Popen(
        [*module, *map(str, (port, path, body, connections, rate))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    load = SteadyLoad(process)
    try:
        if load.line().strip() != "READY":
            message = "the load process did not start"
            raise MeasurementFailed(message)
        yield load
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
