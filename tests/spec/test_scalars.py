from __future__ import annotations

import pytest

from penstock.spec.compose import compose
from penstock.spec.forms import Flag, Number, Text, Word
from penstock.spec.nodes import Scalar, YamlNode
from penstock.spec.scalars import FAILED, plain, scalar

STATE = Word({"on": "ON", "off": "OFF"}, {1: "ON"})


def node(text: str) -> YamlNode:
    root = compose(text, "f").root
    assert root is not None
    return root


@pytest.mark.parametrize(
    ("form", "text", "value"),
    [
        (Text(), "abc", "abc"),
        (Text(), "'1'", "1"),
        (Text(), "007", "007"),
        (Text(), "123456789e12", "123456789e12"),
        (Text(), "true", "true"),
        (Text(), "~", FAILED),
        (Number(False), "1", 1.0),
        (Number(False), "1.5", 1.5),
        (Number(False), "'1'", FAILED),
        (Number(False), "true", FAILED),
        (Number(False), ".inf", FAILED),
        (Number(False), ".nan", FAILED),
        (Number(False), "~", FAILED),
        (Number(True), "0x10", 16),
        (Number(True), "1.0", FAILED),
        (Number(True, ge=1), "0", FAILED),
        (Number(True, ge=1), "1", 1),
        (Number(False, gt=0), "0", FAILED),
        (Number(False, le=1), "1", 1.0),
        (Number(False, le=1), "1.01", FAILED),
        (Number(False, lt=1), "1", FAILED),
        (Flag(), "true", True),
        (Flag(), "1", FAILED),
        (Flag(), "yes", FAILED),
        (STATE, "on", "ON"),
        (STATE, "1", "ON"),
        (STATE, "0", FAILED),
        (STATE, "true", FAILED),
        (STATE, "1.0", FAILED),
        (STATE, "On", FAILED),
    ],
)
def test_scalars(form: Text | Number | Flag | Word, text: str, value: object) -> None:
    one = node(text)
    assert isinstance(one, Scalar)
    found = scalar(form, one)
    assert found == value
    assert type(found) is type(value)


def test_plain() -> None:
    assert plain(node("{a: [1, [2.5, ~]], b: {c: x}}")) == {"a": (1, (2.5, None)), "b": {"c": "x"}}
