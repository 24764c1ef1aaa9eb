"""SQL over a log: what it finds, and what it cannot reach."""

from __future__ import annotations

import os
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from penstock.stores.columns import SCHEMA
from penstock.stores.parquet import compact_log
from penstock.stores.query import QueryFailed, answered
from tests.stores.logs import DAY_US, WALL_S, by_reader, logged, write_segment


def ask(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with answered(folder, sql, print) as answer:
        return list(answer.rows())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log, one half in files, the other in segments; its folder has a quote in its name."""
    folder = tmp_path / "l'og"
    write_segment(folder, "0", logged("a", model="svc"), logged("b", model="rf", route="b"))
    compact_log(folder, WALL_S, 30.0, print)
    write_segment(folder, "1", logged("c", model="rf", time_us=2 * DAY_US), logged("d", model="x"))
    return folder


def test_segments_and_files_together(folder: Path) -> None:
    sql = "SELECT model, count(*) FROM records GROUP BY model ORDER BY model"
    assert ask(folder, sql) == [("rf", 2), ("svc", 1), ("x", 1)]
    assert ask(folder, "SELECT record_id FROM records WHERE day = '1970-01-03'") == [("c",)]
    assert ask(folder, "SELECT DISTINCT route, day FROM records WHERE route = 'b'") == [
        ("b", date(1970, 1, 2))
    ]


def test_columns_are_the_same_wherever_a_record_lies(folder: Path) -> None:
    described = ask(folder, "DESCRIBE records")
    assert [row[0] for row in described] == SCHEMA.names
    for record_id in "ad":
        rows = ask(folder, "SELECT time, day, trail, record_id FROM records")
        (row,) = [row[:3] for row in rows if row[3] == record_id]
        assert row[0].isoformat() == "1970-01-02T00:00:00+00:00"
        assert row[1:] == (date(1970, 1, 2), [])


def test_a_record_that_stands_in_both_counts_once(folder: Path) -> None:
    both = [logged("a", model="svc"), logged("a", role="shadow"), logged("new")]
    write_segment(folder, "2", *both)
    assert by_reader(folder) == Counter({"a": 2, "b": 1, "c": 1, "d": 1, "new": 1})


@pytest.mark.parametrize(
    "name",
    [
        "model=zzz/day=x",
        "g[ab]",
        "g*",
        "g?",
        "[",
        "[*]?",
        "a\\b",
        "route=b",
        "a\\b*",
        "\\*",
        "\\\\?",
        "[\\]",
        "g\\/*",
        "a\\",
    ],
)
def test_a_log_may_lie_anywhere(tmp_path: Path, name: str) -> None:
    for number, place in enumerate((name, "ga", "gz", "a[b]")):
        folder = tmp_path / place
        one = logged(f"a{number}", model="svc")
        write_segment(folder, "0", one, logged(f"b{number}", route="b"))
        compact_log(folder, WALL_S, 30.0, print)
        write_segment(folder, "1", one)
    sql = "SELECT record_id, model, route, day FROM records ORDER BY record_id"
    day = date(1970, 1, 2)
    kept = [("a0", "svc", "a", day), ("b0", "", "b", day)]
    assert ask(tmp_path / name, sql) == kept
    assert ask(tmp_path / name, f"{sql.split(' ORDER')[0]} WHERE route = 'b'") == kept[1:]
    inside = os.listdir("/proc/self/fd") if Path("/proc/self/fd").is_dir() else []
    assert ask(tmp_path / name, sql) == kept
    assert len(os.listdir("/proc/self/fd") if inside else []) <= len(inside)  # none is left open


def test_an_empty_log(tmp_path: Path) -> None:
    assert ask(tmp_path, "SELECT count(*) FROM records") == [(0,)]
    assert ask(tmp_path, "SELECT * FROM records") == []


def test_no_log_below_a_backslash(tmp_path: Path) -> None:
    assert ask(tmp_path / "a\\b*", "SELECT count(*) FROM records") == [(0,)]


def test_files_without_segments(folder: Path) -> None:
    compact_log(folder, WALL_S, 30.0, print)
    assert ask(folder, "SELECT count(*) FROM records") == [(4,)]


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "-- nothing",
        "SELECT 1; SELECT 2",
        "COPY (SELECT 1) TO 'stolen.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO 'stolen.csv'",
        "SET lock_configuration = false",
        "INSTALL httpfs",
        "ATTACH 'other.db'",
        "CREATE TABLE x AS SELECT 1",
        "DELETE FROM live",
    ],
)
def test_only_a_select_is_answered(folder: Path, sql: str) -> None:
    with pytest.raises(QueryFailed, match="give one SELECT over the view records"):
        ask(folder, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM read_blob('{file}')",
        "SELECT * FROM glob('{file}*')",
        "SELECT * FROM '{file}'",
        "SELECT * FROM read_parquet('https://127.0.0.1:1/x.parquet')",
        "SELECT * FROM folder",
    ],
)
def test_nothing_else_can_be_read(folder: Path, tmp_path: Path, sql: str) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n")
    with pytest.raises(QueryFailed):
        ask(folder, sql.format(file=file))


@pytest.mark.parametrize(
    "sql", ["SELECT nonsense FROM records", "SELEC 1", "SELECT CAST(model AS INT) FROM records"]
)
def test_mistakes_are_told_in_the_words_of_duckdb(folder: Path, sql: str) -> None:
    with pytest.raises(QueryFailed, match="Error"):
        ask(folder, sql)
