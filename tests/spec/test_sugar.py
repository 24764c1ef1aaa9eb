from __future__ import annotations

import pytest
from msgspec import Struct

from penstock.spec import tree
from penstock.spec.compose import compose
from penstock.spec.forms import ListOf, Number, Option, Record, Text, Word
from penstock.spec.nodes import YamlNode
from penstock.spec.scalars import plain
from penstock.spec.sugar import fits, long_form


def node(text: str) -> YamlNode:
    root = compose(text, "f").root
    assert root is not None
    return root


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
