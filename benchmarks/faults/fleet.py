"""The gateway and its three remote arms, each a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.bench import MeasurementFailed
from benchmarks.calls import fan_out_call
from benchmarks.constants import plain_answers
from benchmarks.models import ARMS
from benchmarks.nginx import wait_until_healthy
from benchmarks.server import HOST, free_port, python_path, stop, wait_for_answer
from benchmarks.sockets import connections, descriptors
from benchmarks.specs import fan_out_spec, remote_spec

Process = subprocess.Popen[bytes]

LISTEN_S: Final = 10.0


class Arm:
    """The address of a predictor, and whatever serves there now."""

    def __init__(self, name: str, spec: Path, folder: Path) -> None:
        self.name = name
        self.port = free_port()
        self.spec = spec
        self.folder = folder
        self.process: Process | None = None

    def serve(self) -> None:
        """Starts the real predictor, and waits until it is healthy."""
        command = [
            *(sys.executable, "-m", "penstock", "serve", str(self.spec), "--route", self.name),
            *("--host", HOST, "--port", str(self.port)),
            *("--state-dir", str(self.folder / f"state-{self.name}")),
        ]
        self.start(command)
        assert self.process is not None
        wait_until_healthy(self.process, self.port, self.log)

    def misbehave(self, fault: str) -> None:
        """Puts a server in the predictor's place that misbehaves; waits until it listens."""
        answers = self.folder / f"{self.name}.json"
        answers.write_text(json.dumps(dict(plain_answers(self.name))))
        module = [sys.executable, "-m", "benchmarks.servers.faulty"]
        self.end()
        self.start([*module, str(self.port), fault, str(answers)])
        assert self.process is not None
        end_s = time.monotonic() + LISTEN_S
        while not listens(self.port):
            if self.process.poll() is not None or time.monotonic() > end_s:
                message = f"the faulty server did not start: {self.log.read_text()}"
                raise MeasurementFailed(message)
            time.sleep(0.01)

    def start(self, command: Sequence[str]) -> None:
        """Starts a server at the arm's address."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": python_path()},
            )

    def signal(self, number: int) -> None:
        """Sends a signal to whatever serves."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Ends whatever serves without ceremony."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def end(self) -> None:
        """Ends whatever serves, frozen or not."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            stop(self.process)

    @property
    def log(self) -> Path:
        """What the servers at this address have written."""
        return self.folder / f"{self.name}.log"


def listens(port: int) -> bool:
    """Whether something listens on a port of this machine."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = (line.split() for line in lines)
    return any(one[1].endswith(f":{port:04X}") and one[3] == "0A" for one in fields)


class Fleet:
    """The gateway and its arms, all up."""

    def __init__(self, gateway: Process, port: int, log: Path, arms: dict[str, Arm]) -> None:
        self.gateway = gateway
        self.port = port
        self.log = log
        self.arms = arms

    def descriptors(self) -> int:
        """How many descriptors the gateway has open."""
        return len(descriptors(self.gateway.pid))

    def connections(self) -> int:
        """How many connections the gateway holds to its arms, in whatever state."""
        ports = {arm.port for arm in self.arms.values()}
        return sum(one.peer_port in ports for one in connections(self.gateway.pid))


@contextmanager
def fleet(folder: Path) -> Iterator[Fleet]:
    """Runs a gateway and its three arms for the block."""
    spec = fan_out_spec(folder)
    arms = {name: Arm(name, spec, folder) for name in ARMS}
    try:
        for arm in arms.values():
            arm.serve()
        ports = {name: arm.port for name, arm in arms.items()}
        with gateway(folder, remote_spec(folder, ports)) as (process, port, log):
            yield Fleet(process, port, log, arms)
    finally:
        for arm in arms.values():
            arm.end()


@contextmanager
def gateway(folder: Path, spec: Path) -> Iterator[tuple[Process, int, Path]]:
    """Runs the gateway for the block, once it knows its arms."""
    port, log = free_port(), folder / "gateway.log"
    command = [
        *(sys.executable, "-m", "penstock", "serve", str(spec), "--host", HOST),
        *("--port", str(port), "--state-dir", str(folder / "state-gateway")),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": python_path()},
        )
        try:
            wait_for_answer(process, port, fan_out_call(), log)
            yield process, port, log
        finally:
            stop(process)
