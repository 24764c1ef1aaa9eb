"""Choices by chance that are the same wherever, and however often, a request meets them."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

_SEED_BYTES: Final = 8
_TWO_TO_64: Final = float(1 << 64)


def is_among(percent: float, seed: int, what: str) -> bool:
    """Tell whether a request is among `percent` of all requests.

    A pure function: as long as the percentage grows, nobody who is among them drops out. Choices
    about different things are independent of each other, and of every other use of the seed.

    Args:
        percent: from 0 to 100.
        seed: the request's, 64 bits.
        what: names what is chosen for.
    """
    if percent >= 100.0:
        return True
    if percent <= 0.0:
        return False
    text = seed.to_bytes(_SEED_BYTES, "big") + what.encode()
    drawn = int.from_bytes(blake2b(text, digest_size=_SEED_BYTES).digest(), "big")
    return drawn < percent / 100.0 * _TWO_TO_64
