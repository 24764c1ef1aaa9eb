from __future__ import annotations

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.chance import is_among

seeds = st.integers(0, 2**64 - 1)


@given(seed=seeds, what=st.text())
def test_nobody_and_everybody(seed: int, what: str) -> None:
    assert not is_among(0.0, seed, what)
    assert is_among(100.0, seed, what)


@given(seed=seeds, what=st.text(), percents=st.tuples(st.floats(0, 100), st.floats(0, 100)))
def test_nobody_drops_out_while_the_percentage_grows(
    seed: int, what: str, percents: tuple[float, float]
) -> None:
    less, more = sorted(percents)
    assert is_among(less, seed, what) <= is_among(more, seed, what)


@given(percent=st.floats(0.5, 99.5))
def test_the_share_is_the_percentage(percent: float) -> None:
    rng, count = random.Random(7), 2000
    chosen = sum(is_among(percent, rng.getrandbits(64), "x") for _ in range(count))
    share = percent / 100
    assert abs(chosen - count * share) < 7 * math.sqrt(count * share * (1 - share)) + 1


def test_choices_about_different_things_are_independent() -> None:
    rng = random.Random(7)
    both = [0, 0, 0, 0]
    for _ in range(4000):
        seed = rng.getrandbits(64)
        both[2 * is_among(50, seed, "a") + is_among(50, seed, "b")] += 1
    chi_squared = sum((count - 1000) ** 2 / 1000 for count in both)
    assert chi_squared < 20  # three degrees of freedom: 0.02 % of fair draws are above


def test_a_choice_does_not_follow_from_the_seeds_order() -> None:
    assert 350 < sum(is_among(50, seed, "a") for seed in range(800)) < 450
