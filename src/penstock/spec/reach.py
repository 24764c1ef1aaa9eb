"""A spec of nothing but one route, and what that route needs."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from penstock.core.errors import SpecError
from penstock.spec import tree
from penstock.spec.walk import references


def only(spec: tree.Spec, name: str) -> tree.Spec:
    """Return the spec with one route, or one model as a route, and what it needs.

    Raises:
        SpecError: there is neither.
    """
    if name in spec.routes:
        needed = set(reached(spec, name))
        routes = {route: spec.routes[route] for route in spec.routes if route in needed}
        models = {model: spec.models[model] for model in spec.models if model in needed}
    elif name in spec.models:
        routes = {name: tree.Reference(name=name, place=f"routes.{name}")}
        models = {name: spec.models[name]}
    else:
        known = ", ".join((*spec.routes, *spec.models))
        raise SpecError((f"there is no route or model {name!r}; there are {known}",))
    states = {route: state for route, state in spec.states.items() if route in routes}
    return msgspec.structs.replace(spec, models=models, routes=routes, default=name, states=states)


def all_below(expression: tree.Expression, spec: tree.Spec) -> list[tree.Expression]:
    """Return an expression and those of all routes that it leads to, each once."""
    found = [expression]
    names: set[str] = set()
    for one in found:
        for reference in references(one):
            if reference.name in spec.routes and reference.name not in names:
                names.add(reference.name)
                found.append(spec.routes[reference.name])
    return found


def reached(spec: tree.Spec, route: str) -> Iterator[str]:
    """Yield a route, and every route and model that it leads to, each once."""
    waiting = [route]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        yield name
        if name in spec.routes:
            waiting.extend(reference.name for reference in references(spec.routes[name]))
