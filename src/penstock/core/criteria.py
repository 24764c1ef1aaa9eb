"""What a value of a request can be tested for: `exact`, `one_of`, `prefix`, `regex`, numbers, time.

A value is what a header, a query parameter or a top-level key of the body holds. Of a text no more
than its first 256 characters are looked at: a longer one may have a prefix, and is never a number,
one of several texts, or a match of a regular expression, as nobody knows how it goes on. Where a
number is expected, a text that is written as a decimal number counts as that number: headers and
query parameters hold nothing but text.
"""

from __future__ import annotations

import math
import re
from typing import Final, TypeAlias, assert_never

import numpy as np
from msgspec import Struct

from penstock.core.regex import Regex
from penstock.core.values import Array, FieldValue

MAX_VALUE_CHARACTERS: Final = 256
"""Of a header, a query parameter or a text in the body patterns see no more."""

DAY_S: Final = 86400

WHOLE: Final = re.compile(r"[-+]?[0-9]+")
NUMBER: Final = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


class OneOf(Struct, frozen=True):
    """It is one of these.

    Attributes:
        texts: a text, or `true` and `false` for a boolean.
        numbers: numbers, compared by value.
    """

    texts: frozenset[str] = frozenset()
    numbers: frozenset[int | float] = frozenset()


class Prefix(Struct, frozen=True):
    """It is a text that begins so."""

    text: str


class Matching(Struct, frozen=True):
    """It is a text that matches as a whole."""

    regex: Regex


class Within(Struct, frozen=True):
    """It is a number between two others.

    Attributes:
        low: the lower end.
        high: the upper end.
        ends: whether the ends themselves belong to it.
    """

    low: float = -math.inf
    high: float = math.inf
    ends: bool = False


Criterion: TypeAlias = OneOf | Prefix | Matching | Within


def seen(value: FieldValue) -> FieldValue:
    """Return as much of a value as patterns see; a character more tells that a text goes on."""
    return value[: MAX_VALUE_CHARACTERS + 1] if isinstance(value, str) else value


def is_cut(value: FieldValue) -> bool:
    """Tell whether a value is a text of which patterns see the beginning only."""
    return isinstance(value, str) and len(value) > MAX_VALUE_CHARACTERS


def passes(criterion: Criterion, value: FieldValue) -> bool:
    """Tell whether a value passes; None, in place of a value that is not given, never does."""
    match criterion:
        case Prefix():
            return isinstance(value, str) and value.startswith(criterion.text)
        case _ if is_cut(value):
            return False
        case OneOf():
            return _text_of(value) in criterion.texts or (
                bool(criterion.numbers) and number_of(value) in criterion.numbers
            )
        case Matching():
            return isinstance(value, str) and criterion.regex.matches(value)
        case Within():
            number = number_of(value)
            return number is not None and _is_within(criterion, number)
        case _:
            assert_never(criterion)


def _text_of(value: FieldValue) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else None


def number_of(value: FieldValue) -> int | float | None:
    """Return a value as a finite number, or None where it is none.

    A text without point and exponent is a whole number, with all of its digits; one of more digits
    than patterns see is none.
    """
    if isinstance(value, bool) or value is None or is_cut(value):
        return None
    if isinstance(value, str):
        if WHOLE.fullmatch(value) is not None:
            return int(value)
        if NUMBER.fullmatch(value) is None:
            return None
        value = float(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_within(within: Within, number: float) -> bool:
    if within.ends:
        return within.low <= number <= within.high
    return within.low < number < within.high


def rows_within(within: Within, column: Array) -> Array:
    """Tell for each row whether its value lies within.

    Args:
        within: the ends; they are rounded to the column's own type, so that the 30.1 of a
            float32 is not above 30.1.
        column: `[rows]` of numbers.

    Returns:
        `[rows]` of bool.
    """
    inside: Array
    with np.errstate(over="ignore"):  # an end that the type cannot hold is infinite in it
        if within.ends:
            inside = (column >= within.low) & (column <= within.high)
        else:
            inside = (column > within.low) & (column < within.high)
    return inside


class Hours(Struct, frozen=True):
    """A part of every day, in UTC.

    Attributes:
        begin_s: seconds after midnight; belongs to it.
        end_s: seconds after midnight; does not. Where it comes first, midnight lies between.
    """

    begin_s: int
    end_s: int


def is_in_hours(hours: Hours, wall_s: float) -> bool:
    """Tell whether an instant, in seconds since the epoch, lies within the hours."""
    of_day_s = wall_s % DAY_S
    if hours.begin_s < hours.end_s:
        return hours.begin_s <= of_day_s < hours.end_s
    return of_day_s >= hours.begin_s or of_day_s < hours.end_s
