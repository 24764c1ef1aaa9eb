"""What a prediction's headers say: its time-out, its seed, the trace it belongs to."""

from __future__ import annotations

import re
from typing import Final

from penstock.core.errors import InvalidHeader
from penstock.core.ids import seed_of

MAX_TIMEOUT_MS: Final = 86_400_000.0

BLANKS: Final = b" \t"
"""They are no part of a header's value, and uvicorn's parser leaves those at its end in it."""

_TRACEPARENT: Final = re.compile(
    rb"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    rb"(?P<more>-[!-~]{0,200})?"
).fullmatch


def timeout_ms(text: bytes) -> float:
    """Return what the header `x-timeout-ms` says, in milliseconds.

    Raises:
        InvalidHeader: not a number of milliseconds above 0 and up to a day.
    """
    try:
        value = -1.0 if b"_" in text else float(text)  # it passes over blanks
    except ValueError:
        value = -1.0
    if not 0 < value <= MAX_TIMEOUT_MS:
        raise InvalidHeader("x-timeout-ms", "a number of milliseconds above 0, at most a day's")
    return value


def seed(text: bytes) -> int:
    """Return what the header `x-penstock-seed` says: the seed of a gateway that asks this one.

    Raises:
        InvalidHeader: not 16 hexadecimal digits.
    """
    value = seed_of(text.strip(BLANKS))
    if value is None:
        raise InvalidHeader("x-penstock-seed", "16 hexadecimal digits")
    return value


def traceparent(text: bytes) -> str:
    """Return what the header `traceparent` says, empty where W3C Trace Context calls it invalid.

    A later version's may go on with what this one does not know: it is passed on as it came.
    """
    text = text.rstrip(BLANKS)
    found = _TRACEPARENT(text)
    if found is None or (found["more"] is not None and found["version"] == b"00"):
        return ""
    return text.decode("ascii")
