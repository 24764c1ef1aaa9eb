"""The graph of a spec as a tree of text lines, and the way that one request would take in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Final, TypeAlias, assert_never

from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields

from penstock.core.errors import SpecError
from penstock.spec.conditions import OTHERWISE
from penstock.spec.problems import item, quoted
from penstock.spec.tree import (
    Breaker,
    Condition,
    Constant,
    Expression,
    FanOut,
    Layer,
    Mirror,
    Pipeline,
    PredictionLog,
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
from penstock.spec.wording import rule_text, value_text

NO_OPTIONS: Final = frozenset(
    ("place", "arms", "use", "when", "now", "later", "otherwise", "outlier", "shadow")
)

MOST_FOLLOWED: Final = 64
"""How many routes are followed in all, one into the other and side by side."""


class Way(Struct, frozen=True):
    """Where a request is sent by what chooses.

    Attributes:
        why: what was looked at and what it came to, in words.
        branches: those that it may take, such as `when[0]` or an arm's name: one where that is
            decided, none where the request is refused.
    """

    why: tuple[str, ...]
    branches: tuple[str, ...]


Chooser: TypeAlias = Condition | Split

Decide: TypeAlias = Callable[[Chooser], Way]
"""Tells the way of one request at what chooses."""


Refused: TypeAlias = Callable[[str], str]
"""Says of a route why its server refuses the request whatever is chosen; nothing if it does not."""


class _Line(Struct, frozen=True):
    text: str
    below: tuple[_Line, ...] = ()


def explain(
    spec: Spec,
    route: str | None = None,
    *,
    decide: Decide | None = None,
    refused: Refused | None = None,
) -> str:
    """Return the graph of every route, or of one, as lines of text.

    A line stands for a layer, an arm or a target, with those of its options that are not the
    default; what a layer wraps stands below it.

    Args:
        spec: the tree.
        route: only this one.
        decide: draws the way of one request instead: of what chooses the branch that it takes, and
            other routes are followed.
        refused: says in place of a route's way why it refuses the request.

    Raises:
        SpecError: there is no such route.
    """
    if route is not None and route not in spec.routes:
        raise SpecError((f"there is no route {quoted(route)}",))
    names = spec.routes if route is None else [route]
    lines = (_Drawing(spec, decide, refused).route(name) for name in names)
    return "\n".join("\n".join(_drawn(line)) for line in lines)


def _drawn(line: _Line) -> Iterator[str]:
    yield line.text
    for index, inner in enumerate(line.below):
        last = index == len(line.below) - 1
        first, *rest = _drawn(inner)
        yield f"{'└─' if last else '├─'} {first}"
        yield from (f"{'  ' if last else '│ '} {text}" for text in rest)


class _Drawing:
    def __init__(self, spec: Spec, decide: Decide | None, refused: Refused | None) -> None:
        self._spec = spec
        self._decide = decide
        self._refused = refused
        self._within: list[str] = []
        self._followed = 0

    def route(self, name: str) -> _Line:
        """Return a route's line."""
        mark = " (default)" if name == self._spec.default else ""
        refusal = "" if self._refused is None else self._refused(name)
        below = _Line(refusal) if refusal else self._below(name)
        return _Line(f"{name}{mark}{self._state(name)}", (below,))

    def _below(self, name: str) -> _Line:
        self._followed += 1
        self._within.append(name)
        line = self._expression(self._spec.routes[name])
        self._within.pop()
        return line

    def _state(self, name: str) -> str:
        state = self._spec.states.get(name, State.ON)
        return "" if state is State.ON else f"  state {state}"

    def _labelled(self, label: str, expression: Expression, options: str = "") -> _Line:
        """Return an expression's line with what it is to the line above."""
        line = self._expression(expression)
        if line.below:
            return _Line(f"{label}{options}", (line,))
        return _Line(f"{label}: {line.text}{options}")

    def _expression(self, expression: Expression) -> _Line:
        if not isinstance(expression, Pipeline):
            return self._target(expression)
        line = self._target(expression.target)
        for layer in reversed(expression.layers):
            line = _Line(f"{_tag(layer)}{_options(layer)}", (*self._beside(layer), line))
        return line

    def _beside(self, layer: Layer) -> tuple[_Line, ...]:
        """Return the lines of the predictors that a layer has beside the one below it."""
        match layer:
            case PredictionLog():
                return self._maybe("outlier", layer.outlier)
            case Mirror():
                return self._maybe("shadow", layer.shadow)
            case Breaker():
                return self._maybe("otherwise", layer.otherwise)
            case Threshold() | RateLimit() | Timeout() | Retry():
                return ()
            case _:
                assert_never(layer)

    def _maybe(self, label: str, expression: Expression | None) -> tuple[_Line, ...]:
        return () if expression is None else (self._labelled(label, expression),)

    def _target(self, target: Target) -> _Line:
        match target:
            case Reference():
                return self._reference(target.name)
            case FanOut():
                below = [
                    self._labelled(name, arm.use, _options(arm))
                    for name, arm in target.arms.items()
                ]
            case Split() | Condition():
                below = self._branches(target)
            case SyncAsync():
                below = [self._labelled("now", target.now), self._labelled("later", target.later)]
            case Constant():
                below = []
            case _:
                assert_never(target)
        return _Line(f"{_tag(target)}{_options(target)}", tuple(below))

    def _branches(self, target: Chooser) -> list[_Line]:
        if self._decide is None:
            return [
                self._labelled(one.said or name, one.use, one.options)
                for name, one in _branches(target).items()
            ]
        way = self._decide(target)
        taken = [(name, _branches(target)[name]) for name in way.branches]
        return [
            *map(_Line, way.why),
            *(self._labelled(name, one.use, one.options) for name, one in taken),
        ]

    def _reference(self, name: str) -> _Line:
        line = _named(name, self._spec)
        if self._decide is None or name not in self._spec.routes:
            return _Line(line)
        line += self._state(name)
        if name in self._within or self._followed >= MOST_FOLLOWED:
            return _Line(line)
        return _Line(line, (self._below(name),))


class _Branch(Struct, frozen=True):
    use: Expression
    options: str = ""
    said: str = ""


def _branches(target: Chooser) -> dict[str, _Branch]:
    """Return the branches of what chooses, by name."""
    if isinstance(target, Split):
        return {
            name: _Branch(use, _options(target.arms[name])) for name, use in arms(target).items()
        }
    ruled = {
        item("when", index): _Branch(rule.use, _within(rule), rule_text(rule))
        for index, rule in enumerate(target.when)
    }
    return {**ruled, OTHERWISE: _Branch(target.otherwise)}


def _named(name: str, spec: Spec) -> str:
    if name in spec.routes:
        return f"{name} (route)"
    if name not in spec.models:
        return f"{name} (unknown)"
    model = spec.models[name]
    file = PurePosixPath(model.path or "").name
    where = (", ".join(model.urls), model.url, file, model.runtime)
    return f"{name} ({next(filter(None, where), 'nowhere')})"


def _within(rule: When) -> str:
    return "" if rule.timeout_s is None else f"  timeout_s {value_text(rule.timeout_s)}"


def _tag(node: Struct) -> str:
    return str(node.__struct_config__.tag)


def _options(node: Struct) -> str:
    """Return the options that are not the default, predictors left out."""
    given = [
        f"{info.encode_name} {value_text(value)}"
        for info in fields(node)
        if info.name not in NO_OPTIONS and not _is_default(value := getattr(node, info.name), info)
    ]
    return f"  {', '.join(given)}" if given else ""


def _is_default(value: object, info: FieldInfo) -> bool:
    if info.default_factory is not NODEFAULT:
        return bool(value == info.default_factory())
    return bool(value == info.default)
