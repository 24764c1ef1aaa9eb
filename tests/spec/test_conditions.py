"""What is said of wrong rules is told in `golden/conditions`; here is what right ones mean."""

from __future__ import annotations

import pytest

from penstock.spec.check import examine
from penstock.spec.conditions import branches, hours_of, places
from penstock.spec.forms import LAYERS, TARGETS
from penstock.spec.read import read_text
from penstock.spec.tree import Condition, Match, Reference, When

SVC = Reference(name="svc", place="a")
RF = Reference(name="rf", place="b")


def test_branches_and_their_places() -> None:
    rules = (When(use=SVC, column=0, above=1, place="it.when[0]"),)
    condition = Condition(when=rules, otherwise=RF, place="it")
    assert branches(condition) == {"when[0]": SVC, "otherwise": RF}
    assert places(condition) == {"when[0]": "it.when[0]", "otherwise": "it.otherwise"}


@pytest.mark.parametrize(
    ("between", "hours"),
    [
        (("22:00", "06:00"), (79200, 21600)),
        (("00:00", "24:00"), (0, 86400)),
        (("09:30", "17:05"), (34200, 61500)),
        (("9:30", "17:05"), None),
        (("09:30", "24:01"), None),
        (("24:00", "09:30"), None),
        (("09:30", "09:30"), None),
        ((9.5, 17.0), None),
    ],
)
def test_hours(between: tuple[float | str, float | str], hours: tuple[int, int] | None) -> None:
    assert hours_of(Match(between=between)) == hours


def test_hours_of_another_test() -> None:
    assert hours_of(Match(exact="22:00")) is None


def warnings(*rules: str) -> list[str]:
    models = "models: {svc: {path: a.onnx}, rf: {path: b.onnx}}\n"
    when = ", ".join(rules)
    text = f"{models}routes: {{a: {{condition: {{when: [{when}], otherwise: svc}}}}, b: rf}}\n"
    available = frozenset({*LAYERS, *TARGETS})
    _, problems = examine(read_text(text, {}), reserved=frozenset(), available=available)
    return [f"{problem.path}: {problem.sentence}" for problem in problems]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{header: {Target: a}, use: svc}", "{header: {target: a}, use: rf}"),
        ("{column: 0, above: 1, use: svc}", "{column: 0, above: 1, use: svc, timeout_s: 1}"),
        (
            "{time: {between: [22:00, 06:00]}, use: svc}",
            "{time: {between: [22:00, 06:00]}, use: rf}",
        ),
    ],
)
def test_a_rule_that_stands_twice(first: str, second: str) -> None:
    assert warnings(first, second) == [
        "routes.a.condition.when[1]: when[0] tests the same, so when[1] is never reached"
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{header: {x: a}, use: svc}", "{header: {x: b}, use: svc}"),
        ("{header: {x: a}, use: svc}", "{query: {x: a}, use: svc}"),
        ("{query: {x: a}, use: svc}", "{query: {X: a}, use: svc}"),
        ("{column: 0, above: 1, use: svc}", "{column: 1, above: 1, use: svc}"),
        ("{column: 0, above: 1, use: svc}", "{column: 0, below: 1, use: svc}"),
    ],
)
def test_rules_that_differ(first: str, second: str) -> None:
    assert warnings(first, second) == []
