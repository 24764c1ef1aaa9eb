from __future__ import annotations

import pytest

from penstock.cli.main import parser


def test_each_verb_says_which_log() -> None:
    for verb in (["tail"], ["query", "SELECT 1"], ["export", "x.csv"], ["compact"]):
        options = parser().parse_args(["log", *verb, "--spec", "iris.yaml", "--port", "8001"])
        assert (options.verb, options.log_verb) == ("log", verb[0])
        assert (options.log_dir, options.state_dir) == (None, None)
        assert (options.spec, options.port) == ("iris.yaml", 8001)


@pytest.mark.parametrize(
    "arguments",
    [
        ["log"],
        ["log", "query"],
        ["log", "tail", "-n", "0"],
        ["log", "tail", "--role", "king"],
        ["log", "query", "SELECT 1", "--format", "xml"],
        ["log", "export", "x.csv", "--where", "1", "--sql", "SELECT 1"],
    ],
)
def test_what_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        parser().parse_args(arguments)
    assert raised.value.code == 2
    assert "usage: penstock log" in capsys.readouterr().err
