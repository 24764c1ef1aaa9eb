"""Ids and seeds, made at the edge from a source of randomness that is passed in."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from typing import Final

MAX_ID_LENGTH: Final = 128
_WELL_FORMED: Final = re.compile(r"[A-Za-z0-9_.\-]{1,128}").fullmatch
_SEED: Final = re.compile(rb"[0-9a-fA-F]{16}").fullmatch

_ID_BYTES: Final = 16
_IDS_PER_DRAW: Final = 256


def is_well_formed(request_id: str) -> bool:
    """Tell whether a caller's id may be used: letters, digits, `-`, `_`, `.`, at most 128."""
    return _WELL_FORMED(request_id) is not None


def seed_of(text: bytes) -> int | None:
    """Return a seed that is written as 16 hexadecimal digits; None where it is not."""
    return None if _SEED(text) is None else int(text, 16)


class IdSource:
    """Makes ids of 128 random bits, as 32 hexadecimal digits.

    Draws from the operating system for 256 ids at once: one system call an id would cost more
    than everything else that is done for a request's identity.

    Args:
        draw_bytes: returns that many random bytes; `os.urandom` unless a test passes its own.
    """

    def __init__(self, draw_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._draw_bytes = draw_bytes
        self._pool: list[str] = []

    def new_id(self) -> str:
        """Return an id that has not been given out before."""
        if not self._pool:
            digits = self._draw_bytes(_ID_BYTES * _IDS_PER_DRAW).hex()
            width = 2 * _ID_BYTES
            self._pool = [digits[i : i + width] for i in range(0, len(digits), width)]
        return self._pool.pop()


class SeedSource:
    """Makes the 64-bit seed of a request, from which its random choices follow.

    Args:
        rng: `random.Random()`, seeded by the operating system, unless a test passes its own.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        # Seeds decide which arm a request meets; they are no secret.
        self._rng = rng or random.Random()  # noqa: S311

    def new_seed(self) -> int:
        """Return 64 random bits."""
        return self._rng.getrandbits(64)
