from __future__ import annotations

import pytest

from penstock.spec import tree
from penstock.spec.check import check, check_models, examine
from penstock.spec.decode import decode
from penstock.spec.read import Source, read_text

ROUTES = "routes: {a: {fan_out: {arms: {x: svc}}}, b: [{timeout: {timeout_s: 1}}, svc]}\n"


def source(model: str = "{path: a.onnx}", routes: str = ROUTES) -> Source:
    return read_text(f"models:\n  svc: {model}\n{routes}", {})


def decoded(of: Source) -> tree.Spec:
    spec, problems = decode(of)
    assert problems == ()
    assert spec is not None
    return spec


def test_what_is_available_is_served() -> None:
    available = frozenset({"fan_out", "timeout"})
    assert check(decoded(source()), source().lines, reserved=frozenset(), available=available) == ()


def test_what_is_not_available_is_told() -> None:
    problems = check(
        decoded(source()), source().lines, reserved=frozenset(), available=frozenset({"timeout"})
    )
    assert list(map(str, problems)) == [
        "spec:3: routes.a.fan_out: fan_out is not available in this version"
    ]


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (
            f"{{path: 'https://x/a.onnx', sha256: {'0' * 64}}}",
            "models.svc.path: downloading a model is not available in this version",
        ),
        (
            "{path: a.onnx, preprocess: {size: [1, 2]}}",
            "models.svc.preprocess: preprocess is not available in this version",
        ),
        (
            "{url: 'a:1', protocol: tfserving}",
            "models.svc.protocol: tfserving is not available in this version",
        ),
        (
            "{path: a.onnx, pure: false}",
            "models.svc.pure: pure: false is not available in this version",
        ),
    ],
)
def test_what_models_cannot_be_yet(model: str, problem: str) -> None:
    of = source(model)
    problems = check(
        decoded(of), of.lines, reserved=frozenset(), available=frozenset({"fan_out", "timeout"})
    )
    assert list(map(str, problems)) == [f"spec:2: {problem}"]


@pytest.mark.parametrize(
    "model",
    ["{url: 'a:1'}", "{urls: ['a:1', 'https://b/c']}", "{url: 'a:1', protocol: oip, path: a.onnx}"],
)
def test_models_may_be_remote(model: str) -> None:
    of = source(model)
    available = frozenset({"fan_out", "timeout"})
    assert check(decoded(of), of.lines, reserved=frozenset(), available=available) == ()


def test_addresses_are_checked() -> None:
    of = source("{url: 'a:0'}")
    spec, problems = examine(of, reserved=frozenset(), available=frozenset({"fan_out", "timeout"}))
    assert spec is None
    assert list(map(str, problems)) == [
        'spec:2: models.svc.url: the port is a number from 1 to 65535, not "0"'
    ]


def test_examine_gives_the_spec_and_its_warnings() -> None:
    spec, problems = examine(
        read_text("models: {svc: {path: a.onnx}, x: {path: b.onnx}}\nroutes: {a: svc}", {}),
        reserved=frozenset(),
        available=frozenset(),
    )
    assert spec is not None
    assert list(map(str, problems)) == ["spec:1: warning: models.x: no route uses the model x"]


def test_examine_tells_mistakes_of_form_and_of_meaning_at_once() -> None:
    of = source(
        routes="""\
routes:
  a: nobody
  b: {fan_out: {arms: {x: svc, y: {use: svc, threshold: 2}}, policy: {quorum: 3}}}
  c: [{threshold: {min: high}}, {split: {arms: {svc: 0}}}]
  d: []
  e: d
  f: {mirror: {shadow: svc}}
default: d
"""
    )
    spec, problems = examine(of, reserved=frozenset({"e"}), available=frozenset({"fan_out"}))
    assert spec is None
    assert [f"{one.position.line} {one.path}" for one in problems] == [
        "4 routes.a",
        "5 routes.b.fan_out.arms.y.threshold",
        "6 routes.c[0].threshold",
        "6 routes.c[0].threshold.min",
        "6 routes.c[1].split",
        "6 routes.c[1].split.arms",
        "7 routes.d",
        "8 routes.e",
        "9 routes.f.mirror",
    ]


def test_a_mistake_in_a_layer_hides_none_below_it() -> None:
    of = source(routes="routes: {a: [{timeout: {timeout_s: -1}}, svk]}\n")
    _, problems = examine(of, reserved=frozenset(), available=frozenset({"timeout"}))
    assert [problem.path for problem in problems] == [
        "routes.a[0].timeout.timeout_s",
        "routes.a[1]",
    ]


def test_examine_of_what_cannot_be_read() -> None:
    spec, problems = examine(read_text("a: [", {}), reserved=frozenset(), available=frozenset())
    assert spec is None
    assert len(problems) == 1


def test_models_that_are_not_open_are_passed_over() -> None:
    assert check_models(decoded(source()), {}, source().lines) == ()
