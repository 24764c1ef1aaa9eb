"""Starts the samples' proxy and its three services as one process tree.

    python -m benchmarks.servers.samples_fleet PROXY_PORT NAME=MODEL=PORT ...

The tree ends when this process is told to end, or when any of its four servers does.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from types import FrameType

from benchmarks.servers.samples_command import gunicorn_command


def start(app: str, port: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts one server of the fleet."""
    return subprocess.Popen(gunicorn_command(app, port), env={**os.environ, **environment})


def start_fleet(proxy_port: int, places: list[str]) -> list[subprocess.Popen[bytes]]:
    """Starts the services, then the proxy that knows them."""
    fleet, services = [], []
    for place in places:
        name, model, port = place.split("=")
        fleet.append(start("benchmarks.servers.samples:app", int(port), {"BENCH_MODEL": model}))
        services.append(f"{name}=http://127.0.0.1:{port}")
    named = {"BENCH_SERVICES": ",".join(services)}
    fleet.append(start("benchmarks.servers.samples_proxy:app", proxy_port, named))
    return fleet


def leave(_number: int, _frame: FrameType | None) -> None:
    """Turns the signal into an ordinary exit, so that `finally` runs."""
    raise SystemExit(0)


def main() -> None:
    """Runs the fleet until the first of its servers ends or a signal comes."""
    signal.signal(signal.SIGTERM, leave)
    fleet = start_fleet(int(sys.argv[1]), sys.argv[2:])
    try:
        while all(server.poll() is None for server in fleet):
            time.sleep(1)
    finally:
        for server in fleet:
            server.terminate()
        for server in fleet:
            server.wait()


if __name__ == "__main__":
    main()
