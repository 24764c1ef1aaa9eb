"""A real `penstock serve`: a process, a socket, its banner."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.gateway.asking import Answer
from tests.gateway.wire import parse

PATIENCE_S: Final = 30.0
"""For a machine that is slow; what is waited for is there much sooner."""


class Serving:
    """A server that is up.

    Attributes:
        process: the server's.
        banner: what it printed before it was up.
        environment: of the server, and of commands that are to find it.
        port: as its banner says.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], banner: str, environment: Mapping[str, str]
    ) -> None:
        self.process = process
        self.banner = banner
        self.environment = environment
        found = re.search(r"http://[^/ ]*:(\d+)/", banner)
        assert found is not None, banner
        self.port = int(found[1])

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request(method, path, body or None, dict(headers or {}))
            response = connection.getresponse()
            content = response.read()
            given = tuple((name.lower(), value) for name, value in response.getheaders())
            return Answer(response.status, given, content)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `penstock ...` as its operator would, beside it."""
        return subprocess.run(
            [sys.executable, "-m", "penstock", *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=PATIENCE_S,
            check=False,
        )

    def connect(self) -> socket.socket:
        """Return a raw connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def children(self) -> list[int]:
        """Return the process ids of the server's children, as Linux knows them."""
        found: list[int] = []
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
                found += map(int, (task / "children").read_text().split())
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@contextlib.contextmanager
def serving(
    *arguments: str | Path,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    port: int = 0,
) -> Iterator[Serving]:
    """Start `penstock serve ...`, yield it once it is up, and end it.

    What it keeps, it keeps in a folder that is gone afterwards, unless the environment names one.
    """
    with tempfile.TemporaryDirectory(prefix="penstock-") as state:
        around = {**os.environ, "XDG_STATE_HOME": state, **(environment or {})}
        with starting(*arguments, folder=folder, environment=around, port=port) as process:
            yield serving_by(process, around)


def serving_by(process: subprocess.Popen[bytes], environment: Mapping[str, str]) -> Serving:
    """Return a server that has been started, once it is up."""
    return Serving(process, _banner(process), environment)


@contextlib.contextmanager
def starting(
    *arguments: str | Path,
    folder: Path | None = None,
    environment: Mapping[str, str],
    port: int = 0,
    program: Sequence[str] = ("-m", "penstock"),
) -> Iterator[subprocess.Popen[bytes]]:
    """Start `penstock serve ...` in this environment, yield its process at once, and end it."""
    command = [sys.executable, *program, "serve", *map(str, arguments)]
    command += ["--port", str(port)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=environment,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE_S)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _banner(process: subprocess.Popen[bytes]) -> str:
    """Read up to the line that is to be tried, the last of the banner."""
    assert process.stdout is not None
    banner = b""
    until_s = time.monotonic() + PATIENCE_S
    while b"\n  curl " not in banner or not banner.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], until_s - time.monotonic())
        piece = os.read(process.stdout.fileno(), 65536) if ready else b""
        if not piece:
            assert process.stderr is not None
            process.kill()
            raise AssertionError(process.stderr.read().decode())
        banner += piece
    return banner.decode()


def receive(connection: socket.socket, buffer: bytearray) -> Answer:
    """Return the next answer of a raw connection; `buffer` holds what came behind it."""
    while True:
        parsed = parse(bytes(buffer))
        if parsed is not None:
            answer, size = parsed
            del buffer[:size]
            return answer
        piece = connection.recv(65536)
        assert piece, "closed without an answer"
        buffer += piece


def is_alive(process_id: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until_gone(process_id: int) -> None:
    """Return when a process that is no child of ours has ended."""
    try:
        watched = os.pidfd_open(process_id)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([watched], [], [], PATIENCE_S)
        assert ended, f"process {process_id} lives on"
    finally:
        os.close(watched)


def as_json(answer: Answer) -> Any:  # noqa: ANN401 - any JSON
    return json.loads(answer.content)
