"""Describes the machine that the figures were taken on."""

import os
import platform
import shutil
import subprocess
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from benchmarks.bench import ToolMissing
from benchmarks.nginx import nginx

PACKAGES: Final = (
    "penstock",
    "onnxruntime",
    "uvicorn",
    "uvloop",
    "httptools",
    "msgspec",
    "numpy",
    "fastapi",
    "starlette",
    "pydantic",
    "gunicorn",
    "uvicorn-worker",
    "httpx",
    "aiohttp",
    "duckdb",
    "pyarrow",
    "psycopg",
)


def cpu_model() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def cpu_mhz() -> str:
    """The clock that the first core reports."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("cpu MHz"):
            return f"{float(line.partition(':')[2]):.0f} MHz"
    return "unknown clock"


def memory_gb() -> float:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def python_build() -> str:
    """The interpreter and how it was built: a build without PGO is slower by a quarter or so."""
    flags = sysconfig.get_config_var("CONFIG_ARGS") or ""
    optimised = "with PGO" if "--enable-optimizations" in flags else "without PGO"
    return f"{platform.python_implementation()} {platform.python_version()}, built {optimised}"


def installed(package: str) -> str:
    """A package's name and version."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} -"


def load_generator() -> str:
    """What sends the requests: ours is so slow that it hides the fastest servers' throughput."""
    if shutil.which("wrk"):
        return "wrk, one thread"
    return "**benchmarks.load.asyncio_load, as wrk is not installed**: rates are its own limit"


def nginx_version() -> str:
    """What stands behind and beside the gateways."""
    try:
        said = subprocess.run([nginx(), "-v"], capture_output=True, text=True, check=True).stderr
    except (ToolMissing, subprocess.CalledProcessError):
        return "not installed"
    return said.strip().rpartition("/")[2]


def describe() -> dict[str, str]:
    """The machine, line by line."""
    return {
        "processor": f"{cpu_model()}, {cpu_mhz()}, {os.cpu_count()} cores",
        "memory": f"{memory_gb():.0f} GB",
        "system": f"{platform.freedesktop_os_release().get('PRETTY_NAME', '?')}, "
        f"Linux {platform.release()}",
        "load average at the start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "Python": python_build(),
        "load generator": load_generator(),
        "nginx": nginx_version(),
        "packages": ", ".join(installed(package) for package in PACKAGES),
    }
