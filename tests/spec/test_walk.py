from __future__ import annotations

import pytest

from penstock.spec.decode import decode
from penstock.spec.read import read_text
from penstock.spec.tree import Constant, FanOut, Reference, Spec
from penstock.spec.walk import bottom, everything, first_model, inner, references, sole_model

TEXT = """
models: {svc: {path: a.onnx}, rf: {path: b.onnx}}
routes:
  plain: svc
  layered: [{retry: }, {prediction_log: {outlier: rf}}, plain]
  parallel: {fan_out: {arms: {a: rf, b: [{retry: }, layered]}}}
  share: {split: {arms: {svc: 1, rf: {weight: 1, use: layered}}}}
  chosen: {condition: {when: [{column: 0, above: 1, use: rf}], otherwise: plain}}
  later: {sync_async: {now: [{timeout: {timeout_s: 1}}, share], later: rf}}
  fixed: {constant: {answer: a}}
  guarded:
    - breaker: {otherwise: fixed}
    - mirror: {shadow: rf}
    - breaker: {}
    - prediction_log: {}
    - rate_limit: {rate: 1}
    - threshold: {min: 0.5}
    - parallel
  circle: [{retry: }, circle]
  deep: {fan_out: {arms: {a: deep}}}
  unknown: nobody
  empty: {fan_out: {arms: {}}}
  none: {split: {arms: {}}}
"""


@pytest.fixture(scope="module")
def spec() -> Spec:
    spec, problems = decode(read_text(TEXT, {}))
    assert problems == ()
    assert spec is not None
    return spec


@pytest.mark.parametrize(
    ("route", "names"),
    [
        ("plain", ["svc"]),
        ("layered", ["rf", "plain"]),
        ("parallel", ["rf", "layered"]),
        ("share", ["svc", "layered"]),
        ("chosen", ["rf", "plain"]),
        ("later", ["share", "rf"]),
        ("fixed", []),
        ("guarded", ["fixed", "rf", "parallel"]),
    ],
)
def test_references(spec: Spec, route: str, names: list[str]) -> None:
    assert [one.name for one in references(spec.routes[route])] == names


def test_everything_begins_with_the_node_itself(spec: Spec) -> None:
    parts = list(everything(spec.routes["guarded"]))
    assert parts[0] is spec.routes["guarded"]
    assert [type(part).__name__ for part in parts] == [
        *("Pipeline", "Breaker", "Reference", "Mirror", "Reference", "Breaker", "PredictionLog"),
        *("RateLimit", "Threshold", "Reference"),
    ]


def test_an_arm_without_use_is_the_predictor_of_its_name(spec: Spec) -> None:
    assert inner(spec.routes["share"])[0] == Reference(
        name="svc", place="routes.share.split.arms.svc"
    )


def test_bottom(spec: Spec) -> None:
    assert bottom(spec.routes["layered"], spec) == Reference(name="svc", place="routes.plain")
    assert isinstance(bottom(spec.routes["guarded"], spec), FanOut)
    assert isinstance(bottom(Reference(name="fixed"), spec), Constant)
    assert bottom(spec.routes["circle"], spec) is None
    assert bottom(Reference(name="nobody"), spec) == Reference(name="nobody")


@pytest.mark.parametrize(
    ("route", "sole", "first"),
    [
        ("plain", "svc", "svc"),
        ("layered", "svc", "svc"),
        ("parallel", None, "rf"),
        ("share", None, "svc"),
        ("chosen", None, None),
        ("later", None, "svc"),
        ("fixed", None, None),
        ("guarded", None, "rf"),
        ("circle", None, None),
        ("deep", None, None),
        ("unknown", None, None),
        ("empty", None, None),
        ("none", None, None),
    ],
)
def test_models_below(spec: Spec, route: str, sole: str | None, first: str | None) -> None:
    assert sole_model(spec.routes[route], spec) == sole
    assert first_model(spec.routes[route], spec) == first
