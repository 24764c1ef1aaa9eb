"""Going on from what an earlier run has left, where not all of it can be read."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from penstock.stores import recompact
from penstock.stores.compact_rules import CannotCompact
from penstock.stores.manifests import MANIFESTS, Made, Manifest
from penstock.stores.parquet import compact_log
from tests.stores.logs import WALL_S, by_files, by_reader, logged, some_log, write_segment


class Crash(BaseException):
    """The process is killed."""


def run(folder: Path, until: str = "") -> list[str]:
    """Compact until a step; return what was told."""
    warnings: list[str] = []

    def step(name: str) -> None:
        if name == until:
            raise Crash

    with suppress(Crash):
        compact_log(folder, WALL_S, 30.0, warnings.append, step)
    return warnings


def manifest_of(folder: Path) -> Path:
    (path,) = (folder / MANIFESTS).iterdir()
    return path


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "damaged").iterdir())


def test_a_manifest_whose_file_is_torn_is_taken_back(tmp_path: Path) -> None:
    ids = some_log(tmp_path, 1)
    run(tmp_path, "publish 1")
    torn = next((tmp_path / "compacting").rglob("*.parquet"))
    torn.write_bytes(torn.read_bytes()[:-9])
    warnings = run(tmp_path)
    assert "its files are damaged; they are made anew of their segments" in warnings[0]
    assert by_files(tmp_path) == by_reader(tmp_path) == Counter(ids)


def test_a_manifest_whose_file_has_gone_is_taken_back(tmp_path: Path) -> None:
    ids = some_log(tmp_path, 1)
    run(tmp_path, "publish 0")
    next((tmp_path / "compacting").rglob("*.parquet")).unlink()
    run(tmp_path)
    assert by_files(tmp_path) == Counter(ids)


def test_a_file_that_was_spoiled_after_its_segments_went_is_kept_and_told(tmp_path: Path) -> None:
    write_segment(tmp_path, "0", logged("a"), logged("b", route="b"))
    run(tmp_path, "done")
    spoiled = next((tmp_path / "parquet" / "route=a").rglob("*.parquet"))
    spoiled.write_bytes(b"spoiled")
    warnings: list[str] = []
    assert by_reader(tmp_path, warnings) == Counter(["b"])
    assert warnings == [f"{spoiled.name}: cannot be read: it is no whole Parquet file"]
    (sentence,) = run(tmp_path)
    assert "is damaged, and its segments are gone: 1 records cannot be read" in sentence
    assert by_files(tmp_path) == Counter(["b"])
    assert kept(tmp_path) == [spoiled.name]
    assert list((tmp_path / MANIFESTS).iterdir()) == []


@pytest.mark.parametrize("until", ["publish 0", "publish 2", "delete 0", "delete 1", "done"])
def test_a_manifest_that_cannot_be_read(tmp_path: Path, until: str) -> None:
    ids = some_log(tmp_path, 1)
    run(tmp_path, until)
    path = manifest_of(tmp_path)
    path.write_bytes(b"nonsense")
    warnings = run(tmp_path)
    assert warnings[0] == f"{path.name}: this manifest cannot be read; it is kept in damaged/"
    assert by_files(tmp_path) == by_reader(tmp_path) == Counter(ids)
    assert path.name in kept(tmp_path)
    assert list((tmp_path / MANIFESTS).iterdir()) == []


def test_what_was_not_published_of_such_a_manifest_is_where_a_segment_is_gone(
    tmp_path: Path,
) -> None:
    ids = some_log(tmp_path, 1)
    run(tmp_path, "publish 1")
    manifest_of(tmp_path).write_bytes(b"nonsense")
    (tmp_path / "segments" / "0.segment").unlink()
    run(tmp_path)
    assert by_files(tmp_path) == Counter(ids)
    assert {"1.segment", "2.segment", "3.segment"} <= set(kept(tmp_path))


def test_files_that_cannot_be_read_either_are_kept(tmp_path: Path) -> None:
    ids = some_log(tmp_path, 1)
    run(tmp_path, "publish 1")
    manifest_of(tmp_path).write_bytes(b"nonsense")
    for path in tmp_path.rglob("*.parquet"):
        path.write_bytes(b"spoiled")
    warnings = run(tmp_path)
    assert warnings[1] == "4 files of it cannot be read either; they are kept there too"
    assert by_files(tmp_path) == Counter(ids)
    assert len([name for name in kept(tmp_path) if ".parquet" in name]) == 4


def test_some_files_that_cannot_be_read_beside_some_that_can(tmp_path: Path) -> None:
    some_log(tmp_path, 1)
    run(tmp_path, "publish 0")
    manifest_of(tmp_path).write_bytes(b"nonsense")
    (tmp_path / "segments" / "0.segment").unlink()
    spoiled = sorted((tmp_path / "compacting").rglob("*.parquet"))[0]
    spoiled.write_bytes(b"spoiled")
    run(tmp_path)
    assert len(list((tmp_path / "parquet").rglob("*.parquet"))) == 3
    assert spoiled.name in kept(tmp_path)


def test_what_the_disk_refuses_while_dropping_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*what: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(recompact, "drop_old", refuse)
    with pytest.raises(CannotCompact, match="cannot be compacted: permission denied"):
        run(tmp_path)


def test_a_manifest_of_nothing(tmp_path: Path) -> None:
    (tmp_path / MANIFESTS).mkdir()
    (tmp_path / MANIFESTS / "x.json").write_bytes(b"")
    (tmp_path / MANIFESTS / "y.json").write_bytes(msgspec.json.encode(Manifest("y")))
    run(tmp_path)
    assert kept(tmp_path) == ["x.json"]
    assert list((tmp_path / MANIFESTS).iterdir()) == []


def test_a_file_is_told_by_its_size_and_sum(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"123456789")
    made = Made("file", 1, 9, 0xCBF43926)
    assert made.is_at(path)
    path.write_bytes(b"123456780")
    assert not made.is_at(path)
