"""Folders, and those that they lie in, are their owner's alone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from penstock.core.folders import make_private


def test_every_folder_that_is_made_is_private(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    there.chmod(0o755)
    make_private(there / "a" / "b" / "c")
    make_private(there / "a" / "b" / "c")
    modes = [stat.S_IMODE((there / name).stat().st_mode) for name in ("a", "a/b", "a/b/c")]
    assert modes == [0o700] * 3
    assert stat.S_IMODE(there.stat().st_mode) == 0o755


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_private(tmp_path / "file")
    with pytest.raises(FileExistsError):
        make_private(tmp_path / "file" / "in" / "it")


def test_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(FileNotFoundError):
        make_private(Path("a"))
