"""Which server a command is for, and how its answer is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli.control import say_changed
from penstock.cli.main import main
from penstock.core.errors import ChangeRefused
from penstock.supervisor.answers import Changed
from tests.cli.operated import operated
from tests.supervisor.operators import CHANGE


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where state directories lie unless one is given."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("PENSTOCK_STATE_DIR", raising=False)
    return tmp_path / "penstock"


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Return a command's exit status, and what it printed and complained."""
    status = main(list(arguments))
    found = capsys.readouterr()
    assert "Traceback" not in found.err
    return status, found.out, found.err


Capture = pytest.CaptureFixture[str]


# --- which one ---------------------------------------------------------------------------


def test_the_only_one(base: Path, capsys: Capture) -> None:
    (base / "dead-00000000-8001").mkdir(parents=True)
    (base / "dead-00000000-8001" / "control.sock").touch()
    with operated(base / "iris-01234567-8000") as operator:
        status, out, _ = said(capsys, "reload")
    assert (status, len(operator.asked)) == (0, 1)
    assert out.startswith("generation 8")


def test_several(base: Path, capsys: Capture) -> None:
    folders = [base / "iris-01234567-8000", base / "other-76543210-8001"]
    with operated(*folders) as operator:
        status, out, err = said(capsys, "reload")
        assert (status, out, operator.asked) == (1, "", [])
        assert err == (
            f"several servers run; say --port or --state-dir, one of\n  {folders[0]}\n"
            f"  {folders[1]}\n"
        )
        for which in (["--port", "8001"], ["--state-dir", str(folders[0])]):
            assert said(capsys, "reload", *which)[0] == 0
    assert len(operator.asked) == 2


def test_several_at_one_port(base: Path, capsys: Capture) -> None:
    """On other addresses of this machine."""
    with operated(base / "iris-01234567-8000", base / "other-76543210-8000"):
        status, _, err = said(capsys, "reload", "--port", "8000")
    assert (status, "several servers run" in err) == (1, True)


def test_none(base: Path, capsys: Capture) -> None:
    status, _, err = said(capsys, "reload")
    assert (status, err) == (
        1,
        f"no server has its state directory in {base}; start one, or say --state-dir\n",
    )


def test_none_at_that_port(base: Path, capsys: Capture) -> None:
    with operated(base / "iris-01234567-18000"):
        status, _, err = said(capsys, "reload", "--port", "8000")
    assert (status, err) == (
        1,
        f"no server on port 8000 has its state directory in {base}; start one, or say "
        "--state-dir\n",
    )


def test_no_home(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    for name in ("XDG_STATE_HOME", "HOME", "PENSTOCK_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    status, _, err = said(capsys, "reload")
    assert (status, "as the environment has no HOME" in err) == (1, True)


def test_the_one_that_the_environment_names(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("PENSTOCK_STATE_DIR", str(tmp_path / "named"))
    with operated(tmp_path / "named") as operator:
        assert said(capsys, "reload")[0] == 0
        assert len(operator.asked) == 1
        status, _, err = said(capsys, "reload", "--port", "8000")
    assert (status, "no server on port 8000" in err) == (1, True)


def test_a_state_directory_without_a_server(tmp_path: Path, capsys: Capture) -> None:
    status, _, err = said(capsys, "reload", "--state-dir", str(tmp_path))
    path = tmp_path / "control.sock"
    assert (status, err) == (1, f"no server answers at {path}: no such file or directory\n")


def test_the_base_may_hold_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "[a]*"))
    base = tmp_path / "[a]*" / "penstock"
    base.mkdir(parents=True)
    (base / "a file").touch()
    with operated(base / "iris-01234567-8000"):
        assert said(capsys, "reload")[0] == 0


# --- what it answers ---------------------------------------------------------------------


def test_a_refusal_is_1_and_says_all_reasons(base: Path, capsys: Capture) -> None:
    with operated(base / "iris-01234567-8000") as operator:
        operator.error = ChangeRefused(("one", "two"))
        assert said(capsys, "reload") == (1, "", "one\ntwo\n")


def test_a_fault_there_is_1(base: Path, capsys: Capture) -> None:
    with operated(base / "iris-01234567-8000") as operator:
        operator.error = RuntimeError("a fault")
        status, out, err = said(capsys, "status")
    assert (status, out) == (1, "")
    assert "the supervisor has not answered: RuntimeError: a fault" in err


@pytest.mark.parametrize(
    ("changed", "out"),
    [
        (
            Changed(generation=7, changes=(CHANGE,), workers=2, of=2),
            "generation 7: routes.iris.fan_out.arms.svc.weight 60 -> 5.0 (all 2 workers)\n",
        ),
        (
            Changed(generation=7, changes=(CHANGE, CHANGE), workers=1, of=1),
            "generation 7: routes.iris.fan_out.arms.svc.weight 60 -> 5.0 (1 worker)\n" * 2,
        ),
        (
            Changed(generation=7, workers=1, of=3),
            "generation 7: reloaded (1 of 3 workers; the others are being replaced)\n",
        ),
        (
            Changed(generation=7, workers=2, of=2, already=True),
            "generation 7: it is so already; nothing has been changed\n",
        ),
    ],
)
def test_a_change_is_said(changed: Changed, out: str, capsys: Capture) -> None:
    assert say_changed(changed, "reloaded") == 0
    assert capsys.readouterr().out == out
