from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.criteria import (
    DAY_S,
    MAX_VALUE_CHARACTERS,
    Criterion,
    Hours,
    Matching,
    OneOf,
    Prefix,
    Within,
    is_cut,
    is_in_hours,
    number_of,
    passes,
    rows_within,
    seen,
)
from penstock.core.regex import Regex
from penstock.core.values import FieldValue

BETWEEN = Within(low=1, high=2, ends=True)


@pytest.mark.parametrize(
    ("criterion", "passing", "others"),
    [
        (OneOf(texts=frozenset({"a", "7"})), ["a", "7"], ["", "A", 7, None]),
        (OneOf(texts=frozenset({"true"})), ["true", True], [False, 1, "True"]),
        (OneOf(texts=frozenset({"false"})), [False], [True, 0, None]),
        (
            OneOf(numbers=frozenset({30, 0.5})),
            [30, 30.0, "30", "30.0", "+3e1", ".5"],
            [31, "", "a", "30 ", "0x1e", True, None],
        ),
        (OneOf(frozenset({"big"}), frozenset({1})), ["big", 1, "1"], [True, "2"]),
        (Prefix("mo"), ["mo", "mountain"], ["", "m", "Mo", 1, True, None]),
        (Prefix(""), ["", "a"], [0, None]),
        (Matching(Regex("m.*n?")), ["mountain"], ["", "a mountain", 1, None]),
        (Within(low=30), [30.5, "31", 10**400], [30, "30", -1, True, None, "x", "1e999"]),
        (Within(high=30), [29, "-1.5"], [30, 31, math.nan, math.inf, False]),
        (BETWEEN, [1, 1.5, 2, "2."], [0.999, 2.001, None]),
    ],
)
def test_passes(criterion: Criterion, passing: list[FieldValue], others: list[FieldValue]) -> None:
    assert [value for value in passing if not passes(criterion, value)] == []
    assert [value for value in others if passes(criterion, value)] == []


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63))
def test_numbers_are_read_as_they_are_written(number: float) -> None:
    assert number_of(str(number)) == number
    assert number_of(number) == number


def test_whole_numbers_keep_their_digits() -> None:
    assert passes(OneOf(numbers=frozenset({2**53 + 1})), str(2**53 + 1))
    assert not passes(OneOf(numbers=frozenset({2**53})), str(2**53 + 1))
    assert number_of("1" * MAX_VALUE_CHARACTERS) == int("1" * MAX_VALUE_CHARACTERS)
    assert number_of("-007") == -7


@pytest.mark.parametrize(
    ("criterion", "text"),
    [
        (OneOf(texts=frozenset({"a" * MAX_VALUE_CHARACTERS})), "a" * MAX_VALUE_CHARACTERS),
        (OneOf(numbers=frozenset({int("1" * MAX_VALUE_CHARACTERS)})), "1" * MAX_VALUE_CHARACTERS),
        (Matching(Regex("a*")), "a" * MAX_VALUE_CHARACTERS),
        (Within(low=0), "1" * MAX_VALUE_CHARACTERS),
    ],
)
def test_of_a_value_that_is_cut_only_the_beginning_is_known(
    criterion: Criterion, text: str
) -> None:
    assert passes(criterion, seen(text))
    assert not passes(criterion, seen(text + text[0]))
    assert passes(Prefix(text), seen(text + text[0]))


@pytest.mark.parametrize("text", ["1_000", " 1", "1\n", "nan", "inf", "1e", "--1", ".", "٣"])
def test_what_is_no_number(text: str) -> None:
    assert number_of(text) is None


def test_no_more_is_seen_of_a_long_text() -> None:
    assert seen("a" * 300) == seen("a" * 257) == "a" * (MAX_VALUE_CHARACTERS + 1)
    assert [seen(value) for value in ("a", 7, None, True)] == ["a", 7, None, True]
    assert [is_cut(seen("a" * length)) for length in (256, 257, 300)] == [False, True, True]
    assert [is_cut(value) for value in (7, None, True)] == [False] * 3


def test_ends_are_rounded_to_the_columns_type() -> None:
    column = np.array([30.1, 30.2, 1e38], dtype=np.float32)
    assert rows_within(Within(low=30.1), column).tolist() == [False, True, True]
    assert rows_within(Within(low=30.1, high=30.2, ends=True), column).tolist() == [
        True,
        True,
        False,
    ]
    assert rows_within(Within(high=1e39), column).tolist() == [True, True, True]
    assert rows_within(Within(low=1e39), column).tolist() == [False, False, False]


def test_columns_of_whole_numbers() -> None:
    column = np.array([1, 2, 3], dtype=np.int8)
    assert rows_within(Within(low=1.5, high=300.5), column).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [
        (Hours(9 * 3600, 17 * 3600), [9 * 3600, 17 * 3600 - 0.5], [0, 9 * 3600 - 0.5, 17 * 3600]),
        (Hours(22 * 3600, 6 * 3600), [22 * 3600, DAY_S - 1, 0, 6 * 3600 - 1], [6 * 3600, 43200]),
        (Hours(18 * 3600, DAY_S), [18 * 3600, DAY_S - 1], [0]),
    ],
)
def test_hours(hours: Hours, inside: list[float], outside: list[float]) -> None:
    for day in (0, 20000):
        assert [at for at in inside if not is_in_hours(hours, day * DAY_S + at)] == []
        assert [at for at in outside if is_in_hours(hours, day * DAY_S + at)] == []


@given(st.integers(0, DAY_S - 1), st.integers(0, DAY_S - 1), st.floats(0, 1e10))
def test_a_moment_is_in_some_hours_or_in_the_others(
    begin_s: int, end_s: int, wall_s: float
) -> None:
    if begin_s != end_s:
        within = is_in_hours(Hours(begin_s, end_s), wall_s)
        assert within is not is_in_hours(Hours(end_s, begin_s), wall_s)
