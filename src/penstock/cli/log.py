"""`penstock log tail`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from penstock.cli.control import state_folder
from penstock.core.errors import PenstockError
from penstock.stores.log_folder import LOG_NAME, LOG_VARIABLE
from penstock.stores.prediction_record import PredictionRecord
from penstock.stores.read_log import as_json, newest


class NoLog(PenstockError):
    """There is no prediction log where one is looked for."""

    code = "no_log"

    def __init__(self, folder: Path) -> None:
        super().__init__(f"there is no prediction log in {folder}: nothing has been recorded there")


def log(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Print the newest records, one JSON object a line; return the exit status.

    Raises:
        NoLog: there is none.
        NoServer, SeveralServers: it is not clear which server's log is meant.
    """
    folder = log_folder(options, environment)
    if not folder.is_dir():
        raise NoLog(folder)

    def keep(record: PredictionRecord) -> bool:
        return options.route is None or record.route == options.route

    for record in newest(folder, options.newest, keep, _warn):
        sys.stdout.write(f"{as_json(record).decode()}\n")
    return 0


def log_folder(options: argparse.Namespace, environment: Mapping[str, str]) -> Path:
    """Return the folder of the log that is meant.

    Raises:
        NoServer, SeveralServers: it is not clear which server's.
    """
    named = options.log_dir
    if named is None and options.state_dir is None and options.port is None:
        named = environment.get(LOG_VARIABLE)
    if named:
        return Path(named)
    return state_folder(options, environment) / LOG_NAME


def _warn(sentence: str) -> None:
    print(f"warning: {sentence}", file=sys.stderr)
