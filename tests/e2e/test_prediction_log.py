"""Records against answers: over normal stops, kills and full disks of a real server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.process import PATIENCE_S, Serving, receive, serving, starting, wait_until_gone
from tests.gateway.opening import CALLABLES, ROOT
from tests.stores.ends import logged
from tests.waiting import until_blocking

SPEC: Final = """
models:
  flower: {runtime: "gateway_callables:flower", execution: inline, sample: [[1, 2, 3, 4]]}
routes:
  iris: [{prediction_log: {groups: [header:x-age-band]}}, flower]
default: iris
"""
ROW: Final = b'{"data":[[1,2,3,4]]}'
PATHS: Final = (str(CALLABLES), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")]))
ENVIRONMENT: Final = {"PYTHONPATH": os.pathsep.join(PATHS)}

HEAD: Final = (
    b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nx-request-id: %%s\r\n\r\n" % len(ROW)
)
LONG_S: Final = 5.0
"""Far more than a record waits (50 ms and what the thread needs), for a machine that is busy."""

alone_and_together = pytest.mark.parametrize("workers", [1, 2])


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return path


def ask(server: Serving, request_id: str) -> None:
    answer = server.ask("POST", "/predict", ROW, {"x-request-id": request_id})
    assert answer.status == 200


def ids(folder: Path) -> list[str]:
    return sorted(record.request_id for record in logged(folder))


class Load:
    """Connections that ask one after the other until nobody listens; what they were answered.

    Attributes:
        answered: for each connection the ids that were answered, and when.
    """

    def __init__(self, port: int, connections: int = 8) -> None:
        self._port = port
        self.answered: list[list[tuple[str, float]]] = [[] for _ in range(connections)]
        self._threads = [
            threading.Thread(target=self._ask, args=(number,)) for number in range(connections)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.wait()

    def wait(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE_S)

    @property
    def count(self) -> int:
        return sum(map(len, self.answered))

    def until(self, count: int) -> None:
        until_blocking(lambda: self.count >= count)

    def _ask(self, number: int) -> None:
        with contextlib.suppress(ConnectionRefusedError):
            while True:  # a worker that leaves closes its connections, and a sibling takes them
                with contextlib.suppress(BrokenPipeError, ConnectionResetError, AssertionError):
                    self._ask_over_one(number)

    def _ask_over_one(self, number: int) -> None:
        answered, buffer = self.answered[number], bytearray()
        with socket.create_connection(("127.0.0.1", self._port), PATIENCE_S) as connection:
            while True:
                name = f"c{number}-{len(answered)}-{time.monotonic_ns()}"
                connection.sendall((HEAD % name.encode()) + ROW)
                assert receive(connection, buffer).status == 200
                answered.append((name, time.monotonic()))


@alone_and_together
def test_a_normal_stop_loses_nothing(spec: Path, tmp_path: Path, workers: int) -> None:
    folder = tmp_path / "records"
    options = ("--workers", str(workers), "--log-dir", str(folder))
    with serving(spec, *options, environment=ENVIRONMENT) as server:
        for number in range(300):
            ask(server, f"r{number:03}")
        assert server.stop() == 0
    assert ids(folder) == [f"r{number:03}" for number in range(300)]
    assert len({record.record_id for record in logged(folder)}) == 300


def test_a_kill_loses_what_was_not_handed_over_and_doubles_nothing(
    spec: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    folder = state / "log"
    options = ("--state-dir", str(state))
    with serving(spec, *options, environment=ENVIRONMENT) as server:
        for number in range(50):
            ask(server, f"a{number:02}")
        until_blocking(lambda: len(ids(folder)) == 50)  # within 50 ms, without any stop
        for number in range(50):
            ask(server, f"b{number:02}")
        server.stop(signal.SIGKILL)
    left = ids(folder)
    assert left[:50] == [f"a{number:02}" for number in range(50)]
    assert left[50:] == [f"b{number:02}" for number in range(len(left) - 50)]
    with serving(spec, *options, environment=ENVIRONMENT) as server:
        ask(server, "c")
        assert server.stop() == 0
        assert server.process.stderr is not None
        said = [json.loads(line)["event"] for line in server.process.stderr.read().splitlines()]
    assert any(f"{len(left)} records are whole" in event for event in said), said
    assert ids(folder) == [*left, "c"]


@alone_and_together
def test_killed_under_load_it_loses_the_newest_only(
    spec: Path, tmp_path: Path, workers: int
) -> None:
    folder = tmp_path / "records"
    options = ("--workers", str(workers), "--log-dir", str(folder))
    with serving(spec, *options, environment=ENVIRONMENT) as server:
        victims = [server.process.pid, *server.children()]
        with Load(server.port) as load:
            load.until(4000)
            for victim in victims:
                os.kill(victim, signal.SIGKILL)
            killed_s = time.monotonic()
            load.wait()
    recorded = ids(folder)
    assert len(recorded) == len(set(recorded))
    kept = set(recorded)
    for answered in load.answered:
        known = [name in kept for name, _ in answered]
        assert known == sorted(known, reverse=True)  # nothing is missing before what is there
    lost = [at_s for answered in load.answered for name, at_s in answered if name not in kept]
    assert all(at_s > killed_s - LONG_S for at_s in lost)
    assert len(lost) < 4000 <= load.count


def test_stopped_under_load_it_loses_nothing(spec: Path, tmp_path: Path) -> None:
    folder = tmp_path / "records"
    options = ("--workers", "2", "--log-dir", str(folder), "--state-dir", str(tmp_path / "state"))
    with serving(spec, *options, environment=ENVIRONMENT) as server, Load(server.port) as load:
        load.until(1000)
        spec.write_text(SPEC.replace("x-age-band", "x-age"))  # another generation meanwhile
        told = server.command("reload", "--state-dir", str(tmp_path / "state"))
        assert told.returncode == 0, told.stderr
        load.until(load.count + 1000)
        assert server.stop() == 0
        load.wait()
    names = {name for answered in load.answered for name, _ in answered}
    recorded = ids(folder)
    assert len(recorded) == len(set(recorded))
    assert names <= set(recorded)
    assert {record.generation for record in logged(folder)} == {1, 2}


def test_a_killed_worker_costs_no_others_records(spec: Path, tmp_path: Path) -> None:
    folder = tmp_path / "records"
    options = ("--workers", "2", "--log-dir", str(folder))
    with serving(spec, *options, environment=ENVIRONMENT) as server:
        for number in range(100):
            ask(server, f"a{number:02}")
        until_blocking(lambda: len(ids(folder)) == 100)
        victim = server.children()[0]
        os.kill(victim, signal.SIGKILL)
        wait_until_gone(victim)
        for number in range(20):
            ask(server, f"b{number:02}")
        assert server.stop() == 0
    assert len(ids(folder)) == 120


def test_tail_shows_the_newest_of_the_running_server(spec: Path, tmp_path: Path) -> None:
    with serving(spec, "--state-dir", str(tmp_path / "state"), environment=ENVIRONMENT) as server:
        missing = server.command("log", "tail", "--state-dir", str(tmp_path / "state"))
        assert missing.returncode == 1
        assert "nothing has been recorded there" in missing.stderr
        for number in range(5):
            ask(server, f"r{number}")
        until_blocking(lambda: len(ids(tmp_path / "state" / "log")) == 5)
        told = server.command("log", "tail", "-n", "2", "--state-dir", str(tmp_path / "state"))
        assert (told.returncode, told.stderr) == (0, "")
        lines = [json.loads(line) for line in told.stdout.splitlines()]
        assert [one["request_id"] for one in lines] == ["r3", "r4"]
        assert len(lines[0]["seed"]) == 16


# --- lines on standard output ------------------------------------------------------------


@contextlib.contextmanager
def lining(*arguments: str | Path, folder: Path | None) -> Iterator[Serving]:
    """Start a server whose standard output is for records; its banner is on standard error."""
    around = {**os.environ, **ENVIRONMENT, "PENSTOCK_LOG_SINKS": "stdout"}
    for name in ("HOME", "XDG_STATE_HOME"):
        around.pop(name, None)
    if folder is not None:
        around["PENSTOCK_LOG_DIR"] = str(folder)
    with starting(*arguments, environment=around) as process:
        assert process.stderr is not None
        said = b""
        while b"\n  curl " not in said or not said.endswith(b"\n"):
            said += process.stderr.readline()
        yield Serving(process, said.decode(), around)


@alone_and_together
def test_without_any_folder_records_are_lines(spec: Path, workers: int) -> None:
    with lining(spec, "--workers", str(workers), folder=None) as server:
        for number in range(50):
            ask(server, f"r{number:02}")
        detail = json.loads(server.ask("GET", "/health/detail").content)
        assert server.stop() == 0
        assert server.process.stdout is not None
        told = [json.loads(line) for line in server.process.stdout.read().splitlines()]
    assert sorted(one["request_id"] for one in told) == [f"r{number:02}" for number in range(50)]
    assert server.banner.count("give PENSTOCK_LOG_KEY") == workers
    logs = [one["prediction_log"] for one in detail["workers"]]
    assert [(one["folder"], list(one["sinks"])) for one in logs] == [(None, ["stdout"])] * workers


def test_long_lines_of_several_workers_are_whole(spec: Path, tmp_path: Path) -> None:
    row = b'{"data":[%s]}' % b",".join([b"[1,2,3,4]"] * 1000)
    with lining(spec, "--workers", "2", folder=tmp_path) as server:
        lines: list[bytes] = []
        assert server.process.stdout is not None
        reading = threading.Thread(target=lines.extend, args=(server.process.stdout,))
        reading.start()
        with ThreadPoolExecutor(8) as asking:
            statuses = [
                asking.submit(server.ask, "POST", "/predict", row, {"x-request-id": f"r{number}"})
                for number in range(200)
            ]
        assert {one.result().status for one in statuses} == {200}
        assert server.stop() == 0
        reading.join(PATIENCE_S)
    told = {json.loads(line)["request_id"] for line in lines}
    assert told == set(ids(tmp_path)) == {f"r{number}" for number in range(200)}
    assert min(map(len, lines)) > 10_000


def test_a_stalled_reader_holds_up_neither_answers_nor_segments(spec: Path, tmp_path: Path) -> None:
    with lining(spec, folder=tmp_path) as server, Load(server.port) as load:
        load.until(2000)  # some two megabytes of lines: no pipe holds them
        until_blocking(lambda: len(logged(tmp_path)) >= 2000)
        metrics = server.ask("GET", "/metrics").content.decode()
        server.process.kill()
        load.wait()
    waiting = re.search(r'prediction_records_waiting\{sink="stdout"\} (\d+)', metrics)
    assert waiting is not None
    assert int(waiting[1]) > 500
    assert re.search(r'prediction_records_waiting\{sink="segments"\} \d+', metrics)


# --- a disk that refuses -----------------------------------------------------------------


def test_a_folder_that_cannot_be_written_stops_nothing_and_is_visible(
    spec: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "records"
    folder.mkdir()
    in_the_way = folder / "segments"
    in_the_way.touch()
    options = ("--log-dir", str(folder))
    with serving(spec, *options, environment=ENVIRONMENT) as server:
        for number in range(20):
            ask(server, f"r{number:02}")

        def failing() -> bool:
            metrics = server.ask("GET", "/metrics").content.decode()
            return 'penstock_prediction_log_failing{sink="segments"} 1' in metrics

        until_blocking(failing)
        detail = json.loads(server.ask("GET", "/health/detail").content)
        segments = detail["workers"][0]["prediction_log"]["sinks"]["segments"]
        assert segments["failing"] == "File exists"
        assert segments["waiting"] > 0
        in_the_way.unlink()
        assert server.stop() == 0
        assert server.process.stderr is not None
        said = [json.loads(line)["event"] for line in server.process.stderr.read().splitlines()]
    assert ids(folder) == [f"r{number:02}" for number in range(20)]
    assert len([one for one in said if "cannot be written" in one]) == 1
