from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from penstock.cli.main import main
from penstock.supervisor.answers import Status
from penstock.supervisor.crew import Member
from tests.cli.operated import operated
from tests.supervisor.operators import STATUS, TIME


def test_a_status_as_people_read_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with operated(tmp_path):
        assert main(["status", "--state-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "generation 7 of penstock.yaml (file ab12)",
        "state directory /state",
        "worker 0 (pid 42): serving since 1970-01-01T00:00:01+00:00, restarted 3 times",
        f"set: routes.iris.fan_out.arms.svc.weight = 5.0 (the file says 60; anna, {TIME})",
        f"refused at {TIME}, SIGHUP:",
        "  a",
        "  b",
    ]


def test_a_server_that_keeps_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    down = Member(index=1, pid=0, phase="down", started_wall_s=0.0, restarts=1)
    with operated(tmp_path) as operator:
        operator.status_now = Status(
            generation=1,
            path="penstock.yaml",
            digest="ab12",
            state=None,
            no_state="there is no state directory",
            workers=(down,),
            active=(),
        )
        assert main(["status", "--state-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "no changes: there is no state directory",
        "worker 1: down since 1970-01-01T00:00:00+00:00, restarted once",
    ]


def test_a_status_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with operated(tmp_path):
        assert main(["status", "--json", "--state-dir", str(tmp_path)]) == 0
    assert msgspec.json.decode(capsys.readouterr().out, type=Status) == STATUS
