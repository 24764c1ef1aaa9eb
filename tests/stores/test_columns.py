"""Records as columns: each field has one, and what a column cannot hold costs no other record."""

from __future__ import annotations

import msgspec
import pytest

from penstock.stores.columns import COLUMNS, SCHEMA, NotATable, day_text, table_of, tables_of
from penstock.stores.prediction_record import ArmRecord, PredictionRecord
from tests.stores.logs import DAY_US, logged


def test_every_field_has_a_column() -> None:
    names = {"time" if one == "time_us" else one for one in PredictionRecord.__struct_fields__}
    assert names <= set(SCHEMA.names)
    assert all(column.meaning for column in COLUMNS)


def test_a_record_with_everything() -> None:
    record = logged(
        "a",
        seed=2**64 - 1,
        trail=(("split:x", 0.0, 1.5), ("model:svc", 0.25, 1.0)),
        input=[[1.5, None]],
        output=[{"proba": 0.5, "label": "x"}],
        arms={"svc": ArmRecord(model="svc", output=[1])},
        left_out=("column:1",),
        is_outlier=(False, True),
        outlier_score=(0.5, None),
        groups={"field:age": 7},
    )
    (row,) = table_of([record]).to_pylist()
    assert row["seed"] == "f" * 16
    assert row["trail"] == [
        {"name": "split:x", "start_ms": 0.0, "elapsed_ms": 1.5},
        {"name": "model:svc", "start_ms": 0.25, "elapsed_ms": 1.0},
    ]
    assert row["input"] == "[[1.5,null]]"
    assert msgspec.json.decode(row["arms"]) == {"svc": {"model": "svc", "output": [1]}}
    assert (row["is_outlier"], row["outlier_score"]) == (True, 0.5)
    assert (row["outlier_flags"], row["outlier_scores"]) == ([False, True], [0.5, None])
    assert row["groups"] == '{"field:age":7}'
    assert str(row["day"]) == "1970-01-02"
    assert row["time"].isoformat() == "1970-01-02T00:00:00+00:00"


def test_a_record_with_nothing() -> None:
    (row,) = table_of([logged("a")]).to_pylist()
    absent = ("seed", "input", "output", "arms", "groups", "is_outlier", "outlier_score")
    assert [row[name] for name in absent] == [None] * len(absent)
    assert (row["trail"], row["outlier_flags"]) == ([], [])


@pytest.mark.parametrize(
    ("flags", "scores", "flag", "score"),
    [(True, -0.5, True, -0.5), (None, None, None, None), ((None,), (None,), None, None)],
)
def test_outliers_of_one_row_or_of_none_that_is_known(
    flags: object, scores: object, flag: object, score: object
) -> None:
    record = logged("a", is_outlier=flags, outlier_score=scores)
    (row,) = table_of([record]).to_pylist()
    assert (row["is_outlier"], row["outlier_score"]) == (flag, score)


@pytest.mark.parametrize(
    "bad", [logged("b", status=2**40), logged("b", rows=2**70), logged("b", outlier_score="high")]
)
def test_what_no_column_can_hold(bad: PredictionRecord) -> None:
    with pytest.raises(NotATable):
        table_of([bad])
    ((some, table),) = tables_of([logged("a"), bad])
    assert ([one.record_id for one in some], len(table)) == (["a"], 1)


def test_days() -> None:
    assert day_text(0) == "1970-01-01"
    assert day_text(20_778) == "2026-11-21"
    assert day_text(-1) == "1969-12-31"
    with pytest.raises((ValueError, OverflowError)):
        day_text(2**62 // DAY_US)
