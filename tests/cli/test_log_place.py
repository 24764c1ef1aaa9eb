"""Which log is meant: as `penstock serve` would choose, or the only one there is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from penstock.cli.log_place import NoLog, SeveralLogs, log_folder
from penstock.cli.main import main, parser
from penstock.stores.log_settings import BadSetting
from penstock.supervisor.state import default_folder
from tests.cli.operated import operated


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    return {"XDG_STATE_HOME": str(tmp_path)}


def found(environment: Mapping[str, str], *arguments: str) -> Path:
    return log_folder(parser().parse_args(["log", "tail", *arguments]), environment)


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def test_as_named(tmp_path: Path, environment: Mapping[str, str]) -> None:
    log = made(tmp_path / "records")
    state = made(tmp_path / "state" / "log").parent
    assert found(environment, "--log-dir", str(log)) == log
    assert found(environment, "--state-dir", str(state)) == state / "log"
    assert found({"PENSTOCK_LOG_DIR": str(log), "PENSTOCK_STATE_DIR": str(state)}) == log
    assert found({"PENSTOCK_STATE_DIR": str(state)}) == state / "log"
    with pytest.raises(NoLog, match="nothing has been recorded there"):
        found(environment, "--log-dir", str(tmp_path / "none"))


def test_by_the_spec_and_the_port(tmp_path: Path, environment: Mapping[str, str]) -> None:
    spec = tmp_path / "iris.yaml"
    for port in (8000, 8001):
        folder = default_folder(environment, spec, port)
        assert folder is not None
        made(folder / "log")
    assert found(environment, "--spec", str(spec)).parent.name.endswith("-8000")
    assert found(environment, "--spec", str(spec), "--port", "8001").parent.name.endswith("-8001")
    assert found(environment, "--port", "8001").parent.name.endswith("-8001")
    with pytest.raises(NoLog):
        found(environment, "--spec", "other.yaml")
    with pytest.raises(NoLog, match="no HOME: say --log-dir"):
        found({}, "--spec", "other.yaml")


def test_the_only_one_or_that_of_the_server_that_runs(
    tmp_path: Path, environment: Mapping[str, str]
) -> None:
    base = tmp_path / "penstock"
    with pytest.raises(NoLog, match="no prediction log in the state directories"):
        found(environment)
    first = made(base / "a-01234567-8000" / "log")
    made(base / "without-01234567-8002")
    assert found(environment) == first
    second = made(base / "b-01234567-8001" / "log")
    with pytest.raises(SeveralLogs, match="say --log-dir, one of\n  ") as raised:
        found(environment)
    assert str(first) in raised.value.message
    with operated(second.parent):
        assert found(environment) == second
    with operated(first.parent, second.parent), pytest.raises(SeveralLogs):
        found(environment)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "file", "file/below"])
@pytest.mark.parametrize(
    "verb", [["tail"], ["query", "SELECT 1"], ["export", "x.csv"], ["compact"], ["ship", "--once"]]
)
def test_what_can_be_no_folder_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: list[str],
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "os.environ", {"PENSTOCK_LOG_POSTGRESQL": "postgresql://nobody@localhost/x"}
    )
    (tmp_path / "file").touch()
    for folder in (["--log-dir", name], ["--state-dir", name]):
        assert main(["log", *verb, *folder]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"no prediction log can lie in {name!r}"[:-1])
        assert said.count("\n") == 1
    with pytest.raises(BadSetting):
        found({"PENSTOCK_LOG_DIR": name})
