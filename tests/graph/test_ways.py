"""`explain --request`: which way a request would go, and in which words that is said."""

from __future__ import annotations

import math
from typing import Final

import pytest

from penstock.core.errors import InvalidInput, SpecError
from penstock.core.rendezvous import choose, draw, odds_of, seed_key
from penstock.graph.ways import asked, deciding, unread
from penstock.spec import tree
from penstock.spec.explain import Way
from tests.graph.fakes import a_spec

NOON_S: Final = 86400.0 * 20000 + 12 * 3600


def way(rules: str, request: str) -> Way:
    spec = a_spec(f"a: {{condition: {{when: [{rules}], otherwise: svc}}}}", ["svc"])
    target = spec.routes["a"]
    assert isinstance(target, tree.Condition)
    return deciding(asked(request, NOON_S), spec)(target)


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
        ("header: {x: ''}", '{"headers": {"x": ""}}', True, 'header x is ""; it is ""'),
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
    assert way(f"{{{rule}, use: svc}}", request_) == Way((f"when[0] {word}: {said}",), (branch,))


def test_rules_are_told_up_to_the_one_that_matches() -> None:
    rules = ", ".join(f"{{query: {{a: '{text}'}}, use: svc}}" for text in "xyz")
    assert way(rules, '{"query": {"a": "y"}}') == Way(
        (
            'when[0] does not match: query a is x; it is "y"',
            'when[1] matches: query a is y; it is "y"',
        ),
        ("when[1]",),
    )


def test_rows_that_part_are_refused() -> None:
    found = way("{column: 0, above: 3, use: svc}", '{"body": {"data": [[1], [4]]}}')
    assert found.branches == ()
    assert found.why[0].startswith("when[0] refuses it: $.data[1] and $.data[0] go different ways")


# --- at a split --------------------------------------------------------------------------

ARMS: Final = "arms: {svc: 60, rf: {weight: 40, use: svc}, off: {weight: 0, use: svc}}"
ODDS: Final = odds_of("a", {"svc": 60, "rf": 40})


def at_split(keys: str, request: str) -> Way:
    spec = a_spec(f"a: {{split: {{{ARMS}{keys}}}}}", ["svc"])
    target = spec.routes["a"]
    assert isinstance(target, tree.Split)
    return deciding(asked(request, NOON_S), spec)(target)


@pytest.mark.parametrize(
    ("keys", "request_", "by", "key"),
    [
        (
            ", sticky: 'header:X-User'",
            '{"headers": {"x-USER": "ada"}}',
            'header X-User is "ada", in the experiment a',
            b"value:ada",
        ),
        (
            ", sticky: 'field:id'",
            '{"body": {"id": 17}}',
            "field id is 17, in the experiment a",
            b"value:17",
        ),
        (
            ", sticky: 'header:x'",
            '{"headers": {"x": "", "X-Penstock-Seed": "00000000000000FF"}}',
            "header x is empty, so the seed decides, which is 00000000000000ff",
            seed_key(255),
        ),
        (
            "",
            '{"headers": {"x-penstock-seed": "0000000000000007"}}',
            "the seed decides, which is 0000000000000007",
            seed_key(7),
        ),
    ],
)
def test_an_arm(keys: str, request_: str, by: str, key: bytes) -> None:
    found = at_split(keys, request_)
    arm = choose(ODDS, key)
    assert found.branches == (arm,)
    assert (found.why[0], found.why[-1]) == (by, f"{arm} has the smallest")
    scores = [why.partition(": ") for why in found.why[1:-1]]
    assert [name for name, _, _ in scores] == ["svc", "rf"]
    assert min(scores, key=lambda one: float(one[2].rpartition(" ")[2]))[0] == arm


def test_a_score_is_told_as_it_is_made() -> None:
    drawn = draw(ODDS[0], b"value:ada")
    assert at_split(", sticky: 'header:x'", '{"headers": {"x": "ada"}}').why[1] == (
        f"svc: -ln({drawn:.6f}) / 60 = {-math.log(drawn) / 60:.6g}"
    )


@pytest.mark.parametrize(
    ("keys", "lacks"), [("", ""), (", sticky: 'header:x'", "header x is not given, so ")]
)
def test_without_key_and_seed_any_arm_that_has_weight_may_be_met(keys: str, lacks: str) -> None:
    why = f"{lacks}the seed decides, which is drawn for each request"
    assert at_split(keys, "{}") == Way((why,), ("svc", "rf"))


def test_an_experiment_has_its_own_name() -> None:
    request = '{"headers": {"x": "ada"}}'
    keys = ", sticky: 'header:x', experiment: e"
    assert at_split(keys, request).why[0] == 'header x is "ada", in the experiment e'


# --- what is told of a request -----------------------------------------------------------


def test_no_more_of_a_value_is_looked_at_than_the_gateway_does() -> None:
    found = asked(f'{{"headers": {{"x": "{"a" * 300}"}}}}', 0.0)
    assert found.request.fields == {"header:x": "a" * 257}
    found = asked('{"headers": {"x": " a\\t"}, "query": {"x": " a"}}', 0.0)
    assert found.request.fields == {"header:x": "a", "query:x": " a"}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('{"data": [[1]], "b": 1}', ""),
        (
            '{"age": 1, "data": [[1]], "name": "x", "b": null}',
            'the server refuses it (422): a reads no "age" or "name" in the body',
        ),
    ],
)
def test_keys_of_the_body_that_a_route_does_not_read(body: str, why: str) -> None:
    routes = "a: b\nb: {condition: {when: [{field: {b: 1}, use: svc}], otherwise: svc}}"
    spec = a_spec(routes, ["svc"])
    assert unread(asked(f'{{"headers": {{"x": ""}}, "body": {body}}}', 0.0), spec)("a") == why


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "--request is not understood: Input data was truncated; write {"),
        ('{"header": {}}', "unknown field `header`"),
        ('{"headers": {"x": 1}}', "Expected `str`, got `int`"),
        ('{"body": {"ages": [[1]]}}', "ages of the body is a list; only data may be one"),
        ('{"body": {"data": 5}}', "data is the rows: a list of lists of numbers"),
        ('{"body": {"data": "x"}}', "data is the rows: a list of lists of numbers"),
        ('{"body": {"age": 9223372036854775808}}', "Expected `int` <= 9223372036854775807"),
        ('{"headers": {"x": "1", "X": "2"}}', '--request: the header "X" is told twice'),
        ('{"query": {"x": "1", "x": "2"}}', '--request: "x" is told twice'),
        ("[" * 100_000, "--request is not understood"),
        ('{"time": "25:00"}', '"25:00" is no time of day; write it as 22:30'),
        ('{"headers": {"x-penstock-seed": "7"}}', 'the seed is no 16 hexadecimal digits: "7"'),
        ('{"headers": {"x-penstock-seed": "ü"}}', "the seed is no 16 hexadecimal digits"),
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
