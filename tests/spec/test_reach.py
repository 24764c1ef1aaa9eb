from __future__ import annotations

import pytest

from penstock.core.errors import SpecError
from penstock.spec.decode import decode
from penstock.spec.reach import meeting, only
from penstock.spec.read import read_text
from penstock.spec.tree import Reference, Spec, State

TEXT = """
models: {svc: {path: a.onnx}, rf: {path: b.onnx}, ocs: {path: c.onnx}, unused: {path: d.onnx}}
routes:
  plain: svc
  layered: [{retry: }, {prediction_log: {outlier: ocs}}, {prediction_log: }, {breaker: }, plain]
  parallel: {fan_out: {arms: {a: rf, b: layered, c: rf}}}
  share: {split: {arms: {svc: 1, rf: {weight: 1, use: ocs}}}}
  chosen: {condition: {when: [{column: 0, above: 1, use: rf}], otherwise: plain}}
  later: {sync_async: {now: rf, later: chosen}}
  fixed: {constant: {answer: a}}
  guarded: [{breaker: {otherwise: fixed}}, {mirror: {shadow: rf}}, plain]
  circle: circle
default: later
states: {plain: observe, layered: off}
"""


@pytest.fixture(scope="module")
def spec() -> Spec:
    spec, problems = decode(read_text(TEXT, {}))
    assert problems == ()
    assert spec is not None
    return spec


@pytest.mark.parametrize(
    ("name", "routes", "models"),
    [
        ("plain", {"plain"}, {"svc"}),
        ("layered", {"layered", "plain"}, {"svc", "ocs"}),
        ("parallel", {"parallel", "layered", "plain"}, {"rf", "svc", "ocs"}),
        ("share", {"share"}, {"svc", "ocs"}),
        ("later", {"later", "chosen", "plain"}, {"rf", "svc"}),
        ("fixed", {"fixed"}, set()),
        ("guarded", {"guarded", "fixed", "plain"}, {"rf", "svc"}),
        ("circle", {"circle"}, set()),
        ("unused", {"unused"}, {"unused"}),
    ],
)
def test_only(spec: Spec, name: str, routes: set[str], models: set[str]) -> None:
    reduced = only(spec, name)
    assert set(reduced.routes) == routes
    assert set(reduced.models) == models
    assert reduced.default == name


def test_the_states_of_routes_stay(spec: Spec) -> None:
    assert only(spec, "plain").states == {"plain": State.OBSERVE}
    assert only(spec, "parallel").states == {"plain": State.OBSERVE, "layered": State.OFF}
    assert only(spec, "svc").states == {}


def test_a_model_becomes_a_route(spec: Spec) -> None:
    assert only(spec, "unused").routes == {
        "unused": Reference(name="unused", place="routes.unused")
    }


def test_neither(spec: Spec) -> None:
    with pytest.raises(SpecError, match="nobody"):
        only(spec, "nobody")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("plain", "plain"), {0, 1}),
        (("plain", "share"), set()),
        (("svc", "svc"), set()),  # models are no routes
        (("later", "fixed", "layered"), {0, 2}),
        (("plain", "share", "guarded", "fixed"), {0, 2, 3}),
        (("circle", "plain"), set()),
        ((), set()),
    ],
)
def test_ways_that_lead_to_one_route(spec: Spec, names: tuple[str, ...], found: set[int]) -> None:
    ways = {str(i): [Reference(name=name, place="")] for i, name in enumerate(names)}
    assert meeting(ways, spec) == set(map(str, found))


def test_all_that_stands_on_a_way_counts_and_not_within_one(spec: Spec) -> None:
    plain, fixed = (Reference(name=name, place="") for name in ("plain", "fixed"))
    assert meeting({"a": [fixed, plain, plain], "b": [spec.routes["guarded"]]}, spec) == {"a", "b"}
    assert meeting({"a": [plain, spec.routes["parallel"]], "b": [fixed]}, spec) == set()
