"""How each node is drawn is told in `golden/every-pattern`."""

from __future__ import annotations

import pytest

from penstock.core.errors import SpecError
from penstock.spec.explain import explain
from penstock.spec.tree import Model, Pipeline, Reference, Spec, State, Timeout

SPEC = Spec(
    models={"svc": Model(path="models/svc.onnx"), "lost": Model()},
    routes={
        "a": Reference(name="svc"),
        "b": Pipeline(layers=(Timeout(timeout_s=1234567.5),), target=Reference(name="lost")),
    },
    default="b",
)


def test_every_route() -> None:
    assert explain(SPEC) == (
        "a\n└─ svc (svc.onnx)\nb (default)\n└─ timeout  timeout_s 1234567.5\n   └─ lost (nowhere)"
    )


def test_one_route() -> None:
    assert explain(SPEC, "a") == "a\n└─ svc (svc.onnx)"


def test_no_such_route() -> None:
    with pytest.raises(SpecError, match='there is no route "c"'):
        explain(SPEC, "c")


def test_the_state_of_a_route() -> None:
    spec = Spec(
        models=SPEC.models, routes=SPEC.routes, default="a", states={"a": State.OFF, "b": State.ON}
    )
    assert explain(spec).splitlines()[0] == "a (default)  state off"
    assert explain(spec).splitlines()[2] == "b"
