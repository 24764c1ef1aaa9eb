from __future__ import annotations

import pytest
from msgspec import Struct

from penstock.spec import tree
from penstock.spec.forms import (
    LAYERS,
    TARGETS,
    Anything,
    Choice,
    Flag,
    Form,
    ListOf,
    MapOf,
    Maybe,
    Number,
    Predictor,
    Record,
    Row,
    Text,
    Word,
    keys,
)


@pytest.mark.parametrize(
    ("record", "key", "form"),
    [
        (tree.Model, "path", Maybe(Text())),
        (tree.Model, "sample", Maybe(ListOf(Anything()))),
        (tree.Model, "labels", Maybe(Choice((Text(), ListOf(Text()))))),
        (tree.Model, "threads", Number(True, ge=1, le=256)),
        (tree.Mirror, "max_in_flight", Number(True, ge=1, le=256)),
        (tree.Mirror, "max_queued", Number(True, ge=1, le=16_384)),
        (tree.Model, "pure", Flag()),
        (tree.Model, "preprocess", Maybe(MapOf(Text(), Anything()))),
        (tree.FanOutArm, "threshold", Maybe(Number(False, ge=0, le=1))),
        (tree.FanOutArm, "use", Predictor()),
        (tree.FanOut, "positive", Choice((Number(True, ge=0), Text()))),
        (
            tree.FanOut,
            "policy",
            Choice((Word({"all": "all", "any": "any"}), Record(tree.Quorum))),
        ),
        (tree.PredictionLog, "outlier", Maybe(Predictor())),
        (tree.When, "between", Maybe(Row((Number(False), Number(False))))),
        (tree.Condition, "when", ListOf(Record(tree.When))),
        (tree.Quorum, "quorum", Number(True, ge=1)),
    ],
)
def test_forms(record: type[Struct], key: str, form: Form) -> None:
    assert keys(record)[key].form == form


def test_a_place_is_no_key() -> None:
    assert "place" not in keys(tree.Spec)
    assert {name for name, key in keys(tree.Spec).items() if key.required} == {"models", "routes"}


def test_every_pattern_is_known_by_its_name() -> None:
    assert list(TARGETS) == ["fan_out", "split", "condition", "sync_async", "constant"]
    assert list(LAYERS) == [
        "prediction_log",
        "mirror",
        "breaker",
        "threshold",
        "rate_limit",
        "timeout",
        "retry",
    ]
