from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.criteria import Hours, OneOf, Prefix, Within
from penstock.core.errors import DeadlineExceeded, InvalidInput, ModelFailed
from penstock.core.predictor import Predictor
from penstock.core.values import FieldValue, InferenceRequest
from penstock.patterns.condition import Branch, Column, Condition, Fields, Rule, chosen, is_passed
from tests.support import (
    START_S,
    Held,
    ManualClock,
    Recording,
    Start,
    a_request,
    answering,
    both_ways,
    failing,
    hops,
    settle,
    slow,
)

MOUNTAIN: Final = {"header:target": "mountain"}
TARGET: Final = Fields({"header:target": OneOf(texts=frozenset({"mountain"}))})
LARGE: Final = Column(0, Within(low=30.0))
NIGHT: Final = Hours(22 * 3600, 6 * 3600)
MIDNIGHT_S: Final = 86400.0 * 20000
PLANTS: Final = answering(0.9, 0.1, model="plants")
OTHERS: Final = answering(0.2, 0.8, model="imagenet")


def a_condition(
    *branches: Predictor,
    rules: Sequence[Rule] = (TARGET,),
    clock: ManualClock | None = None,
    timeout_s: float | None = None,
) -> Condition:
    """Return a condition; the last predictor is the one for requests that pass no rule."""
    places = [*(f"when[{index}]" for index in range(len(rules))), "otherwise"]
    return Condition(
        rules=rules,
        branches=[
            Branch(name=name, predictor=one, place=f"routes.iris.{name}", timeout_s=timeout_s)
            for name, one in zip(places, branches, strict=True)
        ],
        clock=clock or ManualClock(),
    )


# --- passes through ----------------------------------------------------------------------


@both_ways
async def test_answers_as_the_branch_does(start: Start) -> None:
    plants, others = Recording(PLANTS), Recording(OTHERS)
    request = a_request(fields=MOUNTAIN, labelled=True)

    response = await start(a_condition(plants, others)(request))

    assert (response.model, response.version) == ("plants", "1")
    assert response.primary[0].tolist() == pytest.approx([0.9, 0.1])
    assert plants.requests == [request]
    assert others.requests == []


@both_ways
async def test_its_hop_lasts_as_long_as_the_branch(start: Start) -> None:
    clock = ManualClock()
    late = slow(OTHERS, clock=clock, seconds=0.4)
    answer = start(a_condition(PLANTS, late, clock=clock)(a_request()))
    await clock.elapse(0.4)

    hop = (await answer).trail[0]
    assert (hop.name, hop.started_s) == ("condition:otherwise", START_S)
    assert hop.elapsed_s == pytest.approx(0.4)


def test_reads_as_its_branches() -> None:
    assert repr(a_condition(PLANTS, OTHERS)) == "condition: {branches: [when[0], otherwise]}"


# --- does its one thing: the first rule that is passed wins ------------------------------


@both_ways
@pytest.mark.parametrize(
    ("fields", "trail"),
    [
        (MOUNTAIN, ["condition:when[0]", "model:plants@1"]),
        ({"header:target": "sea"}, ["condition:otherwise", "model:imagenet@1"]),
        ({"query:target": "mountain"}, ["condition:otherwise", "model:imagenet@1"]),
        ({}, ["condition:otherwise", "model:imagenet@1"]),
    ],
)
async def test_the_trail_says_which_rule(
    start: Start, fields: dict[str, FieldValue], trail: list[str]
) -> None:
    assert hops(await start(a_condition(PLANTS, OTHERS)(a_request(fields=fields)))) == trail


@pytest.mark.parametrize(
    ("fields", "rows", "wall_s", "index"),
    [
        (MOUNTAIN, (40.0,), MIDNIGHT_S, 0),
        ({}, (40.0,), MIDNIGHT_S, 1),
        ({}, (30.0,), MIDNIGHT_S, 2),
        ({}, (30.0,), MIDNIGHT_S + 12 * 3600, 3),
    ],
)
def test_the_first_one_wins(
    fields: dict[str, FieldValue], rows: tuple[float, ...], wall_s: float, index: int
) -> None:
    request = a_request(rows, fields=fields)
    assert chosen((TARGET, LARGE, NIGHT), request, wall_s) == index


def test_all_fields_of_a_rule_must_pass() -> None:
    both = Fields({"query:a": Prefix("x"), "query:b": OneOf(numbers=frozenset({1}))})
    assert is_passed(both, a_request(fields={"query:a": "xy", "query:b": "1"}), 0.0)
    assert not is_passed(both, a_request(fields={"query:a": "xy", "query:b": "2"}), 0.0)
    assert not is_passed(both, a_request(fields={"query:b": "1"}), 0.0)


def test_all_rows_go_one_way() -> None:
    assert is_passed(LARGE, a_request((31.0,), (40.0,)), 0.0)
    assert not is_passed(LARGE, a_request((1.0,), (30.0,)), 0.0)
    with pytest.raises(InvalidInput) as raised:
        is_passed(LARGE, a_request((31.0,), (40.0,), (2.0,), (41.0,)), 0.0)
    assert raised.value.path == "$.data[2]"
    assert raised.value.message == (
        "$.data[2] and $.data[0] go different ways by column 0: send them in requests of their own"
    )


def test_an_earlier_rule_decides_for_rows_that_a_later_one_would_part() -> None:
    request = a_request((31.0,), (2.0,), fields=MOUNTAIN)
    assert chosen((TARGET, LARGE), request, 0.0) == 0


@pytest.mark.parametrize("tensors", [{}, {"data": np.zeros((0, 4))}])
def test_a_request_without_rows_passes_no_rule_on_a_column(
    tensors: dict[str, np.ndarray],
) -> None:
    request = InferenceRequest("an-id", "iris", tensors, START_S, 7)
    assert chosen((LARGE, NIGHT), request, MIDNIGHT_S) == 1


@pytest.mark.parametrize(
    ("rows", "got"),
    [
        (np.zeros((1, 2)), "float64 of [1, 2]"),
        (np.zeros((1, 4, 3)), "float64 of [1, 4, 3]"),
        (np.array([[b"", b"", b""]], dtype=object), "object of [1, 3]"),
    ],
)
def test_rows_that_have_no_such_column(rows: np.ndarray, got: str) -> None:
    request = InferenceRequest("an-id", "iris", {"data": rows}, START_S, 7)
    with pytest.raises(InvalidInput) as raised:
        chosen((Column(2, Within(low=1.0)),), request, 0.0)
    assert raised.value.path == "$.data"
    assert raised.value.message == (f"a condition looks at column 2 of rows of numbers, got {got}")


@both_ways
async def test_the_time_of_day_is_the_clocks(start: Start) -> None:
    clock = ManualClock(wall_s=MIDNIGHT_S + 21.75 * 3600)
    condition = a_condition(PLANTS, OTHERS, rules=(NIGHT,), clock=clock)
    for name in ("otherwise", "when[0]"):
        assert hops(await start(condition(a_request())))[0] == f"condition:{name}"
        clock.advance(900.0)


# --- inner error -------------------------------------------------------------------------


@both_ways
async def test_a_branchs_error_names_the_branch_and_no_other_is_asked(start: Start) -> None:
    others = Recording(OTHERS)
    condition = a_condition(failing(ModelFailed("plants")), others)
    with pytest.raises(ModelFailed) as raised:
        await start(condition(a_request(fields=MOUNTAIN)))
    assert hops(raised.value) == ["condition:when[0]"]
    assert others.requests == []


@both_ways
async def test_rows_that_part_are_the_callers_mistake(start: Start) -> None:
    plants, others = Recording(), Recording()
    condition = a_condition(plants, others, rules=(LARGE,))
    with pytest.raises(InvalidInput, match="go different ways") as raised:
        await start(condition(a_request((31.0,), (1.0,))))
    assert hops(raised.value) == ["condition:refused"]
    assert plants.requests == others.requests == []


@both_ways
async def test_what_is_no_error_of_ours_passes(start: Start) -> None:
    with pytest.raises(ZeroDivisionError):
        await start(a_condition(PLANTS, failing(ZeroDivisionError()))(a_request()))


# --- deadline and cancellation -----------------------------------------------------------


@both_ways
async def test_a_branch_that_is_late_is_cancelled(start: Start) -> None:
    clock, inner = ManualClock(), Held()
    condition = a_condition(inner, OTHERS, clock=clock, timeout_s=0.5)
    answer = start(condition(a_request(fields=MOUNTAIN)))
    await clock.elapse(0.5)
    with pytest.raises(DeadlineExceeded, match=r"at routes\.iris\.when\[0\]$") as raised:
        await answer
    assert inner.cancelled == 1
    assert hops(raised.value) == ["condition:when[0]"]


@both_ways
@pytest.mark.parametrize(
    ("timeout_s", "left_s", "deadline_s"),
    [(None, 3.0, 3.0), (0.5, 3.0, 0.5), (5.0, 3.0, 3.0)],
)
async def test_a_branchs_time_out_only_shortens(
    start: Start, timeout_s: float | None, left_s: float, deadline_s: float
) -> None:
    inner = Recording(OTHERS)
    condition = a_condition(PLANTS, inner, timeout_s=timeout_s)
    await start(condition(a_request(deadline_s=START_S + left_s)))
    assert inner.requests[0].deadline_s == START_S + deadline_s


@both_ways
@pytest.mark.parametrize("timeout_s", [None, 0.5])
async def test_cancellation_reaches_the_branch(start: Start, timeout_s: float | None) -> None:
    inner = Held()
    answer = start(a_condition(PLANTS, inner, timeout_s=timeout_s)(a_request()))
    await settle()
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answer
    assert inner.cancelled == 1


# --- under concurrency -------------------------------------------------------------------


@both_ways
async def test_a_slow_branch_holds_no_other_up(start: Start) -> None:
    inner = Held(PLANTS)
    condition = a_condition(inner, OTHERS)
    held = [start(condition(a_request(fields=MOUNTAIN))) for _ in range(3)]
    await settle()
    assert hops(await start(condition(a_request())))[0] == "condition:otherwise"
    assert inner.waiting == 3
    inner.release()
    assert {hops(await answer)[0] for answer in held} == {"condition:when[0]"}


# --- property ----------------------------------------------------------------------------

VALUES = st.sampled_from(["a", "b", "c"])
RULES = st.lists(
    st.one_of(
        VALUES.map(lambda text: Fields({"header:x": OneOf(texts=frozenset({text}))})),
        st.floats(-2, 2).map(lambda low: Column(0, Within(low=low))),
        st.builds(Hours, st.integers(0, 86399), st.integers(0, 86399)),
    ),
    max_size=4,
)


@given(
    rules=RULES,
    text=VALUES,
    number=st.floats(-2, 2, width=32),
    wall_s=st.floats(0, 1e10),
)
def test_what_is_chosen_is_passed_and_nothing_before_it(
    rules: list[Rule], text: str, number: float, wall_s: float
) -> None:
    request = a_request((number, 0.0), fields={"header:x": text})
    index = chosen(rules, request, wall_s)
    assert index == chosen(rules, request, wall_s)
    passed = [is_passed(rule, request, wall_s) for rule in rules]
    assert passed[: index + 1] == [False] * min(index, len(rules)) + [True] * (index < len(rules))
