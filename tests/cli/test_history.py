from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from penstock.cli.main import main
from penstock.supervisor.overlay import Change, Event
from tests.cli.operated import operated
from tests.supervisor.operators import EVENTS, TIME

DROPPED = Event(
    kind="dropped",
    time=TIME,
    who="penstock",
    generation=3,
    changes=(Change(path="states.iris", old="off", new=None, base=None),),
)


def test_events_as_people_read_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with operated(tmp_path) as operator:
        operator.events = (*EVENTS, DROPPED)
        assert main(["history", "--state-dir", str(tmp_path)]) == 0
    assert operator.asked == [("history", 20)]
    assert capsys.readouterr().out.splitlines() == [
        f"{TIME}  generation 1  penstock  start (file ab12)",
        f"{TIME}  generation 2  anna  routes.iris.fan_out.arms.svc.weight 60 -> 5.0",
        f"{TIME}  generation 3  penstock  states.iris off -> (not set)"
        "  (dropped: the file has changed)",
    ]


def test_events_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with operated(tmp_path) as operator:
        assert main(["history", "--json", "-n", "500", "--state-dir", str(tmp_path)]) == 0
    assert operator.asked == [("history", 500)]
    lines = capsys.readouterr().out.splitlines()
    assert tuple(msgspec.json.decode(line, type=Event) for line in lines) == EVENTS


def test_no_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with operated(tmp_path) as operator:
        operator.events = ()
        assert main(["history", "--state-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("count", ["0", "-1", "all"])
def test_a_number_that_is_none(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["history", "-n", count])
    assert raised.value.code == 2
    assert "-n" in capsys.readouterr().err
