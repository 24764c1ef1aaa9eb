from __future__ import annotations

import math
import re
from typing import Any, Final, TypeAlias

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.core.errors import InvalidInput
from penstock.core.predictor import TensorSpec
from penstock.core.rows import ANY_ROWS, RowReader, is_integral, number_range
from penstock.core.values import Array

Shape: TypeAlias = tuple[int, ...]

DATATYPES: Final = ("float64", "float32", "float16", "int64", "int32", "uint8")


def reader(shape: Shape, datatype: str = "float32") -> RowReader:
    return RowReader(TensorSpec("input", datatype, shape))


def refusal(shape: Shape, data: list[Any], datatype: str = "float32") -> tuple[str, str | None]:
    with pytest.raises(InvalidInput) as refused:
        reader(shape, datatype).read(data)
    return refused.value.message, refused.value.path


# --- what is read ------------------------------------------------------------------------


def test_rows_become_a_tensor_of_the_inputs_datatype() -> None:
    tensor = reader((-1, 4)).read([[5.1, 3.5, 1.4, 0.2], [6.7, 3, 5, 2]])

    assert tensor.dtype == np.float32
    assert tensor.tolist() == np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3, 5, 2]], "float32").tolist()


def test_any_width_is_read_where_the_model_takes_any() -> None:
    assert RowReader(ANY_ROWS).read([[1, 2, 3], [4, 5, 6]]).shape == (2, 3)


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ((-1,), [1, 2, 3]),
        ((-1, 2, 1), [[[1], [2]], [[3], [4]]]),
        ((-1, -1, -1), [[[1, 2]]]),
        ((-1, 1, 2, 1), [[[[1], [2]]]]),
        ((1, 2), [[1, 2], [3, 4]]),
    ],
)
def test_tensors_of_any_rank_are_read(shape: Shape, data: list[Any]) -> None:
    assert reader(shape, "int64").read(data).tolist() == data


@pytest.mark.parametrize(
    ("datatype", "least", "largest"),
    [
        ("uint8", 0, 255),
        ("int64", -(2**63), 2**63 - 1),
        ("float64", -1.7976931348623157e308, 1.7976931348623157e308),
    ],
)
def test_the_least_and_the_largest_number_are_read(
    datatype: str, least: float, largest: float
) -> None:
    assert number_range(datatype) == (least, largest)
    assert reader((-1, 2), datatype).read([[least, largest]]).tolist() == [[least, largest]]


@pytest.mark.parametrize(
    ("datatype", "largest", "too_large"),
    [
        ("float16", 65504.0, 65520.0),
        ("float32", 3.4028234663852886e38, 3.4028235677973366e38),
    ],
)
def test_what_rounds_to_a_finite_number_is_read(
    datatype: str, largest: float, too_large: float
) -> None:
    bound = math.nextafter(too_large, 0.0)
    assert number_range(datatype) == (-bound, bound)
    rows = reader((-1, 4), datatype).read([[-bound, -largest, largest, bound]])
    assert rows.tolist() == [[-largest, -largest, largest, largest]]
    for number in (too_large, -too_large):
        with pytest.raises(InvalidInput, match="out of the range"):
            reader((-1, 1), datatype).read([[number]])


def test_the_largest_float32_may_be_written_short() -> None:
    (row,) = reader((-1, 1), "float32").read([[3.4028235e38]])
    assert row[0] == np.finfo("float32").max


def test_whole_numbers_are_told_from_others() -> None:
    assert [is_integral(datatype) for datatype in DATATYPES] == [False] * 3 + [True] * 3


# --- what is refused, and the place that is named ----------------------------------------


def test_no_rows() -> None:
    assert refusal((-1, 4), []) == ("$.data has no rows", "$.data")
    assert refusal((-1, 2, 2), []) == ("$.data has no rows", "$.data")


def test_another_width() -> None:
    expected = "$.data[1] has 3 values, expected 4", "$.data[1]"

    assert refusal((-1, 4), [[1, 2, 3, 4], [1, 2, 3]]) == expected


def test_another_width_than_the_first_rows() -> None:
    expected = "$.data[1] has 3 values, the first row has 2", "$.data[1]"

    assert refusal((-1, -1), [[1, 2], [1, 2, 3]]) == expected


def test_rows_without_values() -> None:
    assert refusal((-1, 4), [[]]) == ("$.data[0] has 0 values, expected 4", "$.data[0]")
    assert refusal((-1, -1), [[]]) == ("$.data[0] has 0 values, expected at least 1", "$.data[0]")
    assert refusal((-1, -1), [[1], []]) == ("$.data[1] has 0 values, expected 1", "$.data[1]")


@pytest.mark.parametrize("data", [[1, 2], [1.0], [[[1], [2]]], [[[1], [2]], [[3], [4]]]])
def test_another_depth(data: list[Any]) -> None:
    message, path = refusal((-1, 2), data)

    assert message == f"$.data has the shape {list(np.shape(data))}, expected [-1, 2]"
    assert path == "$.data"


@pytest.mark.parametrize("data", [[1, [1, 2]], [[1, [2]]], [[1, 2], 3], [[[1], 2]]])
def test_numbers_beside_lists(data: list[Any]) -> None:
    message = refusal((-1, 2), data)[0]

    assert message in (
        "$.data is ragged: its lists differ in length",
        "$.data[0] has 1 values, expected 2",
    )


def test_another_shape() -> None:
    expected = "$.data has the shape [1, 2, 1], expected [-1, 2, 2]", "$.data"

    assert refusal((-1, 2, 2), [[[1], [2]]]) == expected
    assert (
        refusal((-1, -1, -1), [[[]]])[0] == "$.data has the shape [1, 1, 0], expected [-1, -1, -1]"
    )
    assert refusal((-1, -1), [[[]]])[0] == "$.data has the shape [1, 1, 0], expected [-1, -1]"


@pytest.mark.parametrize("data", [[[[1, 2], [3]]], [[[1, 2]], [[1, 2], [1, 2]]], [[[1]], [2]]])
def test_ragged_lists(data: list[Any]) -> None:
    expected = "$.data is ragged: its lists differ in length", "$.data"

    assert refusal((-1, 2, 2), data) == expected


def test_a_number_out_of_range() -> None:
    expected = "$.data[1][0] is out of the range of float32", "$.data[1][0]"

    assert refusal((-1, 2), [[1, 2], [1e39, -1e39]]) == expected
    assert refusal((-1, 1, 1), [[[1]], [[-(10**400)]]])[1] == "$.data[1][0][0]"
    assert refusal((-1,), [1, 2, 256], "uint8")[1] == "$.data[2]"
    assert refusal((-1, 1), [[2**63]], "int64")[1] == "$.data[0][0]"


def test_places_begin_with_what_the_lists_are_called() -> None:
    with pytest.raises(InvalidInput, match=r"^sample\[0\] has 1 values, expected 2$"):
        RowReader(TensorSpec("input", "float32", (-1, 2)), "sample").read([[1]])


# --- property: numpy's tensor, or a true place -------------------------------------------

numbers: Final = st.one_of(
    st.integers(-3, 3),
    st.integers(),
    st.integers(2**63 - 2, 2**64 + 2),
    st.floats(allow_nan=False),
    st.floats(-2, 2),
    st.sampled_from([65504.0, 65505.0, 3.4028234663852886e38, 3.4028235677973366e38, 1e308, 255]),
)
whole_numbers: Final = st.one_of(
    st.integers(-3, 3), st.integers(), st.sampled_from([2**31, 2**63 - 1, 2**63, -(2**63) - 1, 255])
)
sizes: Final = st.sampled_from([-1, 1, 2, 3])
shapes: Final = st.lists(sizes, min_size=0, max_size=3).map(lambda rest: (-1, *rest))


@st.composite
def shaped(draw: st.DrawFn, shape: Shape, values: st.SearchStrategy[float]) -> Any:  # noqa: ANN401
    """Draw lists of about this shape: mostly even, sometimes not quite."""
    if not shape or draw(st.integers(0, 40)) == 0:
        return draw(values)
    count = shape[0] if shape[0] > 0 else draw(st.sampled_from([1, 1, 2, 3]))
    if draw(st.integers(0, 30)) == 0:
        count = draw(st.integers(0, 3))
    return [draw(shaped(shape[1:], values)) for _ in range(count)]


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, Shape, list[Any]]:
    datatype = draw(st.sampled_from(DATATYPES))
    shape = draw(shapes)
    if draw(st.booleans()):  # any width that is the same for all
        shape = tuple(size if size > 0 or not i else 2 for i, size in enumerate(shape))
    values = whole_numbers if is_integral(datatype) else numbers
    if draw(st.booleans()):
        values = st.integers(0, 9)
    data = draw(shaped(shape, values))
    return datatype, shape, data if isinstance(data, list) else [data]


def fits(data: list[Any], shape: Shape) -> bool:
    """Tell, by numpy, whether evenly nested lists have the shape."""
    try:
        got = np.shape(data)
    except ValueError:
        return False
    return len(got) == len(shape) and all(
        have and want in (-1, have) for have, want in zip(got, (-1, *shape[1:]), strict=True)
    )


def flattened(data: Any) -> list[float]:  # noqa: ANN401
    return [value for item in data for value in flattened(item)] if _is_list(data) else [data]


def _is_list(data: Any) -> bool:  # noqa: ANN401
    return isinstance(data, list)


def at(data: Any, path: str) -> Any:  # noqa: ANN401
    """Follow a path such as `$.data[0][1]`."""
    assert re.fullmatch(r"\$\.data(\[\d+\])*", path)
    for index in re.findall(r"\[(\d+)\]", path):
        data = data[int(index)]
    return data


@given(cases())
@example(("float64", (-1, -1), [[10**308, 10**308, 1.5]]))
@example(("float16", (-1, 1), [[65505.0]]))
@example(("float32", (-1, -1), [[10**400]]))
def test_is_numpys_tensor_or_names_a_true_place(case: tuple[str, Shape, list[Any]]) -> None:
    datatype, shape, data = case
    least, largest = number_range(datatype)
    in_range = all(least <= value <= largest for value in flattened(data))
    outcome = attempt(datatype, shape, data)

    if not isinstance(outcome, InvalidInput):
        assert in_range
        assert fits(data, shape)
        np.testing.assert_array_equal(outcome, np.array(data, dtype=datatype), strict=True)
        assert np.isfinite(outcome).all()
        return
    assert not (in_range and fits(data, shape))
    assert outcome.path is not None
    assert outcome.message.startswith(outcome.path)
    place = at(data, outcome.path)
    if "out of the range" in outcome.message:
        assert not least <= place <= largest
    elif "values, " in outcome.message:
        assert f"has {len(place)} values" in outcome.message
    elif "no rows" in outcome.message:
        assert data == []
    else:
        assert "ragged" in outcome.message or "the shape" in outcome.message
        assert not fits(data, shape)


def attempt(datatype: str, shape: Shape, data: list[Any]) -> Array | InvalidInput:
    try:
        return reader(shape, datatype).read(data)
    except InvalidInput as refused:
        return refused
