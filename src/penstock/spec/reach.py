"""What a route leads to: a spec of nothing but one, and who leads to the same as others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from penstock.core.errors import SpecError
from penstock.spec import tree
from penstock.spec.walk import Part, references


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


def meeting(ways: Mapping[str, Iterable[Part]], spec: tree.Spec) -> frozenset[str]:
    """Return the names of those ways that lead to a route to which another one leads as well.

    Args:
        ways: by name: all that stands on each.
        spec: the tree.
    """
    first: dict[str, str] = {}
    found: set[str] = set()
    for way, parts in ways.items():
        waiting = [reference.name for part in parts for reference in references(part)]
        while waiting:
            route = waiting.pop()
            if route not in spec.routes:
                continue
            if route not in first:
                first[route] = way
                waiting.extend(reference.name for reference in references(spec.routes[route]))
            elif first[route] != way:  # what is below that route both lead to as well
                found |= {first[route], way}
    return frozenset(found)
