from __future__ import annotations

import numpy as np
import pytest

from penstock.core.predictor import Description, TensorSpec
from penstock.core.values import AnswerKind
from penstock.graph.arms import (
    arm_problems,
    columns_of,
    describe_fan_out,
    is_binary,
    positive_column,
    required_arms,
    shared_labels,
    threshold_of,
    widest_input,
)
from penstock.spec import tree


def arm(**options: object) -> tree.FanOutArm:
    return tree.FanOutArm(use=tree.Reference(name="m"), **options)  # type: ignore[arg-type]


def fan_out(**options: object) -> tree.FanOut:
    arms = {name: arm(place=f"routes.a.arms.{name}") for name in "xyz"}
    return tree.FanOut(**{"arms": arms, "place": "routes.a", **options})  # type: ignore[arg-type]


def described(
    *columns: int,
    name: str = "m",
    labels: tuple[str, ...] = (),
    kind: AnswerKind = AnswerKind.SCORES,
    rows: TensorSpec | None = None,
    sample: np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None = None,
) -> Description:
    outputs = (TensorSpec("scores", "float32", (-1, *columns)),) if columns else ()
    inputs = () if rows is None else (rows,)
    return Description(name, kind, "1", inputs, outputs, labels, sample)


def problems(target: tree.FanOut, *arms: Description) -> list[str]:
    return list(arm_problems(target, dict(zip("xyz", arms, strict=False))))


KEYED = described(name="b", kind=AnswerKind.KEYED)
LABELLED = described(name="b", kind=AnswerKind.LABELLED)
CUBE = described(2, 2, name="b")
OPEN = described(-1, name="b")
SCORED = "routes.a.arms.y: scores by column are needed here, and b has none"


# --- thresholds, policies, columns -------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "thresholds"),
    [
        (fan_out(), [None, None, None]),
        (fan_out(default_threshold=0.0), [0.0, 0.0, 0.0]),
        (fan_out(arms={"x": arm(threshold=0.0), "y": arm()}), [0.0, 0.95]),
        (fan_out(arms={"x": arm(threshold=0.5), "y": arm()}, default_threshold=0.7), [0.5, 0.7]),
        (fan_out(arms={"x": arm(threshold=0.5, state=tree.State.OFF), "y": arm()}), [0.5, 0.95]),
    ],
)
def test_any_threshold_gives_every_arm_one(
    target: tree.FanOut, thresholds: list[float | None]
) -> None:
    assert [threshold_of(target, one) for one in target.arms.values()] == thresholds
    assert is_binary(target) is (thresholds[0] is not None)


@pytest.mark.parametrize(("policy", "required"), [("any", 1), ("all", 3), (tree.Quorum(arms=2), 2)])
def test_a_policy_is_a_number_of_arms(policy: tree.Policy, required: int) -> None:
    assert required_arms(policy, 3) == required


def test_the_positive_column_goes_by_number_or_class() -> None:
    model = described(2, labels=("no", "yes"))
    assert positive_column(1, model) == 1
    assert positive_column("yes", model) == 1
    assert positive_column("maybe", model) == 0  # never looked at: `arm_problems` has told


@pytest.mark.parametrize(
    ("description", "columns"),
    [
        (described(3), 3),
        (OPEN, None),
        (described(-1, labels=("a", "b")), 2),
        (KEYED, None),
        (LABELLED, None),
        (CUBE, None),
    ],
)
def test_columns_are_known_or_not(description: Description, columns: int | None) -> None:
    assert columns_of(description) == columns


# --- problems ----------------------------------------------------------------------------


@pytest.mark.parametrize("other", [described(2), KEYED, LABELLED, CUBE, OPEN])
def test_arms_answered_by_name_may_be_anything(other: Description) -> None:
    assert problems(fan_out(), described(3), other) == []


@pytest.mark.parametrize("other", [KEYED, LABELLED, CUBE])
@pytest.mark.parametrize(
    "target",
    [fan_out(default_threshold=0.5), *(fan_out(aggregate=one) for one in list(tree.Aggregate)[1:])],
)
def test_arms_that_are_weighed_need_scores(target: tree.FanOut, other: Description) -> None:
    assert problems(target, described(3), other) == [SCORED]


@pytest.mark.parametrize(
    ("target", "other", "problem"),
    [
        (fan_out(positive=2), described(3, name="b"), ""),
        (
            fan_out(positive=3),
            described(3, name="b"),
            "column 3 is to be positive, and b has 3, the first is 0",
        ),
        (fan_out(positive=0), OPEN, ""),
        (
            fan_out(positive=1),
            OPEN,
            "how many scores b gives is not known: give it a sample",
        ),
        (fan_out(positive=1), KEYED, ""),
        (fan_out(positive="yes"), described(2, labels=("no", "yes")), ""),
        (
            fan_out(positive="yes"),
            described(2, name="b", labels=("no", "oui")),
            "b has no class 'yes', which is to be positive",
        ),
        (
            fan_out(positive="yes", aggregate=tree.Aggregate.LABEL),
            described(2, name="b"),
            "b has no class 'yes', which is to be positive",
        ),
    ],
)
def test_each_arm_has_the_positive_column(
    target: tree.FanOut, other: Description, problem: str
) -> None:
    expected = [f"routes.a.arms.x: {problem}"] if problem else []
    assert problems(target, other) == expected


COMBINING = [tree.Aggregate.MEAN, tree.Aggregate.VOTE, tree.Aggregate.WEIGHTED]


@pytest.mark.parametrize("aggregate", COMBINING)
def test_arms_that_are_combined_have_the_same_columns(aggregate: tree.Aggregate) -> None:
    target = fan_out(aggregate=aggregate, positive=7)
    assert problems(target, described(3), described(3)) == []
    assert problems(target, described(3), described(-1, labels=("a", "b", "c"))) == []
    assert problems(target, described(3), described(2)) == [
        f"routes.a: {aggregate} needs arms with the same columns: x 3, y 2"
    ]
    assert problems(target, described(3), OPEN) == [
        "routes.a.arms.y: how many scores b gives is not known: give it a sample"
    ]


def test_all_problems_are_told_at_once() -> None:
    target = fan_out(aggregate=tree.Aggregate.MEAN)
    assert problems(target, KEYED, described(2), described(3)) == [
        SCORED.replace("arms.y", "arms.x"),
        "routes.a: mean needs arms with the same columns: y 2, z 3",
    ]


# --- descriptions ------------------------------------------------------------------------


def test_labels_are_shared_where_they_agree() -> None:
    ab, ba, none = described(2, labels=("a", "b")), described(2, labels=("b", "a")), described(2)
    assert shared_labels([ab, ab]) == ("a", "b")
    assert shared_labels([none, ab]) == ("a", "b")
    assert shared_labels([ab, ba]) == ()
    assert shared_labels([none]) == ()


@pytest.mark.parametrize(
    ("datatypes", "widest"),
    [
        (["float32"], "float32"),
        (["float32", "float64"], "float64"),
        (["float32", "int64"], "float64"),
        (["int8", "uint8"], "int16"),
        (["int64", "uint64"], "float64"),
        (["float16", "float32"], "float32"),
    ],
)
def test_the_widest_datatype_holds_all(datatypes: list[str], widest: str) -> None:
    arms = [described(1, rows=TensorSpec(f"x{d}", d, (-1, 4))) for d in datatypes]
    (rows,) = widest_input(arms)
    assert rows == TensorSpec(f"x{datatypes[0]}", widest, (-1, 4))


def test_the_shape_is_one_that_is_known() -> None:
    any_rows = described(1, rows=TensorSpec("any", "float64", (-1, -1)))
    four = described(1, rows=TensorSpec("four", "float32", (-1, 4)))
    assert widest_input([any_rows, four]) == (TensorSpec("any", "float64", (-1, 4)),)
    assert widest_input([any_rows]) == any_rows.inputs
    assert widest_input([KEYED, four]) == four.inputs
    assert widest_input([KEYED]) == ()


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (fan_out(), AnswerKind.KEYED),
        (fan_out(default_threshold=0.5), AnswerKind.BINARY),
        (fan_out(aggregate=tree.Aggregate.LABEL), AnswerKind.BEST),
        *((fan_out(aggregate=aggregate), AnswerKind.SCORES) for aggregate in COMBINING),
    ],
)
def test_a_fan_out_is_described_by_its_arms(target: tree.FanOut, kind: AnswerKind) -> None:
    rows = TensorSpec("rows", "float32", (-1, 2))
    sample = np.array([[5.1, 0.2]], dtype=np.float32)
    arms = {
        "x": described(-1, labels=("a", "b"), rows=rows),
        "y": described(2, rows=rows, sample=sample),
    }
    description = describe_fan_out(target, arms)
    assert description.kind is kind
    assert description.name == "fan_out"
    assert description.version == ""
    assert description.inputs == (rows,)
    assert description.arms == arms
    assert description.sample is sample
    if kind is AnswerKind.SCORES:
        assert description.outputs == (TensorSpec("scores", "float64", (-1, 2)),)
        assert description.labels == ("a", "b")
    else:
        assert description.outputs == ()
        assert description.labels == ("x", "y")


@pytest.mark.parametrize("wider", ["float64", "int64"])
def test_a_sample_stays_as_it_was_written(wider: str) -> None:
    rows = TensorSpec("rows", "float32", (-1, 2))
    sample = np.array([[5.1, -3e-7]], dtype=np.float32)
    arms = {
        "x": described(2, rows=rows, sample=sample),
        "y": described(2, rows=TensorSpec("rows", wider, (-1, 2))),
    }
    found = describe_fan_out(fan_out(), arms).sample
    assert found is not None
    assert found.dtype == np.float64
    assert found.tolist() == [[5.1, -3e-7]]


def test_a_sample_of_arms_that_take_anything() -> None:
    sample = np.array([[5.1]], dtype=np.float32)
    description = describe_fan_out(fan_out(), {"x": described(2, sample=sample)})
    assert description.inputs == ()
    assert description.sample is sample
