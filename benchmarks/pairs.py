"""Figures of pairs: what one thing is beside another, with the interval that this is known within.

A pair is two spells of one round, on one server. Its ratio is free of what drifts from round to
round; what the ratios of many pairs differ by says how well their middle is known.
"""

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

RESAMPLES: Final = 10_000
SEED: Final = 20
TAIL: Final = 0.025
"""What lies beyond each end of the interval."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The median of the pairs, and the ends of its 95 % interval by resampling the pairs.

    A spell that something else on the machine has disturbed does not move it.
    """

    median: float
    low: float
    high: float

    def text(self, digits: int) -> str:
        """The median, with the ends behind it."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"


def paired_ratio(upper: Sequence[float], lower: Sequence[float]) -> Interval:
    """How many times the lower figures the upper ones are."""
    logs = [math.log(over / under) for over, under in zip(upper, lower, strict=True)]
    return _interval(logs, math.exp)


def paired_difference(upper: Sequence[float], lower: Sequence[float]) -> Interval:
    """How much more the upper figures are."""
    return _interval([over - under for over, under in zip(upper, lower, strict=True)], float)


def _interval(values: Sequence[float], shown: Callable[[float], float]) -> Interval:
    dice = random.Random(SEED)
    medians = sorted(
        statistics.median(dice.choices(values, k=len(values))) for _ in range(RESAMPLES)
    )
    low, high = medians[int(RESAMPLES * TAIL)], medians[int(RESAMPLES * (1 - TAIL)) - 1]
    return Interval(shown(statistics.median(values)), shown(low), shown(high))
