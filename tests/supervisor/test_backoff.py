from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.supervisor.backoff import LONGEST_S, STEADY_S, Backoff


def pauses(*lives_s: float) -> list[float]:
    """The pause before each new start of a worker that lived for these times."""
    backoff, now_s, found = Backoff(), 1000.0, []
    for lived_s in lives_s:
        now_s += lived_s
        backoff = backoff.died(now_s, lived_s)
        found.append(backoff.pause_s)
    return found


def test_a_worker_that_lived_is_started_at_once() -> None:
    assert pauses(3600.0, 10.0, 11.0) == [0.0, 0.0, 0.0]


def test_a_worker_s_first_death_is_no_reason_to_wait() -> None:
    assert pauses(0.1) == [0.0]


def test_a_worker_that_keeps_dying_waits_ever_longer() -> None:
    assert pauses(*[0.1] * 10) == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_a_worker_that_has_lived_again_begins_anew() -> None:
    assert pauses(0.1, 0.1, 0.1, STEADY_S, 0.1, 0.1) == [0.0, 0.5, 1.0, 0.0, 0.5, 1.0]


def test_deaths_of_the_last_minute_are_counted() -> None:
    backoff = Backoff()
    for now_s in (0.0, 30.0, 59.0, 61.0, 100.0):
        backoff = backoff.died(now_s, 1.0)
    assert backoff.deaths_s == (59.0, 61.0, 100.0)


@given(st.lists(st.floats(0.0, 20.0), max_size=200))
def test_it_never_waits_longer_than_the_longest(lives_s: list[float]) -> None:
    assert all(0.0 <= pause_s <= LONGEST_S for pause_s in pauses(*lives_s))


@given(st.integers(1, 3000))
def test_what_it_remembers_is_bounded(deaths: int) -> None:
    backoff, now_s = Backoff(), 0.0
    for _ in range(deaths):
        now_s += backoff.pause_s + 0.001
        backoff = backoff.died(now_s, 0.001)
    assert len(backoff.deaths_s) < 20
