from __future__ import annotations

import math

import pytest

from penstock.spec.compose import compose
from penstock.spec.nodes import Plain, Scalar, below, out_of_reach, positions, resolve, scalars
from penstock.spec.problems import Position


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("NULL", None),
        ("nuLL", "nuLL"),
        ("true", True),
        ("False", False),
        ("TRUE", True),
        ("on", "on"),
        ("no", "no"),
        ("yes", "yes"),
        ("y", "y"),
        ("22:00", "22:00"),
        ("2001-01-01", "2001-01-01"),
        ("1_000", "1_000"),
        ("12", 12),
        ("-3", -3),
        ("+3", 3),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b1", "0b1"),
        ("1.", 1.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-1.5E-2", -0.015),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("inf", "inf"),
        ("nan", "nan"),
        ("1" * 201, "1" * 201),
        ("\u0661", "\u0661"),
    ],
)
def test_the_core_schema(text: str, value: Plain) -> None:
    resolved = resolve(text)
    assert resolved == value
    assert type(resolved) is type(value)


def test_not_a_number() -> None:
    found = resolve(".NaN")
    assert isinstance(found, float)
    assert math.isnan(found)


TINY = "nearer to 0 than any number that can be held"
HUGE = "beyond all numbers that can be held"


@pytest.mark.parametrize(
    ("text", "far"),
    [
        ("1e-400", TINY),
        ("-.01E-999", TINY),
        ("0.0000001e-330", TINY),
        ("1e400", HUGE),
        ("-2.E+309", HUGE),
        ("0", ""),
        ("-0.0", ""),
        ("0e400", ""),
        ("0.00e-400", ""),
        ("5e-324", ""),
        ("1e-320", ""),
        ("1.7e308", ""),
        (".inf", ""),
        ("1e", ""),
        ("e-400", ""),
    ],
)
def test_numbers_that_cannot_be_held(text: str, far: str) -> None:
    assert out_of_reach(text) == far


def test_every_path_has_its_place() -> None:
    root = compose("a: 1\nb:\n  - x\n  - {c: 2}\n", "f").root
    assert root is not None
    assert positions(root) == {
        "": Position(1, 1),
        "a": Position(1, 1),
        "b": Position(2, 1),
        "b[0]": Position(3, 5),
        "b[1]": Position(4, 5),
        "b[1].c": Position(4, 6),
    }
    assert {path: scalar.value for path, scalar in scalars(root)} == {
        "a": 1,
        "b[0]": "x",
        "b[1].c": 2,
    }


def test_below() -> None:
    root = compose("a: [x, {b: y}]", "spec").root
    assert root is not None
    items = below(root, "a")
    assert items is not None
    first, second = below(items, 0), below(items, 1)
    assert isinstance(first, Scalar)
    assert first.value == "x"
    assert second is not None
    assert below(second, "b") is not None
    nothing = [(root, "b"), (root, 0), (items, 2), (items, "a"), (first, "x"), (first, 0)]
    assert [below(node, step) for node, step in nothing] == [None] * 6  # type: ignore[arg-type]
