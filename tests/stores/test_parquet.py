"""Files of one batch: bounded in memory and in open files, and whole in their footers."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.stores import parquet
from penstock.stores.parquet import ParquetFiles, segments_named_in
from penstock.stores.prediction_record import PredictionRecord
from tests.stores.logs import DAY_US, logged


def files_of(folder: Path, records: list[PredictionRecord], at_once: int = 7) -> dict[str, int]:
    """Write records some at a time; return how many are in each file."""
    files = ParquetFiles(folder, "b", ["0.segment"])
    for first in range(0, len(records), at_once):
        assert files.add(records[first : first + at_once]) == 0
    return {made.file: made.records for made in files.close()}


def test_a_file_for_each_route_and_day(tmp_path: Path) -> None:
    records = [
        logged(str(number), route=f"r{number % 3}", time_us=DAY_US * (1 + number % 2))
        for number in range(60)
    ]
    made = files_of(tmp_path, records)
    assert made == {
        f"route=r{route}/day=1970-01-0{day}/b-0.parquet": 10 for route in range(3) for day in (2, 3)
    }
    for name, count in made.items():
        footer = pq.read_metadata(tmp_path / name)
        assert (footer.num_rows, footer.num_row_groups) == (count, 1)
        assert footer.row_group(0).column(0).compression == "ZSTD"
        assert segments_named_in(tmp_path / name) == ("0.segment",)


def test_rows_are_in_the_order_of_time(tmp_path: Path) -> None:
    files_of(tmp_path, [logged(str(number), time_us=DAY_US + 9 - number) for number in range(9)], 2)
    (path,) = tmp_path.rglob("*.parquet")
    assert pq.read_table(path)["record_id"].to_pylist() == [str(8 - at) for at in range(9)]


def test_columns_in_memory_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MAX_BUFFERED_BYTES", 4000)
    records = [
        logged(f"{number:03}", route="small" if number % 10 == 0 else "large", time_us=number)
        for number in range(100)
    ]
    assert files_of(tmp_path, records) == {
        "route=large/day=1970-01-01/b-0.parquet": 90,
        "route=small/day=1970-01-01/b-0.parquet": 10,
    }
    (large,) = tmp_path.glob("route=large/*/*")
    assert pq.read_metadata(large).num_row_groups > 3
    assert len(set(pq.read_table(large)["record_id"].to_pylist())) == 90


def test_open_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MAX_BUFFERED_BYTES", 1)
    monkeypatch.setattr(parquet, "MAX_OPEN", 2)
    records = [logged(str(number), route=f"r{number % 3}") for number in range(9)]
    made = files_of(tmp_path, records, at_once=3)
    assert sum(made.values()) == 9
    assert len(made) == 9
    assert "route=r0/day=1970-01-02/b-2.parquet" in made


def test_what_fits_no_column_is_refused_alone(tmp_path: Path) -> None:
    files = ParquetFiles(tmp_path, "b", [])
    records = [logged("a"), logged("b", status=2**40), logged("c", route="A/B"), logged("d")]
    assert files.add(records) == 2
    (made,) = files.close()
    assert made.records == 2


def test_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MAX_BUFFERED_BYTES", 1)
    files = ParquetFiles(tmp_path, "b", [])
    files.add([logged("a")])
    files.abandon()
    assert files.close() == ()


def test_a_file_that_cannot_be_begun_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_COMPRESSION", "none such")
    files = ParquetFiles(tmp_path, "b", [])
    files.add([logged("a")])
    with pytest.raises(Exception, match=r"(?i)none such"):
        files.close()


def test_files_that_name_no_segments(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    assert segments_named_in(path) is None
    path.write_bytes(b"no parquet")
    assert segments_named_in(path) is None
    pq.write_table(pa.table({"a": [1]}), path)
    assert segments_named_in(path) is None
