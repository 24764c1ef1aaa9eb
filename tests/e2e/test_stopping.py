"""A stop has an end, whatever the models do, and the log has what was cut off by it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from penstock.stores.prediction_record import PredictionRecord
from penstock.stores.read_log import records_of
from penstock.stores.segment_writer import segments_in
from tests.e2e.process import Serving, receive, serving_by, starting
from tests.gateway.wire import request

HURRIED: Final = ("-P", str(Path(__file__).parent / "hurried.py"))
SPEC: Final = """
limits: {timeout_s: 300}
models:
  endless: {runtime: "endless_models:endless"}
  deaf: {runtime: "endless_models:deaf"}
routes:
  it: [prediction_log: {}, endless]
  unheeding: deaf
"""
MODELS: Final = '''
import asyncio, contextlib

def begun():
    with open("started", "wb", buffering=0) as started:
        started.write(b".")

async def endless(rows):
    """Say that a request is under way, and never answer it."""
    begun()
    await asyncio.get_running_loop().create_future()

async def deaf(rows):
    """Likewise, and heed nobody who cancels it."""
    begun()
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
'''
BODY: Final = b'{"data":[[1,2,3,4]]}'


def environment(folder: Path) -> Mapping[str, str]:
    (folder / "spec.yaml").write_text(SPEC)
    (folder / "endless_models.py").write_text(MODELS)
    os.mkfifo(folder / "started")
    return {**os.environ, "XDG_STATE_HOME": str(folder / "state")}


@contextlib.contextmanager
def asking(server: Serving, folder: Path, *paths: str) -> Iterator[list[socket.socket]]:
    """Ask at each path over a connection of its own; yield these once all are under way."""
    with contextlib.ExitStack() as stack:
        started = os.open(folder / "started", os.O_RDWR)  # it has an end only when we leave it
        stack.callback(os.close, started)
        connections = []
        for path in paths:
            connection = stack.enter_context(server.connect())
            connection.sendall(request("POST", path, BODY))
            assert os.read(started, 1) == b"."
            connections.append(connection)
        yield connections


def recorded(log: Path) -> list[PredictionRecord]:
    """Return what is in a log whose segments have all been closed: nothing is odd about them."""
    odd: list[str] = []
    records = [
        one for path in segments_in(log / "segments") for one in records_of(path, odd.append)
    ]
    assert odd == []
    return records


@pytest.mark.parametrize("workers", [1, 2])
def test_requests_that_do_not_end_are_cut_off_told_so_and_recorded(
    workers: int, tmp_path: Path
) -> None:
    around, log = environment(tmp_path), tmp_path / "log"
    options = ("spec.yaml", "--workers", str(workers), "--log-dir", str(log))
    with starting(*options, folder=tmp_path, environment=around, program=HURRIED) as process:
        server = serving_by(process, around)
        with asking(server, tmp_path, "/it/predict", "/it/predict/an-id") as connections:
            process.send_signal(signal.SIGTERM)
            for connection in connections:
                answer = receive(connection, bytearray())
                assert (answer.status, answer.header("connection")) == (503, "close")
                assert answer.error["code"] == "stopping"
        assert process.wait(20.0) == 0
        assert process.stderr is not None
        assert b"were cut off" in process.stderr.read()
    assert [(one.status, one.code) for one in recorded(log)] == [(503, "stopping")] * 2


@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_that_heeds_nobody_does_not_hold_up_the_end(workers: int, tmp_path: Path) -> None:
    around = environment(tmp_path)
    options = ("spec.yaml", "--workers", str(workers))
    with starting(*options, folder=tmp_path, environment=around, program=HURRIED) as process:
        server = serving_by(process, around)
        with asking(server, tmp_path, "/unheeding/predict") as (connection,):
            process.send_signal(signal.SIGTERM)
            assert connection.recv(1) == b""
        assert process.wait(20.0) == 0
