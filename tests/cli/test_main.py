"""The command line: usage, exit statuses, mistakes in plain words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from penstock import __version__
from penstock.cli import main as cli
from penstock.cli.explain import explain
from penstock.cli.main import main
from tests.gateway.opening import EXAMPLE, MODELS
from tests.support import ManualClock


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nope"],
        ["serve"],
        ["check"],
        ["explain"],
        ["serve", "x", "--port", "x"],
        ["serve", "x", "--port", "-1"],
        ["serve", "x", "--port", "65536"],
        ["serve", "x", "--port", "٣"],
        ["serve", "x", "--nope"],
        ["check", "a", "b"],
    ],
)
def test_bad_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert "usage: penstock" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["check", "--help"]])
def test_help_is_0(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 0
    assert "usage: penstock" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--version"])
    assert raised.value.code == 0
    assert capsys.readouterr().out == f"penstock {__version__}\n"


@pytest.mark.parametrize("verb", ["check", "explain", "serve"])
def test_mistakes_go_to_stderr_and_1(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("models: {m: {pth: x}}\nroutes: {a: n}\n")
    assert main([verb, str(path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "pth" in said.err
    assert "Traceback" not in said.err


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupted)
    assert main(["check", "x"]) == 130


def test_the_process_s_own_arguments_are_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["penstock", "explain", str(EXAMPLE), "iris"])
    assert main() == 0
    assert "svc" in capsys.readouterr().out


class TestCheck:
    def test_the_example(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", str(EXAMPLE)]) == 0
        said = capsys.readouterr()
        assert said.out == f"{EXAMPLE}: no mistakes\n"
        assert said.err == ""

    def test_warnings(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "spec.yaml"
        model = MODELS / "iris_setosa.onnx"
        path.write_text(
            f"models: {{m: {{path: '{model}'}}}}\nroutes: {{a: {{fan_out: {{arms: {{m: m}}}}}}}}\n"
        )
        assert main(["check", str(path)]) == 0
        said = capsys.readouterr()
        assert said.out.startswith(f"{path}: no mistakes, 1 warning")
        assert "no positive is written" in said.err

    @pytest.mark.parametrize(
        ("model", "said"),
        [
            ("{path: nowhere.onnx}", "nowhere.onnx"),
            ("{path: spec.yaml}", "no runtime opens this"),
            ("{runtime: 'nowhere:f'}", "nowhere"),
            ("{runtime: 'json:nope'}", "nope"),
            ("{path: 'MODELS/iris_svc.onnx', labels: nowhere.json}", "no such labels file"),
            ("{path: 'MODELS/iris_svc.onnx', labels: [a, b]}", "2 labels"),
            ("{path: 'MODELS/iris_svc.onnx', sample: [[1]]}", "expected 4"),
            ("{path: 'MODELS/iris_svc.onnx', sha256: " + "0" * 64 + "}", "its sha256 is"),
        ],
    )
    def test_models_are_opened(
        self, model: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "spec.yaml"
        path.write_text(
            f"models: {{m: {model.replace('MODELS', str(MODELS))}}}\nroutes: {{a: m}}\n"
        )
        assert main(["check", str(path)]) == 1
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1
        assert "Traceback" not in err

    def test_all_models_that_cannot_be_opened_are_told(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "spec.yaml"
        path.write_text(
            "models: {a: {path: one.onnx}, b: {runtime: 'nowhere:f'}}\nroutes: {x: a, y: b}\n"
        )
        assert main(["check", str(path)]) == 1
        err = capsys.readouterr().err
        assert "one.onnx" in err
        assert "nowhere" in err
        assert "Traceback" not in err

    def test_a_missing_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", str(tmp_path / "nowhere.yaml")]) == 1
        assert "nowhere.yaml" in capsys.readouterr().err

    def test_variables_come_from_the_environment(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("THRESHOLD_SETOSA", "1.5")
        assert main(["check", str(EXAMPLE)]) == 1
        assert "threshold" in capsys.readouterr().err


class TestExplain:
    def test_all_routes(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["explain", str(EXAMPLE)]) == 0
        out = capsys.readouterr().out
        for name in ("iris", "iris-sure", "iris-parallel", "iris-parameters", "iris-mean"):
            assert name in out

    def test_one_route(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["explain", str(EXAMPLE), "iris-parallel"]) == 0
        out = capsys.readouterr().out
        assert "versicolor" in out
        assert "iris-mean" not in out

    def test_an_unknown_route(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["explain", str(EXAMPLE), "nope"]) == 1
        assert capsys.readouterr().err == f"{EXAMPLE}: there is no route 'nope'\n"

    def test_the_way_of_a_request(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        spec = chosen(tmp_path)
        asked = '{"headers": {"Target": "mountain"}}'
        assert main(["explain", str(spec), "--request", asked]) == 0
        assert capsys.readouterr().out == (
            "a (default)\n└─ condition\n"
            '   ├─ when[0] matches: header target is mountain; it is "mountain"\n'
            "   └─ when[0]: rf (nowhere.onnx)\n"
        )

    def test_the_time_of_day_is_now(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        spec = chosen(tmp_path)
        clock = ManualClock(wall_s=86400.0 * 20000 + 23 * 3600)
        assert explain(str(spec), "a", {}, request="{}", clock=clock) == 0
        assert "when[1] matches: time between [22:00, 06:00]; it is 23:00 UTC" in (
            capsys.readouterr().out
        )

    @pytest.mark.parametrize(
        ("route", "request_", "said"),
        [
            ("a", "{", "--request is not understood"),
            ("a", '{"body": {"data": []}}', "$.data has no rows"),
            ("b", "{}", "there is no route 'b'"),
        ],
    )
    def test_a_request_that_cannot_be_explained(
        self,
        route: str,
        request_: str,
        said: str,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert main(["explain", str(chosen(tmp_path)), route, "--request", request_]) == 1
        assert said in capsys.readouterr().err

    def test_a_request_needs_a_spec_without_mistakes(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        spec = chosen(tmp_path)
        spec.write_text(spec.read_text().replace("22:00", "noon"))
        assert main(["explain", str(spec), "--request", "{}"]) == 1
        assert "noon is no time of day" in capsys.readouterr().err

    def test_a_body_with_keys_that_the_route_does_not_read(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["explain", str(chosen(tmp_path)), "--request", '{"body": {"x": 1}}']) == 0
        assert capsys.readouterr().out == (
            'a (default)\n└─ the server refuses it (422): a reads no "x" in the body\n'
        )


def chosen(folder: Path) -> Path:
    """Write a spec with a condition; there are no such model files."""
    spec = folder / "chosen.yaml"
    spec.write_text(
        "models: {rf: {path: nowhere.onnx}}\n"
        "routes: {a: {condition: {otherwise: rf, when: ["
        "{header: {target: mountain}, use: rf}, {time: {between: [22:00, 06:00]}, use: rf}]}}}\n"
    )
    return spec


@pytest.mark.parametrize("closed", ["<&- >&-", ">&-", "<&-"])
def test_files_do_not_get_the_numbers_of_closed_streams(tmp_path: Path, closed: str) -> None:
    program = (
        "import os, sys; from penstock.cli import main as it; it._hold_standard_numbers(); "
        "print(os.open(sys.argv[1], os.O_RDONLY), file=sys.stderr)"
    )
    file = tmp_path / "file"
    file.touch()
    ran = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-c", program, str(file)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(ran.stderr) > 2


def test_records_do_not_go_to_a_closed_standard_output(tmp_path: Path) -> None:
    served = [sys.executable, "-m", "penstock", "serve", str(MODELS / "iris_svc.onnx")]
    served += ["--port", "0", "--state-dir", str(tmp_path), "--log-sink", "stdout"]
    ran = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *served],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ran.returncode == 1
    assert ran.stderr == "records cannot go to standard output: it is closed\n"
