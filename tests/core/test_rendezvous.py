from __future__ import annotations

import hashlib
import itertools
import math
import random
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.criteria import MAX_VALUE_CHARACTERS
from penstock.core.rendezvous import (
    choose,
    odds_of,
    seed_key,
    value_key,
)
from penstock.core.values import FieldValue

USERS: Final = tuple(b"value:user-%d" % number for number in range(1500))
SIGMAS: Final = 6.0
"""One in a billion: the examples are many, and none may fail by chance."""


def arms_of(
    experiment: str, weights: Mapping[str, float], keys: Iterable[bytes] = USERS
) -> list[str]:
    odds = odds_of(experiment, weights)
    return [choose(odds, key) for key in keys]


# --- examples ----------------------------------------------------------------------------


def test_choices_stay_as_they_have_always_been() -> None:
    """Another version that chose otherwise would move the users of every experiment."""
    odds = odds_of("iris-ab", {"svc": 60, "rf": 40})
    users = [value_key(f"user-{number}") or b"" for number in range(24)]
    assert "".join(choose(odds, user)[0] for user in users) == "rsrsssssrsssssrsrsrrssss"
    seeds = [seed_key(number << 60) for number in range(16)]
    assert "".join(choose(odds, seed)[0] for seed in seeds) == "ssrrssrsrrsssrrs"


def test_the_smallest_score_wins_as_the_formula_says() -> None:
    weights = {"a": 0.5, "b": 2.0, "c": 40}

    def score(arm: str, key: bytes) -> float:
        salt = hashlib.blake2b(b"2:ab:" + arm.encode(), digest_size=32).digest()
        digest = hashlib.blake2b(key, digest_size=8, key=salt).digest()
        u = (int.from_bytes(digest, "big") // 2**12 + 0.5) / 2**52
        return -math.log(u) / weights[arm]

    expected = [min(weights, key=partial(score, key=key)) for key in USERS]
    assert arms_of("ab", weights) == expected
    assert set(expected) == set(weights)


def test_an_arm_without_weight_is_never_chosen() -> None:
    assert set(arms_of("e", {"off": 0, "a": 1e-300, "b": 1e-300})) == {"a", "b"}


@pytest.mark.parametrize("weight", [5e-324, 1e-300, 1.0, 1.7e308])
def test_no_weight_is_too_small_or_too_large(weight: float) -> None:
    found = Counter(arms_of("e", {"a": weight, "b": weight}))
    assert abs(found["a"] - 750) < SIGMAS * math.sqrt(375)


def test_a_hundredth_of_a_percent_is_a_share() -> None:
    keys = (seed_key(number * 0x9E3779B97F4A7C15 % 2**64) for number in range(200_000))
    found = Counter(arms_of("e", {"old": 99.99, "canary": 0.01}, keys))
    assert 5 <= found["canary"] <= 40  # of 20; both ends are one in ten thousand


def test_the_order_of_the_arms_is_no_matter() -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 3.0}
    assert arms_of("e", weights) == arms_of("e", dict(reversed(weights.items())))


def test_names_that_run_together_are_other_experiments() -> None:
    keys = USERS[:200]
    weights = {"a": 1, "ba": 1, "b": 1}
    assert arms_of("a", weights, keys) != arms_of("aa", weights, keys)
    one = odds_of("x:b", {"a": 1})[0].salted.digest()
    assert one != odds_of("x", {"b:a": 1})[0].salted.digest()


def test_a_name_may_be_any_text() -> None:
    assert len(set(arms_of("\ud800 ü \0", {"a": 1, "b": 1}))) == 2


# --- keys --------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, ""])
def test_nothing_is_no_key(value: FieldValue) -> None:
    assert value_key(value) is None


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("seed:1", b"value:seed:1"),
        ("ü", b"value:\xc3\xbc"),
        ("\ud800", b"value:\xed\xa0\x80"),
        (17, b"value:17"),
        ("17", b"value:17"),
        (0, b"value:0"),
        (1.5, b"value:1.5"),
        (False, b"value:false"),
        (True, b"value:true"),
        ("true", b"value:true"),
        ("x" * 1000, b"value:" + b"x" * MAX_VALUE_CHARACTERS),
    ],
)
def test_a_value_is_a_key_as_text(value: FieldValue, key: bytes) -> None:
    assert value_key(value) == key


def test_a_seed_is_a_key() -> None:
    assert seed_key(255) == b"seed:00000000000000ff"
    assert seed_key(2**64 - 1) == b"seed:ffffffffffffffff"


# --- properties --------------------------------------------------------------------------

names = st.lists(
    st.text("abcdefgh.-_0123", min_size=1, max_size=8), min_size=2, max_size=6, unique=True
)
a_weight = st.floats(0.01, 1000.0) | st.sampled_from([0.01, 1.0, 5.0, 40.0, 60.0, 99.99])
experiment = st.text(max_size=12)
weights_of_arms = names.flatmap(lambda arms: st.fixed_dictionaries(dict.fromkeys(arms, a_weight)))
two_weights = names.flatmap(
    lambda arms: st.tuples(
        st.fixed_dictionaries(dict.fromkeys(arms, a_weight)),
        st.fixed_dictionaries(dict.fromkeys(arms, a_weight | st.just(0.0))),
    )
)


def bound(expected: float, share: float) -> float:
    """Return how far a binomial count may be off; the 4 is for what is nearly Poisson."""
    return SIGMAS * math.sqrt(expected * (1 - share)) + 4


@settings(max_examples=40, deadline=None)
@given(experiment, weights_of_arms)
def test_each_arm_gets_its_share(experiment: str, weights: dict[str, float]) -> None:
    found = Counter(arms_of(experiment, weights))
    whole = sum(weights.values())
    for arm, weight in weights.items():
        share = weight / whole
        expected = share * len(USERS)
        assert abs(found[arm] - expected) <= bound(expected, share)


@settings(max_examples=40, deadline=None)
@given(experiment, two_weights)
def test_the_same_key_meets_the_same_arm(
    experiment: str, weights: tuple[dict[str, float], dict[str, float]]
) -> None:
    before, _ = weights
    scaled = {arm: weight * 4 for arm, weight in before.items()}
    keys = USERS[:500]
    assert arms_of(experiment, before, keys) == arms_of(experiment, dict(before), keys)
    assert arms_of(experiment, before, keys) == arms_of(experiment, scaled, keys)


@settings(max_examples=40, deadline=None)
@given(experiment, two_weights)
def test_keys_move_only_where_a_share_grew_more(
    experiment: str, weights: tuple[dict[str, float], dict[str, float]]
) -> None:
    before, after = weights
    after = after if any(after.values()) else {**after, next(iter(after)): 1.0}
    growth = {arm: after[arm] / before[arm] for arm in before}
    pairs = zip(arms_of(experiment, before), arms_of(experiment, after), strict=True)
    for old, new in set(pairs):
        assert old == new or growth[new] > growth[old]


@settings(max_examples=40, deadline=None)
@given(experiment, two_weights, st.data())
def test_a_changed_weight_moves_keys_only_to_or_from_its_arm(
    experiment: str, weights: tuple[dict[str, float], dict[str, float]], data: st.DataObject
) -> None:
    before, other = weights
    changed = data.draw(st.sampled_from(sorted(before)))
    after = {**before, changed: other[changed]}
    grew = after[changed] > before[changed]
    pairs = zip(arms_of(experiment, before), arms_of(experiment, after), strict=True)
    for old, new in set(pairs):
        assert old == new or (new if grew else old) == changed


@settings(max_examples=40, deadline=None)
@given(experiment, st.tuples(a_weight, a_weight), st.tuples(a_weight, a_weight))
def test_of_two_arms_users_leave_only_the_one_whose_share_fell(
    experiment: str, before: tuple[float, float], after: tuple[float, float]
) -> None:
    olds = arms_of(experiment, {"a": before[0], "b": before[1]})
    news = arms_of(experiment, {"a": after[0], "b": after[1]})
    moved = {(old, new) for old, new in zip(olds, news, strict=True) if old != new}
    rose = after[0] / sum(after) > before[0] / sum(before)
    assert moved <= {("b", "a") if rose else ("a", "b")}


@settings(max_examples=40, deadline=None)
@given(st.lists(experiment, min_size=2, max_size=2, unique=True), weights_of_arms, weights_of_arms)
def test_experiments_are_independent(
    experiments: list[str], first: dict[str, float], second: dict[str, float]
) -> None:
    """The same users, and partly the same names of arms: chi-squared of the table of both."""
    ones = arms_of(experiments[0], first)
    others = arms_of(experiments[1], second)
    assert chi_squared(ones, others) <= SIGMAS


def chi_squared(ones: list[str], others: list[str]) -> float:
    """Return how many sigmas off independence two series are, rare arms put together.

    The statistic is made normal by Wilson and Hilferty's cube root.
    """
    ones, others = grouped(ones), grouped(others)
    rows, columns, cells = Counter(ones), Counter(others), Counter(zip(ones, others, strict=True))
    freedom = (len(rows) - 1) * (len(columns) - 1)
    if not freedom:
        return 0.0
    statistic = 0.0
    for row, column in ((row, column) for row in rows for column in columns):
        expected = rows[row] * columns[column] / len(ones)
        statistic += (cells[row, column] - expected) ** 2 / expected
    spread = 2 / (9 * freedom)
    return (math.cbrt(statistic / freedom) - (1 - spread)) / math.sqrt(spread)


def grouped(arms: list[str]) -> list[str]:
    """Return the arms, those that less than a tenth meets told as the most frequent one."""
    counts = Counter(arms)
    usual, _ = counts.most_common(1)[0]
    return [arm if counts[arm] >= len(arms) / 10 else usual for arm in arms]


def test_the_same_experiment_is_not_independent() -> None:
    """That the test above would notice."""
    assert chi_squared(arms_of("e", {"a": 1, "b": 1}), arms_of("e", {"a": 60, "b": 40})) > 12


def test_batches_of_ten_thousand_spread_as_binomial_counts_do() -> None:
    """What one batch cannot tell: bias from bad luck. One stream in a thousand is off by 3.3
    sigmas, and `random.Random("sixty to forty")` under the experiment `ab` is such a one; a biased
    hash is off in every batch, and shows in their mean."""
    draw = random.Random("spread")
    off = []
    for experiment in ("ab", "iris-ab"):
        odds = odds_of(experiment, {"svc": 60, "rf": 40})
        for _ in range(15):
            keys = (seed_key(draw.getrandbits(64)) for _ in range(10_000))
            count = sum(choose(odds, key) == "svc" for key in keys)
            off.append((count - 6000) / math.sqrt(10_000 * 0.6 * 0.4))
    assert abs(statistics.fmean(off)) <= 3.291 / math.sqrt(len(off))
    assert 0.5 <= statistics.stdev(off) <= 1.6
    assert max(map(abs, off)) <= SIGMAS


def test_a_canary_that_grows_moves_nobody_back() -> None:
    steps = (1, 5, 20, 50, 100)
    met = [arms_of("e", {"old": 100 - step, "new": step}) for step in steps]
    for before, after in itertools.pairwise(met):
        assert ("new", "old") not in set(zip(before, after, strict=True))
