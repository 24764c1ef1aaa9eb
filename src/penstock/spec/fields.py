"""Which parts of a request a spec names: headers, query parameters, keys of the body."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import assert_never

from penstock.spec.conditions import HEADER, wrong_key
from penstock.spec.problems import quoted
from penstock.spec.reach import all_below
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
from penstock.spec.walk import Part, everything


def request_fields(expression: Expression, spec: Spec) -> tuple[str, ...]:
    """Return the fields that an expression looks at, each once, as `header:x-user-id`.

    Routes that it names are followed. Header names are in lower case, the others as they are
    written; they are in the order in which they are met.
    """
    found: dict[str, None] = {}
    for one in all_below(expression, spec):
        for part in everything(one):
            found.update(dict.fromkeys(_named(part)))
    return tuple(found)


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


def wrong_field(field: str) -> str:
    """Return in a sentence why no request can have such a field; nothing where one can."""
    kind, _, name = field.partition(":")
    if kind == "header" and not HEADER.fullmatch(name):
        return f"{quoted(name)} is no name of a header"
    return wrong_key(name) if kind == "field" else ""
