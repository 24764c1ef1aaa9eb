from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from penstock.stores.compact_rules import CannotCompact, CompactorBusy, alone, keep
from penstock.stores.parquet import compact_log
from tests.stores.logs import WALL_S, by_files, some_log


def test_one_at_a_time(tmp_path: Path) -> None:
    ids = some_log(tmp_path, 1)
    with alone(tmp_path), pytest.raises(CompactorBusy, match="one at a time"):
        compact_log(tmp_path, WALL_S, 30.0, print)
    compact_log(tmp_path, WALL_S, 30.0, lambda sentence: None)
    assert by_files(tmp_path) == Counter(ids)


def test_where_there_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CannotCompact, match="no such file"), alone(tmp_path / "nowhere"):
        raise AssertionError("it is not entered")


def test_nothing_that_is_kept_takes_the_place_of_another(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)
    steps: list[str] = []
    paths = [tmp_path / name / "x" for name in ("a", "b", "c", "gone")]
    keep(tmp_path, paths, steps.append)
    kept = {path.name: path.read_text() for path in (tmp_path / "damaged").iterdir()}
    assert kept == {"x": "a", "x.1": "b", "x.2": "c"}
    assert steps == ["keep 0", "keep 1", "keep 2", "keep 3"]
