"""What the rules say is told in `golden/form`; here is what they let pass."""

from __future__ import annotations

import pytest
from msgspec import Struct

from penstock.spec.decode import decode
from penstock.spec.nodes import Span, Table
from penstock.spec.problems import Position
from penstock.spec.read import read_text
from penstock.spec.rules import broken_rules
from penstock.spec.tree import Match, Model, Reference, Timeout, When

USE = Reference(name="svc")
NO_KEYS = Table({}, Position(), Span(0, 0))


@pytest.mark.parametrize(
    "record",
    [
        Model(path="a.onnx"),
        Model(runtime="rules:predict"),
        Model(url="a:9000"),
        Model(urls=("a:9000",), path="a.onnx"),
        Model(path="https://x/a.onnx", sha256="0" * 64),
        Match(exact="a"),
        Match(regex="^a+$"),
        Match(exact="a" * 256),
        Match(exact=1),
        Match(prefix="a" * 256),
        Match(one_of=("a" * 256, 1)),
        Match(between=(1, 2)),
        When(use=USE, header={"a": Match(exact="a")}),
        When(use=USE, column=0, above=1),
        Timeout(timeout_s=1),
    ],
)
def test_right(record: Struct) -> None:
    assert list(broken_rules(record, NO_KEYS)) == []


@pytest.mark.parametrize(
    ("record", "keys"),
    [
        (Model(), [""]),
        (Model(url="a", urls=("b",)), ["urls"]),
        (Model(path="https://x"), ["path"]),
        (Model(path="http://x"), ["path"]),
        (Match(), [""]),
        (Match(exact=1, above=2), [""]),
        (Match(regex="("), ["regex"]),
        (Match(regex="a{99999999999999999999}"), ["regex"]),
        (Match(exact="a" * 257), ["exact"]),
        (Match(prefix="a" * 257), ["prefix"]),
        (Match(one_of=()), ["one_of"]),
        (Match(one_of=("a" * 257, 1, "b" * 300)), ["one_of", "one_of"]),
        (When(use=USE), [""]),
        (When(use=USE, column=0), ["column"]),
        (When(use=USE, column=0, above=1, below=2), ["column"]),
        (When(use=USE, time=Match(exact="a"), above=1), ["above"]),
    ],
)
def test_wrong(record: Struct, keys: list[str]) -> None:
    assert [key for key, _, _ in broken_rules(record, NO_KEYS)] == keys


def written(test: str) -> list[str]:
    """Return what is said of a rule on a header, as far as its form goes."""
    rule = f"{{condition: {{when: [{{header: {{x: {test}}}, use: svc}}], otherwise: svc}}}}"
    source = read_text(f"models: {{svc: {{path: a}}}}\nroutes: {{a: {rule}}}", {"SET": "1.0"})
    place = "spec:2: "
    return [
        str(problem).removeprefix(place).replace("routes.a.condition.when[0].header.", "")
        for problem in decode(source)[1]
    ]


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ('{prefix: ""}', 'x.prefix: prefix is empty; write regex: ".*" for any value'),
        ('{regex: ""}', 'x.regex: regex is empty; write regex: ".*" for any value'),
        (
            '{prefix: "${X:-}"}',
            'x.prefix: prefix is empty (from ${X:-}); write regex: ".*" for any value',
        ),
        ('{exact: "${X:-}"}', "x.exact: exact is empty (from ${X:-})"),
        ('"${X:-}"', "x.exact: exact is empty (from ${X:-})"),
        ('{exact: a, prefix: ""}', 'x.prefix: prefix is empty; write regex: ".*" for any value'),
        ("true", 'x.exact: expected text, a whole number or a number, got true; write "true"'),
    ],
)
def test_what_is_said_of_a_test_without_text(test: str, said: str) -> None:
    assert written(test) == [said]


def test_an_empty_text_in_quotes_is_a_text() -> None:
    assert written('""') == written('{one_of: ["", a]}') == []


@pytest.mark.parametrize(
    ("test", "text", "number"),
    [
        ("1.10", "1.10", "1.1"),
        ("02134", "02134", "2134"),
        ("2.0", "2.0", "2"),
        ("0x1F", "0x1F", "31"),
        ('"${SET}"', "1.0", "1"),
    ],
)
def test_a_number_that_may_be_meant_as_text(test: str, text: str, number: str) -> None:
    warning = f"{text} is the number {number} here, however that is written"
    hint = f'write "{text}" for that text alone'
    assert written(test) == [f"warning: x.exact: {warning}; {hint}"]
    assert written(f"{{one_of: [a, {test}]}}") == [f"warning: x.one_of: {warning}; {hint}"]


@pytest.mark.parametrize(
    "test",
    [
        "1",
        "-1",
        "1.5",
        ".5",
        "1e3",
        "9007199254740993",
        "1e300",
        '"1.10"',
        "1.10.2",
        "{above: 1.10}",
    ],
)
def test_a_number_that_is_written_as_numbers_are(test: str) -> None:
    assert written(test) == []
