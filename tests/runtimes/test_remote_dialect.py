from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.predictor import TensorSpec
from penstock.runtimes.remote_dialect import (
    PIECE_BYTES,
    Table,
    WrongAnswer,
    arrays_of,
    undecodable,
)


def table(datatype: str = "float32", *shape: int) -> Table:
    return Table(TensorSpec("scores", datatype, (-1, *(shape or (2,)))))


def test_a_row_becomes_a_tensor() -> None:
    tensor = table().one([0.25, 0.75])
    assert tensor.tolist() == [[0.25, 0.75]]
    assert tensor.dtype == np.float32
    assert table("float64", -1).one([1.0, 2.0, 3.0]).shape == (1, 3)
    assert table("int64", 1).one([2**62 + 1]).tolist() == [[2**62 + 1]]
    assert table("float32", 2, 1).one([[1.0], [2.0]]).shape == (1, 2, 1)
    assert table("int64").many([[1, 2], [3, 4]], 2).dtype == np.int64


@pytest.mark.parametrize(
    ("of", "values", "rows", "wrong"),
    [
        (table(), [1.0], 1, "has 1 values in a row, not 2"),
        (table(), [], 1, r"has the shape \[1, 0\], not \[1, 2\]"),
        (table("float32", -1), [], 1, r"has the shape \[1, 0\], not \[1, 'any'\]"),
        (table(), [1.0, 1e39], 1, "has numbers out of the range of float32"),
        (table("int8", 1), [128], 1, "has numbers out of the range of int8"),
        (table("int8", 1), [[128], [1]], 2, "has numbers out of the range of int8"),
        (table("int64", 1), [[2**80], [1]], 2, "has numbers out of the range of int64"),
        (table(), [[1.0, 2.0]], 2, "has 1 rows for 2"),
        (table(), [[1.0, 2.0], [1.0]], 2, "has rows of different lengths"),
        (table(), [[1.0], [1.0]], 2, r"has the shape \[2, 1\], not \[2, 2\]"),
        (table(), [[1.0, 2.0], [1.0, -1e39]], 2, "has numbers out of the range of float32"),
    ],
)
def test_what_is_no_answer_is_refused(of: Table, values: Any, rows: int, wrong: str) -> None:  # noqa: ANN401
    with pytest.raises(WrongAnswer, match=wrong):
        of.one(values) if rows == 1 else of.many(values, rows)


@given(st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2,
                         max_size=2), min_size=1, max_size=5))  # fmt: skip
def test_a_float32_survives_the_way_through_json(rows: list[list[float]]) -> None:
    sent = np.array(rows, np.float32)
    came = msgspec.json.decode(msgspec.json.encode(sent.tolist()), type=list[table().row])  # type: ignore[misc]
    assert table().many(came, len(rows)).tolist() == sent.tolist()
    assert table().one(came[0]).tolist() == sent[:1].tolist()


def test_what_cannot_be_decoded_is_said() -> None:
    assert str(undecodable(msgspec.DecodeError("x"))) == "is not JSON"
    wrong = undecodable(msgspec.ValidationError("Expected `float`, got `str` - at `$[0]`"))
    assert str(wrong) == "is not what was expected: expected `float`, got `str` - at `$[0]`"


@given(st.integers(1, 60_000), st.integers(1, 5))
def test_a_long_array_is_cut_where_it_may_be(count: int, columns: int) -> None:
    row = list(range(columns))
    for values, cut in ((list(range(count)), b","), ([row] * min(count, 20_000), b"],[")):
        text = msgspec.json.encode(values)
        pieces = list(arrays_of(text, cut))
        assert [item for piece in pieces for item in msgspec.json.decode(piece)] == values
        assert max(map(len, pieces)) <= PIECE_BYTES + 40
