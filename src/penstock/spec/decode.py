"""Positioned values -> the typed tree, with every mistake of form at once.

A walk over the closed types of `tree.py`. It knows no pattern: what a key may hold is said there,
the short ways to write things are `written.py`'s, what keys mean together `rules.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import assert_never

from msgspec import Struct

from penstock.core.errors import SpecError
from penstock.spec import tree
from penstock.spec.forms import (
    LAYERS,
    TARGETS,
    Anything,
    Choice,
    Flag,
    Form,
    Key,
    ListOf,
    MapOf,
    Maybe,
    Number,
    Predictor,
    Record,
    Row,
    Text,
    Word,
    keys,
)
from penstock.spec.nodes import Scalar, Sequence, Table, YamlNode
from penstock.spec.problems import (
    Lines,
    Problem,
    child,
    errors,
    in_order,
    item,
    listed,
    meant,
    quoted,
)
from penstock.spec.read import Source, read_spec
from penstock.spec.rules import broken_rules, doubts
from penstock.spec.wording import advice, example, expected, said
from penstock.spec.written import ABSENT, FAILED, fits, long_form, plain, scalar


class Loaded(Struct, frozen=True):
    """A spec without errors of form.

    Attributes:
        spec: the typed tree.
        source: the file that it came from.
        warnings: what should be changed, yet does not keep the spec from being served.
    """

    spec: tree.Spec
    source: Source
    warnings: tuple[Problem, ...]


def load_spec(path: Path, environment: Mapping[str, str]) -> Loaded:
    """Read and decode a spec.

    Raises:
        SpecError: with all that is wrong with the file, each problem with its line.
    """
    source = read_spec(path, environment)
    spec, problems = decode(source)
    if spec is None:
        raise SpecError(tuple(map(str, errors(problems))))
    return Loaded(spec, source, problems)


def decode(source: Source) -> tuple[tree.Spec | None, tuple[Problem, ...]]:
    """Return the tree, or None where there are errors, and all problems of reading and decoding."""
    spec, problems = salvage(source)
    return (None if errors(problems) else spec), problems


def salvage(source: Source) -> tuple[tree.Spec | None, tuple[Problem, ...]]:
    """Return what can be made of the file in spite of its errors, and all problems so far.

    What is wrong is left out, or has its default; None when nothing is left.
    """
    if source.root is None:
        return None, source.problems
    decoder = _Decoder(source.lines)
    spec = decoder.value(Record(tree.Spec), source.root, "")
    known = {problem.path for problem in source.problems}
    told = [*decoder.problems, *decoder.doubts]
    found = [problem for problem in told if problem.path not in known]
    return (
        spec if isinstance(spec, tree.Spec) else None,
        in_order([*source.problems, *found]),
    )


class _Decoder:
    def __init__(self, lines: Lines) -> None:
        self.problems: list[Problem] = []
        self.doubts: list[Problem] = []
        self._lines = lines

    def value(self, form: Form, node: YamlNode, path: str) -> object:
        """Return what the node says in that form, or FAILED when it says something else."""
        match form:
            case Maybe():
                return self._maybe(form, node, path)
            case Choice():
                return self._choice(form, node, path)
            case Anything():
                return plain(node)
            case Predictor():
                return self._expression(node, path)
            case ListOf() | Row():
                return self._list(form, node, path)
            case MapOf():
                return self._map(form, node, path)
            case Record():
                return self._record(form.kind, node, path)
            case Text() | Number() | Flag() | Word():
                return self._scalar(form, node, path)
            case _:
                assert_never(form)

    def _maybe(self, form: Maybe, node: YamlNode, path: str) -> object:
        if isinstance(node, Scalar):
            empty = node.text == "" and isinstance(form.form, Text)
            if node.value is None or empty:
                return None
        return self.value(form.form, node, path)

    def _choice(self, form: Choice, node: YamlNode, path: str) -> object:
        for option in form.options:
            if fits(option, node):
                return self.value(option, node, path)
        return self._unexpected(form, node, path)

    def _scalar(self, form: Text | Number | Flag | Word, node: YamlNode, path: str) -> object:
        value = scalar(form, node) if isinstance(node, Scalar) else FAILED
        return self._unexpected(form, node, path) if value is FAILED else value

    def _list(self, form: ListOf | Row, node: YamlNode, path: str) -> object:
        if not isinstance(node, Sequence):
            return self._unexpected(form, node, path)
        forms = form.items if isinstance(form, Row) else (form.item,) * len(node.items)
        if len(forms) != len(node.items):
            return self._unexpected(form, node, path, f"a list of {len(node.items)}")
        values = [
            self.value(inner, one, item(path, index))
            for index, (inner, one) in enumerate(zip(forms, node.items, strict=True))
        ]
        return FAILED if FAILED in values else tuple(values)

    def _map(self, form: MapOf, node: YamlNode, path: str) -> object:
        if not isinstance(node, Table):
            return self._unexpected(form, node, path)
        values: dict[str, object] = {}
        for key, entry in node.entries.items():
            at = child(path, key)
            if form.key.pattern and not form.key.pattern.fullmatch(key):
                self._error(at, f"{quoted(key)} is not {form.key.title}")
            values[key] = self.value(form.value, entry.value, at)
        return {key: value for key, value in values.items() if value is not FAILED}

    def _record(self, kind: type[Struct], node: YamlNode, path: str) -> object:
        table = long_form(kind, node)
        if table is None:
            return self._unexpected(Record(kind), node, path)
        before = len(self.problems)
        values = self._values(kind, table, path)
        if FAILED in values.values():
            return FAILED
        if issubclass(kind, tree.Node):
            values["place"] = path
        record = kind(**values)
        if len(self.problems) == before:
            for key, sentence, hint in broken_rules(record, table):
                self._error(child(path, key) if key else path, sentence, hint)
            for key, sentence, hint in doubts(record, table):
                self.doubts.append(self._lines.warning(child(path, key), sentence, hint))
        return record

    def _values(self, kind: type[Struct], table: Table, path: str) -> dict[str, object]:
        known = keys(kind)
        for name in table.entries:
            if name not in known:
                hint = meant(name, known) or f"the keys here are {listed(known, 'and')}"
                self._error(child(path, name), f"unknown key {quoted(name)}", hint)
        values = {key.attribute: self._keyed(key, table, path) for key in known.values()}
        return {name: value for name, value in values.items() if value is not ABSENT}

    def _keyed(self, key: Key, table: Table, path: str) -> object:
        if key.name not in table.entries:
            if not key.required:
                return ABSENT
            self._error(path, f"the key {quoted(key.name)} is missing")
            return FAILED
        value = self.value(key.form, table.entries[key.name].value, child(path, key.name))
        return ABSENT if value is FAILED and not key.required else value

    def _expression(self, node: YamlNode, path: str) -> object:
        if isinstance(node, Sequence):
            return self._pipeline(node, path)
        return self._target(node, path)

    def _pipeline(self, node: Sequence, path: str) -> object:
        if not node.items:
            self._error(path, "an empty list: expected layers, if any, and then one target")
            return FAILED
        *above, last = node.items
        layers = [self._layer(one, item(path, index)) for index, one in enumerate(above)]
        target = self._target(last, item(path, len(layers)))
        layers = [layer for layer in layers if layer is not FAILED]
        if target is FAILED:
            return FAILED
        if not layers:
            return target
        return _made(tree.Pipeline, layers=tuple(layers), target=target, place=path)

    def _target(self, node: YamlNode, path: str) -> object:
        match node:
            case Scalar(value=None):
                return self._unexpected(Predictor(), node, path)
            case Scalar():
                return tree.Reference(name=node.text, place=path)
            case Sequence():
                self._error(
                    path, "a list stands where one target must stand", "write its items here"
                )
                return FAILED
            case Table():
                return self._pattern(node, path, TARGETS)
            case _:
                assert_never(node)

    def _layer(self, node: YamlNode, path: str) -> object:
        match node:
            case Table():
                return self._pattern(node, path, LAYERS)
            case Scalar(text=name) if name in LAYERS:
                self._error(path, f"{name} is a layer", f"write it as a mapping: `{example(name)}`")
            case Scalar(text=name):
                sentence = f"{quoted(name)} stands where a layer must stand"
                self._error(path, sentence, "only the last item of a list is a target")
            case Sequence():
                self._error(path, "a list stands where a layer must stand", "write its items here")
            case _:
                assert_never(node)
        return FAILED

    def _pattern(self, node: Table, path: str, wanted: Mapping[str, type[Struct]]) -> object:
        if len(node.entries) != 1:
            self._several(node, path)
            return FAILED
        ((name, entry),) = node.entries.items()
        at = child(path, name)
        if name in wanted:
            return self._record(wanted[name], entry.value, at)
        if name in LAYERS:
            hint = "it wraps what stands below it in a list, whose last item is the target"
            self._error(at, f"{name} is a layer and stands where a target must stand", hint)
        elif name in TARGETS:
            hint = "only the last item of a list is a target"
            self._error(at, f"{name} is a target and stands where a layer must stand", hint)
        else:
            hint = meant(name, wanted) or f"there are {listed(wanted, 'and')}"
            self._error(at, f"unknown pattern {quoted(name)}", hint)
        return FAILED

    def _several(self, node: Table, path: str) -> None:
        patterns = [name for name in node.entries if name in LAYERS or name in TARGETS]
        hint = "a list has one pattern an item, each with a `-` of its own"
        if len(patterns) == 1:
            hint = f"the keys of {patterns[0]} are indented deeper than {patterns[0]} itself"
        got = listed(map(quoted, node.entries), "and")
        self._error(path, f"expected one key, a pattern's name, got {got}", hint)

    def _unexpected(self, form: Form, node: YamlNode, path: str, got: str = "") -> object:
        sentence = f"expected {expected(form)}, got {got or said(node)}"
        self._error(path, sentence, advice(form, node))
        return FAILED

    def _error(self, path: str, sentence: str, hint: str = "") -> None:
        self.problems.append(self._lines.error(path, sentence, hint))


def _made(kind: type[Struct], **values: object) -> Struct:
    return kind(**values)
