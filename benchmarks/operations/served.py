"""The server that is operated: its processes, its verbs, and the connections of its workers."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import MeasurementFailed
from benchmarks.operations import specs
from benchmarks.server import HOST, Call, free_port, python_path, stop, wait_for_answer

VERB_TIMEOUT_S: Final = 180.0
STATUS_POLL_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Done:
    """What a verb of the command line did, and when; on the monotonic clock."""

    began_s: float
    ended_s: float
    status: int
    answer: str
    output: str
    """What it printed on standard error, and its answer."""

    @property
    def took_ms(self) -> float:
        """How long the command took, its own start included."""
        return (self.ended_s - self.began_s) * 1e3


class Served:
    """A `penstock serve` that is up."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, folder: Path) -> None:
        self.process = process
        self.port = port
        self.folder = folder

    @property
    def spec(self) -> Path:
        """The file that is served."""
        return self.folder / "served.yaml"

    def write(self, content: bytes) -> None:
        """Replaces the file in one step, as editors and ConfigMaps do."""
        fresh = self.folder / "served.new"
        fresh.write_bytes(content)
        fresh.replace(self.spec)

    def verb(self, *arguments: str) -> Done:
        """Runs `penstock VERB ...` against the server."""
        command = [sys.executable, "-m", "penstock", *arguments]
        began_s = time.monotonic()
        done = subprocess.run(
            [*command, "--state-dir", str(state_of(self.folder))],
            capture_output=True,
            text=True,
            timeout=VERB_TIMEOUT_S,
            check=False,
            env=environment(),
        )
        ended_s = time.monotonic()
        printed = (done.stderr + done.stdout).strip()
        return Done(began_s, ended_s, done.returncode, done.stdout, printed)

    def status(self) -> dict[str, Any]:
        """What `penstock status` says."""
        done = self.verb("status", "--json")
        if done.status:
            message = f"penstock status failed: {done.output}"
            raise MeasurementFailed(message)
        answer: dict[str, Any] = json.loads(done.answer)
        return answer

    def workers(self) -> list[Mapping[str, Any]]:
        """What the supervisor knows of its workers."""
        members: list[Mapping[str, Any]] = self.status()["workers"]
        return members

    def wait_for_file(self, content: bytes, patience_s: float) -> float:
        """Waits until all workers serve a file; returns when that was seen."""
        end_s = time.monotonic() + patience_s
        digest = hashlib.sha256(content).hexdigest()
        while time.monotonic() < end_s:
            if digest.startswith(self.status()["digest"]):
                return time.monotonic()
            time.sleep(STATUS_POLL_S)
        message = f"the file {digest[:12]} was not served within {patience_s:.0f} s"
        raise MeasurementFailed(message)

    def hang_up(self) -> float:
        """Sends SIGHUP; returns when."""
        sent_s = time.monotonic()
        self.process.send_signal(signal.SIGHUP)
        return sent_s

    def log(self) -> str:
        """What the server has written so far."""
        return (self.folder / "served.log").read_text(errors="replace")


def state_of(folder: Path) -> Path:
    """The server's state directory."""
    return folder / "state"


def environment() -> dict[str, str]:
    """What the server and its verbs inherit."""
    return {**os.environ, "PYTHONPATH": python_path()}


@contextmanager
def serving(folder: Path, workers: int, content: bytes, call: Call) -> Iterator[Served]:
    """Runs the server for the block, on all cores."""
    port = free_port()
    folder.mkdir()
    specs.prepare(folder)
    path, log = folder / "served.yaml", folder / "served.log"
    path.write_bytes(content)
    command = [
        *(sys.executable, "-m", "penstock", "serve", str(path), "--host", HOST),
        *("--port", str(port), "--workers", str(workers), "--state-dir", str(state_of(folder))),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env=environment()
        )
        try:
            wait_for_answer(process, port, call, log)
            yield Served(process, port, folder)
        finally:
            stop(process)
