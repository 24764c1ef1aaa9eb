from __future__ import annotations

import pytest
from msgspec import Struct

from penstock.spec import tree
from penstock.spec.compose import compose
from penstock.spec.forms import Flag, ListOf, Number, Option, Record, Text, Word
from penstock.spec.nodes import Scalar, YamlNode
from penstock.spec.written import FAILED, fits, long_form, plain, scalar

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
        (Number(False), "1e-400", FAILED),
        (Number(False), "-1e-400", FAILED),
        (Number(False), "1e400", FAILED),
        (Number(False), "0e-400", 0.0),
        (Text(), "1e-400", "1e-400"),
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


# --- short ways ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "short", "long"),
    [
        (tree.FanOutArm, "svc", {"use": "svc"}),
        (tree.FanOutArm, "~", {"use": None}),
        (tree.FanOutArm, "[svc]", {"use": ("svc",)}),
        (tree.FanOutArm, "{fan_out: {}}", {"use": {"fan_out": {}}}),
        (tree.FanOutArm, "{threshold: 1}", {"threshold": 1}),
        (tree.FanOutArm, "{use: svc, state: 1}", {"use": "svc", "state": 1}),
        (tree.SplitArm, "60", {"weight": 60}),
        (tree.SplitArm, "{weight: 60}", {"weight": 60}),
        (tree.Match, "mountain", {"exact": "mountain"}),
        (tree.Match, "~", {}),
        (tree.Quorum, "'quorum: 2'", {"quorum": 2}),
        (tree.Quorum, "quorum:2", {"quorum": 2}),
        (tree.Retry, "~", {}),
    ],
)
def test_long_form(record: type[Struct], short: str, long: object) -> None:
    table = long_form(record, node(short))
    assert table is not None
    assert plain(table) == long


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (tree.Quorum, "~"),
        (tree.Quorum, "quorum"),
        (tree.SplitArm, "[1]"),
        (tree.Timeout, "1"),
        (tree.Match, "[a]"),
    ],
)
def test_no_long_form(record: type[Struct], text: str) -> None:
    assert long_form(record, node(text)) is None


@pytest.mark.parametrize(
    ("option", "text", "meant"),
    [
        (Text(), "a", True),
        (Text(), "1", False),
        (Number(True), "1", True),
        (Number(True), "a", False),
        (Number(True), "[1]", False),
        (Word({"a": 1}), "a", True),
        (ListOf(Text()), "[a]", True),
        (ListOf(Text()), "a", False),
        (Record(tree.Quorum), "{}", True),
        (Record(tree.Quorum), "a", False),
    ],
)
def test_fits(option: Option, text: str, meant: bool) -> None:
    assert fits(option, node(text)) is meant
