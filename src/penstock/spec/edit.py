"""Change one value in the text of a spec and leave every other character as it is.

The text is cut where the value stands and joined again; the result is read anew, and given back
only if it says what it should and nothing else has changed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Final, assert_never

from msgspec import Struct

from penstock.core.errors import SpecError
from penstock.spec.compose import compose
from penstock.spec.nodes import (
    Plain,
    Scalar,
    Sequence,
    Step,
    Table,
    YamlNode,
    below,
    resolve,
    scalars,
)
from penstock.spec.problems import is_within, parent, steps

PLAIN_TEXT: Final = re.compile(r"[A-Za-z0-9_./](?:[A-Za-z0-9_./-]|:[A-Za-z0-9_])*")


class _Edit(Struct, frozen=True):
    """A changed text, and what must be true of it.

    Attributes:
        text: all of it.
        where: the path that must have the new value.
        within: the path outside of which nothing may have changed.
    """

    text: str
    where: str
    within: str


def set_value(text: str, path: str, value: Plain) -> str:
    """Return the text with one value changed, or added to the mapping that holds it.

    An arm in its short form keeps it where that is possible (`svc: 60`), else it becomes a
    mapping. A `${NAME}` that stands there is replaced by the value.

    Args:
        text: a spec's text.
        path: where the value stands, such as `routes.iris[0].split.arms.svc.weight`.
        value: what shall stand there; a `${NAME}` in it is meant literally.

    Raises:
        SpecError: the text is not YAML, nothing can hold the value there, or a list or mapping
            stands in its place.
    """
    before = _read(text)
    if before is None:
        raise _refused(path, "the file has errors; mend them first")
    for edit in _edits(text, before, path, value):
        if _is_right(edit, before, value):
            return edit.text
    raise _refused(path, "this cannot be changed in place; edit the file by hand")


def _edits(text: str, root: YamlNode, path: str, value: Plain) -> Iterator[_Edit]:
    way = steps(path)
    if not way:
        raise _refused(path, "this is no path of a spec")
    holder = _found(root, way[:-1])
    there = None if holder is None else below(holder, way[-1])
    match holder, there, way[-1]:
        case _, Scalar(), _:
            yield _Edit(_replaced(text, there, _written(value, text[there.span.start])), path, path)
        case _, Sequence() | Table(), _:
            raise _refused(path, "a list or a mapping stands here, not one value")
        case Table(), None, str(key):
            for changed in _added(text, holder, f"{_written(key)}: {_written(value)}"):
                yield _Edit(changed, path, path)
        case Scalar(), None, str(key) if holder.value is None or way[-3:-2] == ("arms",):
            yield _widened(text, holder, key, path, value)
        case _:
            raise _refused(path, f"there is no mapping {parent(path)} to hold it")


def _widened(text: str, holder: Scalar, key: str, path: str, value: Plain) -> _Edit:
    """Return the change of a short form: of nothing where a mapping may stand, or of an arm."""
    short = parent(path)
    number = isinstance(holder.value, int | float)
    added = f"{_written(key)}: {_written(value)}"
    if holder.value is None:
        return _Edit(_replaced(text, holder, f"{{{added}}}"), path, short)
    if number and key == "weight":
        return _Edit(_replaced(text, holder, _written(value)), short, short)
    old = f"{'weight' if number else 'use'}: {text[holder.span.start : holder.span.end]}"
    return _Edit(_replaced(text, holder, f"{{{old}, {added}}}"), path, short)


def _added(text: str, table: Table, entry: str) -> Iterator[str]:
    """Yield ways to add an entry to a mapping: at its end, or else at its start."""
    start, end = table.span.start, table.span.end
    if table.flow:
        last = len(text[: end - 1].rstrip())
        lead = {"{": "", ",": " "}.get(text[last - 1], ", ")
        yield f"{text[:last]}{lead}{entry}{text[last:]}"
        yield f"{text[: start + 1]}{entry}, {text[start + 1 :]}"
    else:
        column = min(entry.position.column for entry in table.entries.values())
        indent = ("\r\n" if "\r\n" in text else "\n") + " " * (column - 1)
        last = _last_line_end(text, start, end)
        yield f"{text[:last]}{indent}{entry}{text[last:]}"
        yield f"{text[:start]}{entry}{indent}{text[start:]}"


def _last_line_end(text: str, start: int, end: int) -> int:
    """Return where the last line of a block ends that is neither empty nor a comment."""
    lines = text[start:end].splitlines(keepends=True)
    while not lines[-1].strip() or lines[-1].lstrip().startswith("#"):
        end -= len(lines.pop())
    return len(text[:end].rstrip())


def _replaced(text: str, scalar: Scalar, written: str) -> str:
    start, end = scalar.span.start, scalar.span.end
    space = " " if start == end and text[start - 1 : start] == ":" else ""
    return f"{text[:start]}{space}{written}{text[end:]}"


def _written(value: Plain, quote: str = "") -> str:
    """Return the value as YAML, text in the quotes that it had, or plainly where that is safe."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float() if not math.isfinite(value):
            return {math.inf: ".inf", -math.inf: "-.inf"}.get(value, ".nan")
        case int() | float():
            return repr(value)
        case str():
            return _written_text(_escaped(value), quote)
        case _:
            assert_never(value)


def _escaped(value: str) -> str:
    return value.replace("${", "$${")


def _written_text(text: str, quote: str) -> str:
    if quote == "'" and text.isprintable():
        doubled = text.replace("'", "''")
        return f"'{doubled}'"
    if quote != '"' and PLAIN_TEXT.fullmatch(text) and resolve(text) == text:
        return text
    return f'"{"".join(map(_in_double_quotes, text))}"'


def _in_double_quotes(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    return f"\\U{ord(character):08x}"


def _found(node: YamlNode, way: tuple[Step, ...]) -> YamlNode | None:
    found: YamlNode | None = node
    for step in way:
        found = None if found is None else below(found, step)
    return found


def _is_right(edit: _Edit, before: YamlNode, value: Plain) -> bool:
    after = _read(edit.text)
    if after is None:
        return False
    old, new = _values(before), _values(after)
    said = repr(_escaped(value) if isinstance(value, str) else value)
    return new.get(edit.where) == said and _outside(edit, old) == _outside(edit, new)


def _values(root: YamlNode) -> Mapping[str, str]:
    return {path: repr(scalar.value) for path, scalar in scalars(root)}


def _outside(edit: _Edit, values: Mapping[str, str]) -> Mapping[str, str]:
    return {path: value for path, value in values.items() if not is_within(path, edit.within)}


def _read(text: str) -> YamlNode | None:
    composed = compose(text, "spec")
    return None if composed.problems else composed.root


def _refused(path: str, why: str) -> SpecError:
    return SpecError((f"{path}: {why}",))
