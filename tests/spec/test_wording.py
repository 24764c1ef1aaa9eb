from __future__ import annotations

import pytest

from penstock.spec import tree
from penstock.spec.compose import compose
from penstock.spec.forms import (
    Anything,
    Choice,
    Flag,
    Form,
    ListOf,
    MapOf,
    Maybe,
    Number,
    Predictor,
    Record,
    Row,
    Text,
    Word,
)
from penstock.spec.nodes import Scalar, YamlNode
from penstock.spec.problems import Position
from penstock.spec.wording import advice, example, expected, rule_text, said

USE = tree.Reference(name="svc")


def node(text: str) -> YamlNode:
    root = compose(text, "f").root
    assert root is not None
    return root


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (Text(title="a name"), "a name"),
        (Number(True, gt=0, lt=5), "a whole number above 0 and below 5"),
        (Number(False, le=5), "a number of at most 5"),
        (Number(False), "a number"),
        (Flag(), "true or false"),
        (Anything(), "a value"),
        (Word({"a": 1, "b": 2}, {1: 1}), "a, b or 1"),
        (ListOf(Text()), "a list"),
        (Row((Text(), Text())), "a list of 2 values"),
        (MapOf(Text(), Text()), "a mapping"),
        (Record(tree.Timeout), "a mapping with timeout_s"),
        (Predictor(), "a predictor (a name, a list of layers and a target, or a pattern)"),
        (Maybe(Choice((Word({"a": 1, "b": 2}), Text()))), "a, b or text"),
    ],
)
def test_expected(form: Form, words: str) -> None:
    assert expected(form) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("~", "nothing"),
        ("high", '"high"'),
        ("0x10", "0x10"),
        ("[1]", "a list"),
        ("{a: 1}", "a mapping"),
    ],
)
def test_said(text: str, words: str) -> None:
    assert said(node(text)) == words


def test_said_names_the_environment() -> None:
    one = node("high")
    assert isinstance(one, Scalar)
    from_environment = Scalar("high", "high", Position(), one.span, origin="${LEVEL}")
    assert said(from_environment) == '"high" (from ${LEVEL})'


def test_example() -> None:
    assert example("condition") == "condition: {when: ..., otherwise: ...}"
    assert example("retry") == "retry: {}"


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (
            tree.When(use=USE, header={"x": tree.Match(exact=""), "y": tree.Match(prefix="a")}),
            'header x is "" and header y prefix a',
        ),
        (tree.When(use=USE, query={"x": tree.Match(one_of=("", 1))}), 'query x one_of ["", 1]'),
        (tree.When(use=USE, column=1, between=(0.5, 2.0)), "column 1 between [0.5, 2]"),
        (
            tree.When(use=USE, time=tree.Match(between=("22:00", "06:00"))),
            "time between [22:00, 06:00]",
        ),
    ],
)
def test_a_rule(rule: tree.When, text: str) -> None:
    assert rule_text(rule) == text


@pytest.mark.parametrize(
    ("form", "text", "hint"),
    [
        (Word({"on": 1, "off": 0}), "of", 'did you mean "off"?'),
        (Choice((Text(), Number(whole=False))), "true", 'write "true"'),
        (Choice((Number(whole=True), Word({"on": 1}))), "true", ""),
        (Choice((Text(), Number(whole=False))), "[1]", ""),
        (Number(whole=False), "true", ""),
        (Number(whole=False), "1e-400", "it is nearer to 0 than any number that can be held"),
        (Number(whole=False), "'1e-400'", ""),
        (Number(whole=False), "2.5", ""),
        (Choice((Text(), Number(False))), "1e400", "it is beyond all numbers that can be held"),
        (Text(), "1e400", ""),
    ],
)
def test_advice(form: Form, text: str, hint: str) -> None:
    assert advice(form, node(text)) == hint
