"""What `serve` refuses, each with one plain sentence; what it serves is in `tests/e2e`."""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.cli.main import main
from tests.gateway.opening import EXAMPLE, MODELS

SVC = str(MODELS / "iris_svc.onnx")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what is said on standard error; nothing else happens."""
    assert main(["serve", "--port", "0", *arguments]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    assert said.err.endswith("\n")
    return said.err[:-1]


def one_sentence(text: str) -> str:
    assert text
    assert "\n" not in text
    return text


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = one_sentence(refused(capsys, SVC, "--port", str(port)))
    assert f"cannot listen on 127.0.0.1:{port}: address already in use" in said
    assert "--port" in said


@pytest.mark.parametrize(
    "host", ["192.0.2.1", "no.such.host.invalid", "a..b", "x" * 70, "ä" * 70, "1:2:3"]
)
def test_an_address_that_is_not_here(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = one_sentence(refused(capsys, SVC, "--host", host))
    assert f"cannot listen on {host}:0: " in said


def test_a_missing_model_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nowhere.onnx"
    assert str(path) in one_sentence(refused(capsys, str(path)))


def test_a_missing_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("nowhere.yaml", "nowhere.yml"):
        assert name in one_sentence(refused(capsys, str(tmp_path / name)))


def test_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "model.onnx"
    folder.mkdir()
    assert str(folder) in one_sentence(refused(capsys, str(folder)))


@pytest.mark.parametrize("name", ["model.pkl", "model", "model.h5", "spec.json", "spec.YAML"])
def test_an_unknown_kind_of_file(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_text("{}")
    assert "no runtime opens this" in one_sentence(refused(capsys, str(path)))


def test_what_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.onnx"
    for content in (b"", b"nope", b"\x00" * 1000, Path(SVC).read_bytes()[:500]):
        path.write_bytes(content)
        assert str(path) in one_sentence(refused(capsys, str(path)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such labels file"),
        ("nope", "not JSON"),
        ('{"0": "a", "2": "b"}', "without a gap"),
        ("[1, 2, 3]", "list of names"),
        ('["a", "b"]', "2 labels"),
    ],
)
def test_labels(
    content: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "labels.json"
    if content is not None:
        path.write_text(content)
    assert said in one_sentence(refused(capsys, SVC, "--labels", str(path)))


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ("nope", "not JSON"),
        ("", "not JSON"),
        ("5", "not a list of rows"),
        ('{"data": [[1]]}', "not a list of rows"),
        ("[1, 2, 3, 4]", "sample"),
        ("[[1, 2]]", "expected 4"),
        ('[[1, 2, 3, "x"]]', "not a number"),
        ("[[1, 2, 3, true]]", "not a number"),
        ("[[1, 2, 3, NaN]]", ""),
        ("[[1, 2, 3, 1e400]]", ""),
        ("[]", "no rows"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_sample(sample: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in one_sentence(refused(capsys, SVC, "--sample", sample))


def test_an_unknown_route(capsys: pytest.CaptureFixture[str]) -> None:
    said = one_sentence(refused(capsys, str(EXAMPLE), "--route", "nope"))
    assert "there is no route or model 'nope'; there are iris, iris-sure" in said


def test_options_of_the_other_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--route is for a spec" in one_sentence(refused(capsys, SVC, "--route", "iris"))
    for option in ("--labels", "--sample"):
        said = one_sentence(refused(capsys, str(EXAMPLE), option, "x"))
        assert f"{option} is for a model file" in said


def test_serves_until_it_is_told_to_stop(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    got: list[object] = []

    def ask_and_stop() -> None:
        # It listens before it is ready; once it answers, its signal handlers are in place.
        connection = socket.create_connection(("127.0.0.1", port), timeout=20.0)
        with connection:
            connection.sendall(b"GET /iris_svc/health HTTP/1.1\r\nhost: x\r\n\r\n")
            got.append(connection.recv(4096).partition(b"\r\n")[0])
        os.kill(os.getpid(), signal.SIGTERM)

    client = threading.Thread(target=_when_listening, args=(port, ask_and_stop))
    client.start()
    try:
        assert main(["serve", SVC, "--port", str(port)]) == 0
    finally:
        client.join(20.0)
        gc.unfreeze()
    assert got == [b"HTTP/1.1 200 OK"]
    assert f"http://127.0.0.1:{port}/iris_svc/predict" in capfd.readouterr().out


def _when_listening(port: int, act: Callable[[], None]) -> None:
    until_s = time.monotonic() + 20.0
    while time.monotonic() < until_s:
        try:
            return act()
        except ConnectionRefusedError:
            os.sched_yield()
    return None
