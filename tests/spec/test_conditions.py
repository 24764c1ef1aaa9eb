"""What is said of wrong rules is told in `golden/conditions`; here is what right ones mean."""

from __future__ import annotations

import pytest

from penstock.spec.check import examine
from penstock.spec.conditions import HOURS, branches, hours_of, places
from penstock.spec.forms import LAYERS, TARGETS
from penstock.spec.problems import Problem
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


@pytest.mark.parametrize(
    ("between", "said"),
    [
        ("[9:00, 17:00]", ["between[0]: 9:00 is no time of day; write 09:00"]),
        ("[09:00, 17]", ["between[1]: 17 is no time of day; write 17:00"]),
        (
            "[24:00, 6:5]",
            [
                "between[0]: 24:00 is the end of a day, so no hours begin then; write 00:00",
                "between[1]: 6:5 is no time of day; write 06:05",
            ],
        ),
        (
            "[noon, 24:30]",
            [
                f"between[0]: noon is no time of day; {HOURS}",
                f"between[1]: 24:30 is no time of day; {HOURS}",
            ],
        ),
    ],
)
def test_an_end_that_is_no_time_of_day(between: str, said: list[str]) -> None:
    place = "routes.a.condition.when[0].time."
    found = problems_of(f"{{time: {{between: {between}}}, use: svc}}")
    assert [f"{one.path}: {one.sentence}; {one.hint}" for one in found] == [
        f"{place}{sentence}" for sentence in said
    ]


@pytest.mark.parametrize(
    "test",
    [
        "' a'",
        "{exact: 'a '}",
        '{one_of: [b, "a\\tb", "a\\n"]}',
        "{prefix: ' a'}",
        '{prefix: "a\\x7f"}',
    ],
)
def test_a_header_that_never_has_such_a_text(test: str) -> None:
    (problem,) = problems_of(f"{{header: {{x: {test}}}, use: svc}}")
    assert problem.path == "routes.a.condition.when[0].header.x"
    assert "no header has the text" in problem.sentence
    assert problems_of(f"{{query: {{x: {test}}}, use: svc}}") == ()


def test_a_header_may_begin_with_what_ends_in_a_blank() -> None:
    assert problems_of("{header: {x: {prefix: 'Bearer '}, y: '', z: \"a\\tb\"}, use: svc}") == ()


@pytest.mark.parametrize("name", ["''", "'a\"b'", "'a\\b'", '"a\\nb"', '"\\ud800"'])
def test_a_key_that_no_body_can_have(name: str) -> None:
    (problem,) = problems_of(f"{{field: {{{name}: 1}}, use: svc}}")
    assert "cannot be a key here" in problem.sentence


def problems_of(rule: str) -> tuple[Problem, ...]:
    condition = f"{{condition: {{when: [{rule}], otherwise: svc}}}}"
    text = f"models: {{svc: {{path: a.onnx}}}}\nroutes: {{a: {condition}}}\n"
    available = frozenset({*LAYERS, *TARGETS})
    return examine(read_text(text, {}), reserved=frozenset(), available=available)[1]


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
