"""The verbs that operate a server which runs: their arguments, and which module does them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from penstock.cli.set import Changes

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no other

NEWEST: Final = 20


def add_operating_verbs(verbs: Verbs) -> None:
    """Add the parsers of `switch`, `set`, `history`, `reload` and `status`."""
    switch = _verb(
        verbs,
        "switch",
        "switch a route or an arm of a running server",
        "penstock switch iris-parallel/setosa observe",
    )
    switch.add_argument(
        "target", metavar="ROUTE[/ARM]", help="a route, an arm of one, or its mirror"
    )
    switch.add_argument(
        "state", choices=("on", "observe", "off"), help="answered, only called, not"
    )
    changes = _verb(
        verbs,
        "set",
        "set values of a running server, all at once",
        "penstock set iris-ab/svc weight=95 iris-ab/rf weight=5",
    )
    what = "a route, an arm or a mirror, and what to set: weight, percent, state ..."
    changes.add_argument(
        "changes", metavar="TARGET KEY=VALUE", nargs="+", action=Changes, help=what
    )
    history = _verb(
        verbs, "history", "show what has been changed in a running server", "penstock history -n 5"
    )
    history.add_argument("--json", action="store_true", help="one JSON object a line")
    history.add_argument(
        "-n",
        dest="newest",
        metavar="N",
        type=as_count,
        default=NEWEST,
        help=f"only the newest N ({NEWEST})",
    )
    _verb(verbs, "reload", "have a running server read its spec anew", "penstock reload")
    status = _verb(verbs, "status", "show what a running server serves", "penstock status --json")
    status.add_argument("--json", action="store_true", help="as JSON")


def operate(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Do one of these verbs; return the exit status."""
    match options.verb:
        case "switch":
            from penstock.cli.switch import switch as verb
        case "set":
            from penstock.cli.set import set_values as verb
        case "history":
            from penstock.cli.history import history as verb
        case "log" if options.log_verb == "ship":
            from penstock.cli.ship import ship as verb
        case "log":
            from penstock.cli.log import log as verb
        case "reload":
            from penstock.cli.reload import reload as verb
        case _:
            from penstock.cli.status import status as verb
    return verb(options, environment)


def _verb(verbs: Verbs, name: str, does: str, example: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=does,
        description=f"{does[0].upper()}{does[1:]}.",
        epilog=f"example: {example}",
    )
    which = "of the server's, where several run"
    parser.add_argument("--port", type=as_port, help=f"port {which}")
    parser.add_argument("--state-dir", help=f"state directory {which}")
    return parser


def as_port(text: str) -> int:
    """Return the port that an argument names.

    Raises:
        ArgumentTypeError: it names none.
    """
    port = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 < port <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give 1 to 65535")
    return port


def as_count(text: str) -> int:
    """Return the number, 1 or more, that an argument names.

    Raises:
        ArgumentTypeError: it names none.
    """
    count = int(text) if text.isascii() and text.isdigit() else 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number: give 1 or more")
    return count
