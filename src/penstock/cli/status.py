"""`penstock status`: what a server serves, by which workers, and what is set in it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import msgspec

from penstock.cli.control import ask
from penstock.supervisor.answers import Status
from penstock.supervisor.crew import Member
from penstock.supervisor.overlay import said


def status(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Print the status of the server that runs.

    Raises:
        NoServer, SeveralServers: it is not clear which server is meant.
        Unavailable: it does not answer.
    """
    found = ask(options, environment, lambda server: server.status())
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        print(*lines(found), sep="\n")
    return 0


def lines(found: Status) -> Iterator[str]:
    """Yield a status as it is shown."""
    yield f"generation {found.generation} of {found.path} (file {found.digest})"
    yield f"state directory {found.state}" if found.state else f"no changes: {found.no_state}"
    yield from map(_worker, found.workers)
    for one in found.active:
        was = f"the file says {said(one.base)}"
        yield f"set: {one.path} = {said(one.value)} ({was}; {one.who}, {one.time})"
    if found.refused is not None:
        yield f"refused at {found.refused.time}, {found.refused.cause}:"
        yield from (f"  {problem}" for problem in found.refused.problems)


def _worker(worker: Member) -> str:
    since = datetime.fromtimestamp(worker.started_wall_s, UTC).isoformat(timespec="seconds")
    times = "once" if worker.restarts == 1 else f"{worker.restarts} times"
    restarts = f", restarted {times}" if worker.restarts else ""
    process = f" (pid {worker.pid})" if worker.pid else ""
    return f"worker {worker.index}{process}: {worker.phase} since {since}{restarts}"
