"""A YAML document as positioned values, after YAML 1.2's core schema.

Only `true` and `false` are booleans: `on`, `no` and `22:00` are text, and so is `1_000`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias, assert_never

from msgspec import Struct

from penstock.spec.problems import Position, child, item

Plain: TypeAlias = str | int | float | bool | None
"""What a scalar can be."""

Step: TypeAlias = str | int
"""One step of a path: a key of a mapping, or an index of a list."""

NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
FLAGS: Final[Mapping[str, bool]] = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
WHOLE: Final = re.compile(r"[-+]?[0-9]+")
OTHER_BASE: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
DECIMAL: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
SOMETHING: Final = re.compile(r"[-+.0]*[1-9]")
"""Begins a decimal number that is not 0."""

INFINITE: Final = re.compile(r"([-+]?)\.(?:inf|Inf|INF)")
NOT_A_NUMBER: Final = frozenset({".nan", ".NaN", ".NAN"})
LONGEST_NUMBER: Final = 200


class Span(Struct, frozen=True):
    """The characters of the file that a node is written with."""

    start: int
    end: int


class Scalar(Struct, frozen=True):
    """One value.

    Attributes:
        value: what it means.
        text: what it is written as, without quotes, environment filled in.
        position: where.
        span: the characters it is written with.
        quoted: it stands in quotes or as a block of text.
        origin: the `${NAME}` that it comes from; empty where it is written plainly.
    """

    value: Plain
    text: str
    position: Position
    span: Span
    quoted: bool = False
    origin: str = ""


class Sequence(Struct, frozen=True):
    """A list."""

    items: tuple[YamlNode, ...]
    position: Position
    span: Span
    flow: bool = False


class Entry(Struct, frozen=True):
    """A key's value, and where the key stands."""

    position: Position
    value: YamlNode


class Table(Struct, frozen=True):
    """A mapping."""

    entries: Mapping[str, Entry]
    position: Position
    span: Span
    flow: bool = False


YamlNode: TypeAlias = Scalar | Sequence | Table


def resolve(text: str) -> Plain:
    """Return what a plain scalar means; a number of more than 200 characters is text."""
    if text in NULLS:
        return None
    if text in FLAGS:
        return FLAGS[text]
    return text if len(text) > LONGEST_NUMBER else _number(text)


def _number(text: str) -> str | int | float:
    if WHOLE.fullmatch(text):
        return int(text)
    if OTHER_BASE.fullmatch(text):
        return int(text, 0)
    if DECIMAL.fullmatch(text):
        return float(text)
    if infinite := INFINITE.fullmatch(text):
        return float(f"{infinite[1]}inf")
    return float("nan") if text in NOT_A_NUMBER else text


def out_of_reach(text: str) -> str:
    """Return in what way a decimal number cannot be held as it is written; empty where it can be.

    Nearest to `1e-400` is 0, and to `1e400` infinity: neither is what was meant.
    """
    if not DECIMAL.fullmatch(text):
        return ""
    number = float(text)
    if number == 0.0 and SOMETHING.match(text):
        return "nearer to 0 than any number that can be held"
    return "beyond all numbers that can be held" if math.isinf(number) else ""


def below(node: YamlNode, step: Step) -> YamlNode | None:
    """Return what stands directly below a node, or None where nothing does."""
    if isinstance(node, Table) and isinstance(step, str) and step in node.entries:
        return node.entries[step].value
    if isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
        return node.items[step]
    return None


def positions(node: YamlNode) -> Mapping[str, Position]:
    """Return where every path of the document stands: a key's value at its key."""
    return dict(_positions(node, "", node.position))


def _positions(node: YamlNode, path: str, at: Position) -> Iterator[tuple[str, Position]]:
    yield path, at
    match node:
        case Table(entries):
            for key, entry in entries.items():
                yield from _positions(entry.value, child(path, key), entry.position)
        case Sequence(items):
            for index, one in enumerate(items):
                yield from _positions(one, item(path, index), one.position)
        case Scalar():
            pass
        case _:
            assert_never(node)


def scalars(node: YamlNode, path: str = "") -> Iterator[tuple[str, Scalar]]:
    """Yield every single value of the document with its path."""
    match node:
        case Scalar():
            yield path, node
        case Sequence():
            for index, one in enumerate(node.items):
                yield from scalars(one, item(path, index))
        case Table():
            for key, entry in node.entries.items():
                yield from scalars(entry.value, child(path, key))
        case _:
            assert_never(node)
