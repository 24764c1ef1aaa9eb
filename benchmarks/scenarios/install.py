"""How long a base install takes and how large it is, beside FastAPI put together by hand."""

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.bench import REPOSITORY, Bench, MeasurementFailed, pin, say
from benchmarks.figures import Spread
from benchmarks.report import Bound, Mark, Report, Table

LIMIT_S: Final = 20.0
LIMIT_MB: Final = 200.0
BYTES_PER_MB: Final = 1e6
BLOCK_BYTES: Final = 512
TIMEOUT_S: Final = 300.0
MAX_ROUNDS: Final = 3

BASE: Final = "Penstock with its base requirements"
BY_HAND: Final = "FastAPI by hand"
BASE_LOCK: Final = REPOSITORY / "requirements" / "base.lock"
BENCH_LOCK: Final = REPOSITORY / "requirements" / "bench.lock"
BY_HAND_PACKAGES: Final = (
    "fastapi",
    "gunicorn",
    "httptools",
    "numpy",
    "onnxruntime",
    "uvicorn-worker",
    "uvloop",
)


@dataclass(frozen=True, slots=True)
class Installed:
    """A fresh environment with what was asked for in it."""

    took_s: float
    size_mb: float


def run(bench: Bench) -> Report:
    """Installs both into fresh environments in turn, a few times: each time is a download."""
    constraints = write_constraints(bench.workspace)
    wanted = {
        BASE: [
            ["--require-hashes", "-r", str(BASE_LOCK)],
            ["--no-deps", "--no-build-isolation", str(REPOSITORY)],
        ],
        BY_HAND: [["-c", str(constraints), *BY_HAND_PACKAGES]],
    }
    figures: dict[str, list[Installed]] = {name: [] for name in wanted}
    for number in range(1, min(bench.rounds, MAX_ROUNDS) + 1):
        for name, steps in wanted.items():
            say(f"  round {number}: {name}")
            figures[name].append(install(bench, steps))
    return Report(
        title="Install",
        how="`python -m venv` and `pip install --no-cache-dir` into it, all cores; the size is "
        "that of the whole environment on disk, pip included. Penstock's requirements come "
        "with their hashes checked, FastAPI's at the versions of the benchmarks' lock.",
        table=install_table(figures),
        marks=install_marks(figures[BASE]),
        figures={name: [asdict(one) for one in rounds] for name, rounds in figures.items()},
    )


def write_constraints(folder: Path) -> Path:
    """The versions of the benchmarks' lock, without its hashes."""
    path = folder / "constraints.txt"
    pins = re.findall(r"^[a-z][\w.-]*==[\w.]+", BENCH_LOCK.read_text(), re.MULTILINE)
    path.write_text("\n".join(pins))
    return path


def install(bench: Bench, steps: Sequence[Sequence[str]]) -> Installed:
    """Makes an environment and has pip install into it, step by step."""
    with TemporaryDirectory(dir=bench.workspace) as folder:
        environment = Path(folder) / "venv"
        pip = [str(environment / "bin" / "python"), "-m", "pip", "install"]
        started_s = time.perf_counter()
        call(bench, [sys.executable, "-m", "venv", str(environment)])
        for step in steps:
            call(bench, [*pip, "--quiet", "--no-cache-dir", "--disable-pip-version-check", *step])
        took_s = time.perf_counter() - started_s
        return Installed(took_s, size_bytes(environment) / BYTES_PER_MB)


def call(bench: Bench, command: Sequence[str]) -> None:
    """Runs a command on all cores."""

    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        preexec_fn=pin(*bench.cores.every),
    )
    if done.returncode:
        message = f"{' '.join(command)} failed:\n{done.stderr}"
        raise MeasurementFailed(message)


def size_bytes(folder: Path) -> int:
    """The disk space of everything in a folder."""
    return sum(path.lstat().st_blocks * BLOCK_BYTES for path in folder.rglob("*"))


def install_table(figures: dict[str, list[Installed]]) -> Table:
    """Seconds and megabytes."""
    rows = [
        [
            name,
            Spread.of([installed.took_s for installed in rounds]).text(1),
            Spread.of([installed.size_mb for installed in rounds]).text(),
        ]
        for name, rounds in figures.items()
    ]
    return Table(["environment", "s", "MB"], rows)


def install_marks(rounds: Sequence[Installed]) -> list[Mark]:
    """The time and the size of the base install."""
    took_s = Spread.of([installed.took_s for installed in rounds])
    size_mb = Spread.of([installed.size_mb for installed in rounds])
    return [
        Mark("base install, time", Bound.AT_MOST, LIMIT_S, took_s, " s"),
        Mark("base install, size", Bound.AT_MOST, LIMIT_MB, size_mb, " MB"),
    ]
