"""The graph of a spec as a tree of text lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final, assert_never

from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields

from penstock.core.errors import SpecError
from penstock.spec.problems import quoted
from penstock.spec.rules import TESTS
from penstock.spec.tree import (
    Breaker,
    Condition,
    Constant,
    Expression,
    FanOut,
    Layer,
    Match,
    Mirror,
    Pipeline,
    PredictionLog,
    Quorum,
    RateLimit,
    Reference,
    Retry,
    Spec,
    Split,
    State,
    SyncAsync,
    Target,
    Threshold,
    Timeout,
    When,
)
from penstock.spec.walk import arms

NO_OPTIONS: Final = frozenset(
    {
        "place",
        "arms",
        "use",
        "when",
        "now",
        "later",
        "otherwise",
        "outlier",
        "shadow",
    }
)


class _Line(Struct, frozen=True):
    text: str
    below: tuple[_Line, ...] = ()


def explain(spec: Spec, route: str | None = None) -> str:
    """Return the graph of every route, or of one, as lines of text.

    A line stands for a layer, an arm or a target, with those of its options that are not the
    default; what a layer wraps stands below it.

    Raises:
        SpecError: there is no such route.
    """
    if route is not None and route not in spec.routes:
        raise SpecError((f"there is no route {quoted(route)}",))
    names = spec.routes if route is None else [route]
    return "\n".join("\n".join(_drawn(_route(name, spec))) for name in names)


def _route(name: str, spec: Spec) -> _Line:
    mark = " (default)" if name == spec.default else ""
    state = spec.states.get(name, State.ON)
    switched = "" if state is State.ON else f"  state {state}"
    return _Line(f"{name}{mark}{switched}", (_expression(spec.routes[name], spec),))


def _drawn(line: _Line) -> Iterator[str]:
    yield line.text
    for index, inner in enumerate(line.below):
        last = index == len(line.below) - 1
        first, *rest = _drawn(inner)
        yield f"{'└─' if last else '├─'} {first}"
        yield from (f"{'  ' if last else '│ '} {text}" for text in rest)


def _labelled(label: str, expression: Expression, spec: Spec, options: str = "") -> _Line:
    """Return an expression's line with what it is to the line above."""
    line = _expression(expression, spec)
    if line.below:
        return _Line(f"{label}{options}", (line,))
    return _Line(f"{label}: {line.text}{options}")


def _expression(expression: Expression, spec: Spec) -> _Line:
    if not isinstance(expression, Pipeline):
        return _target(expression, spec)
    line = _target(expression.target, spec)
    for layer in reversed(expression.layers):
        beside = _beside(layer, spec)
        line = _Line(f"{_tag(layer)}{_options(layer)}", (*beside, line))
    return line


def _beside(layer: Layer, spec: Spec) -> tuple[_Line, ...]:
    """Return the lines of the predictors that a layer has beside the one below it."""
    match layer:
        case PredictionLog():
            return _maybe("outlier", layer.outlier, spec)
        case Mirror():
            return _maybe("shadow", layer.shadow, spec)
        case Breaker():
            return _maybe("otherwise", layer.otherwise, spec)
        case Threshold() | RateLimit() | Timeout() | Retry():
            return ()
        case _:
            assert_never(layer)


def _maybe(label: str, expression: Expression | None, spec: Spec) -> tuple[_Line, ...]:
    return () if expression is None else (_labelled(label, expression, spec),)


def _target(target: Target, spec: Spec) -> _Line:
    match target:
        case Reference():
            return _Line(_named(target.name, spec))
        case FanOut():
            below = [_labelled(n, arm.use, spec, _options(arm)) for n, arm in target.arms.items()]
        case Split():
            below = [
                _labelled(name, use, spec, _options(target.arms[name]))
                for name, use in arms(target).items()
            ]
        case Condition():
            below = [_labelled(_rule(rule), rule.use, spec, _within(rule)) for rule in target.when]
            below.append(_labelled("otherwise", target.otherwise, spec))
        case SyncAsync():
            below = [_labelled("now", target.now, spec), _labelled("later", target.later, spec)]
        case Constant():
            below = []
        case _:
            assert_never(target)
    return _Line(f"{_tag(target)}{_options(target)}", tuple(below))


def _named(name: str, spec: Spec) -> str:
    if name in spec.routes:
        return f"{name} (route)"
    if name not in spec.models:
        return f"{name} (unknown)"
    model = spec.models[name]
    file = PurePosixPath(model.path or "").name
    where = (", ".join(model.urls), model.url, file, model.runtime)
    return f"{name} ({next(filter(None, where), 'nowhere')})"


def _rule(rule: When) -> str:
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
        f"{'is' if name == 'exact' else name} {_said(value)}"
        for name in TESTS
        if (value := getattr(test, name, None)) is not None
    ]
    return " and ".join(given)


def _within(rule: When) -> str:
    return "" if rule.timeout_s is None else f"  timeout_s {_said(rule.timeout_s)}"


def _tag(node: Struct) -> str:
    return str(node.__struct_config__.tag)


def _options(node: Struct) -> str:
    """Return the options that are not the default, predictors left out."""
    given = [
        f"{info.encode_name} {_said(value)}"
        for info in fields(node)
        if info.name not in NO_OPTIONS and not _is_default(value := getattr(node, info.name), info)
    ]
    return f"  {', '.join(given)}" if given else ""


def _is_default(value: object, info: FieldInfo) -> bool:
    if info.default_factory is not NODEFAULT:
        return bool(value == info.default_factory())
    return bool(value == info.default)


def _said(value: object) -> str:
    match value:
        case float():
            return f"{value:.15g}"
        case Quorum():
            return f"quorum: {value.arms}"
        case tuple():
            return f"[{', '.join(map(_said, value))}]"
        case Mapping():
            return f"{{{', '.join(f'{key}: {_said(one)}' for key, one in value.items())}}}"
        case _:
            return str(value)
