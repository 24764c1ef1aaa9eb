"""`penstock history`: what operators have changed, and when what was served changed."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping

import msgspec

from penstock.cli.control import ask
from penstock.supervisor.overlay import Event, said


def history(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Print the newest events of the server that runs, oldest first.

    Raises:
        NoServer, SeveralServers: it is not clear which server is meant.
        Unavailable: it does not answer.
    """
    events = ask(options, environment, lambda server: server.history(options.newest))
    for event in events:
        if options.json:
            print(msgspec.json.encode(event).decode())
        else:
            print(*lines(event), sep="\n")
    return 0


def lines(event: Event) -> Iterator[str]:
    """Yield an event as it is shown: a line for each value, or one for the generation."""
    begin = f"{event.time}  generation {event.generation}  {event.who}"
    for change in event.changes:
        dropped = "  (dropped: the file has changed)" if event.kind == "dropped" else ""
        yield f"{begin}  {change.path} {said(change.old)} -> {said(change.new)}{dropped}"
    if not event.changes:
        yield f"{begin}  {event.cause} (file {event.digest})"
