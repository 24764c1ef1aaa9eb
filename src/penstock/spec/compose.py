"""YAML text -> positioned nodes, and everything in it that is no plain YAML 1.2.

It works on ruamel.yaml's events rather than on its finished objects: so all problems are found in
one pass, each with its line, and nothing is built that the limits forbid.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, assert_never, cast

from msgspec import Struct, structs
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from penstock.spec.nodes import Entry, Scalar, Sequence, Span, Table, YamlNode, resolve
from penstock.spec.problems import Position, Problem, child, item, quoted

MAX_DEPTH: Final = 64
MAX_NODES: Final = 100_000


class Composed(Struct, frozen=True):
    """A document and its problems; without a root where reading had to end."""

    root: YamlNode | None
    problems: tuple[Problem, ...]


class _Ended(Exception):
    """Reading cannot go on."""

    def __init__(self, sentence: str, position: Position, hint: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.position = position
        self.hint = hint


def compose(text: str, file: str) -> Composed:
    """Return the only document of the text as nodes, with all problems on the way."""
    composer = _Composer(text, file)
    try:
        root = composer.document()
    except _Ended as end:
        root = None
        composer.problem("", end.sentence, end.position, end.hint)
    return Composed(root, tuple(composer.problems))


class _Composer:
    def __init__(self, text: str, file: str) -> None:
        self.problems: list[Problem] = []
        self._text = text
        self._file = file
        self._anchors: dict[str, YamlNode | None] = {}
        self._count = 0
        self._events: Iterator[Event] = _events(text)

    def document(self) -> YamlNode | None:
        """Return the one document, or None where the text holds none."""
        start = self._document_start()
        if start is None:
            return None
        if start.version and start.version != (1, 2):
            version = ".".join(map(str, start.version))
            self.problem("", f"a spec is YAML 1.2, not {version}", _at(start))
        root = self._node(next(self._events), "", 1)
        if second := self._document_start():
            self.problem("", "a spec is one document; a second one starts here", _at(second))
        return root

    def _node(self, event: Event, path: str, depth: int) -> YamlNode:
        self._spend(1, depth, event)
        if isinstance(event, AliasEvent):
            return self._alias(event, path, depth)
        return self._anchored(cast("NodeEvent", event), path, depth)

    def _anchored(self, event: NodeEvent, path: str, depth: int) -> YamlNode:
        self._refuse_tag(event, path)
        if event.anchor:
            self._anchors[event.anchor] = None
        node = self._content(event, path, depth)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _content(self, event: Event, path: str, depth: int) -> YamlNode:
        if isinstance(event, MappingStartEvent):
            return self._table(event, path, depth)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(event, path, depth)
        return _scalar(cast("ScalarEvent", event))

    def _sequence(self, start: SequenceStartEvent, path: str, depth: int) -> Sequence:
        found: list[YamlNode] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            found.append(self._node(event, item(path, len(found)), depth + 1))
        return Sequence(tuple(found), _at(start), _span(start, event), bool(start.flow_style))

    def _table(self, start: MappingStartEvent, path: str, depth: int) -> Table:
        entries: dict[str, Entry] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._key(event, path, depth, entries)
            inner = path if key is None else child(path, key)
            value = self._node(next(self._events), inner, depth + 1)
            if isinstance(value, Scalar) and value.span.start == value.span.end:
                value = self._after_colon(value, event, start)
            if key is not None and key not in entries:
                entries[key] = Entry(_at(event), value)
        return Table(entries, _at(start), _span(start, event), bool(start.flow_style))

    def _after_colon(self, empty: Scalar, key: Event, table: MappingStartEvent) -> Scalar:
        """Return an empty value where it belongs: the parser puts it where the next line starts."""
        if table.flow_style:
            return empty
        end = key.end_mark.index
        after = self._text.find(":", end) + 1 or end
        return structs.replace(empty, span=Span(after, after), position=_at(key))

    def _key(self, event: Event, path: str, depth: int, entries: dict[str, Entry]) -> str | None:
        node = self._node(event, path, depth + 1)
        if not isinstance(event, ScalarEvent) or not isinstance(node, Scalar):
            self.problem(
                path, "a key must be a plain word, not a list, mapping or alias", _at(event)
            )
            return None
        if node.text == "<<" and not node.quoted:
            hint = "repeat the keys, or give the whole value an &anchor and an *alias"
            self.problem(path, "merge keys (`<<`) are not part of YAML 1.2", _at(event), hint)
            return None
        if node.text in entries:
            first = entries[node.text].position.line
            sentence = f"the key {quoted(node.text)} stands here again, first on line {first}"
            self.problem(child(path, node.text), sentence, _at(event))
        return node.text

    def _alias(self, event: AliasEvent, path: str, depth: int) -> YamlNode:
        node = self._anchors.get(event.anchor)
        if node is None:
            known = event.anchor in self._anchors
            why = "stands inside of what it names" if known else "names no anchor above it"
            self.problem(path, f"the alias *{event.anchor} {why}", _at(event))
            return Scalar(None, "", _at(event), _span(event, event))
        size, height = _measure(node)
        self._spend(size, depth + height - 1, event)
        return node

    def _refuse_tag(self, event: NodeEvent, path: str) -> None:
        tag = getattr(event, "tag", None)
        if tag is not None:
            hint = "write the value plainly, or in quotes where it is text"
            self.problem(
                path, f"tags ({_short_tag(str(tag))}) have no meaning here", _at(event), hint
            )

    def _spend(self, nodes: int, depth: int, event: Event) -> None:
        self._count += nodes
        if self._count > MAX_NODES:
            sentence = f"more than {MAX_NODES:,} values, aliases counted in full"
            raise _Ended(sentence, _at(event))
        if depth > MAX_DEPTH:
            raise _Ended(f"nested more than {MAX_DEPTH} levels deep", _at(event))

    def _document_start(self) -> DocumentStartEvent | None:
        return next(
            (event for event in self._events if isinstance(event, DocumentStartEvent)), None
        )

    def problem(self, path: str, sentence: str, position: Position, hint: str = "") -> None:
        """Note an error."""
        self.problems.append(
            Problem(file=self._file, path=path, sentence=sentence, position=position, hint=hint)
        )


def _events(text: str) -> Iterator[Event]:
    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        raise _syntax_error(error, text) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        sentence = f"the character #x{ord(text[error.position]):04x} is not allowed in YAML"
        raise _Ended(sentence, Position(line, 1)) from error


def _syntax_error(error: MarkedYAMLError, text: str) -> _Ended:
    mark = error.problem_mark or error.context_mark
    position = Position() if mark is None else Position(mark.line + 1, mark.column + 1)
    line = "".join(text.splitlines()[position.line - 1 : position.line])
    hint = ""
    if "\t" in line:
        hint = "indent with spaces, not with tabs"
    elif "${" in line:
        hint = 'inside of { } and [ ] write "${NAME}" in quotes'
    what = error.problem or error.context
    return _Ended(f"this is not YAML: {what}", position, hint)


def _scalar(event: ScalarEvent) -> Scalar:
    quoted = event.style is not None
    value = event.value if quoted else resolve(event.value)
    return Scalar(value, event.value, _at(event), _span(event, event), quoted)


def _measure(node: YamlNode) -> tuple[int, int]:
    """Return how many values a node holds, and how deep they are nested."""
    match node:
        case Scalar():
            return 1, 1
        case Sequence(items):
            inner = [_measure(one) for one in items]
        case Table(entries):
            inner = [_measure(entry.value) for entry in entries.values()]
        case _:
            assert_never(node)
    return 1 + sum(size for size, _ in inner), 1 + max((height for _, height in inner), default=0)


def _short_tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


def _at(event: Event) -> Position:
    return Position(event.start_mark.line + 1, event.start_mark.column + 1)


def _span(first: Event, last: Event) -> Span:
    return Span(first.start_mark.index, last.end_mark.index)
