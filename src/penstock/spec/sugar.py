"""The short ways to write things, brought into the long form that the tree's types describe."""

from __future__ import annotations

import re
from typing import Final, assert_never

from msgspec import Struct

from penstock.spec import tree
from penstock.spec.forms import LAYERS, TARGETS, ListOf, Number, Option, Record, Text, Word, keys
from penstock.spec.nodes import Entry, Scalar, Sequence, Table, YamlNode, resolve
from penstock.spec.scalars import FAILED, scalar

QUORUM: Final = re.compile(r"quorum: *([0-9]{1,9})")


def long_form(record: type[Struct], node: YamlNode) -> Table | None:
    """Return the node as a mapping with the record's keys, or None where it is no such thing."""
    if record is tree.FanOutArm and (not isinstance(node, Table) or is_pattern(node)):
        return _wrapped("use", node)
    match node:
        case Table():
            return node
        case Scalar() if record is tree.SplitArm:
            return _wrapped("weight", node)
        case Scalar() if record is tree.Match and node.value is not None:
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
