"""What is said of a prediction log: where it lies, how long it is kept, when it is compacted."""

from __future__ import annotations

import errno
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from penstock.core.errors import PenstockError
from penstock.stores.finished import DUE_BYTES, DUE_S, Due
from penstock.stores.log_folder import KEEP_DAYS

KEEP_VARIABLE: Final = "PENSTOCK_LOG_KEEP_DAYS"
BYTES_VARIABLE: Final = "PENSTOCK_LOG_COMPACT_BYTES"
AGE_VARIABLE: Final = "PENSTOCK_LOG_COMPACT_S"

LONGEST_NAME_BYTES: Final = 255
"""Of a folder, as file systems have it."""

_FOR_GOOD: Final = frozenset({errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EACCES})
"""What does not go by itself, as a full or broken disk may."""


class BadSetting(PenstockError):
    """What is said of the prediction log at the start cannot be; ends the start."""

    code = "bad_setting"


def folder_named(name: str) -> Path:
    """Return the folder of a log as it is named; it need not be there yet.

    Raises:
        BadSetting: it can never be a folder.
    """
    folder = Path(name)
    if why := _fault_of(folder):
        raise BadSetting(f"no prediction log can lie in {name!r}: {why}; give another folder")
    return folder


def _fault_of(folder: Path) -> str:
    """Return why a path can be no folder; empty where it is one, or may become one."""
    try:
        return "" if stat.S_ISDIR(folder.stat().st_mode) else "it is a file"
    except ValueError:
        return "it has a character that no path can have"
    except OSError as error:
        if error.errno in _FOR_GOOD:
            return os.strerror(error.errno).lower()
    too_long = any(len(os.fsencode(part)) > LONGEST_NAME_BYTES for part in folder.parts)
    return os.strerror(errno.ENAMETOOLONG).lower() if too_long else ""


def keep_days_of(environment: Mapping[str, str]) -> float:
    """Return for how many days a log is kept.

    Raises:
        BadSetting: it is no number above 0.
    """
    return number_in(environment, KEEP_VARIABLE, KEEP_DAYS)


def due_of(environment: Mapping[str, str]) -> Due:
    """Return when finished segments are compacted.

    Raises:
        BadSetting: it is no number above 0.
    """
    size_bytes = bytes_in(environment, BYTES_VARIABLE, DUE_BYTES)
    return Due(size_bytes, number_in(environment, AGE_VARIABLE, DUE_S))


def above_zero(text: str) -> float:
    """Return a finite number above 0.

    Raises:
        ValueError: it is none.
    """
    number = float(text)
    if not 0.0 < number < math.inf:
        raise ValueError(text)
    return number


def number_in(environment: Mapping[str, str], variable: str, usual: float) -> float:
    """Return the number that a variable of the environment holds; `usual` where it holds nothing.

    Raises:
        BadSetting: it is no number above 0.
    """
    text = environment.get(variable, "").strip()
    if not text:
        return usual
    try:
        return above_zero(text)
    except ValueError as error:
        raise BadSetting(f"{variable} is {text!r}: give a number above 0") from error


def bytes_in(
    environment: Mapping[str, str], variable: str, usual_bytes: int, unit_bytes: int = 1
) -> int:
    """Return the size that a variable of the environment holds, at least 1 byte.

    Args:
        environment: may hold it.
        variable: its name.
        usual_bytes: what it is otherwise.
        unit_bytes: what the number there counts.

    Raises:
        BadSetting: it is no number above 0, or there are no numbers of that many bytes.
    """
    size_bytes = number_in(environment, variable, usual_bytes / unit_bytes) * unit_bytes
    if math.isinf(size_bytes):
        raise BadSetting(f"{variable} is {environment[variable]!r}: give a smaller number")
    return max(1, int(size_bytes))
