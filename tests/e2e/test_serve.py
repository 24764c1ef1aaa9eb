"""A real process and a real socket: start, answers, signals, children."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.process import Serving, is_alive, receive, serving, wait_until_gone
from tests.gateway.asking import Answer
from tests.gateway.opening import EXAMPLE, MODELS, predicted
from tests.gateway.requests import CASES, GOOD, Case, padded
from tests.gateway.wire import request

SVC: Final = MODELS / "iris_svc.onnx"
SLOW: Final = """
models:
  slow: {runtime: "slow_models:wait"}
routes: {it: slow}
"""
SLOW_MODELS: Final = '''
import asyncio

def turn():
    with open("started", "wb", buffering=0) as started:
        started.write(b".")
    with open("go", "rb", buffering=0) as go:
        go.read(1)

async def wait(rows):
    """Say that a request is under way, and answer once we are told to."""
    await asyncio.to_thread(turn)
    return rows
'''


def score() -> dict[str, list[float]]:
    return {"prediction": predicted(SVC, [[5.1, 3.5, 1.4, 0.2]])[0].tolist()}


@pytest.fixture(scope="module")
def example() -> Iterator[Serving]:
    with serving(EXAMPLE) as server:
        yield server


# --- what it serves ---------------------------------------------------------------------------


def test_the_line_to_try_works_in_a_shell(example: Serving) -> None:
    line = example.banner.splitlines()[-1].strip()
    if shutil.which("curl") is None:
        *_, url, _, _, _, body = shlex.split(line)
        answer = example.ask("POST", "/" + url.split("/", 3)[3], body.encode())
        said = answer.content
    else:
        ran = subprocess.run(
            ["sh", "-c", f"{line} --silent --fail"], capture_output=True, check=True
        )
        said = ran.stdout
    assert json.loads(said) == score()


def test_the_banner_names_all(example: Serving) -> None:
    for name in ("svc@", "rf@", "setosa@", "versicolor@", "virginica@"):
        assert f"\n  {name}" in example.banner
    for route in ("iris", "iris-sure", "iris-parallel", "iris-parameters", "iris-mean"):
        assert f"http://127.0.0.1:{example.port}/{route}/predict" in example.banner


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_request_is_answered_as_it_should(example: Serving, case: Case) -> None:
    data = request(case.method, case.path, case.body, case.headers, chunked=case.chunked)
    with example.connect() as connection:
        buffer = bytearray()
        if case.method == "HEAD":
            connection.sendall(data)
            assert connection.recv(65536).startswith(b"HTTP/1.1 405 ")
            return
        answer = sent(connection, data, buffer)
        assert answer.status == case.status
        if case.code:
            assert answer.error["code"] == case.code
            assert answer.error.get("path") == case.place
            assert answer.error["request_id"] == answer.header("x-request-id")
        if answer.header("connection") == "close":
            return
        connection.sendall(request("POST", "/iris/predict", GOOD))
        assert receive(connection, buffer).json == score()


def sent(connection: socket.socket, data: bytes, buffer: bytearray) -> Answer:
    """Send all, and return the answer, which may come before all is sent."""
    connection.sendall(data)
    return receive(connection, buffer)


def test_a_client_that_sends_on_gets_to_read_its_refusal(example: Serving) -> None:
    with example.connect() as connection:
        head = b"POST /iris/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 30000000\r\n\r\n"
        connection.sendall(head)
        connection.sendall(b" " * 30_000_000)
        answer = receive(connection, bytearray())
        assert (answer.status, answer.header("connection")) == (413, "close")
        assert connection.recv(1) == b""


def test_pipelined_requests_keep_their_order(example: Serving) -> None:
    with example.connect() as connection:
        count = 500
        data = b"".join(
            request(
                "POST",
                f"/iris/predict{'' if i % 3 else f'/{i}'}",
                GOOD,
                {"x-request-id": b"%d" % i},
            )
            for i in range(count)
        )
        connection.sendall(data)
        buffer = bytearray()
        ids = [receive(connection, buffer).header("x-request-id") for _ in range(count)]
    assert ids == [str(i) for i in range(count)]


def test_a_killed_decoder_is_replaced(example: Serving) -> None:
    large = padded(1_000_000)
    assert example.ask("POST", "/iris/predict", large).status == 200
    (child,) = example.children()
    os.kill(child, signal.SIGKILL)
    wait_until_gone(child)
    answers = [example.ask("POST", "/iris/predict", large) for _ in range(2)]
    assert [answer.status for answer in answers] in ([200, 200], [503, 200])
    assert answers[1].json == score()


# --- how it starts ----------------------------------------------------------------------


def test_a_bare_model_from_another_folder(tmp_path: Path) -> None:
    labels = MODELS / "iris_labels.json"
    here = os.path.relpath(SVC, tmp_path)
    with serving(
        here, "--labels", labels, "--sample", "[[5.1, 3.5, 1.4, 0.2]]", folder=tmp_path
    ) as server:
        assert server.ask("GET", "/predict/test").json == score()
        assert server.ask("POST", "/iris_svc/predict/label", GOOD).json == {"prediction": "setosa"}
        assert server.ask("GET", "/label").json["2"] == "virginica"
        assert server.stop() == 0


def test_a_spec_s_paths_are_relative_to_it(tmp_path: Path) -> None:
    with serving(
        os.path.relpath(EXAMPLE, tmp_path), "--route", "setosa", folder=tmp_path
    ) as server:
        assert len(server.ask("POST", "/predict", GOOD).json["prediction"]) == 2
        assert server.ask("GET", "/health/all").json == {"setosa": "ok"}
        for name in ("iris", "iris-parallel", "versicolor", "setosa"):
            refused = server.ask("POST", f"/{name}/predict", GOOD)
            assert refused.status == 404
            assert refused.error["message"] == f"nothing is served at '/{name}/predict'"
        assert "versicolor" not in server.banner
        assert "/setosa/" not in server.banner
        assert server.stop() == 0


def test_thresholds_come_from_the_environment() -> None:
    environment = {"THRESHOLD_SETOSA": "1.0", "ACTIVATE_VIRGINICA": "1"}
    with serving(EXAMPLE, "--route", "iris-parameters", environment=environment) as server:
        answer = server.ask("POST", "/predict", GOOD).json
    assert set(answer) == {"setosa", "versicolor", "virginica"}
    assert answer["setosa"] == 0


# --- how it ends ------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "slow_models.py").write_text(SLOW_MODELS)
    (tmp_path / "spec.yaml").write_text(SLOW)
    started, go = _pipe(tmp_path / "started"), _pipe(tmp_path / "go")
    with started, go, serving("spec.yaml", folder=tmp_path) as server:
        answers = []
        with server.connect() as lane, server.connect() as ordinary, server.connect() as idle:
            lane.sendall(request("POST", "/it/predict", b'{"data":[[1,2]]}'))
            ordinary.sendall(request("POST", "/it/predict/an-id", b'{"data":[[3,4]]}'))
            idle.sendall(request("GET", "/health"))
            receive(idle, bytearray())
            assert started.read(1) + started.read(1) == b".."
            server.process.send_signal(number)
            assert idle.recv(1) == b""  # the idle one is closed: the server is ending
            go.write(b"..")
            answers = [receive(connection, bytearray()) for connection in (lane, ordinary)]
        assert [answer.status for answer in answers] == [200, 200]
        assert answers[0].json == {"prediction": [1.0, 2.0]}
        assert answers[1].json == {"prediction": [3.0, 4.0], "job_id": "an-id"}
        assert server.process.wait(30) == 0
        assert server.process.stderr is not None
        assert b"Traceback" not in server.process.stderr.read()


def _pipe(path: Path) -> FileIO:
    """Make a named pipe; return it open at both ends, so that nobody waits to open it."""
    os.mkfifo(path)
    return FileIO(os.open(path, os.O_RDWR), "r+")


def test_nothing_is_left_behind_when_it_is_killed() -> None:
    with serving(EXAMPLE) as server:
        assert server.ask("POST", "/iris/predict", padded(1_000_000)).status == 200
        (child,) = server.children()
        assert is_alive(child)
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        wait_until_gone(child)


def test_nothing_is_left_behind_when_it_ends() -> None:
    with serving(EXAMPLE) as server:
        assert server.ask("POST", "/iris/predict", padded(1_000_000)).status == 200
        (child,) = server.children()
        assert server.stop() == 0
        wait_until_gone(child)
        with socket.create_server(("127.0.0.1", server.port)):
            pass  # the port is free again


def test_what_it_refuses_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    import sys

    command = [sys.executable, "-m", "penstock", "serve", str(tmp_path / "nowhere.onnx")]
    ran = subprocess.run([*command, "--port", "0"], capture_output=True, check=False, text=True)
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1
    assert "nowhere.onnx" in ran.stderr
