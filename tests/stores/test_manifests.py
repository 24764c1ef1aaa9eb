from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from penstock.core.folders import make_private
from penstock.stores.manifests import (
    Made,
    Manifest,
    check_of,
    manifest_at,
    manifest_paths,
    place_of,
    sync_folders,
    write_synced,
)

MADE = Made("route=a/day=1970-01-02/x-0.parquet", 1, 9, 0xCBF43926)
MANIFEST = Manifest("x", (MADE,), ("0.segment",), ("1.segment",))


def test_a_manifest_as_it_was_written(tmp_path: Path) -> None:
    make_private(tmp_path / "manifests")
    path = tmp_path / "manifests" / "x.json"
    write_synced(path, msgspec.json.encode(MANIFEST))
    assert manifest_at(path) == MANIFEST
    assert manifest_paths(tmp_path) == [path]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"batch": 1}'])
def test_one_that_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    assert manifest_at(path) is None
    with pytest.raises(FileNotFoundError):
        manifest_at(tmp_path / "gone.json")


def test_where_a_file_lies(tmp_path: Path) -> None:
    waiting = tmp_path / "compacting" / "x" / MADE.file
    published = tmp_path / "parquet" / MADE.file
    assert place_of(tmp_path, MANIFEST, MADE) == published
    make_private(waiting.parent)
    waiting.write_bytes(b"123456789")
    assert place_of(tmp_path, MANIFEST, MADE) == waiting
    assert check_of(waiting) == MADE.check
    sync_folders(tmp_path / "compacting")
