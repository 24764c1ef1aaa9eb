from __future__ import annotations

import pytest

from penstock.supervisor.crew import Phase
from penstock.supervisor.seat import Seat


def test_a_place_without_a_process() -> None:
    member = Seat(3).member
    assert (member.index, member.pid, member.phase, member.restarts) == (3, 0, "opening", 0)
    assert not Seat(3).serving


@pytest.mark.parametrize(
    ("phase", "joined", "counts"),
    [
        ("opening", False, False),
        ("opening", True, True),
        ("serving", True, True),
        ("leaving", False, True),
        ("down", False, False),
    ],
)
def test_who_leaves_still_counts(phase: Phase, joined: bool, counts: bool) -> None:
    seat = Seat(0)
    seat.phase, seat.joined = phase, joined
    assert seat.counts is counts
