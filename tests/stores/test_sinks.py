"""What an operator may say of where records go."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.stores.finished import Due
from penstock.stores.log_folder import KEEP_DAYS
from penstock.stores.log_settings import BadSetting
from penstock.stores.postgresql.address import VARIABLE as DATABASE_VARIABLE
from penstock.stores.sinks import LogPlaces, given_key, log_places


def test_nowhere_unless_somebody_says() -> None:
    assert log_places({}) == LogPlaces()
    assert not LogPlaces().stdout


def test_the_folder_is_the_command_lines_the_environments_or_the_states(tmp_path: Path) -> None:
    named = {"PENSTOCK_LOG_DIR": "/var/log/models"}
    assert log_places(named, folder="/a", otherwise=tmp_path).folder == "/a"
    assert log_places(named, otherwise=tmp_path).folder == "/var/log/models"
    assert log_places({}, otherwise=tmp_path).folder == str(tmp_path)


def test_a_folder_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert log_places({}, folder="log").folder == str(tmp_path / "log")


@pytest.mark.parametrize("name", ["x" * 256, "missing/" + "ü" * 128, "a/" * 2500, "file", "file/a"])
def test_what_can_be_no_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(BadSetting, match="no prediction log can lie in '"):
        log_places({}, folder=name)
    with pytest.raises(BadSetting, match="no prediction log can lie in '"):
        log_places({"PENSTOCK_LOG_DIR": name})


def test_sinks_are_the_command_lines_or_the_environments() -> None:
    named = {"PENSTOCK_LOG_SINKS": " stdout, stdout ,"}
    assert log_places(named).sinks == ("stdout",)
    assert log_places(named).stdout
    assert log_places({}, sinks=["stdout"]).stdout
    assert log_places({"PENSTOCK_LOG_SINKS": "nowhere"}, sinks=["stdout"]).stdout


@pytest.mark.parametrize("word", ["kafka", "STDOUT"])
def test_an_unknown_sink_is_refused(word: str) -> None:
    with pytest.raises(BadSetting, match=f"no sink '{word}' .*; there is stdout"):
        log_places({"PENSTOCK_LOG_SINKS": f"stdout,{word}"})


def test_a_key_is_made_of_a_secret_text() -> None:
    assert given_key({}) is None
    one = given_key({"PENSTOCK_LOG_KEY": "a long secret text"})
    other = given_key({"PENSTOCK_LOG_KEY": "another secret text \udcff"})
    assert one is not None
    assert other is not None
    assert len(one) == 32
    assert one != other


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(BadSetting, match="PENSTOCK_LOG_KEY is too short; give 16 characters"):
        log_places({"PENSTOCK_LOG_KEY": "short"})


def test_how_long_records_are_kept_is_the_command_lines_or_the_environments() -> None:
    named = {"PENSTOCK_LOG_KEEP_DAYS": "7", "PENSTOCK_LOG_COMPACT_S": "60"}
    assert log_places(named).keep_days == 7
    assert log_places(named, keep_days=0.5).keep_days == 0.5
    assert log_places(named).due == Due(age_s=60)
    assert log_places({}).keep_days == KEEP_DAYS
    with pytest.raises(BadSetting, match="PENSTOCK_LOG_COMPACT_BYTES is 'x': give a number above"):
        log_places({"PENSTOCK_LOG_COMPACT_BYTES": "x"})


def test_segments_wait_for_a_database_where_somebody_ships_them() -> None:
    environment = {DATABASE_VARIABLE: "postgresql://localhost/db"}
    assert log_places(environment, emptied=True).ships
    assert not log_places(environment).ships
    assert not log_places({DATABASE_VARIABLE: " "}, emptied=True).ships
