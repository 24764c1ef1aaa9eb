"""When a worker that died is started again: at once, but ever later if it keeps dying."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

STEADY_S: Final = 10.0
"""A worker that lived this long is started again at once."""

FIRST_S: Final = 0.5
"""The first pause before a worker that keeps dying is started again; it doubles each time."""

LONGEST_S: Final = 30.0
"""The longest pause before a worker is started again."""

WINDOW_S: Final = 60.0
"""Over which deaths are counted for the log."""


class Backoff(Struct, frozen=True):
    """What is known of a worker's deaths.

    Attributes:
        in_a_row: deaths of processes that did not live for ten seconds, without another between.
        deaths_s: when it died within the last minute.
    """

    in_a_row: int = 0
    deaths_s: tuple[float, ...] = ()

    def died(self, now_s: float, lived_s: float) -> Backoff:
        """Return what is known after one more death."""
        recent = tuple(one for one in self.deaths_s if now_s - one < WINDOW_S)
        return Backoff(1 if lived_s >= STEADY_S else self.in_a_row + 1, (*recent, now_s))

    @property
    def pause_s(self) -> float:
        """How long to wait before the next start."""
        if self.in_a_row <= 1:
            return 0.0
        doublings = min(self.in_a_row - 2, 10)  # more are beyond the longest anyway
        return min(FIRST_S * 2.0**doublings, LONGEST_S)
