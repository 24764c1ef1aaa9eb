"""Ways through the tree: what a node is made of, and where a way through layers ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias, assert_never

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
    SyncAsync,
    Target,
    Threshold,
    Timeout,
)

Part: TypeAlias = Expression | Layer


def arms(split: Split) -> dict[str, Expression]:
    """Return a split's predictors by arm; an arm without `use` is the predictor of its name."""
    return {
        name: arm.use or Reference(name=name, place=arm.place) for name, arm in split.arms.items()
    }


def inner(part: Part) -> tuple[Part, ...]:
    """Return what stands directly within a node, in the file's order."""
    match part:
        case Reference() | Constant() | Threshold() | RateLimit() | Timeout() | Retry():
            return ()
        case Pipeline():
            return (*part.layers, part.target)
        case FanOut():
            return tuple(arm.use for arm in part.arms.values())
        case Split():
            return tuple(arms(part).values())
        case Condition():
            return (*(rule.use for rule in part.when), part.otherwise)
        case SyncAsync():
            return (part.now, part.later)
        case PredictionLog():
            return _given(part.outlier)
        case Mirror():
            return (part.shadow,)
        case Breaker():
            return _given(part.otherwise)
        case _:
            assert_never(part)


def _given(expression: Expression | None) -> tuple[Part, ...]:
    return () if expression is None else (expression,)


def everything(part: Part) -> Iterator[Part]:
    """Yield the node and all that stands within it; routes that it names are not followed."""
    yield part
    for one in inner(part):
        yield from everything(one)


def references(part: Part) -> Iterator[Reference]:
    """Yield every name that the node mentions."""
    return (one for one in everything(part) if isinstance(one, Reference))


def bottom(expression: Expression, spec: Spec) -> Target | None:
    """Return what stands below all layers, through other routes; None where that never ends."""
    seen: set[str] = set()
    while True:
        target = expression.target if isinstance(expression, Pipeline) else expression
        if not isinstance(target, Reference) or target.name not in spec.routes:
            return target
        if target.name in seen:
            return None
        seen.add(target.name)
        expression = spec.routes[target.name]


def sole_model(expression: Expression, spec: Spec) -> str | None:
    """Return the name of the one model below all layers, or None where there is not just one."""
    found = bottom(expression, spec)
    if isinstance(found, Reference) and found.name in spec.models:
        return found.name
    return None


def first_model(expression: Expression, spec: Spec) -> str | None:
    """Return the first model that would get a request's rows, or None where none surely does."""
    seen: set[str] = set()
    onward: Expression | None = expression
    while onward is not None:
        target = bottom(onward, spec)
        if isinstance(target, Reference):
            return target.name if target.name in spec.models else None
        if target is None or target.place in seen:
            return None
        seen.add(target.place)
        onward = _first(target)
    return None


def _first(target: FanOut | Split | Condition | SyncAsync | Constant) -> Expression | None:
    match target:
        case FanOut():
            return next((arm.use for arm in target.arms.values()), None)
        case Split():
            return next(iter(arms(target).values()), None)
        case SyncAsync():
            return target.now
        case Condition() | Constant():
            return None
        case _:
            assert_never(target)
