"""The overlay: values that operators have put in place of what a spec's file says.

They are put into the values that were read, between read and decode, so that every check sees what
is in effect, and the file's text is left alone. An arm in its short form is widened on the way:
`svc: 60` to `{weight: 60}`, `svc: rf` to `{use: rf}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, TypeAlias

from msgspec import Struct, structs

from penstock.spec import tree
from penstock.spec.nodes import (
    Entry,
    Plain,
    Scalar,
    Sequence,
    Span,
    Step,
    Table,
    YamlNode,
    below,
    positions,
)
from penstock.spec.problems import Lines, Position, steps
from penstock.spec.read import Source
from penstock.spec.written import long_form

Way: TypeAlias = tuple[Step, ...]

STATES: Final = "states"
"""The key of the file's top that holds the state of whole routes."""

ORIGIN: Final = "the overlay"
"""What messages say a value comes from."""

ARMS: Final[Mapping[Way, type[Struct]]] = {
    ("fan_out", "arms"): tree.FanOutArm,
    ("split", "arms"): tree.SplitArm,
}
NOWHERE: Final = Span(0, 0)


def overlaid(source: Source, changes: Mapping[str, Plain]) -> Source:
    """Return the source with values changed, or added to the mapping that holds them.

    Paths that lead nowhere in this file (see `stale`) are left out; a source that could not be
    read is returned as it is. Problems tell the line of what stands there, or of what holds it.

    Args:
        source: a spec's file as it was read.
        changes: values by path, such as `routes.iris[0].split.arms.svc.weight` or `states.iris`.
    """
    root = source.root
    if root is None or not changes:
        return source
    for path, value in changes.items():
        root = _changed(root, path, value) or root
    return structs.replace(source, root=root, lines=Lines(source.lines.file, positions(root)))


def stale(source: Source, changes: Mapping[str, Plain]) -> tuple[str, ...]:
    """Return the paths of changes that lead nowhere in this file any more.

    Ask this of a file that has passed its check: a mistake in it can hide what a path leads to. Of
    one that could not be read nothing is stale.
    """
    root = source.root
    if root is None:
        return ()
    return tuple(path for path, value in changes.items() if _changed(root, path, value) is None)


def value_at(source: Source, path: str) -> Plain:
    """Return what the file itself says at a path, environment filled in; None where nothing."""
    node: YamlNode | None = source.root
    done: Way = ()
    for step in steps(path) or ():
        node = None if node is None else below(_widened(node, done), step)
        done = (*done, step)
    return node.value if isinstance(node, Scalar) else None


def _changed(root: Table, path: str, value: Plain) -> Table | None:
    """Return the top with one value changed, or None where the path leads nowhere."""
    way = steps(path)
    top = root if way and way[0] != STATES else _with_states(root, way or ())
    changed = None if top is None else _with(top, (), way or (), value)
    return changed if isinstance(changed, Table) else None


def _with_states(root: Table, way: Way) -> Table | None:
    """Return the top with a mapping of states, or None where the file has no such route."""
    routes = below(root, "routes")
    route = None if routes is None or len(way) != 2 else below(routes, way[1])
    if route is None or STATES in root.entries:
        return None if route is None else root
    entry = Entry(route.position, Table({}, route.position, NOWHERE))
    return structs.replace(root, entries={**root.entries, STATES: entry})


def _with(node: YamlNode, done: Way, way: Way, value: Plain) -> YamlNode | None:
    """Return a node with one value below it changed, or None where `way` leads nowhere.

    Args:
        node: stands where `done` leads.
        done: the way from the top of the file.
        way: the rest of it.
        value: what is to stand at its end.
    """
    if not way:
        return _scalar(value, node.position, node.span) if isinstance(node, Scalar) else None
    node, step = _widened(node, done), way[0]
    inner = below(node, step)
    changed: YamlNode | None = None
    if inner is not None:
        changed = _with(inner, (*done, step), way[1:], value)
    elif len(way) == 1:
        changed = _scalar(value, node.position, NOWHERE)
    return None if changed is None else _holding(node, step, changed)


def _holding(node: YamlNode, step: Step, inner: YamlNode) -> YamlNode | None:
    if isinstance(node, Table) and isinstance(step, str):
        known = node.entries.get(step)
        entry = Entry(inner.position if known is None else known.position, inner)
        return structs.replace(node, entries={**node.entries, step: entry})
    if isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
        items = (*node.items[:step], inner, *node.items[step + 1 :])
        return structs.replace(node, items=items)
    return None


def _widened(node: YamlNode, done: Way) -> YamlNode:
    """Return a node as the mapping that it is short for; `done` leads to it."""
    kind = ARMS.get(done[-3:-1])
    if kind is not None:
        return long_form(kind, node) or node
    if isinstance(node, Scalar) and node.value is None:
        return Table({}, node.position, node.span)
    return node


def _scalar(value: Plain, position: Position, span: Span) -> Scalar:
    text = value if isinstance(value, str) else json.dumps(value)
    return Scalar(value, text, position, span, origin=ORIGIN)
