from __future__ import annotations

import pytest

from penstock.spec.check import check
from penstock.spec.forms import LAYERS, TARGETS
from penstock.spec.names import check_names
from penstock.spec.problems import Lines, Position
from penstock.spec.tree import (
    Mirror,
    Model,
    Pipeline,
    PredictionLog,
    Reference,
    Spec,
    State,
    Timeout,
)

MODELS = {"svc": Model(path="svc.onnx", place="models.svc")}


def said(spec: Spec, *reserved: str) -> list[str]:
    available = frozenset({*LAYERS, *TARGETS})
    return [
        str(one) for one in check(spec, Lines(), reserved=frozenset(reserved), available=available)
    ]


def links(**names: str) -> Spec:
    return Spec(
        models=MODELS,
        routes={
            route: Reference(name=name, place=f"routes.{route}") for route, name in names.items()
        },
    )


def test_nothing_is_wrong() -> None:
    assert said(links(a="svc", b="a", c="a")) == []


def test_there_must_be_a_route() -> None:
    assert said(Spec(models={}, routes={})) == [
        "spec: routes: there are no routes, so nothing would be served"
    ]


def test_names_have_one_meaning() -> None:
    assert said(links(svc="svc")) == [
        "spec: routes.svc: a model and a route are both called svc; rename one",
        "spec: routes.svc: routes go in a circle: svc -> svc",
    ]
    assert said(links(job="svc"), "job") == [
        "spec: routes.job: /job is a path of the server's own; rename the route"
    ]


def test_unknown_names() -> None:
    assert said(links(a="svcc")) == [
        'spec: routes.a: there is no model or route "svcc"; did you mean "svc"?',
        "spec: warning: models.svc: no route uses the model svc",
    ]


def test_the_default_is_a_route() -> None:
    spec = Spec(models=MODELS, routes={"a": Reference(name="svc")}, default="svc")
    assert said(spec) == ['spec: default: there is no route "svc"']
    assert said(Spec(models=MODELS, routes={"a": Reference(name="svc")}, default="a")) == []


@pytest.mark.parametrize(
    ("routes", "circles"),
    [
        ({"a": "b", "b": "c", "c": "svc"}, []),
        ({"a": "a"}, ["a -> a"]),
        ({"a": "b", "b": "a"}, ["a -> b -> a"]),
        ({"a": "b", "b": "c", "c": "b"}, ["b -> c -> b"]),
        ({"b": "c", "c": "b", "a": "b"}, ["b -> c -> b"]),
        ({"a": "a", "b": "b", "c": "a"}, ["a -> a", "b -> b"]),
    ],
)
def test_circles(routes: dict[str, str], circles: list[str]) -> None:
    found = [one.partition("circle: ")[2] for one in said(links(**routes)) if "circle" in one]
    assert found == circles


def test_a_circle_through_layers() -> None:
    layered = Pipeline(layers=(Timeout(timeout_s=1),), target=Reference(name="a", place="here"))
    assert "spec: here: routes go in a circle: a -> a" in said(
        Spec(models=MODELS, routes={"a": layered})
    )


def test_two_ways_to_the_same_end_are_no_circle() -> None:
    spec = links(b="svc", c="svc")
    mirror = Mirror(shadow=Reference(name="b"))
    both = Pipeline(layers=(PredictionLog(), mirror), target=Reference(name="c"))
    assert said(Spec(models=MODELS, routes={"a": both, **spec.routes})) == []


def test_a_long_chain_is_no_circle() -> None:
    chain = {f"r{i}": f"r{i + 1}" for i in range(2000)}
    assert said(links(**chain, r2000="svc")) == []


def test_the_states_are_of_routes() -> None:
    states = {"a": State.OFF, "aa": State.ON, "svc": State.OBSERVE}
    spec = Spec(models=MODELS, routes={"a": Reference(name="svc")}, states=states)
    assert said(spec) == [
        'spec: states.aa: there is no route "aa"; did you mean "a"?',
        "spec: states.svc: svc is a model, not a route; the states of models are those of the"
        " arms that use them",
    ]


def test_the_state_of_a_route_that_could_not_be_read_is_no_mistake() -> None:
    spec = Spec(models=MODELS, routes={"b": Reference(name="svc")}, states={"a": State.OFF})
    lines = Lines("spec", {"routes.a": Position(1, 1)})
    assert list(check_names(spec, lines, frozenset())) == []
