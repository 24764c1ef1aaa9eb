"""Which parts of a request a spec names: headers, query parameters, keys of the body."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import assert_never

from penstock.spec.tree import (
    Breaker,
    Condition,
    Constant,
    Expression,
    FanOut,
    Mirror,
    Pipeline,
    PredictionLog,
    RateLimit,
    Reference,
    Retry,
    Spec,
    Split,
    SyncAsync,
    Threshold,
    Timeout,
    When,
)
from penstock.spec.walk import Part, everything, references


def request_fields(expression: Expression, spec: Spec) -> tuple[str, ...]:
    """Return the fields that an expression looks at, each once, as `header:x-user-id`.

    Routes that it names are followed. Header names are in lower case, the others as they are
    written; they are in the order in which they are met.
    """
    found: dict[str, None] = {}
    for one in _reached(expression, spec):
        for part in everything(one):
            found.update(dict.fromkeys(_named(part)))
    return tuple(found)


def _reached(expression: Expression, spec: Spec) -> list[Expression]:
    reached = [expression]
    names: set[str] = set()
    for one in reached:
        for reference in references(one):
            if reference.name in spec.routes and reference.name not in names:
                names.add(reference.name)
                reached.append(spec.routes[reference.name])
    return reached


def _named(part: Part) -> Iterator[str]:
    match part:
        case Split():
            if part.sticky != "none":
                yield normal_name(part.sticky)
        case PredictionLog():
            yield from map(normal_name, part.groups)
        case RateLimit():
            if part.per is not None:
                yield normal_name(part.per)
        case Condition():
            for rule in part.when:
                yield from _looked_at(rule)
        case Reference() | Pipeline() | FanOut() | SyncAsync() | Constant():
            pass
        case Mirror() | Breaker() | Threshold() | Timeout() | Retry():
            pass
        case _:
            assert_never(part)


def _looked_at(rule: When) -> Iterator[str]:
    yield from _prefixed("header", rule.header)
    yield from _prefixed("query", rule.query)
    yield from _prefixed("field", rule.field)


def _prefixed(kind: str, names: Iterable[str] | None) -> Iterator[str]:
    return (normal_name(f"{kind}:{name}") for name in names or ())


def normal_name(field: str) -> str:
    """Return a field as requests have it: names of headers in lower case."""
    return field.lower() if field.startswith("header:") else field
