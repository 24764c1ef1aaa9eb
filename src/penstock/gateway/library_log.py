"""What libraries log, said in our log: with the same form, and the same bound on how often."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from penstock.core.log import Log
from penstock.core.log_line import Level


@final
class LibraryLog(logging.Handler):
    """Hands what a library logs to our log.

    A client can make uvicorn log a line for every request that is not HTTP; lines of one template
    count as alike, whatever is filled in.

    Args:
        log: says it.
        level: what is below is not said.
    """

    def __init__(self, log: Log, level: int = logging.WARNING) -> None:
        super().__init__(level)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Say one record; never raises."""
        try:
            event = record.getMessage()
        except Exception:  # noqa: BLE001 - the library's mistake: what it meant to say is said
            event = str(record.msg)
        error = record.exc_info[1] if record.exc_info else None
        fields = {"logger": record.name, "error": error}
        self._log.say(_level(record.levelno), event, fields, alike=f"{record.name} {record.msg}")


def _level(number: int) -> Level:
    if number >= logging.ERROR:
        return Level.ERROR
    return Level.WARNING if number >= logging.WARNING else Level.INFO


@contextmanager
def libraries_logged(log: Log, level: int = logging.WARNING) -> Iterator[None]:
    """Have what libraries log said in our log until this is left.

    A library that writes its lines itself has to be told not to: uvicorn by `log_config=None`.
    """
    root = logging.getLogger()
    handler = LibraryLog(log, level)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
