"""Answers as files, which are whole or not there, and as text."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from penstock.stores.export import CannotExport, as_text, export, table_lines
from penstock.stores.query import QueryFailed, answered
from tests.stores.logs import logged, write_segment
from tests.supervisor.disk import a_full_disk

SQL = "SELECT record_id, time, trail, seed FROM records ORDER BY record_id"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_segment(tmp_path, "0", logged("a", trail=(("x", 0.0, 1.5),)), logged("b"))
    return tmp_path


def written(folder: Path, name: str, sql: str = SQL) -> Path:
    path = folder / name
    with answered(folder, sql, print) as answer:
        assert export(answer, path) == 2
    return path


def test_parquet(folder: Path) -> None:
    table = pq.read_table(written(folder, "x.parquet"))
    assert table["record_id"].to_pylist() == ["a", "b"]
    assert table["trail"].to_pylist()[0] == [{"name": "x", "start_ms": 0.0, "elapsed_ms": 1.5}]
    assert str(table.schema.field("time").type) == "timestamp[us, tz=UTC]"


def test_csv(folder: Path) -> None:
    assert written(folder, "x.csv").read_text().splitlines() == [
        "record_id,time,trail,seed",
        'a,1970-01-02T00:00:00+00:00,"[{""name"":""x"",""start_ms"":0.0,""elapsed_ms"":1.5}]",',
        "b,1970-01-02T00:00:00+00:00,[],",
    ]


def test_json_lines(folder: Path) -> None:
    lines = written(folder, "x.jsonl").read_text().splitlines()
    assert json.loads(lines[1]) == {
        "record_id": "b",
        "time": "1970-01-02T00:00:00Z",
        "trail": [],
        "seed": None,
    }


def test_columns_of_one_name_are_no_json(folder: Path) -> None:
    sql = "SELECT a.record_id, b.record_id, a.route FROM records a, records b LIMIT 2"
    assert written(folder, "x.csv", sql).read_text().startswith("record_id,record_id")
    with pytest.raises(QueryFailed, match=r"columns are named 'record_id', .*: name them apart"):
        written(folder, "x.jsonl", sql)
    assert not (folder / "x.jsonl").exists()


def test_a_file_that_was_there_is_replaced_and_only_the_owner_reads_it(folder: Path) -> None:
    (folder / "x.csv").write_text("old")
    path = written(folder, "x.csv")
    assert path.read_text().startswith("record_id")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_name_that_says_no_format(folder: Path) -> None:
    with pytest.raises(CannotExport, match=r"ends in \.parquet, \.csv, \.jsonl"):
        written(folder, "x.xlsx")


@pytest.mark.parametrize("name", ["x.parquet", "x.csv", "x.jsonl"])
def test_what_cannot_be_written_leaves_what_there_was(folder: Path, name: str) -> None:
    (folder / name).write_text("old")
    with a_full_disk(10), pytest.raises(CannotExport, match="cannot be written: file too large"):
        written(folder, name)
    assert (folder / name).read_text() == "old"
    with pytest.raises(CannotExport, match="no such file"):
        written(folder, f"nowhere/{name}")
    assert sorted(path.name for path in folder.iterdir()) == sorted(["segments", name])


def test_a_type_that_parquet_does_not_know(folder: Path) -> None:
    with pytest.raises(CannotExport, match="cannot be written"):
        written(folder, "x.parquet", "SELECT INTERVAL 1 DAY AS x FROM records")


def test_a_query_that_fails_on_its_way(folder: Path) -> None:
    with pytest.raises(QueryFailed):
        written(folder, "x.csv", "SELECT CAST(record_id AS INT) FROM records")
    assert not (folder / "x.csv").exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (1.5, "1.5"),
        (Decimal("1.50"), "1.50"),
        (datetime(2026, 11, 21, tzinfo=UTC), "2026-11-21T00:00:00+00:00"),
        ([1, {"a": None}], '[1,{"a":null}]'),
    ],
)
def test_values_as_text(value: object, text: str) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize(
    "value",
    [
        "'infinity'::timestamp",
        "DATE '12000-01-01'",
        "'2020-01-01 00:00:00.123456789'::timestamp_ns",
    ],
)
def test_a_value_that_python_does_not_have_is_a_sentence(folder: Path, value: str) -> None:
    with (
        answered(folder, f"SELECT {value} AS x FROM records", print) as answer,  # noqa: S608
        pytest.raises(QueryFailed, match=r"a value cannot be shown: .*; cast it to text"),
    ):
        list(answer.rows())


def test_a_planted_name_is_not_followed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = folder / "victim"
    victim.write_text("mine")
    monkeypatch.setattr(os, "urandom", lambda count: bytes(count))
    (folder / f".x.csv.{bytes(8).hex()}.new").symlink_to(victim)
    with answered(folder, SQL, print) as answer, pytest.raises(CannotExport):
        export(answer, folder / "x.csv")
    assert victim.read_text() == "mine"


def test_what_a_terminal_would_obey_is_written_out() -> None:
    lines = list(table_lines(["a"], [["\x1b[31m\x9b2J\r\nx"]]))
    assert lines[-1] == "\\x1b[31m\\x9b2J  x"


def test_a_table() -> None:
    rows = [("a\nb", 1, None), ("c", 10, 2.5)]
    assert list(table_lines(("name", "n", "x"), rows)) == [
        "name   n  x",
        "----  --  ----",
        "a b    1  null",
        "c     10  2.5",
    ]
    assert list(table_lines(("name",), [])) == ["name", "----"]
