"""`explain --request`: which way a request would go, and in which words that is said."""

from __future__ import annotations

from typing import Final

import pytest

from penstock.core.errors import InvalidInput, SpecError
from penstock.graph.ways import asked, deciding
from penstock.spec import tree
from penstock.spec.explain import Way
from tests.graph.fakes import a_spec

NOON_S: Final = 86400.0 * 20000 + 12 * 3600


def way(rules: str, request: str) -> Way:
    spec = a_spec(f"a: {{condition: {{when: [{rules}], otherwise: svc}}}}", ["svc"])
    target = spec.routes["a"]
    assert isinstance(target, tree.Condition)
    return deciding(asked(request, NOON_S))(target)


@pytest.mark.parametrize(
    ("rule", "request_", "passed", "said"),
    [
        (
            "header: {Target: mountain}",
            '{"headers": {"TARGET": "mountain"}}',
            True,
            'header Target is mountain; it is "mountain"',
        ),
        (
            "header: {target: {prefix: m}, x: a}",
            '{"headers": {"target": "moon"}}',
            False,
            'header target prefix m and header x is a; it is "moon" and not given',
        ),
        (
            "query: {size: {above: 3}}",
            '{"query": {"size": "4"}}',
            True,
            'query size above 3; it is "4"',
        ),
        ("field: {vip: 'true'}", '{"body": {"vip": true}}', True, "field vip is true; it is true"),
        (
            "field: {age: {below: 3}}",
            '{"body": {"age": 3.5}}',
            False,
            "field age below 3; it is 3.5",
        ),
        ("field: {age: 3}", '{"body": {"age": null}}', False, "field age is 3; it is null"),
        (
            "column: 1, above: 3",
            '{"body": {"data": [[1, 4.5]]}}',
            True,
            "column 1 above 3; it is 4.5",
        ),
        (
            "column: 1, above: 3",
            '{"body": {"data": [[1, 2], [1, 3]]}}',
            False,
            "column 1 above 3; it is 2 in the first of 2 rows",
        ),
        ("column: 1, above: 3", "{}", False, "column 1 above 3; there are no rows"),
        (
            "time: {between: [22:00, 06:00]}",
            '{"time": "22:30"}',
            True,
            "time between [22:00, 06:00]; it is 22:30 UTC",
        ),
        (
            "time: {between: [22:00, 06:00]}",
            "{}",
            False,
            "time between [22:00, 06:00]; it is 12:00 UTC",
        ),
    ],
)
def test_a_rule(rule: str, request_: str, *, passed: bool, said: str) -> None:
    word = "matches" if passed else "does not match"
    branch = "when[0]" if passed else "otherwise"
    assert way(f"{{{rule}, use: svc}}", request_) == Way((f"when[0] {word}: {said}",), branch)


def test_rules_are_told_up_to_the_one_that_matches() -> None:
    rules = ", ".join(f"{{query: {{a: '{text}'}}, use: svc}}" for text in "xyz")
    assert way(rules, '{"query": {"a": "y"}}') == Way(
        (
            'when[0] does not match: query a is x; it is "y"',
            'when[1] matches: query a is y; it is "y"',
        ),
        "when[1]",
    )


def test_rows_that_part_are_refused() -> None:
    found = way("{column: 0, above: 3, use: svc}", '{"body": {"data": [[1], [4]]}}')
    assert found.branch is None
    assert found.why[0].startswith("when[0] refuses it: $.data[1] and $.data[0] go different ways")


def test_no_more_of_a_value_is_looked_at_than_the_gateway_does() -> None:
    found = asked(f'{{"headers": {{"x": "{"a" * 300}"}}}}', 0.0)
    assert found.request.fields == {"header:x": "a" * 256}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "--request is not understood: Input data was truncated; write {"),
        ('{"header": {}}', "unknown field `header`"),
        ('{"headers": {"x": 1}}', "Expected `str`, got `int`"),
        ('{"body": {"ages": [[1]]}}', "ages of the body is a list; only data may be one"),
        ('{"time": "25:00"}', '"25:00" is no time of day; write it as 22:30'),
        ('{"headers": {"\udcff": ""}}', "--request is not understood"),
    ],
)
def test_what_is_not_understood(text: str, why: str) -> None:
    with pytest.raises(SpecError) as raised:
        asked(text, 0.0)
    assert why in raised.value.message


def test_rows_that_are_none() -> None:
    with pytest.raises(InvalidInput, match=r"\$\.data\[1\] has 1 values"):
        asked('{"body": {"data": [[1, 2], [3]]}}', 0.0)
