from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from penstock.stores.finished import Due
from penstock.stores.log_settings import BadSetting, due_of, folder_named, keep_days_of


def test_as_usual() -> None:
    assert keep_days_of({}) == 30.0
    assert due_of({"PENSTOCK_LOG_COMPACT_S": ""}) == Due()


def test_as_the_environment_says() -> None:
    assert keep_days_of({"PENSTOCK_LOG_KEEP_DAYS": "0.5"}) == 0.5
    said = {"PENSTOCK_LOG_COMPACT_BYTES": "1e6", "PENSTOCK_LOG_COMPACT_S": "60"}
    assert due_of(said) == Due(1_000_000, 60.0)
    assert due_of({"PENSTOCK_LOG_COMPACT_BYTES": "0.5"}).size_bytes == 1


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "a month", "1e-400", "1e400"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(BadSetting, match=f"PENSTOCK_LOG_KEEP_DAYS is '{text}': give a number"):
        keep_days_of({"PENSTOCK_LOG_KEEP_DAYS": text})


def test_a_folder_that_is_there_or_may_come(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "later")
    for name in (".", str(tmp_path), str(tmp_path / "a" / ("b" * 255)), str(tmp_path / "dangling")):
        assert folder_named(name) == Path(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("file", "it is a file"),
        ("pipe", "it is a file"),
        ("file/below", os.strerror(errno.ENOTDIR).lower()),
        ("loop", os.strerror(errno.ELOOP).lower()),
        ("x" * 256, os.strerror(errno.ENAMETOOLONG).lower()),
        ("not/there/" + "x" * 256, os.strerror(errno.ENAMETOOLONG).lower()),
        ("a\0b", "it has a character that no path can have"),
        ("a\ud800b", "it has a character that no path can have"),
    ],
)
def test_what_can_be_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    os.mkfifo("pipe")
    Path("loop").symlink_to("loop")
    with pytest.raises(BadSetting) as caught:
        folder_named(name)
    assert caught.value.message == (
        f"no prediction log can lie in {name!r}: {why}; give another folder"
    )
