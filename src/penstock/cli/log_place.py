"""Finding the folder of the prediction log that a command is for. Its server need not run."""

from __future__ import annotations

import argparse
import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from penstock.core.errors import PenstockError
from penstock.stores.log_folder import LOG_NAME, LOG_VARIABLE
from penstock.stores.log_settings import folder_named
from penstock.supervisor.control import is_live
from penstock.supervisor.state import SOCKET_NAME, VARIABLE, base_folder, default_folder

USUAL_PORT: Final = 8000


class NoLog(PenstockError):
    """There is no prediction log where one is looked for."""

    code = "no_log"

    def __init__(self, where: str) -> None:
        super().__init__(f"there is no prediction log {where}; nothing has been recorded there")


class SeveralLogs(PenstockError):
    """Several servers have a prediction log, and nothing says which one is meant."""

    code = "several_logs"

    def __init__(self, folders: list[Path]) -> None:
        listed = "".join(f"\n  {folder}" for folder in folders)
        super().__init__(f"there are several prediction logs; say --log-dir, one of{listed}")


def log_folder(options: argparse.Namespace, environment: Mapping[str, str]) -> Path:
    """Return the folder of the log that is meant.

    Raises:
        NoLog: there is none.
        SeveralLogs: it is not clear which one is meant.
        BadSetting: what is named can be no folder.
    """
    folder = _named(options, environment)
    if folder is None:
        return _only(options.port, environment)
    if not os.path.isdir(folder_named(str(folder))):
        raise NoLog(f"in {folder}")
    return folder


def _named(options: argparse.Namespace, environment: Mapping[str, str]) -> Path | None:
    if options.log_dir is not None:
        return Path(options.log_dir)
    if options.state_dir is not None:
        return Path(options.state_dir) / LOG_NAME
    if options.spec is not None:
        spec = Path(options.spec).absolute()
        folder = default_folder(environment, spec, options.port or USUAL_PORT)
        return None if folder is None else folder / LOG_NAME
    if options.port is None:
        if named := environment.get(LOG_VARIABLE):
            return Path(named)
        if named := environment.get(VARIABLE):
            return Path(named) / LOG_NAME
    return None


def _only(port: int | None, environment: Mapping[str, str]) -> Path:
    """Return the one log among the state directories; of several, that of the one that runs."""
    base = base_folder(environment)
    if base is None:
        raise NoLog("to be found, as the environment has no HOME: say --log-dir")
    which = "*" if port is None else f"*-{port}"
    found = [Path(one) for one in sorted(glob.glob(f"{glob.escape(str(base))}/{which}/{LOG_NAME}"))]
    if not found:
        raise NoLog(f"in the state directories {base}/{which}")
    live = [one for one in found if is_live(one.parent / SOCKET_NAME)]
    for some in (live, found):
        if len(some) == 1:
            return some[0]
    raise SeveralLogs(live or found)
