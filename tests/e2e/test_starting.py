"""A server that gets signals while its models still load."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.process import PATIENCE_S, as_json, serving_by, starting

SPEC: Final = """
models:
  slow: {runtime: "slow_to_load:Slow", path: weights, execution: inline, sample: [[1, 2]]}
routes: {it: slow}
"""
SLOW: Final = '''
class Slow:
    def load(self, path):
        """Say that it loads, and end when we are told to."""
        with open("started", "wb", buffering=0) as started:
            started.write(b".")
        with open("go", "rb", buffering=0) as go:
            go.read(1)

    def predict(self, rows):
        return rows
'''

alone_and_together = pytest.mark.parametrize("workers", [1, 2])


class Loading:
    """A server whose workers have begun to load their model.

    Attributes:
        process: the server's.
        environment: of the server.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], environment: Mapping[str, str], go: int
    ) -> None:
        self.process = process
        self.environment = environment
        self._go = go

    def go_on(self) -> None:
        """Let the models be loaded, now and whenever they are loaded again."""
        os.write(self._go, b"." * 100)


@contextlib.contextmanager
def loading(folder: Path, workers: int) -> Iterator[Loading]:
    (folder / "spec.yaml").write_text(SPEC)
    (folder / "slow_to_load.py").write_text(SLOW)
    (folder / "weights").write_text("")
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    with contextlib.ExitStack() as stack:
        pipes = []
        for name in ("started", "go"):
            os.mkfifo(folder / name)
            pipes.append(os.open(folder / name, os.O_RDWR))  # neither side waits for the other
            stack.callback(os.close, pipes[-1])
        started, go = pipes
        process = stack.enter_context(
            starting("spec.yaml", "--workers", str(workers), folder=folder, environment=environment)
        )
        for _ in range(workers):
            ready, _, _ = select.select([started], [], [], PATIENCE_S)
            assert ready, "no model is being loaded"
            os.read(started, 1)
        yield Loading(process, environment, go)


@alone_and_together
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_stopped_while_models_load_ends(
    tmp_path: Path, workers: int, number: int
) -> None:
    with loading(tmp_path, workers) as it:
        it.process.send_signal(number)
        out, err = it.process.communicate(timeout=PATIENCE_S)
        assert (it.process.returncode, out, err) == (0, b"", b"")


@alone_and_together
def test_a_reload_that_is_asked_for_while_models_load_comes_after_it(
    tmp_path: Path, workers: int
) -> None:
    with loading(tmp_path, workers) as it:
        it.process.send_signal(signal.SIGHUP)
        it.go_on()
        server = serving_by(it.process, it.environment)
        assert it.process.stderr is not None
        assert b"reloaded (SIGHUP): generation 2" in it.process.stderr.readline()
        detail = as_json(server.ask("GET", "/health/detail"))
        assert [one["generation"] for one in detail["workers"]] == [2] * workers
        assert server.stop() == 0
