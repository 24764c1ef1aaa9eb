"""How sentences call what is expected and what is there instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
from penstock.spec.nodes import Scalar, Sequence, Table, YamlNode, out_of_reach
from penstock.spec.problems import listed, meant, quoted
from penstock.spec.rules import TESTS
from penstock.spec.tree import Match, Quorum, When


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


def advice(form: Form, node: YamlNode) -> str:
    """Return a hint at what may be meant by a node that is not of the form, or nothing."""
    if not isinstance(node, Scalar):
        return ""
    if isinstance(form, Word):
        return meant(node.text, form.words)
    options = form.options if isinstance(form, Choice) else (form,)
    if isinstance(node.value, float) and any(isinstance(one, Number) for one in options):
        far = out_of_reach(node.text)
        return f"it is {far}" if far else ""
    if isinstance(form, Choice) and isinstance(node.value, bool):
        is_text = any(isinstance(option, Text) for option in form.options)
        return f"write {quoted(node.text)}" if is_text else ""
    return ""


def example(pattern: str) -> str:
    """Return how a pattern is written, with the keys it must have."""
    needed = [
        f"{key.name}: ..." for key in keys({**LAYERS, **TARGETS}[pattern]).values() if key.required
    ]
    return f"{pattern}: {{{', '.join(needed)}}}"


def rule_text(rule: When) -> str:
    """Return what a rule looks at and its test: `header target is mountain`."""
    tables = {"header": rule.header, "query": rule.query, "field": rule.field}
    said = [
        f"{kind} {name} {_test(test)}"
        for kind, table in tables.items()
        for name, test in (table or {}).items()
    ]
    if rule.column is not None:
        said.append(f"column {rule.column} {_test(rule)}")
    if rule.time is not None:
        said.append(f"time {_test(rule.time)}")
    return " and ".join(said)


def _test(test: Match | When) -> str:
    given = [
        f"{'is' if name == 'exact' else name} {value_text(value)}"
        for name in TESTS
        if (value := getattr(test, name, None)) is not None
    ]
    return " and ".join(given)


def value_text(value: object) -> str:
    """Return a value of a spec as a line of `penstock explain` has it."""
    match value:
        case float():
            return f"{value:.15g}"
        case "":
            return '""'
        case Quorum():
            return f"quorum: {value.arms}"
        case tuple():
            return f"[{', '.join(map(value_text, value))}]"
        case Mapping():
            return f"{{{', '.join(f'{key}: {value_text(one)}' for key, one in value.items())}}}"
        case _:
            return str(value)
