"""What is written, in the form that is expected: single values, and short ways to write long ones.

The short ways are brought into the long form that the tree's types describe.
"""

from __future__ import annotations

import math
import re
from typing import Final, assert_never

from msgspec import Struct

from penstock.spec import tree
from penstock.spec.forms import (
    LAYERS,
    TARGETS,
    Flag,
    ListOf,
    Number,
    Option,
    Record,
    Text,
    Word,
    keys,
    within,
)
from penstock.spec.nodes import Entry, Scalar, Sequence, Table, YamlNode, out_of_reach, resolve

QUORUM: Final = re.compile(r"quorum: *([0-9]{1,9})")

FAILED: Final = object()
"""In place of a value that the node does not say."""

ABSENT: Final = object()
"""In place of the value of a key that is not written."""


def scalar(form: Text | Number | Flag | Word, node: Scalar) -> object:
    """Return what the scalar says in that form, or FAILED.

    Where text is expected a number is the text it is written as, so that a label `7` and a digest
    `123456789e12` need no quotes; everywhere else nothing is taken for anything but itself.
    """
    match form:
        case Text():
            return _text(form, node)
        case Number():
            return _number(form, node)
        case Flag():
            return node.value if isinstance(node.value, bool) else FAILED
        case Word():
            return _word(form, node)
        case _:
            assert_never(form)


def _text(form: Text, node: Scalar) -> object:
    if node.value is None or (form.pattern and not form.pattern.fullmatch(node.text)):
        return FAILED
    return node.text


def _number(form: Number, node: Scalar) -> object:
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int if form.whole else int | float):
        return FAILED
    if not math.isfinite(value) or not within(value, form) or out_of_reach(node.text):
        return FAILED
    return value if form.whole else float(value)


def _word(form: Word, node: Scalar) -> object:
    if isinstance(node.value, str):
        return form.words.get(node.value, FAILED)
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        return form.numbers.get(node.value, FAILED)
    return FAILED


def plain(node: YamlNode) -> object:
    """Return the node as plain values, lists as tuples."""
    match node:
        case Scalar():
            return node.value
        case Sequence():
            return tuple(plain(one) for one in node.items)
        case Table():
            return {key: plain(entry.value) for key, entry in node.entries.items()}
        case _:
            assert_never(node)


def long_form(record: type[Struct], node: YamlNode) -> Table | None:
    """Return the node as a mapping with the record's keys, or None where it is no such thing."""
    if record is tree.FanOutArm and (not isinstance(node, Table) or is_pattern(node)):
        return _wrapped("use", node)
    match node:
        case Table():
            return node
        case Scalar() if record is tree.SplitArm:
            return _wrapped("weight", node)
        case Scalar() if record is tree.Match and (node.value is not None or node.origin):
            return _wrapped("exact", node)
        case Scalar(value=str(text)) if record is tree.Quorum and (said := QUORUM.fullmatch(text)):
            return _wrapped("quorum", Scalar(resolve(said[1]), said[1], node.position, node.span))
        case Scalar(value=None) if record is not tree.Quorum:
            return Table({}, node.position, node.span)
    return None


def is_pattern(node: Table) -> bool:
    """Return whether the mapping's only key names a pattern and is no key of an arm."""
    patterns = {*LAYERS, *TARGETS}.difference(keys(tree.FanOutArm))
    return len(node.entries) == 1 and not patterns.isdisjoint(node.entries)


def _wrapped(key: str, node: YamlNode) -> Table:
    return Table({key: Entry(node.position, node)}, node.position, node.span)


def fits(option: Option, node: YamlNode) -> bool:
    """Return whether the node is of the option's kind, so that it is the one that is meant."""
    match option:
        case Text() | Number() | Word():
            return isinstance(node, Scalar) and _is_typed(option, node)
        case ListOf():
            return isinstance(node, Sequence)
        case Record():
            return long_form(option.kind, node) is not None
        case _:
            assert_never(option)


def _is_typed(option: Text | Number | Word, node: Scalar) -> bool:
    """Return whether a number is a number and text is text; where only text may stand, all is."""
    if isinstance(option, Text) and not isinstance(node.value, str):
        return False
    return scalar(option, node) is not FAILED
