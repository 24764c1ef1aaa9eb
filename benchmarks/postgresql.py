"""A PostgreSQL server for a scenario: on a socket in a folder of its own, gone afterwards."""

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.bench import MeasurementFailed, ToolMissing

USER: Final = "bench"
WAIT_S: Final = 60


@contextmanager
def a_database() -> Iterator[str]:
    """Runs a server with its usual settings, and tells the address of its database.

    Raises:
        ToolMissing: it is not installed.
    """
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's name is short
    try:
        user = _someone()
        if user is not None:
            shutil.chown(folder, user)
        made = ("--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C")
        _run(programs / "initdb", user, folder, "--pgdata", f"{folder}/data", *made)
        options = f"-c listen_addresses='' -k {folder}"
        control = ("-w", "-t", str(WAIT_S), "-D", f"{folder}/data", "-l", f"{folder}/log")
        _run(programs / "pg_ctl", user, folder, "start", "-o", options, *control)
        try:
            yield f"postgresql://{USER}@{str(folder).replace('/', '%2F')}/postgres"
        finally:
            _run(programs / "pg_ctl", user, folder, "stop", "-m", "immediate", *control)
    finally:
        shutil.rmtree(folder)


def _programs() -> Path:
    found = [Path(one) for one in glob.glob("/usr/lib/postgresql/*/bin")]
    found.sort(key=lambda path: float(path.parent.name))
    in_path = shutil.which("initdb")
    if in_path is not None:
        found.append(Path(in_path).resolve().parent)
    for path in reversed(found):
        if (path / "initdb").exists():
            return path
    raise ToolMissing("PostgreSQL")


def _someone() -> str | None:
    """Tells as whom it runs where we are root: it refuses root."""
    if os.geteuid() != 0:
        return None
    names = {one.pw_name for one in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)


def _run(program: Path, user: str | None, folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [program, *arguments],
        user=user,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # no pipe: the server that is started would keep it open
        stderr=subprocess.DEVNULL,
        timeout=2 * WAIT_S,
        check=False,
    )
    if done.returncode:
        raise MeasurementFailed(f"{program.name} {arguments[0]}: status {done.returncode}")
