from __future__ import annotations

import numpy as np
import pytest

from penstock.core.errors import InvalidInput
from penstock.core.predictor import TensorSpec
from penstock.core.values import Array, InferenceRequest
from penstock.runtimes.row_fit import RowFit

FOUR: TensorSpec = TensorSpec("data", "float32", (-1, 4))


def fit(rows: Array, spec: TensorSpec | None = FOUR) -> Array:
    return RowFit("model svc", spec).rows_of(InferenceRequest("r", "iris", {"x": rows}, 0.0, 7))


def test_what_fits_is_left_as_it_is() -> None:
    rows = np.ones((2, 4), np.float32)
    assert fit(rows) is rows
    assert fit(rows, None) is rows


def test_a_length_that_is_not_given_may_be_any() -> None:
    for width in (1, 9):
        assert fit(np.ones((2, width)), TensorSpec("x", "float64", (-1, -1))).shape == (2, width)


@pytest.mark.parametrize("shape", [(1, 3), (1, 4, 1), (4,)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"model svc takes \[rows, 4\], got \[") as caught:
        fit(np.ones(shape, np.float32))
    assert caught.value.path == "$.data"


def test_any_is_said_of_a_length_that_is_not_given() -> None:
    with pytest.raises(InvalidInput, match=r"takes \[rows, any, 2\]"):
        fit(np.ones((1, 2)), TensorSpec("x", "float64", (-1, -1, 2)))


def test_several_tensors_are_refused() -> None:
    tensors = {"a": np.ones((1, 4)), "b": np.ones((1, 4))}
    with pytest.raises(InvalidInput, match="takes one tensor"):
        RowFit("model svc", FOUR).rows_of(InferenceRequest("r", "iris", tensors, 0.0, 7))


def test_another_datatype_is_changed_where_nothing_is_lost() -> None:
    assert fit(np.ones((1, 4))).dtype == np.float32
    whole = TensorSpec("x", "int8", (-1, 1))
    assert fit(np.array([[7.0]]), whole).tolist() == [[7]]


def test_whole_numbers_that_have_lost_digits_are_refused() -> None:
    """2**53 + 1 has no float64: where rows are read as that, 2**53 may have been either."""
    whole = TensorSpec("x", "int64", (-1, 1))
    for exact in (2**53 - 1, 1 - 2**53):
        assert fit(np.array([[float(exact)]]), whole).tolist() == [[exact]]
    assert fit(np.array([[2**62]]), TensorSpec("x", "uint64", (-1, 1))).tolist() == [[2**62]]
    for beyond in (2.0**53, -(2.0**53), 1e18):
        with pytest.raises(InvalidInput, match="whole numbers beyond 9007199254740991") as raised:
            fit(np.array([[beyond]]), whole)
        assert raised.value.path == "$.data"
    assert fit(np.array([[1e18]]), TensorSpec("x", "float32", (-1, 1))).dtype == np.float32


@pytest.mark.parametrize(
    ("rows", "datatype", "wrong"),
    [
        (np.array([[1e39]]), "float32", "values do not fit float32, which model svc takes"),
        (np.array([[1.5]]), "int8", "values do not fit int8"),
        (np.array([[300]]), "int8", "values do not fit int8"),
        (np.array([[b"1"]], dtype=object), "int8", "model svc takes int8, got object"),
        (np.array([[True]]), "float32", "model svc takes float32, got bool"),
    ],
)
def test_a_datatype_that_loses_something_is_refused(rows: Array, datatype: str, wrong: str) -> None:
    with pytest.raises(InvalidInput, match=wrong):
        fit(rows, TensorSpec("x", datatype, (-1, 1)))
