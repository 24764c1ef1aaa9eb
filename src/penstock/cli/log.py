"""`penstock log tail`, `query`, `export` and `compact`."""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

from penstock.cli.log_place import log_folder
from penstock.core.errors import PenstockError
from penstock.stores.log_settings import keep_days_of
from penstock.stores.manifests import PARQUET
from penstock.stores.prediction_record import PredictionRecord
from penstock.stores.read_log import Follower, as_json, newest

EXTRA: Final = ("duckdb", "pyarrow")
"""What the extra `penstock[log]` brings."""

MAX_TABLE_ROWS: Final = 1000
"""Rows of an answer that are shown as a table."""

COMMANDS: Final = re.compile(r"[\x7f-\x9f]")
"""Characters that JSON leaves as they are, and a terminal may take as commands."""

FOLLOW_S: Final = 0.5
"""How often `tail -f` looks for what has come."""


class ExtraMissing(PenstockError):
    """A command needs packages that are not installed."""

    code = "extra_missing"

    def __init__(self, verb: str) -> None:
        super().__init__(
            f"penstock log {verb} needs DuckDB and PyArrow, which are not installed: "
            "pip install 'penstock[log]'; penstock log tail works without them"
        )


class LogUnreadable(PenstockError):
    """The files of a prediction log cannot be read."""

    code = "log_unreadable"

    def __init__(self, folder: Path, cause: OSError) -> None:
        why = (cause.strerror or str(cause)).lower()
        what = "" if cause.filename is None else f" ({cause.filename})"
        super().__init__(f"the prediction log in {folder} cannot be read: {why}{what}")


def log(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Do what is asked of a prediction log; return the exit status.

    Raises:
        NoLog, SeveralLogs: it is not clear which one is meant.
        ExtraMissing: it needs more than is installed.
        LogUnreadable: the disk refuses.
        QueryFailed, CannotExport: it cannot be answered, or written.
        CompactorBusy, CannotCompact: it cannot be compacted now.
    """
    if options.log_verb != "tail" and not has_extra():
        raise ExtraMissing(options.log_verb)
    folder = log_folder(options, environment)
    try:
        with uncollected():
            return _VERBS[options.log_verb](folder, options, environment)
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        raise LogUnreadable(folder, error) from error


def has_extra() -> bool:
    """Tell whether what the extra brings is installed."""
    return all(importlib.util.find_spec(name) is not None for name in EXTRA)


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage meanwhile: a million records are none, and are looked at again and again.

    What is read here has no circles, so that it goes by itself.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def tail(
    folder: Path,
    options: argparse.Namespace,
    environment: Mapping[str, str],
    *,
    wait: Callable[[float], object] = time.sleep,
) -> int:
    """Print the newest records of the segments; then what comes, until interrupted."""
    del environment

    def keep(record: PredictionRecord) -> bool:
        return (options.route is None or record.route == options.route) and (
            options.role is None or record.role == options.role
        )

    follower = Follower(folder, _warn)
    if options.follow:
        follower.pass_over()
    told = newest(folder, options.newest, keep, _warn, follower.ends)
    for record in told:
        _print(as_json(record))
    if len(told) < options.newest and any((folder / PARQUET).glob("*/*/*.parquet")):
        _say("older records are in Parquet files: see penstock log query")
    while options.follow:
        sys.stdout.flush()
        wait(FOLLOW_S)
        for record in filter(keep, follower.more()):
            _print(as_json(record))
    return 0


def query(folder: Path, options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Print what a query gives."""
    from penstock.stores.export import json_lines, table_lines, write_csv
    from penstock.stores.query import answered

    del environment
    with answered(folder, options.sql, _warn) as answer:
        match options.format:
            case "json":
                for line in json_lines(answer):
                    _print(line.rstrip())
            case "csv":
                write_csv(answer, sys.stdout)
            case _:
                rows = answer.rows()
                for text in table_lines(answer.columns, list(islice(rows, MAX_TABLE_ROWS))):
                    print(text)
                if next(rows, None) is not None:
                    _say(f"only {MAX_TABLE_ROWS} rows are shown; --format csv or json shows all")
    return 0


def export(folder: Path, options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Write what a query gives to a file."""
    from penstock.stores.export import export as write
    from penstock.stores.query import answered

    del environment
    sql = options.sql or "SELECT * FROM records"
    if options.where is not None:
        # It may end in a comment. Whatever it is, only a SELECT of the view is answered.
        sql = f"SELECT * FROM records WHERE ({options.where}\n)"  # noqa: S608
    with answered(folder, sql, _warn) as answer:
        count = write(answer, Path(options.file))
    print(f"{options.file}: {count} rows")
    return 0


def compact(folder: Path, options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Compact what is finished, and drop what is old."""
    from penstock.stores.parquet import compact_log

    keep_days = options.keep_days or keep_days_of(environment)
    done, dropped = compact_log(folder, time.time(), keep_days, _warn)
    print(f"compacted {done.segments} segments, {done.records} records, into {done.files} files")
    if dropped.files or dropped.segments or dropped.damaged:
        print(
            f"dropped what is older than {keep_days:g} days: {dropped.files} files, "
            f"{dropped.segments} segments, {dropped.damaged} damaged ones"
        )
    return 0


_VERBS: Final = {"tail": tail, "query": query, "export": export, "compact": compact}


def _print(line: bytes) -> None:
    """Print a line of JSON, with what a terminal may take as commands written out."""
    text = line.decode()
    if not text.isascii() or "\x7f" in text:
        text = COMMANDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    sys.stdout.write(f"{text}\n")


def _say(sentence: str) -> None:
    sys.stdout.flush()
    print(sentence, file=sys.stderr)


def _warn(sentence: str) -> None:
    _say(f"warning: {sentence}")
