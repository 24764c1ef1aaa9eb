"""Which routes are recorded, and by which layer."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.spec.fields import normal_name
from penstock.spec.problems import Lines, Problem, child, item, meant, quoted
from penstock.spec.tree import Mirror, Pipeline, PredictionLog, Reference, Spec, Split
from penstock.spec.walk import everything, references

INPUT = "input"
OUTPUT = "output"
COLUMN = "column:"


def log_layer(route: str, spec: Spec) -> PredictionLog | None:
    """Return the layer by which the requests to a route are recorded, if they are.

    The first one on the way of every request counts: through layers and through the names of other
    routes, down to the first combinator.
    """
    seen: set[str] = set()
    while route in spec.routes and route not in seen:
        seen.add(route)
        expression = spec.routes[route]
        if isinstance(expression, Pipeline):
            found = next((one for one in expression.layers if isinstance(one, PredictionLog)), None)
            if found is not None:
                return found
            expression = expression.target
        if not isinstance(expression, Reference):
            return None
        route = expression.name
    return None


def sticky_fields(route: str, spec: Spec) -> frozenset[str]:
    """Return the fields that keep a user on an arm, on whatever way below a route."""
    found: set[str] = set()
    waiting, seen = [route], {route}
    while waiting:
        expression = spec.routes[waiting.pop()]
        for part in everything(expression):
            if isinstance(part, Split) and part.sticky != "none":
                found.add(normal_name(part.sticky))
        for one in references(expression):
            if one.name in spec.routes and one.name not in seen:
                seen.add(one.name)
                waiting.append(one.name)
    return frozenset(found)


def redacted_columns(layer: PredictionLog) -> tuple[int, ...]:
    """Return the columns of the input that a layer leaves out, ascending."""
    numbers = (_column(word) for word in layer.redact)
    return tuple(sorted({number for number in numbers if number is not None}))


def _column(word: str) -> int | None:
    digits = word.removeprefix(COLUMN)
    if word == digits or not digits.isascii() or not digits.isdigit() or len(digits) > 6:
        return None
    return int(digits)


def check_redact(layer: PredictionLog, lines: Lines) -> Iterator[Problem]:
    """Yield what a layer is to leave out and nobody knows."""
    for index, word in enumerate(layer.redact):
        if word not in (INPUT, OUTPUT) and _column(word) is None:
            path = item(child(layer.place, "redact"), index)
            hint = meant(word, (INPUT, OUTPUT)) or "input, output or column:N can be left out"
            yield lines.error(path, f"records have no {quoted(word)}", hint)


def check_logged(pipeline: Pipeline, spec: Spec, lines: Lines) -> Iterator[Problem]:
    """Yield the layers of a pipeline by which nothing will ever be recorded."""
    layers = [one for one in pipeline.layers if isinstance(one, PredictionLog)]
    if pipeline not in spec.routes.values():
        sentence = "requests are recorded by the route they came in by; here nothing is recorded"
        for layer in layers:
            yield lines.warning(layer.place, sentence, "put it among the route's own layers")
        return
    for layer in layers[1:]:
        yield lines.error(layer.place, "a route has one prediction_log; the first one counts")


def check_mirrored(spec: Spec, lines: Lines) -> Iterator[Problem]:
    """Yield the mirrors that no logged route leads to: nobody ever sees what they are for."""
    logged = [route for route in spec.routes if log_layer(route, spec) is not None]
    seen = set(logged)
    for route in logged:
        for one in references(spec.routes[route]):
            if one.name in spec.routes and one.name not in seen:
                seen.add(one.name)
                logged.append(one.name)
    for route, expression in spec.routes.items():
        if route in seen:
            continue
        for part in everything(expression):
            if isinstance(part, Mirror):
                sentence = "its answers are recorded nowhere"
                yield lines.warning(part.place, sentence, "put prediction_log above it")
