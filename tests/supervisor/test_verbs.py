from __future__ import annotations

import pytest

from penstock.core.errors import ChangeRefused, SpecError
from penstock.supervisor.verbs import answered
from tests.supervisor.operators import CHANGED, EVENTS, RELOADED, STATUS, FakeOperator

ONE = {"target": "iris/svc", "key": "weight", "value": "5"}


@pytest.mark.parametrize(
    ("verb", "payload", "asked", "answer"),
    [
        ("set", {"changes": [ONE]}, ("set", [("iris/svc", "weight", "5")], "anna"), CHANGED),
        ("switch", {"target": "a", "state": "off"}, ("switch", "a", "off", "anna"), CHANGED),
        ("reload", {}, ("reload", "anna", "reload"), RELOADED),
        ("reload", None, ("reload", "anna", "reload"), RELOADED),
        ("history", {}, ("history", None), EVENTS),
        ("history", {"limit": 5}, ("history", 5), EVENTS),
        ("status", {}, ("status",), STATUS),
        ("status", None, ("status",), STATUS),
    ],
)
async def test_a_verb_asks_the_operator(
    verb: str, payload: object, asked: tuple[object, ...], answer: object
) -> None:
    operator = FakeOperator()
    assert await answered(operator, verb, payload, "anna") == {"ok": answer}
    assert operator.asked == [asked]


@pytest.mark.parametrize(
    ("verb", "payload"),
    [("set", {"changes": [ONE]}), ("switch", {"target": "a", "state": "off"}), ("reload", {})],
)
async def test_who_is_known_cannot_say_to_be_somebody_else(
    verb: str, payload: dict[str, object]
) -> None:
    operator = FakeOperator()
    await answered(operator, verb, {**payload, "who": "root"}, "anna")
    await answered(operator, verb, {**payload, "who": "admin"})
    assert ["anna" in one for one in operator.asked] == [True, False]
    assert ["admin" in one for one in operator.asked] == [False, True]


async def test_reports() -> None:
    answer = await answered(FakeOperator(), "reports", {})
    assert answer["ok"].workers == ()


@pytest.mark.parametrize("kind", [SpecError, ChangeRefused])
async def test_a_refusal_is_told_with_all_reasons(
    kind: type[SpecError] | type[ChangeRefused],
) -> None:
    operator = FakeOperator()
    operator.error = kind(("one", "two"))
    assert await answered(operator, "reload", {}) == {"refused": ["one", "two"]}


@pytest.mark.parametrize(
    ("verb", "payload", "why"),
    [
        ("set", {}, "Object missing required field `changes`"),
        ("set", {"changes": ONE}, "Expected `array`, got `object`"),
        ("set", {"changes": [{**ONE, "value": 5}]}, "Expected `str`, got `int`"),
        ("set", {"changes": [{**ONE, "more": 5}]}, "unknown field `more`"),
        ("switch", [], "Expected `object`, got `array`"),
        ("history", {"limit": "all"}, "Expected `int | null`, got `str`"),
        ("history", "all", "Expected `object`, got `str`"),
        ("reload", {"now": True}, "unknown field `now`"),
        ("stop", {}, "this server knows no verb 'stop'"),
        ("", {}, "this server knows no verb ''"),
    ],
)
async def test_what_is_not_understood_is_refused(verb: str, payload: object, why: str) -> None:
    operator = FakeOperator()
    answer = await answered(operator, verb, payload)
    assert why in answer["refused"][0]
    assert operator.asked == []


async def test_a_fault_is_not_a_refusal() -> None:
    operator = FakeOperator()
    operator.error = RuntimeError("a fault of ours")
    with pytest.raises(RuntimeError):
        await answered(operator, "status", {})
