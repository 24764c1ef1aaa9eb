from __future__ import annotations

import pytest

from penstock.spec.check import examine
from penstock.spec.decode import decode
from penstock.spec.experiments import experiments
from penstock.spec.forms import LAYERS, TARGETS
from penstock.spec.read import Source, read_text

MODELS = "models: {svc: {path: a.onnx}, rf: {path: b.onnx}}\n"


def a_split(use: str = "svc", experiment: str = "") -> str:
    named = f", experiment: {experiment}" if experiment else ""
    return f"{{split: {{arms: {{a: {{weight: 1, use: {use}}}, rf: 1}}{named}}}}}"


def a_fan_out(*uses: str) -> str:
    arms = ", ".join(f"x{index}: {{use: {use}}}" for index, use in enumerate(uses))
    return f"{{fan_out: {{arms: {{{arms}}}}}}}"


def read(routes: str) -> Source:
    return read_text(f"{MODELS}routes: {routes}\n", {})


def said(routes: str) -> list[str]:
    available = frozenset({*LAYERS, *TARGETS})
    _, problems = examine(read(routes), reserved=frozenset(), available=available)
    return [f"{one.path}: {one.sentence}" for one in problems]


def test_an_experiment_is_called_as_its_route_unless_it_has_a_name() -> None:
    named = a_split(a_split(), "canary")
    text = f"{{r.1: {a_split()}, two: [{{retry: }}, {named}]}}"
    spec, _ = decode(read(text))
    assert spec is not None
    assert experiments(spec) == {
        'routes."r.1".split': "r.1",
        "routes.two[1].split": "canary",
        "routes.two[1].split.arms.a.use.split": "two",
    }


@pytest.mark.parametrize(
    "routes",
    [
        f"a: {a_split()}, b: {a_split()}",
        f"a: {a_split('b')}, b: {a_split()}",
        f"a: {a_split(a_split(), 'other')}",
        f"a: {a_fan_out(a_split(), a_split())}",
        f"a: {a_split('b')}, b: {a_split(experiment='e')}, c: {a_split(experiment='e')}",
        f"a: {a_split('b', 'e')}, b: {a_split()}, c: {a_split(experiment='e')}",
    ],
    ids=["two routes", "through a route", "named", "side by side", "the same below", "and above"],
)
def test_experiments_that_may_be(routes: str) -> None:
    assert said(f"{{{routes}}}") == []


@pytest.mark.parametrize(
    ("routes", "path"),
    [
        (f"a: {a_split(a_split())}", "routes.a.split.arms.a.use.split"),
        (f"a: {a_split('b')}, b: {a_split(experiment='a')}", "routes.b.split.experiment"),
        (
            f"a: {a_split(a_fan_out(a_split()))}",
            "routes.a.split.arms.a.use.fan_out.arms.x0.use.split",
        ),
    ],
    ids=["within", "through a route", "deeper"],
)
def test_a_split_below_another_of_the_same_experiment(routes: str, path: str) -> None:
    sentence = (
        'the split at routes.a.split leads here and is the same experiment, "a", so its users '
        "would not be shared out anew"
    )
    assert said(f"{{{routes}}}") == [f"{path}: {sentence}"]


@pytest.mark.parametrize(
    ("other", "how"),
    [
        ("{split: {arms: {rf: 1, svc: 1}, experiment: a}}", "between other arms, a and rf"),
        (
            "{split: {arms: {a: {weight: 1, use: svc}, rf: 1}, experiment: a, sticky: field:u}}",
            "with sticky: none",
        ),
    ],
    ids=["arms", "sticky"],
)
def test_splits_of_one_experiment_that_cannot_choose_alike(other: str, how: str) -> None:
    sentence = (
        f'the split at routes.a.split is the same experiment, "a", {how}, so a user need not meet'
        " the same arm at both"
    )
    told = [one for one in said(f"{{a: {a_split()}, b: {other}}}") if "experiment" in one]
    assert told == [f"routes.b.split: {sentence}"]


def test_headers_are_the_same_in_any_case_and_weights_may_differ() -> None:
    one = "{split: {arms: {svc: 1, rf: 2}, experiment: e, sticky: header:X}}"
    other = "{split: {arms: {rf: 5, svc: 2}, experiment: e, sticky: header:x}}"
    assert said(f"{{a: {one}, b: {other}}}") == []


def test_a_circle_is_told_and_does_not_go_on_for_ever() -> None:
    problems = said(f"{{a: {a_split('b')}, b: {a_split('a')}}}")
    assert any("circle" in one for one in problems)
