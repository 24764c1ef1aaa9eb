"""The samples' command line for gunicorn."""

import sys
from pathlib import Path
from typing import Final

LOGGING: Final = Path(__file__).with_name("samples_logging.ini")


def gunicorn_command(app: str, port: int, *, workers: int = 1) -> list[str]:
    """The command that serves `app` as the samples' run script does, access log on."""
    return [
        *(sys.executable, "-m", "gunicorn", app),
        *("--bind", f"127.0.0.1:{port}"),
        *("--workers", str(workers)),
        *("--worker-class", "uvicorn_worker.UvicornWorker"),
        *("--log-config", str(LOGGING)),
        *("--access-logfile", "-"),
        *("--backlog", "2048"),
        *("--graceful-timeout", "10"),
    ]
