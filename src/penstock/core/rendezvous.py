"""Weighted rendezvous hashing: an arm for a key, by nothing but experiment, key and weights.

Each arm draws a number u between 0 and 1 by a keyed hash of the key, salted by the experiment's
name and the arm's; the smallest -ln(u) / weight wins. So each arm gets its share of the keys. An
arm's draw does not depend on weights: a key moves from one arm to another only where the other's
weight has grown more, or shrunk less. Whoever changes one weight moves keys only to or from that
arm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from penstock.core.criteria import MAX_VALUE_CHARACTERS
from penstock.core.values import FieldValue

_UNUSED_BITS: Final = 12
_STEP: Final = 2.0**-52


class Odds(Struct, frozen=True):
    """An arm's part in an experiment's choices.

    Attributes:
        arm: its name.
        salted: its hash, to be copied and never written to.
        log_weight: the logarithm of its weight.
    """

    arm: str
    salted: blake2b
    log_weight: float


def odds_of(experiment: str, weights: Mapping[str, float]) -> tuple[Odds, ...]:
    """Return what an experiment's choices are made by; an arm of weight 0 has no part in them."""
    name = experiment.encode(errors="surrogatepass")
    prefix = b"%d:%b:" % (len(name), name)
    return tuple(
        Odds(arm, _salted(prefix + arm.encode()), math.log(weight))
        for arm, weight in weights.items()
        if weight > 0
    )


def _salted(salt: bytes) -> blake2b:
    return blake2b(digest_size=8, key=blake2b(salt, digest_size=32).digest())


def choose(odds: Sequence[Odds], key: bytes) -> str:
    """Return the arm of a key; of equals the first.

    Logarithms of the scores are compared, so that no weight is too large or too small.
    """
    best, best_score = "", math.inf
    for one in odds:
        score = math.log(-math.log(draw(one, key))) - one.log_weight
        if score < best_score:
            best, best_score = one.arm, score
    return best


def draw(one: Odds, key: bytes) -> float:
    """Return the number between 0 and 1, both left out, that an arm draws for a key."""
    salted = one.salted.copy()
    salted.update(key)
    drawn = int.from_bytes(salted.digest(), "big") >> _UNUSED_BITS
    return (drawn + 0.5) * _STEP


def seed_key(seed: int) -> bytes:
    """Return the key of a request that goes by its seed."""
    return b"seed:%016x" % seed


def value_key(value: FieldValue) -> bytes | None:
    """Return the key of a request with such a sticky value, as text.

    Longer texts that begin alike, as far as patterns see, are one. It is None where the value is
    missing, null or empty, as that tells nobody from anybody.
    """
    if value is None or value == "":
        return None
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return b"value:" + text[:MAX_VALUE_CHARACTERS].encode(errors="surrogatepass")
