"""Finding the server that a command is for, and asking it."""

from __future__ import annotations

import argparse
import asyncio
import glob
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from penstock.core.clock import SystemClock
from penstock.core.errors import PenstockError
from penstock.supervisor.answers import Changed
from penstock.supervisor.control import connected, is_live
from penstock.supervisor.overlay import said
from penstock.supervisor.remote import RemoteSupervisor
from penstock.supervisor.state import SOCKET_NAME, VARIABLE, base_folder

T = TypeVar("T")


class NoServer(PenstockError):
    """No server that runs can be asked."""

    code = "no_server"


class SeveralServers(PenstockError):
    """Several servers run, and nothing says which one is meant."""

    code = "several_servers"

    def __init__(self, folders: tuple[str, ...]) -> None:
        listed = "".join(f"\n  {folder}" for folder in folders)
        super().__init__(f"several servers run; say --port or --state-dir, one of{listed}")


def ask(
    options: argparse.Namespace,
    environment: Mapping[str, str],
    question: Callable[[RemoteSupervisor], Awaitable[T]],
) -> T:
    """Return what the server that is meant answers to a question.

    Raises:
        NoServer, SeveralServers: it is not clear which server is meant.
        ChangeRefused: it refuses; with all reasons.
        Unavailable: it does not answer.
    """
    return asyncio.run(_asked(_socket(options, environment), question))


def say_changed(changed: Changed, done: str) -> int:
    """Say what has been changed, one line each; return the exit status.

    Args:
        changed: what the server answered.
        done: what has been done where no single value has changed.
    """
    for warning in changed.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if changed.already:
        print(f"generation {changed.generation}: it is so already; nothing has been changed")
        return 0
    lines = [f"{one.path} {said(one.old)} -> {said(one.new)}" for one in changed.changes] or [done]
    for line in lines:
        print(f"generation {changed.generation}: {line} ({_served_by(changed)})")
    return 0


def _served_by(changed: Changed) -> str:
    if changed.workers < changed.of:
        return f"{changed.workers} of {changed.of} workers; the others are being replaced"
    return "1 worker" if changed.of == 1 else f"all {changed.of} workers"


async def _asked(path: Path, question: Callable[[RemoteSupervisor], Awaitable[T]]) -> T:
    try:
        async with connected(path, clock=SystemClock()) as server:
            return await question(server)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise NoServer(f"no server answers at {path}: {why}") from error


def _socket(options: argparse.Namespace, environment: Mapping[str, str]) -> Path:
    named = options.state_dir
    if named is None and options.port is None:
        named = environment.get(VARIABLE)
    if named:
        return Path(named) / SOCKET_NAME
    live = _live(environment, options.port)
    if len(live) > 1:
        raise SeveralServers(tuple(str(path.parent) for path in live))
    if not live:
        raise NoServer(_none(environment, options.port))
    return live[0]


def _live(environment: Mapping[str, str], port: int | None) -> list[Path]:
    base = base_folder(environment)
    if base is None:
        return []
    folders = glob.escape(str(base)) + ("/*" if port is None else f"/*-{port}")
    return [path for one in sorted(glob.glob(folders)) if is_live(path := Path(one) / SOCKET_NAME)]


def _none(environment: Mapping[str, str], port: int | None) -> str:
    base = base_folder(environment)
    what = "no server" if port is None else f"no server on port {port}"
    where = "as the environment has no HOME" if base is None else f"in {base}"
    return f"{what} has its state directory {where}; start one, or say --state-dir"
