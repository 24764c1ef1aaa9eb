"""`penstock switch ROUTE[/ARM] on|observe|off`: what callers get, changed while it is served."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from penstock.cli.control import ask, say_changed


def switch(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Switch a route or an arm of the server that runs.

    Raises:
        NoServer, SeveralServers: it is not clear which server is meant.
        ChangeRefused: it refuses; with all reasons.
        Unavailable: it does not answer.
    """
    target, state = options.target, options.state
    changed = ask(options, environment, lambda server: server.switch(target, state))
    return say_changed(changed, "nothing changed")
