"""Names: what refers to nothing, in a circle, or to two things at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from penstock.spec.forms import LAYERS, TARGETS
from penstock.spec.problems import Lines, Problem, child, meant, quoted
from penstock.spec.tree import Reference, Spec
from penstock.spec.walk import references
from penstock.spec.wording import example


def check_names(spec: Spec, lines: Lines, reserved: frozenset[str]) -> Iterator[Problem]:
    """Yield what is wrong with the names of a spec.

    A name counts as known when the file gives it to something, even if that could not be decoded.
    """
    yield from _routes(spec, lines, reserved)
    yield from _default(spec, lines)
    yield from _states(spec, lines)
    known = {*spec.models, *spec.routes}
    for reference in _mentioned(spec):
        if reference.name not in known:
            yield from _unknown(reference, known, lines)
    yield from _circles(spec, lines)
    yield from _unused(spec, lines)


def _routes(spec: Spec, lines: Lines, reserved: frozenset[str]) -> Iterator[Problem]:
    if not spec.routes and not any(path.startswith("routes.") for path in lines.table):
        yield lines.error("routes", "there are no routes, so nothing would be served")
    for name in spec.routes:
        path = child("routes", name)
        if name in spec.models:
            yield lines.error(path, f"a model and a route are both called {name}", "rename one")
        if name in reserved:
            yield lines.error(path, f"/{name} is a path of the server's own", "rename the route")


def _default(spec: Spec, lines: Lines) -> Iterator[Problem]:
    if spec.default is None or spec.default in spec.routes:
        return
    if not lines.has(child("routes", spec.default)):
        hint = meant(spec.default, spec.routes)
        yield lines.error("default", f"there is no route {quoted(spec.default)}", hint)


def _states(spec: Spec, lines: Lines) -> Iterator[Problem]:
    for name in spec.states:
        if name in spec.routes or lines.has(child("routes", name)):
            continue
        path = child("states", name)
        if name in spec.models:
            hint = "the states of models are those of the arms that use them"
            yield lines.error(path, f"{name} is a model, not a route", hint)
        else:
            hint = meant(name, spec.routes)
            yield lines.error(path, f"there is no route {quoted(name)}", hint)


def _mentioned(spec: Spec) -> Iterator[Reference]:
    for expression in spec.routes.values():
        yield from references(expression)


def _unknown(reference: Reference, known: set[str], lines: Lines) -> Iterator[Problem]:
    name = reference.name
    if lines.has(child("models", name)) or lines.has(child("routes", name)):
        return
    kind = "layer" if name in LAYERS else "target" if name in TARGETS else ""
    if kind:
        hint = f"write it as a mapping: `{example(name)}`"
        yield lines.error(reference.place, f"{name} is a {kind}, not a model or route", hint)
    else:
        hint = meant(name, sorted(known))
        yield lines.error(reference.place, f"there is no model or route {quoted(name)}", hint)


def _circles(spec: Spec, lines: Lines) -> Iterator[Problem]:
    onward = _endless(spec)
    done: set[str] = set()
    for start in onward:
        way = [start]
        while way[-1] not in done and (after := onward[way[-1]].name) not in way:
            way.append(after)
        if way[-1] not in done:
            circle = [*way[way.index(after) :], after]
            place = onward[way[-1]].place
            yield lines.error(place, f"routes go in a circle: {' -> '.join(circle)}")
        done.update(way)


def _endless(spec: Spec) -> Mapping[str, Reference]:
    """Return the routes that lead into a circle, each with a reference that does."""
    onward = {
        route: [one for one in references(expression) if one.name in spec.routes]
        for route, expression in spec.routes.items()
    }
    users: dict[str, list[str]] = {route: [] for route in onward}
    for route, found in onward.items():
        for reference in found:
            users[reference.name].append(route)
    left = {route: len(found) for route, found in onward.items()}
    ended = [route for route, count in left.items() if not count]
    for route in ended:
        for user in users[route]:
            left[user] -= 1
            if not left[user]:
                ended.append(user)
    return {
        route: next(one for one in onward[route] if left[one.name])
        for route, count in left.items()
        if count
    }


def _unused(spec: Spec, lines: Lines) -> Iterator[Problem]:
    used = {reference.name for reference in _mentioned(spec)}
    for name in spec.models:
        if name not in used:
            yield lines.warning(child("models", name), f"no route uses the model {name}")
