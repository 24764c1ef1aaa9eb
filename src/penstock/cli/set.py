"""`penstock set TARGET KEY=VALUE ...`: values of the spec, changed while it is served."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.cli.control import ask, say_changed


class Changes(argparse.Action):
    """Reads `TARGET KEY=VALUE [KEY=VALUE ...] [TARGET KEY=VALUE ...]` into triples of text."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Put the triples into the namespace, or end with what is wrong with them."""
        del option_string
        triples: list[tuple[str, str, str]] = []
        target = ""
        given = True
        for word in values or ():
            key, equals, value = word.partition("=")
            if equals and not target:
                parser.error(f"say the route or arm before {word!r}")
            if equals:
                triples.append((target, key, value))
            elif not given:
                parser.error(f"nothing is given to set of {target!r}: say KEY=VALUE after it")
            else:
                target = word
            given = bool(equals)
        if not given:
            parser.error(f"nothing is given to set of {target!r}: say KEY=VALUE after it")
        setattr(namespace, self.dest, triples)


def set_values(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Set values in the server that runs, all at once.

    Raises:
        NoServer, SeveralServers: it is not clear which server is meant.
        ChangeRefused: it refuses; with all reasons.
        Unavailable: it does not answer.
    """
    changes = options.changes
    changed = ask(options, environment, lambda server: server.set(changes))
    return say_changed(changed, "nothing changed")
