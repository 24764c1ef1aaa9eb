"""`penstock VERB ...`."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from penstock import __version__
from penstock.cli.log_options import add_log_verbs, as_days
from penstock.cli.operating import add_operating_verbs, operate
from penstock.core.errors import PenstockError
from penstock.stores.log_folder import KEEP_DAYS

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no other

MAX_WORKERS: Final = 256
"""Processes of one server."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="penstock",
        description="Serve trained models behind the production serving patterns.",
    )
    top.add_argument("--version", action="version", version=f"penstock {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    _add_serve(verbs)

    check = verbs.add_parser("check", help="say all that is wrong with a spec")
    check.add_argument("spec", help="a spec (YAML)")

    explain = verbs.add_parser("explain", help="show the graph of a spec as a tree")
    explain.add_argument("spec", help="a spec (YAML)")
    explain.add_argument("route", nargs="?", help="only this route")
    explain.add_argument(
        "--request",
        metavar="JSON",
        help="say which way this request would go, and why, without sending it: an object of"
        " headers, query, body (with data) and time (of the day in UTC, such as 22:30); bounds are"
        " compared as written, while the server rounds those of a column to the model's type",
    )

    add_operating_verbs(verbs)
    add_log_verbs(verbs)
    return top


def _add_serve(verbs: Verbs) -> None:
    serve = verbs.add_parser("serve", help="serve a spec, or one model file")
    serve.add_argument("what", metavar="SPEC_OR_MODEL", help="a spec (YAML) or a .onnx file")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=_port, default=8000, help="port to listen on (8000)")
    serve.add_argument("--route", help="serve only this route or model, at the root")
    serve.add_argument(
        "--workers", type=_workers, default=1, help="processes that serve, one per core (1)"
    )
    serve.add_argument(
        "--state-dir", help="where live changes are kept, and asked for (by spec and port)"
    )
    _add_log_places(serve)
    serve.add_argument("--labels", help="of a model file: JSON file of class names")
    serve.add_argument("--sample", help="of a model file: rows that it can predict, as JSON")


def _add_log_places(serve: argparse.ArgumentParser) -> None:
    serve.add_argument(
        "--log-dir", help="where predictions are recorded (log, in the state directory)"
    )
    serve.add_argument(
        "--log-sink",
        action="append",
        default=[],
        metavar="SINK",
        help="where else they are: stdout (JSON lines)",
    )
    serve.add_argument(
        "--log-keep-days",
        metavar="DAYS",
        type=as_days,
        help=f"how long records are kept there ({KEEP_DAYS:g})",
    )


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give 0 to 65535")
    return port


def _workers(text: str) -> int:
    count = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= count <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of workers: 1 to {MAX_WORKERS}")
    return count


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit status: 0, 1 where something is wrong, 2 for bad usage."""
    _hold_standard_numbers()
    options = parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):  # a path may hold what UTF-8 cannot
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(options)
    except PenstockError as error:
        print(error.message, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _hold_standard_numbers() -> None:
    """Open the null device as each of descriptors 0 to 2 that is closed.

    Else a file that is opened later gets the number, and what is printed goes into that.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one


def _run(options: argparse.Namespace) -> int:
    match options.verb:
        case "serve":
            from penstock.cli.serve import serve

            return serve(options, os.environ)
        case "check":
            from penstock.cli.check import check

            return check(options.spec, os.environ)
        case "switch" | "set" | "history" | "reload" | "status" | "log":
            return operate(options, os.environ)
        case _:
            from penstock.cli.explain import explain

            return explain(options.spec, options.route, os.environ, request=options.request)
