"""Figures of interleaved rounds: medians with their spread, and ratios taken round by round."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from benchmarks.bench import Bench, say
from benchmarks.server import Contender

Figure = TypeVar("Figure")


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of the rounds, between the least and the greatest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """The spread of some values."""
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int = 0) -> str:
        """The median, with the extremes behind it where they differ."""
        return self._written(lambda value: f"{value:,.{digits}f}")

    def ratio_text(self) -> str:
        """The same in three significant digits, however small or large the ratio."""
        return self._written(significant)

    def _written(self, write: Callable[[float], str]) -> str:
        median, low, high = write(self.median), write(self.low), write(self.high)
        return median if low == high else f"{median} ({low}-{high})"


def significant(value: float) -> str:
    """A number in three significant digits, never in scientific notation."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def ratio(upper: Sequence[float], lower: Sequence[float]) -> Spread:
    """The ratio of two rows of figures: each round's own, so that drift cancels."""
    return Spread.of([over / under for over, under in zip(upper, lower, strict=True)])


def interleaved(
    bench: Bench, contenders: Sequence[Contender], measure: Callable[[Contender], Figure]
) -> Mapping[str, list[Figure]]:
    """Measures every contender in turn, round after round."""
    figures: dict[str, list[Figure]] = {contender.name: [] for contender in contenders}
    for number in range(1, bench.rounds + 1):
        for contender in contenders:
            say(f"  round {number} of {bench.rounds}: {contender.name}")
            figures[contender.name].append(measure(contender))
    return figures
