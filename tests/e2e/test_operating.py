"""A running server that is changed, reloaded, killed in part and stopped."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.process import PATIENCE_S, Serving, as_json, serving
from tests.gateway.opening import CALLABLES, ROOT

SPEC: Final = """
models:
  flower: {runtime: "gateway_callables:flower", execution: inline, sample: [[1, 2, 3, 4]]}
  bloom: {runtime: "gateway_callables:bloom", execution: inline, sample: [[1, 2, 3, 4]]}
routes:
  mix:                       # what it answers tells the weights
    - fan_out: {aggregate: weighted, arms: {flower: {use: flower, weight: 1}, bloom: bloom}}
  both: {fan_out: {arms: {flower: flower, bloom: bloom}}}
"""
ROW: Final = b'{"data":[[1,2,3,4]]}'
MIXED: Final = {1: 0.625, 3: 0.6875, 7: 0.71875}
"""The first score of `mix`, by the weight of its first arm."""

TOKEN: Final = "open-sesame"

alone_and_together = pytest.mark.parametrize("workers", [1, 2])


class Operated:
    """A server whose spec lies in a folder that may be written to."""

    def __init__(self, server: Serving, spec: Path) -> None:
        self.server = server
        self.spec = spec

    def write(self, text: str) -> None:
        """Replace the file in one step, as editors and ConfigMaps do."""
        new = self.spec.with_suffix(".new")
        new.write_text(text)
        new.replace(self.spec)

    def mixed(self) -> float:
        answer = self.server.ask("POST", "/mix/predict", ROW)
        assert answer.status == 200, answer.content
        score: float = as_json(answer)["prediction"][0]
        return score

    def everywhere(self) -> set[float]:
        """Ask so often, over connections of their own, that each worker has been asked."""
        return {self.mixed() for _ in range(24)}

    def command(self, *arguments: str) -> tuple[int, str]:
        ran = self.server.command(*arguments)
        return ran.returncode, ran.stdout + ran.stderr

    def detail(self) -> Any:  # noqa: ANN401 - any JSON
        return as_json(self.server.ask("GET", "/health/detail"))

    def until(self, is_so: Callable[[], bool]) -> None:
        """Return once something is so that comes by itself."""
        gave_up = threading.Event()
        timer = threading.Timer(PATIENCE_S, gave_up.set)
        timer.start()
        try:
            while not is_so():
                assert not gave_up.is_set(), self.detail()
        finally:
            timer.cancel()

    def until_generation(self, number: int) -> None:
        """Return once all workers serve a generation."""
        self.until(lambda: {one["generation"] for one in self.detail()["workers"]} == {number})


@contextlib.contextmanager
def operated(
    folder: Path, workers: int = 1, state: Path | None = None, token: str = ""
) -> Iterator[Operated]:
    spec = folder / "spec.yaml"
    if not spec.exists():
        spec.write_text(SPEC)
    options = [] if state is None else ["--state-dir", str(state)]
    environment = {
        "PYTHONPATH": os.pathsep.join((str(CALLABLES), str(ROOT))),
        "PENSTOCK_ADMIN_TOKEN": token,
    }
    with serving(spec, "--workers", str(workers), *options, environment=environment) as server:
        yield Operated(server, spec)


# --- changes -----------------------------------------------------------------------------


@alone_and_together
def test_a_weight_that_is_set_is_served_by_all_workers_at_once(
    tmp_path: Path, workers: int
) -> None:
    with operated(tmp_path, workers) as it:
        assert it.everywhere() == {MIXED[1]}
        status, said = it.command("set", "mix/flower", "weight=3")
        assert status == 0, said
        assert "generation 2" in said
        assert it.everywhere() == {MIXED[3]}


@alone_and_together
def test_a_route_and_an_arm_are_switched_off_and_on(tmp_path: Path, workers: int) -> None:
    with operated(tmp_path, workers) as it:
        assert it.command("switch", "both/bloom", "off")[0] == 0
        assert list(as_json(it.server.ask("POST", "/both/predict", ROW))) == ["flower"]
        assert it.command("switch", "both", "off")[0] == 0
        answer = it.server.ask("POST", "/both/predict", ROW)
        assert (answer.status, answer.error["code"]) == (503, "switched_off")
        assert it.command("switch", "both", "on")[0] == 0
        assert list(as_json(it.server.ask("POST", "/both/predict", ROW))) == ["flower"]


def test_what_was_set_survives_a_restart_and_leaves_the_file_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with operated(tmp_path, state=state) as it:
        it.spec.chmod(0o444)
        assert it.command("set", "mix/flower", "weight=7", "--state-dir", str(state))[0] == 0
        assert it.server.stop() == 0
    assert (tmp_path / "spec.yaml").read_text() == SPEC
    with operated(tmp_path, state=state) as it:
        assert it.mixed() == MIXED[7]
        _, said = it.command("history", "--state-dir", str(state))
        assert "routes.mix[0].fan_out.arms.flower.weight" in said


def test_what_was_set_yields_to_a_new_value_in_the_file(tmp_path: Path) -> None:
    with operated(tmp_path) as it:
        assert it.command("set", "mix/flower", "weight=7")[0] == 0
        it.write(SPEC.replace("weight: 1", "weight: 3"))
        it.until(lambda: it.mixed() == MIXED[3])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("set", "mix/flowre", "weight=3"), "flower"),
        (("set", "mix/flower", "weight=heavy"), "weight"),
        (("set", "mix/flower", "colour=3"), "colour"),
        (("set", "max/flower", "weight=3"), "mix"),
        (("switch", "both/bloom", "maybe"), "maybe"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused_with_the_reason(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    with operated(tmp_path) as it:
        status, said = it.command(*arguments)
        assert status != 0
        assert says in said
        assert "Traceback" not in said
        assert it.mixed() == MIXED[1]


def test_a_server_without_a_state_directory_serves_and_refuses_changes(tmp_path: Path) -> None:
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    with operated(tmp_path, state=nowhere, token=TOKEN) as it:
        assert it.mixed() == MIXED[1]
        body = b'{"target":"both","state":"off"}'
        answer = it.server.ask("POST", "/admin/switch", body, bearer())
        assert (answer.status, answer.error["code"]) == (409, "change_refused")
        it.server.process.send_signal(signal.SIGHUP)  # a reload keeps nothing
        it.until_generation(2)


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"authorization": f"Bearer {token}", "content-type": "application/json"}


@alone_and_together
def test_operators_may_ask_over_http_with_the_token(tmp_path: Path, workers: int) -> None:
    change = b'{"changes":[{"target":"mix/flower","key":"weight","value":3}]}'
    with operated(tmp_path, workers, token=TOKEN) as it:
        for headers in ({}, bearer("guessed"), {"authorization": "Basic open-sesame"}):
            answer = it.server.ask("POST", "/admin/set", change, headers)
            assert (answer.status, answer.error["code"]) == (401, "unauthorized")
        assert it.everywhere() == {MIXED[1]}
        answer = it.server.ask("POST", "/admin/set", change, bearer())
        assert (answer.status, as_json(answer)["generation"]) == (200, 2)
        assert it.everywhere() == {MIXED[3]}
        (event,) = as_json(it.server.ask("GET", "/admin/history?limit=1", b"", bearer()))["events"]
        assert event["changes"][0]["new"] == 3


def test_without_a_token_there_are_no_admin_endpoints(tmp_path: Path) -> None:
    with operated(tmp_path) as it:
        assert it.server.ask("GET", "/admin/status", b"", bearer()).status == 404


# --- reloads -----------------------------------------------------------------------------


@alone_and_together
def test_a_changed_file_is_served_by_all_workers(tmp_path: Path, workers: int) -> None:
    with operated(tmp_path, workers) as it:
        it.write(SPEC.replace("weight: 1", "weight: 3"))
        it.until_generation(2)
        assert it.everywhere() == {MIXED[3]}
        it.server.process.send_signal(signal.SIGHUP)
        it.until_generation(3)
        assert it.everywhere() == {MIXED[3]}


@alone_and_together
def test_a_bad_file_leaves_the_old_generation_and_says_why(tmp_path: Path, workers: int) -> None:
    with operated(tmp_path, workers) as it:
        it.write(SPEC.replace("aggregate: weighted", "aggregate: heavier"))
        status, said = it.command("reload")
        assert status == 1
        assert "spec.yaml:7" in said
        assert "weighted" in said
        it.write(SPEC.replace("callables:bloom", "callables:nobody"))
        status, said = it.command("reload")
        assert status == 1
        assert "nobody" in said
        assert it.everywhere() == {MIXED[1]}
        assert it.server.ask("GET", "/health/ready").status == 200


# --- workers -----------------------------------------------------------------------------


def restarts(it: Operated) -> list[int]:
    return [one["restarts"] for one in it.detail()["workers"]]


def pids(it: Operated) -> list[int]:
    return [one["pid"] for one in it.detail()["workers"]]


def test_a_worker_that_is_killed_is_replaced_and_serves_what_the_others_do(tmp_path: Path) -> None:
    with operated(tmp_path, 2) as it:
        assert it.command("set", "mix/flower", "weight=3")[0] == 0
        before = pids(it)
        os.kill(before[0], signal.SIGKILL)
        assert it.everywhere() == {MIXED[3]}  # no connection waits for the replacement
        it.until(lambda: restarts(it) == [1, 0] and it.detail()["workers"][0].get("fresh"))
        after = pids(it)
        assert (after[0] != before[0], after[1]) == (True, before[1])
        assert it.everywhere() == {MIXED[3]}


def test_workers_end_with_their_supervisor_even_if_it_is_killed(tmp_path: Path) -> None:
    with operated(tmp_path, 2) as it:
        watched = [os.pidfd_open(pid) for pid in pids(it)]
        it.server.stop(signal.SIGKILL)
        for one in watched:
            gone, _, _ = select.select([one], [], [], PATIENCE_S)
            os.close(one)
            assert gone


def test_what_all_workers_count_is_answered_by_each(tmp_path: Path) -> None:
    with operated(tmp_path, 2) as it:
        for _ in range(30):
            it.mixed()
        for _ in range(6):
            text = it.server.ask("GET", "/metrics").content.decode()
            assert 'penstock_requests_total{route="mix",status="200"} 30.0' in text


@alone_and_together
def test_a_second_server_does_not_share_the_port_unnoticed(tmp_path: Path, workers: int) -> None:
    with operated(tmp_path, 2) as it:
        command = ["serve", str(it.spec), "--port", str(it.server.port)]
        status, said = it.command(*command, "--workers", str(workers))
        assert status == 1
        assert "cannot listen" in said


def test_a_server_of_several_workers_stops_in_order(tmp_path: Path) -> None:
    with operated(tmp_path, 2) as it:
        assert it.server.stop() == 0


def test_a_worker_that_somebody_stops_leaves_its_connections_to_a_sibling(tmp_path: Path) -> None:
    with operated(tmp_path, 2) as it:
        before = pids(it)
        os.kill(before[0], signal.SIGTERM)
        assert it.everywhere() == {MIXED[1]}
        it.until(lambda: restarts(it) == [1, 0] and it.detail()["workers"][0].get("fresh"))
        assert it.everywhere() == {MIXED[1]}


def test_what_a_worker_counts_until_it_ends_is_not_lost(tmp_path: Path) -> None:
    with operated(tmp_path, 2) as it, contextlib.ExitStack() as stack:
        kept = [
            stack.enter_context(contextlib.closing(HTTPConnection("127.0.0.1", it.server.port)))
            for _ in range(8)
        ]
        answered = sum(map(asked, kept))
        os.kill(pids(it)[0], signal.SIGTERM)
        it.until(lambda: it.detail()["workers"][0]["phase"] == "leaving")
        answered += sum(map(asked, kept))  # by both, each where its connection leads to
        it.until(lambda: restarts(it) == [1, 0] and it.detail()["workers"][0].get("fresh"))
        text = it.server.ask("GET", "/metrics").content.decode()
        assert f'penstock_requests_total{{route="mix",status="200"}} {answered:.1f}' in text


def asked(connection: HTTPConnection) -> bool:
    """Ask over a connection that is kept; return whether there was an answer."""
    try:
        connection.request("POST", "/mix/predict", ROW)
        return connection.getresponse().read() != b""
    except (HTTPException, OSError):  # the server has closed it meanwhile
        return False
