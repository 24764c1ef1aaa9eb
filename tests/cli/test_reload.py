from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli.main import main
from tests.cli.operated import operated


def test_a_reload_and_what_it_warns_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with operated(tmp_path) as operator:
        assert main(["reload", "--state-dir", str(tmp_path)]) == 0
    assert operator.asked[0][0] == "reload"
    found = capsys.readouterr()
    assert found.out == "generation 8: reloaded (all 2 workers)\n"
    assert found.err == "warning: something is dropped\n"


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "٨", "80.0"])
def test_a_port_that_is_none(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["reload", "--port", port])
    assert raised.value.code == 2
    assert "--port" in capsys.readouterr().err
