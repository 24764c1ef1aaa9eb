"""A PostgreSQL server of the tests' own: on a socket in a folder of its own, gone afterwards."""

from __future__ import annotations

import glob
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

WAIT_S: Final = 60
_USER: Final = "penstock"


class PostgresServer:
    """A cluster in a folder. It runs as a user of its own where we are root: it refuses root.

    Args:
        programs: where `initdb` and `pg_ctl` are.
        folder: an empty one, with a short name.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._numbers = itertools.count()
        self._user: str | int | None = None
        if os.geteuid() == 0:
            self._user = _someone()
            shutil.chown(folder, self._user)

    def make(self) -> None:
        data = str(self._folder / "data")
        options = ("--auth=trust", f"--username={_USER}", "--encoding=UTF8", "--locale=C")
        self._run("initdb", "--pgdata", data, "--no-sync", *options)

    def start(self) -> None:
        settings = "-c fsync=off -c listen_addresses='' -c max_wal_size=64MB -c shared_buffers=16MB"
        self._control("start", "-o", f"{settings} -k {self._folder}", "-l", f"{self._folder}/log")

    def stop(self) -> None:
        """End it as a crash would."""
        self._control("stop", "-m", "immediate")

    def address(self, database: str = "postgres") -> str:
        """Return what PENSTOCK_LOG_POSTGRESQL has to say; the password is not asked for."""
        host = str(self._folder).replace("/", "%2F")
        return f"postgresql://{_USER}:open-sesame@{host}/{database}"

    def new_database(self) -> str:
        """Make an empty database; return its address."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.address(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.address(name)

    def _control(self, verb: str, *options: str) -> None:
        self._run("pg_ctl", verb, "-w", "-t", str(WAIT_S), "-D", f"{self._folder}/data", *options)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            user=self._user,
            cwd=self._folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # no pipe: the server that is started would keep it open
            stderr=subprocess.DEVNULL,
            timeout=2 * WAIT_S,
            check=False,
        )
        assert done.returncode == 0, f"{program} {arguments}: status {done.returncode}"


def _someone() -> str:
    names = {one.pw_name for one in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)


def programs() -> Path | None:
    """Return where PostgreSQL's programs are on this machine, the newest of them."""
    found = [Path(one) for one in glob.glob("/usr/lib/postgresql/*/bin")]
    found.sort(key=lambda path: float(path.parent.name))
    in_path = shutil.which("initdb")
    if in_path is not None:
        found.append(Path(in_path).resolve().parent)
    return next((one for one in reversed(found) if (one / "initdb").exists()), None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server for all tests that need one."""
    where = programs()
    if where is None:
        pytest.skip("PostgreSQL's programs (initdb, pg_ctl) are not installed here")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        server = PostgresServer(where, folder)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    """The address of an empty database."""
    return postgres.new_database()


def asked(address: str, question: str) -> list[tuple[Any, ...]]:
    """Return the rows that a query gives."""
    with psycopg.connect(address, autocommit=True) as connection:
        cursor = connection.execute(question.encode())
        return cursor.fetchall() if cursor.description else []
