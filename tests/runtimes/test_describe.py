from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.core.errors import ModelFileError
from penstock.core.model import ModelSource
from penstock.core.predictor import TensorSpec
from penstock.core.values import AnswerKind
from penstock.runtimes.describe import describe_model, first_line, sample_rows
from penstock.runtimes.leaf import Signature

ROWS = TensorSpec("float_input", "float32", (-1, 4))
WHOLE = TensorSpec("numbers", "int64", (-1, 2))
IMAGES = TensorSpec("image", "float32", (-1, 2, 2))


def source(
    sample: tuple[Any, ...] | None = None, path: Path | None = Path("a/b.onnx")
) -> ModelSource:
    return ModelSource(name="svc", folder=Path(), path=path, sample=sample, runtime="code:predict")


def test_a_model_is_described_by_its_own_signature() -> None:
    scores = TensorSpec("probabilities", "float32", (-1, 3))
    signature = Signature("svc", "6c4ef19f5054", ROWS, scores, ("a", "b", "c"))
    sample = np.zeros((1, 4), dtype=np.float32)
    description = describe_model(signature, source(), sample)
    assert description.name == "svc"
    assert description.kind is AnswerKind.SCORES
    assert description.version == "6c4ef19f5054"
    assert description.inputs == (ROWS,)
    assert description.outputs == (scores,)
    assert description.labels == ("a", "b", "c")
    assert description.sample is sample
    assert description.source == "b.onnx"
    assert describe_model(signature, source(path=None), None).source == "svc"


def test_a_sample_is_of_the_inputs_own_datatype() -> None:
    sample = sample_rows(source(((5.1, 3, 1.4, 0.2), (1, 2, 3, 4))), ROWS)
    assert sample is not None
    assert sample.dtype == np.float32
    assert sample.tolist()[1] == [1.0, 2.0, 3.0, 4.0]
    assert sample_rows(source(), ROWS) is None


def test_a_sample_may_have_more_axes() -> None:
    sample = sample_rows(source((((1, 2), (3, 4)),)), IMAGES)
    assert sample is not None
    assert sample.shape == (1, 2, 2)


NAN = float("nan")
INFINITE = float("inf")


@pytest.mark.parametrize(
    ("spec", "sample", "what"),
    [
        (ROWS, (), "sample has no rows"),
        (ROWS, ((),), "sample[0] has 0 values, expected 4"),
        (ROWS, ((1, 2, 3),), "sample[0] has 3 values, expected 4"),
        (ROWS, ((1, 2, 3, 4), (1, 2)), "sample[1] has 2 values, expected 4"),
        (ROWS, ((1, "2", 3, 4),), "sample[0][1] is '2', not a number"),
        (ROWS, ((1, True, 3, 4),), "sample[0][1] is True, not a number"),
        (ROWS, ((1, None, 3, 4),), "sample[0][1] is None, not a number"),
        (ROWS, ((1, {"a": 1}, 3, 4),), "sample[0][1] is {'a': 1}, not a number"),
        (ROWS, ((1, 2, 3, NAN),), "sample[0][3] is NaN, not a number"),
        (ROWS, ((1, 2, 3, INFINITE),), "sample[0][3] is out of the range of float32"),
        (ROWS, ((1, 2, 3, 1e39),), "sample[0][3] is out of the range of float32"),
        (WHOLE, ((1, 2.0),), "sample[0][1] is 2.0, not a whole number"),
        (WHOLE, ((1, 2**63),), "sample[0][1] is out of the range of int64"),
        (ROWS, (5.1, 3.5, 1.4, 0.2), "sample has the shape [4], expected [-1, 4]"),
        (ROWS, (((1,),),), "sample[0] has 1 values, expected 4"),
        (ROWS, ((1, 2, 3, (4,)),), "sample is ragged: its lists differ in length"),
        (IMAGES, (((1, 2), (3,)),), "sample is ragged: its lists differ in length"),
    ],
)
def test_a_sample_that_does_not_fit_is_told(
    spec: TensorSpec, sample: tuple[Any, ...], what: str
) -> None:
    with pytest.raises(ModelFileError) as caught:
        sample_rows(source(sample), spec)
    assert str(caught.value) == f"model svc: a/b.onnx: {what}"


def test_an_error_has_a_first_line() -> None:
    assert first_line(ValueError("\n one \n two")) == "one"
    assert first_line(KeyError()) == "KeyError"
