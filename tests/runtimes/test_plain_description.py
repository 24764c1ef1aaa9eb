from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.model import ModelSource
from penstock.core.predictor import Description, TensorSpec
from penstock.core.values import AnswerKind
from penstock.runtimes.plain_description import (
    MAX_ARMS,
    MAX_DEPTH,
    Metadata,
    describe,
    read_labels,
    read_metadata,
)
from penstock.runtimes.remote_dialect import WrongAnswer

SAMPLE: Final = [[5.1, 3.5, 1.4, 0.2]]
USUAL: Final[dict[str, Any]] = {
    "data_type": "float32",
    "data_structure": "(1,4)",
    "data_sample": SAMPLE,
    "prediction_type": "float32",
    "prediction_structure": "(1,3)",
    "prediction_sample": [0.75, 0.125, 0.125],
}


def told(labels: tuple[str, ...] = (), /, **metadata: Any) -> Description:  # noqa: ANN401
    return told_to(ModelSource(name="svc", folder=Path()), labels, **metadata)


def told_to(source: ModelSource, labels: tuple[str, ...] = (), **metadata: Any) -> Description:  # noqa: ANN401
    content = json.dumps({**USUAL, **metadata}).encode()
    return describe(source, read_metadata(content), labels)


# --- scores ------------------------------------------------------------------------------


def test_a_classifier_is_described() -> None:
    description = told(("a", "b", "c"))
    assert description.sample is not None
    assert description.sample.dtype == np.float32
    np.testing.assert_array_equal(description.sample, np.array(SAMPLE, np.float32))
    assert description.name == description.source == "svc"
    assert description.kind is AnswerKind.SCORES
    assert description.inputs == (TensorSpec("data", "float32", (-1, 4)),)
    assert description.outputs == (TensorSpec("scores", "float32", (-1, 3)),)
    assert description.labels == ("a", "b", "c")
    assert description.known


@pytest.mark.parametrize(
    ("metadata", "inputs", "outputs"),
    [
        ({"data_structure": "(1,n)", "data_sample": None}, (-1, -1), (-1, 3)),
        ({"prediction_sample": None, "prediction_structure": "(1,n)"}, (-1, 4), (-1, -1)),
        ({"prediction_sample": None, "prediction_structure": "(1, 5)"}, (-1, 4), (-1, 5)),
        ({"data_sample": SAMPLE * 2, "prediction_sample": [[0.5], [0.5]]}, (-1, 4), (-1, 1)),
        ({"prediction_sample": [[0.5, 0.5], [0.5, 0.5]]}, (-1, 4), (-1, 2, 2)),
    ],
)
def test_shapes_follow_structures_and_samples(
    metadata: dict[str, Any], inputs: tuple[int, ...], outputs: tuple[int, ...]
) -> None:
    description = told(**metadata)
    assert description.inputs[0].shape == inputs
    assert description.outputs[0].shape == outputs


def test_a_remote_may_take_anything() -> None:
    description = told(data_type="any", data_structure="any", data_sample=None)
    assert description.inputs == ()
    assert description.sample is None


def test_whole_numbers_stay_whole() -> None:
    description = told(data_type="int64", data_sample=[[1, 2, 3, 4]])
    assert description.sample is not None
    assert description.sample.dtype == np.int64


# --- the spec goes first -----------------------------------------------------------------


def test_labels_and_sample_of_the_spec_go_first() -> None:
    mine = ((1.0, 2.0, 3.0, 4.0),)
    source = ModelSource(name="svc", folder=Path(), labels=("x", "y", "z"), sample=mine)
    description = told_to(source, ("a", "b", "c"))
    assert description.labels == ("x", "y", "z")
    assert description.sample is not None
    assert description.sample.tolist() == [[1.0, 2.0, 3.0, 4.0]]


def test_a_spec_that_does_not_fit_is_told() -> None:
    source = ModelSource(name="svc", folder=Path(), sample=((1.0,),))
    with pytest.raises(WrongAnswer, match="does not go with the spec: sample"):
        told_to(source)
    with pytest.raises(WrongAnswer, match="says 3 scores a row, and there are 2 labels"):
        told_to(ModelSource(name="svc", folder=Path(), labels=("x", "y")))


# --- other kinds -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metadata",
    [
        {"prediction_type": "str", "prediction_sample": "cat"},
        {"prediction_type": "str", "prediction_sample": None},
        {"prediction_type": "str", "prediction_sample": ["cat", None]},
        {"prediction_type": "str", "prediction_sample": [None]},
    ],
)
def test_labels_are_told_from_scores(metadata: dict[str, Any]) -> None:
    description = told(**metadata)
    assert description.kind is AnswerKind.LABELLED
    assert description.outputs == (TensorSpec("label", "object", (-1,)),)


def test_the_best_of_several_is_told_from_several() -> None:
    sample = {"proba": 0.5, "label": "a"}
    assert told(prediction_sample=sample).kind is AnswerKind.BEST


def test_a_fan_out_is_described_arm_by_arm() -> None:
    description = told(
        ("ignored",),
        prediction_type={"a": "float32", "b": "float64", "c": "str", "d": "float32"},
        prediction_structure={"a": "(1,2)"},
        prediction_sample={
            "a": [0.5, 0.5],
            "b": [0.1, 0.2, 0.7],
            "c": "cat",
            "d": {"error": {"code": "not_ready"}},
        },
    )
    assert description.kind is AnswerKind.KEYED
    assert description.labels == ("a", "b", "c", "d")
    kinds = {arm: one.kind for arm, one in description.arms.items()}
    assert kinds == {
        "a": AnswerKind.SCORES,
        "b": AnswerKind.SCORES,
        "c": AnswerKind.LABELLED,
        "d": AnswerKind.SCORES,
    }
    assert description.arms["b"].outputs == (TensorSpec("scores", "float64", (-1, 3)),)
    assert description.arms["d"].name == "d"


def test_fan_outs_may_stand_within_each_other() -> None:
    inner = {"x": [0.5], "y": {"proba": 0.5, "label": "a"}}
    description = told(prediction_sample={"a": inner, "b": [0.5]})
    assert description.arms["a"].kind is AnswerKind.KEYED
    assert description.arms["a"].arms["y"].kind is AnswerKind.BEST


@pytest.mark.parametrize(
    ("sample", "data"), [({"a": 1, "b": 0}, SAMPLE), ({"a": [1, 0], "b": [0, 0]}, SAMPLE * 2)]
)
def test_decisions_are_told_from_scores(sample: object, data: object) -> None:
    description = told(prediction_type="int64", prediction_sample=sample, data_sample=data)
    assert description.kind is AnswerKind.BINARY
    assert description.arms["a"].outputs == (TensorSpec("a", "int64", (-1,)),)


# --- what is odd -------------------------------------------------------------------------


def deep(levels: int) -> object:
    return {"a": deep(levels - 1)} if levels else [0.5]


@pytest.mark.parametrize(
    ("metadata", "wrong"),
    [
        ({"data_type": "str"}, "says data_type 'str', which is not understood here"),
        ({"data_type": 7}, "is not what was expected: expected `str`, got `int`"),
        ({"data_structure": "4"}, r"says data_structure '4', which is no structure such as"),
        ({"data_structure": "(4)"}, "which cannot be: rows and columns"),
        ({"data_structure": "(1,0)"}, "which cannot be: rows and columns"),
        ({"data_structure": "(1,999999999)"}, "which cannot be: rows and columns"),
        ({"data_structure": "(1,1,1,1,1,1,1,1,1)"}, "which cannot be: rows and columns"),
        ({"data_sample": [["a"]]}, "has a data_sample that is none: Expected `float`"),
        ({"data_sample": 7}, "has a data_sample that is none"),
        ({"data_sample": [[1.0]]}, r"contradicts itself: data_sample\[0\] has 1 values, expected"),
        ({"prediction_type": "bfloat16"}, "says prediction_type 'bfloat16'"),
        ({"prediction_type": None, "prediction_sample": None}, "has no prediction_sample"),
        (
            {"prediction_type": "x" * 99, "prediction_sample": None},
            r"says prediction_\w+ '\(|x\.\.\.",
        ),
        ({"prediction_sample": None, "prediction_structure": {}}, "says prediction_structure {}"),
        ({"prediction_sample": [[1], [1, 2]], "data_sample": None}, "a ragged prediction_sample"),
        ({"prediction_sample": []}, "has a prediction_sample of other than numbers"),
        ({"prediction_sample": [True]}, "has a prediction_sample of other than numbers"),
        ({"prediction_sample": [0.5], "data_sample": SAMPLE * 2}, "without scores for each row"),
        ({"prediction_sample": 0.5}, "has a prediction_sample that is no answer"),
        ({"prediction_sample": {}}, "has a prediction_sample that is no answer"),
        ({"prediction_sample": {"a": {"error": {}}}}, "in which every arm failed"),
        ({"prediction_sample": deep(MAX_DEPTH + 1)}, "16 fan-outs in each other"),
        ({"prediction_sample": {str(i): [1.0] for i in range(MAX_ARMS + 1)}}, "more than 256 arms"),
    ],
)
def test_what_is_odd_is_a_sentence(metadata: dict[str, Any], wrong: str) -> None:
    with pytest.raises(WrongAnswer, match=wrong):
        told(**metadata)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_what_is_no_metadata_is_refused(body: bytes) -> None:
    with pytest.raises(WrongAnswer):
        read_metadata(body)


def test_labels_are_read_by_column() -> None:
    assert read_labels(b'{"1":"b","0":"a"}') == ("a", "b")
    assert read_labels(b'["a","b"]') == ("a", "b")


@pytest.mark.parametrize("body", [b"", b"7", b'{"0":7}', b'{"1":"b"}', b'["a",null]', b"\xff"])
def test_what_is_no_label_map_is_refused(body: bytes) -> None:
    with pytest.raises(WrongAnswer):
        read_labels(body)


@pytest.mark.parametrize("body", [b'["a","b","a"]', b'{"0":"a","1":"a"}'])
def test_a_label_that_stands_twice_is_refused(body: bytes) -> None:
    with pytest.raises(WrongAnswer, match="has a label twice"):
        read_labels(body)


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
    | st.sampled_from(["float32", "int64", "str", "any", "(1,4)", "(1,n)", "n"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["a", "b", "proba", "label", "error"]), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(Metadata.__struct_fields__, JSON),
    )
)
def test_whatever_is_told_is_understood_or_refused(metadata: dict[str, Any]) -> None:
    with contextlib.suppress(WrongAnswer):
        assert isinstance(told(**metadata), Description)
