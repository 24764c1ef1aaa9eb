from __future__ import annotations

import pytest

from penstock.core.predictor import Description, TensorSpec
from penstock.core.values import AnswerKind
from penstock.spec.check import check_models
from penstock.spec.decode import decode
from penstock.spec.read import read_text

CLASSES = ("setosa", "versicolor", "virginica")


def model(
    name: str,
    inputs: tuple[int, ...] | None = (-1, 4),
    outputs: tuple[int, ...] | None = (-1, 3),
    labels: tuple[str, ...] = CLASSES,
    version: str = "6c4ef19f5054",
    kind: AnswerKind = AnswerKind.SCORES,
    *,
    known: bool = True,
) -> Description:
    return Description(
        name=name,
        kind=kind,
        version=version,
        inputs=() if inputs is None else (TensorSpec("x", "float32", inputs),),
        outputs=() if outputs is None else (TensorSpec("y", "float32", outputs),),
        labels=labels,
        known=known,
    )


MODELS = {
    one.name: one
    for one in (
        model("svc"),
        model("rf"),
        model("five", inputs=(-1, 5)),
        model("odd", inputs=(-1, 5), outputs=(-1, 1), labels=()),
        model("any", inputs=(-1, -1)),
        model("image", inputs=(-1, 224, 224, 3)),
        model("shapeless", inputs=None, outputs=None),
        model("open", outputs=(-1, -1)),
        model("two", outputs=(-1, 2), labels=("no", "yes")),
        model("swapped", outputs=(-1, 2), labels=("yes", "no")),
        model("unlabelled", labels=()),
        model("pair", outputs=(-1, 2), labels=()),
        model("regressor", outputs=(-1, 1), labels=()),
        model("flat", outputs=(-1,), labels=()),
        model("unversioned", version=""),
        model("keyed", outputs=None, labels=("x", "y"), kind=AnswerKind.KEYED),
        model("label", outputs=None, kind=AnswerKind.LABELLED),
        model("unknown", inputs=(-1, 5), outputs=(-1, 2), labels=("no",), known=False),
    )
}


def said(route: str) -> list[str]:
    names = ", ".join(f"{name}: {{path: {name}.onnx}}" for name in [*MODELS, "closed"])
    source = read_text(f"models: {{{names}}}\nroutes: {{a: {route}, r: [{{retry: }}, svc]}}\n", {})
    spec, problems = decode(source)
    assert problems == ()
    assert spec is not None
    return [str(one).removeprefix("spec:2: ") for one in check_models(spec, MODELS, source.lines)]


@pytest.mark.parametrize(
    "route",
    [
        "svc",
        "{fan_out: {arms: {x: svc, y: rf, z: any, s: shapeless, c: closed, r: r}}}",
        "{fan_out: {arms: {x: two, y: swapped}, positive: 1}}",
        "{fan_out: {arms: {x: two, y: swapped}, positive: 'yes'}}",
        "{fan_out: {arms: {x: svc, y: rf, z: closed}, aggregate: mean}}",
        "{fan_out: {arms: {x: svc, y: unlabelled, z: open}, aggregate: weighted}}",
        "{fan_out: {arms: {x: open, y: shapeless}, positive: 7}}",
        "{fan_out: {arms: {x: {use: svc, threshold: 1, validated_for: 6c4ef19f5054}}}}",
        "{fan_out: {arms: {x: {use: svc, validated_for: 6c4ef19f50541234}}}}",
        "{fan_out: {arms: {x: {use: svc, validated_for: 6c4ef1}}}}",
        "{fan_out: {arms: {x: {use: unversioned, validated_for: abc}}}}",
        "[{threshold: {min: 0.5, classes: {setosa: 0.9}}}, r]",
        "[{threshold: {min: 0.5}}, open]",
        "[{threshold: {min: 0.5, validated_for: abc}}, closed]",
        "[{breaker: {max_in_flight: 1}}, {mirror: {shadow: rf}}, {prediction_log: }, svc]",
        "[{prediction_log: {outlier: regressor}}, {timeout: {timeout_s: 1}}, {retry: }, svc]",
        "[{prediction_log: {outlier: open}}, svc]",
        "[{rate_limit: {rate: 1}}, {breaker: {otherwise: rf}}, {constant: {answer: a}}]",
        "{fan_out: {arms: {x: svc, y: keyed, z: label}, positive: setosa}}",
        "{fan_out: {arms: {x: svc, y: keyed, z: label}, positive: 2}}",
        "{fan_out: {arms: {x: svc, y: unknown}, aggregate: mean}}",
        "{fan_out: {arms: {x: svc, y: unknown}, positive: setosa}}",
        "{fan_out: {arms: {x: {use: unknown, validated_for: aaa}}}}",
        "[{threshold: {classes: {virginia: 1}}}, unknown]",
        "{split: {arms: {svc: 1, rf: 1}}}",
        "{split: {arms: {svc: 1, open: 1, any: 1, shapeless: 1, closed: 1, unknown: 1, r: 1}}}",
        "{split: {arms: {pair: 1, x: {weight: 1, use: {fan_out: {arms: {y: svc}}}}}}}",
        "{split: {arms: {keyed: 1, other: {weight: 1, use: keyed}}}}",
        "{split: {arms: {regressor: 1, other: {weight: 0, use: regressor}}}}",
        "{split: {arms: {}}}",
        "{condition: {when: [{column: 3, above: 1, use: svc}], otherwise: any}}",
        "{condition: {when: [{query: {a: b}, use: five}], otherwise: svc}}",
        "{condition: {when: [{query: {a: b}, use: image}], otherwise: {constant: {answer: a}}}}",
        "{condition: {when: [{column: 9, above: 1, use: shapeless}], otherwise: unknown}}",
        "{condition: {when: [{query: {a: b}, use: svc}, {column: 4, above: 1, use: five}],"
        " otherwise: five}}",
    ],
)
def test_lines_up(route: str) -> None:
    assert said(route) == []


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        (
            "{fan_out: {arms: {x: svc, y: five}}}",
            "routes.a.fan_out.arms.y: the shapes do not line up: "
            "y takes rows of 5 values, x of 4 values",
        ),
        (
            "{split: {arms: {svc: 1, image: 1}}}",
            "routes.a.split.arms.image: the shapes do not line up: "
            "image takes rows of 224x224x3 values, svc of 4 values",
        ),
        (
            "{split: {arms: {x: {weight: 1, use: {fan_out: {arms: {y: any}}}}, image: 1}}}",
            "routes.a.split.arms.image: the shapes do not line up: "
            "image takes rows of 224x224x3 values, x of any values",
        ),
        (
            "{split: {arms: {svc: 1, b: {weight: 1, use: [{retry: }, two]}}}}",
            "routes.a.split.arms.b: the answers of b and svc do not line up: "
            "2 scores and 3 scores a row; split only between predictors whose answers a caller can "
            "read alike",
        ),
        (
            "{split: {arms: {svc: 1, unlabelled: 0}}}",
            "warning: routes.a.split.arms.unlabelled: unlabelled has no labels and svc has some; "
            "users of unlabelled get no /predict/label; give the model labels",
        ),
        (
            "[{prediction_log: {outlier: svc}}, svc]",
            "routes.a[0].prediction_log.outlier: an outlier model gives one score a row, and svc"
            " does not",
        ),
        (
            "[{mirror: {shadow: five}}, svc]",
            "routes.a[0].mirror.shadow: the shapes do not line up: "
            "shadow takes rows of 5 values, the target of 4 values",
        ),
        (
            "[{prediction_log: {outlier: odd}}, svc]",
            "routes.a[0].prediction_log.outlier: the shapes do not line up: "
            "outlier takes rows of 5 values, the target of 4 values",
        ),
        (
            "[{breaker: {otherwise: five}}, svc]",
            "routes.a[0].breaker.otherwise: the shapes do not line up: "
            "otherwise takes rows of 5 values, the target of 4 values",
        ),
        (
            "{fan_out: {arms: {x: svc, y: two}, aggregate: mean}}",
            "routes.a.fan_out.aggregate: mean needs arms with the same columns; "
            "they have: x 3 and y 2",
        ),
        (
            "{fan_out: {arms: {x: flat, y: two}, aggregate: vote}}",
            "routes.a.fan_out.aggregate: vote needs arms with the same columns; "
            "they have: x 1 and y 2",
        ),
        (
            "{fan_out: {arms: {x: swapped, y: two}, aggregate: weighted}}",
            "routes.a.fan_out.aggregate: weighted needs arms with the same labels "
            "in the same order",
        ),
        (
            "{fan_out: {arms: {x: svc, y: two}, positive: 2}}",
            "routes.a.fan_out.positive: the arm y has 2 output columns, the first is 0",
        ),
        (
            "{fan_out: {arms: {x: svc}, positive: 3}}",
            "routes.a.fan_out.positive: the arm x has 3 output columns, the first is 0",
        ),
        (
            "{fan_out: {arms: {x: svc}, positive: setose}}",
            'routes.a.fan_out.positive: svc has no class "setose"; did you mean "setosa"?',
        ),
        (
            "{fan_out: {arms: {x: unlabelled}, positive: setosa}}",
            'routes.a.fan_out.positive: unlabelled has no labels, so no class "setosa"; '
            "give the model labels",
        ),
        (
            "{fan_out: {arms: {x: two, y: svc, z: pair}}}",
            "warning: routes.a.fan_out: no positive is written, so column 0 means yes "
            "for x and z; write positive: 0, or 1: most scikit-learn models have yes in column 1",
        ),
        (
            "{fan_out: {arms: {x: {use: svc, validated_for: aaa}}}}",
            "warning: routes.a.fan_out.arms.x.validated_for: chosen for version aaa, "
            "but svc is 6c4ef19f5054",
        ),
        (
            "[{breaker: {validated_for: aaa}}, svc]",
            "warning: routes.a[0].breaker.validated_for: chosen for version aaa, "
            "but svc is 6c4ef19f5054",
        ),
        (
            "[{threshold: {min: 1, validated_for: aaa}}, svc]",
            "warning: routes.a[0].threshold.validated_for: chosen for version aaa, "
            "but svc is 6c4ef19f5054",
        ),
        (
            "{condition: {when: [{query: {a: b}, use: image}], otherwise: svc}}",
            "routes.a.condition.otherwise: the shapes do not line up: "
            "otherwise takes rows of 4 values, when[0] of 224x224x3 values",
        ),
        (
            "{condition: {when: [{column: 4, above: 1, use: five}], otherwise: svc}}",
            "routes.a.condition.when[0].column: there is no column 4: the first is 0, and "
            "otherwise takes rows of 4 values",
        ),
        (
            "{condition: {when: [{column: 4, above: 1, use: svc}], otherwise: svc}}",
            "routes.a.condition.when[0].column: there is no column 4: the first is 0, and "
            "when[0] takes rows of 4 values",
        ),
        (
            "{condition: {when: [{column: 0, above: 1, use: image}], otherwise: shapeless}}",
            "routes.a.condition.when[0].column: there is no column 0: the first is 0, and "
            "when[0] takes rows of 224x224x3 values",
        ),
        (
            "[{threshold: {min: 0.5}}, regressor]",
            "routes.a[0].threshold: a threshold needs a classifier, "
            "and regressor has one output column",
        ),
        (
            "[{threshold: {min: 0.5}}, keyed]",
            "routes.a[0].threshold: a threshold needs scores, and keyed answers without",
        ),
        (
            "[{threshold: {min: 0.5}}, unlabelled]",
            "routes.a[0].threshold: a threshold needs labels, and unlabelled has none; "
            "give the model labels",
        ),
        (
            "[{threshold: {classes: {setosa: 1, virginia: 1}}}, svc]",
            'routes.a[0].threshold.classes.virginia: svc has no class "virginia"; '
            'did you mean "virginica"?',
        ),
    ],
)
def test_does_not_line_up(route: str, problem: str) -> None:
    assert said(route) == [problem]
