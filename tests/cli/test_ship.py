from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.cli import ship
from penstock.cli.main import main
from penstock.cli.ship import OUTBOX_DAYS_VARIABLE, OUTBOX_MB_VARIABLE, bounds_in
from penstock.stores.log_settings import BadSetting
from penstock.stores.postgresql.address import VARIABLE
from penstock.stores.postgresql.outbox import Bounds, Outbox
from penstock.stores.postgresql.status import read_status
from penstock.stores.segment_writer import segments_in
from tests.postgres import asked
from tests.stores.postgresql.shipped import written

NOBODY = "postgresql://anna:open-sesame@localhost:1/db"


def there(address: str) -> int:
    ((count,),) = asked(address, "SELECT count(*) FROM penstock_predictions")
    return int(count)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_is_there_is_shipped_once(
    tmp_path: Path,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(VARIABLE, database)
    written(tmp_path, range(3))
    for shipped in (3, 0):
        assert main(["log", "ship", "--once", "--log-dir", str(tmp_path)]) == 0
        assert capsys.readouterr().out == f"{shipped} records shipped\n"
    assert there(database) == 3
    assert segments_in(Outbox(tmp_path).path) == []


def test_no_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert main(["log", "ship", "--log-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("PENSTOCK_LOG_POSTGRESQL is not set: ")


def test_a_database_that_is_down_is_told_and_the_rest_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, NOBODY)
    written(tmp_path, range(3))
    assert main(["log", "ship", "--once", "--log-dir", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "failed" in told
    assert "sesame" not in told
    status = read_status(tmp_path)
    assert status is not None
    assert status.waiting == 3


def test_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, NOBODY)
    assert main(["log", "ship", "--once", "--log-dir", str(tmp_path / "none")]) == 1
    assert "there is no prediction log in" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, NOBODY)
    with Outbox(tmp_path).alone():
        assert main(["log", "ship", "--once", "--log-dir", str(tmp_path)]) == 1
    assert "another process ships what is in" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["outbox", "outbox/postgresql/id"])
@pytest.mark.parametrize("how", [[], ["--once"]])
def test_an_outbox_that_cannot_be_used_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    what: str,
    how: list[str],
) -> None:
    monkeypatch.setenv(VARIABLE, NOBODY)
    (tmp_path / "segments").mkdir()
    path = tmp_path / what
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name == "id":
        path.mkdir()
    else:
        path.write_text("no folder")
    assert main(["log", "ship", *how, "--log-dir", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"the outbox in {Outbox(tmp_path).path} cannot be used: ")
    assert len(told.splitlines()) == 1


def test_it_runs_until_told_to_stop(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, database)
    monkeypatch.setattr(ship, "BUSY_S", 0.01)
    written(tmp_path, range(3))
    busy = threading.Event()

    def other() -> None:
        with Outbox(tmp_path).alone():
            busy.set()
            assert not threading.Event().wait(0.05)  # long enough to be met, or not: both are good
        while read_status(tmp_path) is None:
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=other)
    thread.start()
    busy.wait()
    try:
        assert main(["log", "ship", "--log-dir", str(tmp_path)]) == 0
    finally:
        thread.join()
    assert there(database) == 3


def test_it_stops_with_the_server_that_started_it(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gave_way: list[int] = []
    monkeypatch.setenv(VARIABLE, database)
    monkeypatch.setattr(os, "nice", gave_way.append)
    monkeypatch.setattr(ship, "BUSY_S", 0.01)
    written(tmp_path, range(3))
    gone = ["log", "ship", "--log-dir", str(tmp_path), "--parent", "1"]
    with Outbox(tmp_path).alone():
        assert main(gone) == 0
    assert main(gone) == 0
    assert there(database) == 3
    assert gave_way == [ship.NICENESS] * 2


def test_bounds_of_the_environment() -> None:
    assert bounds_in({}) == Bounds()
    told = bounds_in({OUTBOX_MB_VARIABLE: "1.5", OUTBOX_DAYS_VARIABLE: " 2 "})
    assert told == Bounds(max_bytes=1_572_864, keep_days=2.0)
    assert bounds_in({OUTBOX_MB_VARIABLE: "1e-9"}).max_bytes == 1


@pytest.mark.parametrize("text", ["many", "0", "-1", "nan", "inf", "1e-400", "1e400", "1e305"])
def test_bounds_that_are_no_numbers(text: str) -> None:
    with pytest.raises(BadSetting, match=r"^PENSTOCK_LOG_OUTBOX_MB is .+: give"):
        bounds_in({OUTBOX_MB_VARIABLE: text})
