"""What the environment says of a prediction log: how long it is kept, and when it is compacted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from penstock.core.errors import PenstockError
from penstock.stores.finished import DUE_BYTES, DUE_S, Due
from penstock.stores.log_folder import KEEP_DAYS

KEEP_VARIABLE: Final = "PENSTOCK_LOG_KEEP_DAYS"
BYTES_VARIABLE: Final = "PENSTOCK_LOG_COMPACT_BYTES"
AGE_VARIABLE: Final = "PENSTOCK_LOG_COMPACT_S"


class BadSetting(PenstockError):
    """What is said of the prediction log at the start cannot be; ends the start."""

    code = "bad_setting"


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
    size_bytes = number_in(environment, BYTES_VARIABLE, float(DUE_BYTES))
    return Due(int(size_bytes), number_in(environment, AGE_VARIABLE, DUE_S))


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
