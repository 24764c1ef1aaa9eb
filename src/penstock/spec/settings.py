"""What operators may set in a running server, and where in the spec it stands.

A target is `ROUTE`, or `ROUTE/ARM`: an arm of the first combinator below the route's layers, as
`/health/all` shows them; `ROUTE/ARM/ARM` where that arm is a combinator itself. `ROUTE/mirror` is
the mirror among the route's layers, `ROUTE/ARM/mirror` that among an arm's.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeAlias, assert_never, cast

from msgspec import Struct

from penstock.core.errors import SpecError
from penstock.spec.forms import Flag, Form, Maybe, Number, Text, Word, keys
from penstock.spec.nodes import Plain, Scalar, Span, out_of_reach, resolve
from penstock.spec.overlay import STATES
from penstock.spec.problems import Position, child, listed, meant, quoted
from penstock.spec.tree import (
    Condition,
    Constant,
    Expression,
    FanOut,
    FanOutArm,
    Mirror,
    Pipeline,
    Reference,
    Spec,
    Split,
    SplitArm,
    SyncAsync,
)
from penstock.spec.walk import arms
from penstock.spec.wording import expected, said
from penstock.spec.written import FAILED, scalar

SETTABLE: Final[Mapping[type[Struct], tuple[str, ...]]] = {
    FanOutArm: ("state", "weight", "threshold", "timeout_s"),
    SplitArm: ("weight",),
    Mirror: ("state", "percent", "max_in_flight", "max_queued"),
}
"""The keys of an arm, or of a mirror, that may change in a running server."""

MIRROR: Final = "mirror"

OF_A_ROUTE: Final = "state"
OF_AN_ARM: Final = "; an arm of it is ROUTE/ARM"


class Setting(Struct, frozen=True):
    """One value that an operator sets.

    Attributes:
        path: where it stands in the spec, for the overlay.
        value: as the spec would say it; None takes an optional value away.
    """

    path: str
    value: Plain


Combinator: TypeAlias = FanOut | Split


def setting(spec: Spec, target: str, key: str, text: str) -> Setting:
    """Return what `penstock set TARGET KEY=TEXT` means.

    Args:
        spec: the whole spec that is being served.
        target: `ROUTE`, `ROUTE/ARM` or `ROUTE/mirror`.
        key: `state` of a route; what `SETTABLE` has of an arm, or of a mirror.
        text: the value, as it would be written in the file.

    Raises:
        SpecError: there is no such target or key, or it cannot have that value.
    """
    route, *names = target.split("/")
    if route not in spec.routes:
        raise _unknown_route(spec, target, route)
    if not names:
        _known_key(target, key, (OF_A_ROUTE,), OF_AN_ARM)
        return Setting(child(STATES, route), _value(FanOutArm, target, key, text))
    at, what = spec.routes[route], f"the route {route}"
    for name in names[:-1]:
        combinator = _combinator(at, spec, target, what)
        _known_arm(target, combinator, name)
        at, what = _use(combinator, name), f"the arm {name}"
    found: Mirror | FanOutArm | SplitArm | None = None
    if names[-1] == MIRROR:
        found = _mirror(at, target, what)
    if found is None:
        combinator = _combinator(at, spec, target, what)
        _known_arm(target, combinator, names[-1])
        found = combinator.arms[names[-1]]
    if key == "state" and isinstance(found, SplitArm):
        raise _refused(target, "an arm of a split has no state; set its weight to 0 instead")
    _known_key(target, key, SETTABLE[type(found)])
    return Setting(child(found.place, key), _value(type(found), target, key, text))


def _mirror(expression: Expression, target: str, what: str) -> Mirror | None:
    """Return the mirror among an expression's layers, if there is one.

    Raises:
        SpecError: it is not clear what is meant.
    """
    if not isinstance(expression, Pipeline):
        return None
    mirrors = [layer for layer in expression.layers if isinstance(layer, Mirror)]
    if len(mirrors) > 1:
        raise _refused(target, f"{what} has {len(mirrors)} mirrors; give one a route of its own")
    below = expression.target
    if mirrors and isinstance(below, FanOut | Split) and MIRROR in below.arms:
        raise _refused(target, f"{what} has both a mirror and an arm of that name; rename the arm")
    return mirrors[0] if mirrors else None


def _known_key(target: str, key: str, known: tuple[str, ...], more: str = "") -> None:
    """Refuse a key that cannot be set.

    Raises:
        SpecError: it is not among the known ones.
    """
    if key not in known:
        hint = meant(key, known) or f"what can be set here is {listed(known, 'and')}{more}"
        raise _refused(target, f"{quoted(key)} cannot be set in a running server; {hint}")


def _known_arm(target: str, combinator: Combinator, name: str) -> None:
    """Refuse an arm that a combinator does not have.

    Raises:
        SpecError: it has none of that name.
    """
    if name not in combinator.arms:
        hint = meant(name, combinator.arms) or f"there are {listed(combinator.arms, 'and')}"
        raise _refused(target, f"there is no arm {quoted(name)}; {hint}")


def _combinator(expression: Expression, spec: Spec, target: str, what: str) -> Combinator:
    """Return the first combinator of an expression, other routes not followed."""
    found = expression.target if isinstance(expression, Pipeline) else expression
    match found:
        case FanOut() | Split():
            return found
        case Reference(name=name) if name in spec.routes:
            why = f"{what} leads to the route {name}, whose arms are set as {name}/ARM"
        case Reference(name=name):
            why = f"{what} is the model {name}, which has no arms"
        case Condition() | SyncAsync() | Constant():
            why = f"{what} is a {found.__struct_config__.tag}, which has no arms to set"
        case _:
            assert_never(found)
    raise _refused(target, why)


def _use(combinator: Combinator, name: str) -> Expression:
    return arms(combinator)[name] if isinstance(combinator, Split) else combinator.arms[name].use


def _value(record: type[Struct], target: str, key: str, text: str) -> Plain:
    form = keys(record)[key].form
    node = Scalar(resolve(text), text, Position(), Span(0, 0))
    value = _optional(form, node)
    if value is FAILED:
        far = out_of_reach(text)
        more = f", which is {far}" if far else ""
        raise _refused(target, f"{key} is {expected(form)}, not {said(node)}{more}")
    return value.value if isinstance(value, StrEnum) else cast("Plain", value)


def _optional(form: Form, node: Scalar) -> object:
    if isinstance(form, Maybe):
        return None if node.value is None else _optional(form.form, node)
    return scalar(cast("Text | Number | Flag | Word", form), node)


def _unknown_route(spec: Spec, target: str, route: str) -> SpecError:
    if route in spec.models:
        return _refused(target, f"{route} is a model; routes and their arms are what can be set")
    hint = meant(route, spec.routes) or f"there are {listed(spec.routes, 'and')}"
    return _refused(target, f"there is no route {quoted(route)}; {hint}")


def _refused(target: str, why: str) -> SpecError:
    return SpecError((f"{target}: {why}",))
