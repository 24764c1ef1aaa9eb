"""Records as rows that any database can hold; what one makes of them: `test_database.py`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from penstock.stores import columns as parquet
from penstock.stores.postgresql.row import COLUMNS, KEY, Row, bare_row_of, row_of
from penstock.stores.prediction_record import ArmRecord, PredictionRecord
from tests.stores.postgresql.shipped import HOSTILE, a_prediction

LARGEST = 2**64 - 1
JSON = ("input", "output", "arms", "trail", "groups")


def named(row: Row) -> dict[str, Any]:
    return dict(zip([column.name for column in COLUMNS], row, strict=True))


def test_the_key_stands_among_the_columns() -> None:
    names = [column.name for column in COLUMNS]
    assert set(KEY) <= set(names)
    assert len(set(names)) == len(names)
    assert not any(column.is_bulky for column in COLUMNS if column.name in KEY)


def test_the_columns_are_those_of_the_parquet_files() -> None:
    """They are written down in two places: types, values and order differ, names must not."""
    assert {column.name for column in COLUMNS} == set(parquet.SCHEMA.names) - {"day"}


@pytest.mark.parametrize(
    "record",
    [
        PredictionRecord(1, "id", "primary"),
        a_prediction(
            input=[[1.0, None]],
            output=[[0.5]],
            arms={"a": ArmRecord(model="m", output=[[1.0]])},
            trail=(("model:a@1", 0.0, 1.5), ("model:b@1", 0.5, 1.0)),
            groups={"field:n": 3},
            left_out=("column:1",),
            is_outlier=(False, None, True),
            outlier_score=(0.5, None, -0.5),
            seed=LARGEST,
        ),
        a_prediction(is_outlier=True, outlier_score=-1.5),
        a_prediction(is_outlier=(None, None), outlier_score=(None, None)),
    ],
)
def test_a_column_says_what_that_of_the_parquet_files_says(record: PredictionRecord) -> None:
    (other,) = parquet.table_of([record]).to_pylist()
    for name, value in named(row_of(record)).items():
        assert plain(name, value) == plain(name, other[name]), name


def plain(name: str, value: object) -> object:
    """Return a value as both have it: JSON read, nothing instead of what is empty."""
    if name in JSON and isinstance(value, str):
        value = json.loads(value)
    return None if value in ([], {}) else value


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_texts_have_no_nul(text: str) -> None:
    stored = text.replace("\0", "\ufffd")
    record = a_prediction(
        request_id=text,
        input=[[text, {text: text}]],
        groups={text: text},
        arms={text: ArmRecord(output=text)},
        trail=((text, 0.0, 1.0),),
        left_out=(text,),
    )
    row = named(row_of(record))
    assert row["request_id"] == stored
    assert row["left_out"] == [stored]
    assert json.loads(row["input"]) == [[stored, {stored: stored}]]
    assert json.loads(row["groups"]) == {stored: stored}
    assert json.loads(row["arms"])[stored]["output"] == stored
    assert json.loads(row["trail"]) == [{"name": stored, "start_ms": 0.0, "elapsed_ms": 1.0}]


def test_half_of_a_surrogate_pair_is_replaced() -> None:
    assert named(row_of(a_prediction(request_id="a\ud800")))["request_id"] == "a?"


def test_numbers_and_times_end_where_their_columns_end() -> None:
    row = named(row_of(a_prediction(generation=LARGEST, status=LARGEST, rows=-LARGEST)))
    assert (row["generation"], row["status"]) == (2**63 - 1, 2**31 - 1)
    assert row["rows"] == -(2**63)
    assert named(row_of(a_prediction(time_us=-1)))["time"] == datetime(1970, 1, 1, tzinfo=UTC)
    assert named(row_of(a_prediction(time_us=LARGEST)))["time"].year == 9999
    assert named(row_of(a_prediction(seed=255)))["seed"] == "00000000000000ff"
    assert named(row_of(a_prediction(seed=None)))["seed"] is None


def test_numbers_that_are_not_finite_are_null_in_json() -> None:
    row = named(row_of(a_prediction(input=[float("nan"), -float("inf"), 1.5])))
    assert json.loads(row["input"]) == [None, None, 1.5]


def test_outliers_of_one_row_and_of_many() -> None:
    many = a_prediction(is_outlier=(False, True), outlier_score=(0.5, None, 0.25))
    row = named(row_of(many))
    assert (row["is_outlier"], row["outlier_flags"]) == (True, [False, True])
    assert (row["outlier_score"], row["outlier_scores"]) == (0.25, [0.5, None, 0.25])
    row = named(row_of(a_prediction(is_outlier=False, outlier_score=3)))
    assert (row["is_outlier"], row["outlier_flags"], row["outlier_scores"]) == (
        False,
        [False],
        [3.0],
    )
    row = named(row_of(a_prediction(is_outlier=("x", 1), outlier_score=(True, "x"))))
    assert (row["is_outlier"], row["outlier_flags"]) == (None, [None, None])
    assert (row["outlier_score"], row["outlier_scores"]) == (None, [None, None])


def test_what_is_not_there_is_null() -> None:
    row = named(row_of(PredictionRecord()))
    nulls = ("arms", "trail", "groups", "is_outlier", "outlier_flags", "outlier_scores")
    assert [row[name] for name in nulls] == [None] * len(nulls)


def test_a_bare_row_has_nothing_bulky_and_says_so() -> None:
    bulky = ["input", "output", "arms", "trail", "groups"]
    given = a_prediction(input=msgspec.msgpack.Ext(1, b"x"), left_out=("input", "column:2\0"))
    with pytest.raises(TypeError):
        row_of(given)
    row = named(bare_row_of(given))
    assert [row[name] for name in bulky] == [None] * len(bulky)
    assert row["left_out"] == ["input", "column:2\ufffd", *bulky[1:]]
    assert row["model"] == "svc"
