"""Starts a server on its core, waits until it answers rightly, and stops it by its own pid."""

import http.client
import json
import math
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import REPOSITORY, Bench, MeasurementFailed, pin, say
from benchmarks.process_tree import ProcessStat, read_stat, tree

HOST: Final = "127.0.0.1"
START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 15.0
POLL_S: Final = 0.005
NOT_READY: Final = b'"not_ready"'
"""In the answer of a fan-out whose remote arms are not all known yet."""

SCORE_TOLERANCE: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Call:
    """A prediction request, and the answer that proves a server right."""

    path: str
    body: bytes
    answer: Any


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that takes part in a comparison."""

    name: str
    command: Callable[[int], list[str]]
    call: Call
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Running:
    """A contender's server that is up."""

    contender: Contender
    pid: int
    port: int
    first_answer_s: float


def free_port() -> int:
    """A port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Sends one request over a new connection."""
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def alike(expected: Any, answered: Any) -> bool:  # noqa: ANN401 - any JSON
    """Whether two JSON values are the same but for a score's last digits.

    Further keys of an object, such as ids, do not matter.
    """
    match expected, answered:
        case dict(), dict():
            return all(key in answered and alike(expected[key], answered[key]) for key in expected)
        case list(), list():
            pairs = zip(expected, answered, strict=False)
            return len(expected) == len(answered) and all(alike(*pair) for pair in pairs)
        case float() | int(), float() | int():
            return math.isclose(expected, answered, abs_tol=SCORE_TOLERANCE)
        case _:
            return bool(expected == answered)


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a server's log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])


def wait_for_answer(process: subprocess.Popen[bytes], port: int, call: Call, log: Path) -> None:
    """Polls `POST call.path` until the server answers it with 200."""
    end_s = time.perf_counter() + START_TIMEOUT_S
    while time.perf_counter() < end_s:
        if process.poll() is not None:
            message = f"the server ended at its start:\n{last_lines(log)}"
            raise MeasurementFailed(message)
        try:
            status, answer = ask(port, "POST", call.path, call.body)
        except OSError:
            status, answer = 0, b""
        if status == 200 and NOT_READY not in answer:
            check_answer(call, answer)
            return
        time.sleep(POLL_S)
    message = f"no answer within {START_TIMEOUT_S:.0f} s:\n{last_lines(log)}"
    raise MeasurementFailed(message)


def check_answer(call: Call, answer: bytes) -> None:
    """Refuses to measure a server that answers wrongly."""
    if not alike(call.answer, json.loads(answer)):
        message = f"wrong answer to {call.path}: {answer[:300]!r}, not {call.answer}"
        raise MeasurementFailed(message)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server politely, then whatever is left of its tree without ceremony."""
    before = tree(process.pid)
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        say(f"  pid {process.pid} did not end within {STOP_TIMEOUT_S:.0f} s of SIGTERM")
    for stat in before:
        if is_alive(stat):
            os.kill(stat.pid, signal.SIGKILL)
    process.wait()


def is_alive(stat: ProcessStat) -> bool:
    """Whether the very process that was seen is still there, and not another with its pid."""
    now = read_stat(stat.pid)
    return now is not None and now.started_ticks == stat.started_ticks


@contextmanager
def running(contender: Contender, bench: Bench) -> Iterator[Running]:
    """Runs a contender's server for the block."""
    port = free_port()
    log = bench.workspace / f"{contender.name.replace(' ', '-').replace('/', '-')}.log"
    with log.open("wb") as output:
        started_s = time.perf_counter()
        process = subprocess.Popen(
            contender.command(port),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=bench.workspace,
            env=environment(bench, contender),
            preexec_fn=pin(*bench.cores.server),
        )
        try:
            wait_for_answer(process, port, contender.call, log)
            yield Running(contender, process.pid, port, time.perf_counter() - started_s)
        finally:
            stop(process)


def environment(bench: Bench, contender: Contender) -> dict[str, str]:
    """What a server inherits; what it keeps of itself goes into the workspace."""
    own = {"PYTHONPATH": python_path(), "XDG_STATE_HOME": str(bench.workspace / "state")}
    return {**os.environ, **own, **contender.environment}


def python_path() -> str:
    """Lets a server that runs in the workspace import this package and Penstock."""
    inherited = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join(filter(None, [str(REPOSITORY), str(REPOSITORY / "src"), inherited]))
