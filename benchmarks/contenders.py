"""The servers that are compared: Penstock, the bare app, and the samples' design."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.models import ARMS, iris
from benchmarks.server import Call, Contender, free_port
from benchmarks.servers.samples_command import gunicorn_command

SAMPLES_WORKERS: Final = 4

PENSTOCK: Final = "Penstock"
BARE: Final = "bare app"
SAMPLES: Final = "samples' design"
SAMPLES_SHAPE: Final = "samples' shape, 4 workers"


def penstock(
    spec: Path, call: Call, *, name: str = PENSTOCK, options: Sequence[str] = ()
) -> Contender:
    """Penstock, serving a spec with its defaults but for some options; one worker unless told."""

    def command(port: int) -> list[str]:
        return [
            *(sys.executable, "-m", "penstock", "serve", str(spec)),
            *("--host", "127.0.0.1", "--port", str(port), *options),
        ]

    return Contender(name, command, call)


def bare(model: Path, call: Call) -> Contender:
    """The bare app on uvicorn, as fast as uvicorn's options make it."""

    def command(port: int) -> list[str]:
        return [
            *(sys.executable, "-m", "uvicorn", "benchmarks.servers.bare:app"),
            *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--loop", "uvloop", "--http", "httptools", "--lifespan", "off"),
            *("--no-access-log", "--log-level", "warning"),
        ]

    return Contender(BARE, command, call, {"BENCH_MODEL": str(model)})


def samples(model: Path, call: Call) -> Contender:
    """The samples' FastAPI app under gunicorn, with one worker."""

    def command(port: int) -> list[str]:
        return gunicorn_command("benchmarks.servers.samples:app", port)

    return Contender(SAMPLES, command, call, {"BENCH_MODEL": str(model)})


def samples_shape(model: Path, call: Call) -> Contender:
    """The samples' app as their run script starts it: four workers, whatever the cores."""

    def command(port: int) -> list[str]:
        app = "benchmarks.servers.samples:app"
        return gunicorn_command(app, port, workers=SAMPLES_WORKERS)

    return Contender(SAMPLES_SHAPE, command, call, {"BENCH_MODEL": str(model)})


def samples_fan_out(call: Call, *, name: str) -> Contender:
    """The samples' proxy and its three services."""

    def command(port: int) -> list[str]:
        places = [f"{arm}={iris(arm)}={free_port()}" for arm in ARMS]
        return [sys.executable, "-m", "benchmarks.servers.samples_fleet", str(port), *places]

    return Contender(name, command, call)
