"""How sentences call what is expected and what is there instead."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import assert_never

from penstock.spec.forms import (
    LAYERS,
    TARGETS,
    Anything,
    Choice,
    Flag,
    Form,
    ListOf,
    MapOf,
    Maybe,
    Number,
    Option,
    Predictor,
    Record,
    Row,
    Text,
    Word,
    keys,
)
from penstock.spec.nodes import Scalar, Sequence, Table, YamlNode
from penstock.spec.problems import listed, quoted


def expected(form: Form) -> str:
    """Return what a sentence calls the form: `a number from 0 to 1`."""
    match form:
        case Text():
            return form.title or "text"
        case Number():
            return f"{'a whole number' if form.whole else 'a number'}{_bounds(form)}"
        case Flag():
            return "true or false"
        case Anything():
            return "a value"
        case Word():
            return listed([*form.words, *map(str, form.numbers)])
        case ListOf():
            return "a list"
        case Row():
            return f"a list of {len(form.items)} values"
        case MapOf():
            return "a mapping"
        case Record():
            return f"a mapping with {listed(keys(form.kind), 'and')}"
        case Predictor():
            return "a predictor (a name, a list of layers and a target, or a pattern)"
        case Choice():
            return listed(chain.from_iterable(map(_alternatives, form.options)))
        case Maybe():
            return expected(form.form)
        case _:
            assert_never(form)


def _alternatives(option: Option) -> Iterable[str]:
    return option.words if isinstance(option, Word) else (expected(option),)


def _bounds(number: Number) -> str:
    if number.ge is not None and number.le is not None:
        return f" from {number.ge:,.15g} to {number.le:,.15g}"
    words = {
        "of at least": number.ge,
        "above": number.gt,
        "of at most": number.le,
        "below": number.lt,
    }
    said = [f"{word} {bound:,.15g}" for word, bound in words.items() if bound is not None]
    return f" {listed(said, 'and')}" if said else ""


def said(node: YamlNode) -> str:
    """Return what a sentence calls the node: `"high"`, `nothing`, `a list`."""
    match node:
        case Scalar(value=None):
            what = "nothing"
        case Scalar(value=str()):
            what = quoted(node.text)
        case Scalar():
            what = node.text
        case Sequence():
            what = "a list"
        case Table():
            what = "a mapping"
        case _:
            assert_never(node)
    origin = node.origin if isinstance(node, Scalar) else ""
    return f"{what} (from {origin})" if origin else what


def example(pattern: str) -> str:
    """Return how a pattern is written, with the keys it must have."""
    needed = [
        f"{key.name}: ..." for key in keys({**LAYERS, **TARGETS}[pattern]).values() if key.required
    ]
    return f"{pattern}: {{{', '.join(needed)}}}"
