from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli.main import main
from tests.cli.operated import operated

Triples = list[tuple[str, str, str]]


@pytest.mark.parametrize(
    ("words", "triples"),
    [
        (["r/a", "weight=5"], [("r/a", "weight", "5")]),
        (["r/a", "weight=5", "state=off"], [("r/a", "weight", "5"), ("r/a", "state", "off")]),
        (
            ["r/a", "weight=5", "r/b", "weight=95"],
            [("r/a", "weight", "5"), ("r/b", "weight", "95")],
        ),
        (["r", "state="], [("r", "state", "")]),
        (["r", "state=a=b"], [("r", "state", "a=b")]),
    ],
)
def test_values_are_set_all_at_once(
    words: list[str], triples: Triples, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with operated(tmp_path) as operator:
        assert main(["set", *words, "--state-dir", str(tmp_path)]) == 0
    (asked,) = operator.asked
    assert asked[1] == triples
    assert capsys.readouterr().out == (
        "generation 7: routes.iris.fan_out.arms.svc.weight 60 -> 5.0 (all 2 workers)\n"
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "the following arguments are required"),
        (["weight=5"], "say the route or arm before 'weight=5'"),
        (["r/a"], "nothing is given to set of 'r/a': say KEY=VALUE after it"),
        (["r/a", "r/b", "weight=5"], "nothing is given to set of 'r/a'"),
        (["r/a", "weight=5", "r/b"], "nothing is given to set of 'r/b'"),
    ],
)
def test_bad_usage_is_2(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["set", *words])
    assert raised.value.code == 2
    assert why in capsys.readouterr().err


def test_the_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["set", "--help"])
    assert raised.value.code == 0
    assert "example: penstock set iris-ab/svc weight=95 iris-ab/rf weight=5" in (
        capsys.readouterr().out
    )
