"""The arguments of `penstock log ...`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from penstock.cli.operating import NEWEST, as_count, as_port
from penstock.core.record import Role
from penstock.stores.log_folder import KEEP_DAYS
from penstock.stores.log_settings import above_zero

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no other

FORMATS: Final = ("table", "json", "csv")


def add_log_verbs(verbs: Verbs) -> None:
    """Add the parser of `log`, with those of `tail`, `query`, `export`, `compact` and `ship`."""
    log = verbs.add_parser("log", help="look into a prediction log, compact it, ship it")
    of_log = log.add_subparsers(dest="log_verb", required=True, metavar="VERB")
    _add_tail(of_log)
    _add_query(of_log)
    _add_export(of_log)
    _add_compact(of_log)
    _add_ship(of_log)


def _add_tail(of_log: Verbs) -> None:
    tail = _verb(
        of_log,
        "tail",
        "show the newest records, one JSON object a line",
        "penstock log tail -n 5 -f --route iris",
    )
    tail.add_argument(
        "-n",
        dest="newest",
        metavar="N",
        type=as_count,
        default=NEWEST,
        help=f"only the newest N ({NEWEST})",
    )
    tail.add_argument("-f", dest="follow", action="store_true", help="go on with what comes")
    tail.add_argument("--route", help="only records of this route")
    tail.add_argument("--role", choices=[role.value for role in Role], help="only of this role")


def _add_query(of_log: Verbs) -> None:
    query = _verb(
        of_log,
        "query",
        "answer a SELECT over the view records",
        "penstock log query 'SELECT model, count(*) FROM records GROUP BY model'",
    )
    query.add_argument("sql", metavar="SQL", help="one SELECT")
    query.add_argument(
        "--format", choices=FORMATS, default=FORMATS[0], help=f"of the answer ({FORMATS[0]})"
    )


def _add_export(of_log: Verbs) -> None:
    export = _verb(
        of_log,
        "export",
        "write records to a file",
        "penstock log export --where \"route = 'iris'\" iris.parquet",
    )
    export.add_argument("file", metavar="FILE", help="ends in .parquet, .csv or .jsonl")
    which = export.add_mutually_exclusive_group()
    which.add_argument("--where", metavar="CONDITION", help="only these records, in SQL")
    which.add_argument("--sql", help="what one SELECT over the view records gives")


def _add_compact(of_log: Verbs) -> None:
    compact = _verb(
        of_log,
        "compact",
        "make Parquet files of the finished segments, and drop what is old",
        "penstock log compact --keep-days 90",
    )
    compact.add_argument(
        "--keep-days",
        metavar="DAYS",
        type=as_days,
        help=f"how long records are kept ({KEEP_DAYS:g})",
    )


def _add_ship(of_log: Verbs) -> None:
    ship = _verb(
        of_log,
        "ship",
        "ship records to PostgreSQL, as PENSTOCK_LOG_POSTGRESQL says; the server does it itself",
        "penstock log ship --once --log-dir records",
    )
    ship.add_argument("--once", action="store_true", help="end when all that is there is shipped")
    ship.add_argument("--parent", type=int, help=argparse.SUPPRESS)  # it ends with that process


def _verb(verbs: Verbs, name: str, does: str, example: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=does,
        description=f"{does[0].upper()}{does[1:]}.",
        epilog=f"example: {example}",
    )
    parser.add_argument("--log-dir", help="where the log lies (log, in the state directory)")
    parser.add_argument("--state-dir", help="state directory of the server")
    parser.add_argument("--spec", help="the spec that is or was served")
    parser.add_argument("--port", type=as_port, help="the port where it is or was served")
    return parser


def as_days(text: str) -> float:
    """Return the number of days that an argument says.

    Raises:
        ArgumentTypeError: it says none above 0.
    """
    try:
        return above_zero(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0") from error
