"""Most of what nodes mean is told in `golden/meaning`; here is what is right, and the edges."""

from __future__ import annotations

import pytest

from penstock.spec.check import examine
from penstock.spec.forms import LAYERS, TARGETS
from penstock.spec.read import read_text

MODELS = "models: {svc: {path: a.onnx}, rf: {path: b.onnx}}\n"


def said(route: str) -> list[str]:
    source = read_text(f"{MODELS}routes: {{a: {route}, b: rf, c: svc}}\n", {})
    available = frozenset({*LAYERS, *TARGETS})
    return [one.sentence for one in examine(source, reserved=frozenset(), available=available)[1]]


@pytest.mark.parametrize(
    "route",
    [
        "{fan_out: {arms: {x: svc, y: {use: rf, state: 0}}, policy: {quorum: 1}}}",
        "{fan_out: {arms: {x: {use: svc, weight: 2}}, aggregate: weighted}}",
        "{fan_out: {arms: {x: {use: svc, threshold: 0.5}}, default_threshold: 0.9}}",
        "{fan_out: {arms: {x: svc}, aggregate: label}}",
        "{split: {arms: {svc: 0, rf: 1}, fallback: rf}}",
        "{split: {arms: {svc: 0.0001, rf: 99.9999}, sticky: header:X-User-Id}}",
        "{split: {arms: {svc: 1}, sticky: field:user}}",
        "[{threshold: {min: 0.5}}, {timeout: {timeout_s: 1}}, b]",
        "[{threshold: {classes: {x: 0.5}}}, svc]",
        "[{breaker: {consecutive_errors: 5}}, svc]",
        "[{breaker: {error_ratio: 0.5}}, svc]",
        "[{breaker: {max_in_flight: 1, max_pending: 1}}, svc]",
        "{constant: {answer: [1]}}",
        "{constant: {answer: ''}}",
        "{condition: {when: [{column: 0, above: 1, use: svc}], otherwise: svc}}",
        "{sync_async: {now: svc, later: rf}}",
        "[{retry: }, {rate_limit: {rate: 1}}, {mirror: {shadow: rf}}, {prediction_log: }, svc]",
    ],
)
def test_right(route: str) -> None:
    assert said(route) == []


@pytest.mark.parametrize(
    ("route", "sentences"),
    [
        (
            "{fan_out: {arms: {x: svc}, aggregate: label, default_threshold: 0.9}}",
            ["the answer cannot be label and 0 or 1 for each arm"],
        ),
        (
            "[{threshold: {min: 0.5}}, nobody]",
            ['there is no model or route "nobody"'],
        ),
        (
            "[{threshold: {min: 0.5}}, {split: {arms: {svc: 1, rf: 1}}}]",
            ["a threshold stands over one classifier, not over a split"],
        ),
        (
            "[{prediction_log: }, {mirror: {shadow: rf, percent: 0}}, svc]",
            ["0 percent copies nothing"],
        ),
        (
            "{split: {arms: {svc: 1}, fallback: rf}}",
            ['there is no arm "rf"'],
        ),
        (
            "{split: {arms: {svc: 1}, sticky: field:data}}",
            ["data is the input itself"],
        ),
        (
            "{split: {arms: {svc: 1}, sticky: header:ü}}",
            ['"ü" is no name of a header'],
        ),
        (
            "[{prediction_log: {groups: [header:a, field:data, 'field:a\\b', 'header:a:b']}}, svc]",
            [
                "data is the input itself",
                '"a\\\\b" cannot be a key here: no quotes, backslashes, control characters',
                '"a:b" is no name of a header',
            ],
        ),
    ],
)
def test_wrong(route: str, sentences: list[str]) -> None:
    assert said(route) == sentences
