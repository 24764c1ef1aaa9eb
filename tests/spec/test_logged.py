"""Which layer records a route, and what it may be told to leave out."""

from __future__ import annotations

import pytest

from penstock.spec.check import examine
from penstock.spec.decode import decode
from penstock.spec.forms import LAYERS, TARGETS
from penstock.spec.logged import log_layer, redacted_columns, sticky_fields
from penstock.spec.read import read_text
from penstock.spec.tree import PredictionLog, Spec

MODELS = "models: {svc: {path: a.onnx}, rf: {path: b.onnx}, ocs: {path: c.onnx}}\n"


def a_spec(*routes: str) -> Spec:
    spec, problems = decode(read_text(MODELS + "routes:\n  " + "\n  ".join(routes) + "\n", {}))
    assert problems == ()
    assert spec is not None
    return spec


def said(*routes: str) -> list[str]:
    source = read_text(MODELS + "routes:\n  " + "\n  ".join(routes) + "\n", {})
    found = examine(source, reserved=frozenset(), available=frozenset({*LAYERS, *TARGETS}))[1]
    told = [one for one in found if not one.sentence.startswith("no route uses")]
    return [f"{one.path}: {one.sentence} ({one.hint})" for one in told]


def test_the_first_layer_on_the_way_counts() -> None:
    spec = a_spec(
        "own: [{timeout: {timeout_s: 1}}, {prediction_log: {sample_percent: 1}}, svc]",
        "named: own",
        "through: [{timeout: {timeout_s: 1}}, named]",
        "again: [{prediction_log: {sample_percent: 2}}, own]",
        "none: svc",
        "arms: {fan_out: {arms: {own: own, svc: svc}}}",
        "round: [{timeout: {timeout_s: 1}}, trip]",
        "trip: round",
    )
    told = {name: log_layer(name, spec) for name in spec.routes}
    percents = {name: one.sample_percent for name, one in told.items() if one is not None}
    assert percents == {"own": 1.0, "named": 1.0, "through": 1.0, "again": 2.0}


def test_sticky_fields_are_those_of_all_splits_below() -> None:
    spec = a_spec(
        "ab: {split: {sticky: header:X-User, arms: {svc: 1, cd: 1}}}",
        "cd: {split: {sticky: field:user, arms: {svc: 1, ef: 1}}}",
        "ef: {split: {arms: {svc: 1, ab: 1}}}",
        "none: svc",
    )
    assert sticky_fields("ab", spec) == {"header:x-user", "field:user"}
    assert sticky_fields("none", spec) == frozenset()


def test_columns() -> None:
    layer = PredictionLog(redact=("column:7", "input", "column:0", "column:7"))
    assert redacted_columns(layer) == (0, 7)


@pytest.mark.parametrize("word", ["inputs", "column:", "column:x", "column:-1", "column:9999999"])
def test_what_nobody_knows_cannot_be_left_out(word: str) -> None:
    (problem,) = said(f"a: [{{prediction_log: {{redact: [output, '{word}']}}}}, svc]")
    assert problem.startswith(f'routes.a[0].prediction_log.redact[1]: records have no "{word}"')


def test_one_layer_is_enough() -> None:
    (problem,) = said("a: [{prediction_log: }, {timeout: {timeout_s: 1}}, {prediction_log: }, svc]")
    assert problem.startswith("routes.a[2].prediction_log: a route has one prediction_log")
    assert said("a: [{prediction_log: }, b]", "b: [{prediction_log: }, svc]") == []


def test_within_a_route_nothing_is_recorded() -> None:
    (problem,) = said("a: {fan_out: {arms: {x: [{prediction_log: }, svc], y: rf}}}")
    assert problem.startswith("routes.a.fan_out.arms.x")
    assert "here nothing is recorded (put it among the route's own layers)" in problem


def test_a_mirror_that_no_logged_route_leads_to_is_in_vain() -> None:
    (problem,) = said("a: [{mirror: {shadow: rf}}, svc]")
    assert problem == (
        "routes.a[0].mirror: its answers are recorded nowhere (put prediction_log above it)"
    )
    mirrored = "c: [{mirror: {shadow: rf}}, svc]"
    assert said("a: [{prediction_log: }, {mirror: {shadow: rf}}, svc]") == []
    assert (
        said(
            "a: [{prediction_log: }, b]",
            "b: {split: {arms: {c: 1, b2: 1}}}",
            "b2: [{timeout: {timeout_s: 1}}, c]",
            mirrored,
        )
        == []
    )
    assert said("a: [{prediction_log: }, svc]", mirrored)[0].startswith("routes.c[0].mirror: its")
