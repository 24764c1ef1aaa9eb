"""nginx in the benchmarks: a backend that answers constants, and a proxy to compare with."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.bench import Bench, MeasurementFailed, ToolMissing, pin
from benchmarks.constants import plain_answers
from benchmarks.server import HOST, START_TIMEOUT_S, ask, free_port, last_lines, stop

KEPT_ALIVE: Final = 10_000_000
"""Requests that a connection may carry: no benchmark sends as many over one."""

UPSTREAM_CONNECTIONS: Final = 256
"""Idle connections that the proxy keeps to each backend: more than the load has."""

POLL_S: Final = 0.01


def nginx() -> str:
    """Where nginx is; a system's folder may not be on the path.

    Raises:
        ToolMissing: it is not installed.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    if (found := shutil.which("nginx", path=path)) is None:
        raise ToolMissing("nginx")
    return found


def command(folder: Path, name: str, http: Sequence[str]) -> list[str]:
    """The command that runs one worker in the foreground, with all its files in `folder`."""
    own = folder / name
    own.mkdir(exist_ok=True)
    scratch = [
        f"{kind}_temp_path {own / kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    ]
    user = ["user root root;"] if os.geteuid() == 0 else []
    lines = [
        *("daemon off;", *user, "worker_processes 1;", f"pid {own / 'pid'};"),
        "error_log stderr warn;",
        "events { worker_connections 4096; }",
        *("http {", *scratch, "access_log off;", "default_type application/json;"),
        *(f"keepalive_requests {KEPT_ALIVE};", "keepalive_timeout 300s;", *http, "}"),
    ]
    file = own / "nginx.conf"
    file.write_text("\n".join(lines) + "\n")
    return [nginx(), "-p", str(own), "-e", "stderr", "-c", str(file)]


def server_block(port: int, locations: Mapping[str, str]) -> str:
    """One server on a port, with what stands in its exact locations."""
    inner = "\n".join(f"location = {path} {{ {body} }}" for path, body in locations.items())
    return f"server {{\nlisten {HOST}:{port} backlog=4096;\n{inner}\n}}"


def constant(answer: str) -> str:
    """The body of a location that answers a constant to every method."""
    if "'" in answer or "$" in answer:
        message = f"cannot stand in nginx's configuration: {answer!r}"
        raise ValueError(message)
    return f"return 200 '{answer}';"


def upstream_block(name: str, port: int) -> str:
    """A backend whose connections are kept."""
    kept = f"keepalive {UPSTREAM_CONNECTIONS}; keepalive_requests {KEPT_ALIVE};"
    return f"upstream {name} {{ server {HOST}:{port}; {kept} }}"


def passed_to(name: str) -> str:
    """The body of a location that passes requests on over kept connections."""
    kept = 'proxy_http_version 1.1; proxy_set_header Connection "";'
    return f"{kept} proxy_pass http://{name}/predict;"


@contextmanager
def constant_predictors(bench: Bench, names: Sequence[str]) -> Iterator[Mapping[str, int]]:
    """Runs plain predictors that answer constants, on the load's core; yields their ports."""
    with backend(bench, names) as (_, ports):
        yield ports


@contextmanager
def backend(bench: Bench, names: Sequence[str]) -> Iterator[tuple[int, Mapping[str, int]]]:
    """The same, and yields the process id beside the ports."""
    ports = {name: free_port() for name in names}
    blocks = [
        server_block(port, {path: constant(text) for path, text in plain_answers(name).items()})
        for name, port in ports.items()
    ]
    log = bench.workspace / "backend.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(bench.workspace, "backend", blocks),
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=pin(*bench.cores.load),
        )
        try:
            for port in ports.values():
                wait_until_healthy(process, port, log)
            yield process.pid, ports
        finally:
            stop(process)


def wait_until_healthy(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    """Asks `GET /health` until it is answered with 200."""
    end_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end_s and process.poll() is None:
        try:
            if ask(port, "GET", "/health")[0] == 200:
                return
        except OSError:
            time.sleep(POLL_S)
    message = f"nothing answers on port {port}:\n{last_lines(log)}"
    raise MeasurementFailed(message)
