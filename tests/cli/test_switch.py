from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli.main import main
from tests.cli.operated import operated


@pytest.mark.parametrize("state", ["on", "observe", "off"])
def test_a_route_or_an_arm(state: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with operated(tmp_path) as operator:
        for target in ("iris", "iris/svc", "iris/svc/inner"):
            assert main(["switch", target, state, "--state-dir", str(tmp_path)]) == 0
            assert operator.asked[-1][:3] == ("switch", target, state)
    assert capsys.readouterr().out.count("generation 7: ") == 3


@pytest.mark.parametrize("arguments", [["iris", "half"], ["iris"], []])
def test_bad_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["switch", *arguments])
    assert raised.value.code == 2
    assert "usage: penstock switch" in capsys.readouterr().err
