"""Single values: what one means where a form is expected."""

from __future__ import annotations

import math
from typing import Final, assert_never

from penstock.spec.forms import Flag, Number, Text, Word, within
from penstock.spec.nodes import Scalar, Sequence, Table, YamlNode

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
    if not math.isfinite(value) or not within(value, form):
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
