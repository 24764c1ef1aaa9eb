"""A gateway and its predictors as processes of their own: the same answers, and faults."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import pytest

from tests.e2e.process import Serving, as_json, serving
from tests.gateway.opening import EXAMPLE

NAMES = ("setosa", "versicolor", "virginica")

ASKED = [
    ("POST", "/iris-parallel/predict", b'{"data":[[1.0,2.0,3.0,4.0]]}'),
    ("POST", "/iris-parallel/predict", b'{"data":[[1.0,2.0,3.0,4.0],[5.1,3.5,1.4,0.2]]}'),
    ("POST", "/iris-parallel/predict/label", b'{"data":[[1.0,2.0,3.0,4.0]]}'),
    ("POST", "/iris-parallel/predict", b'{"data":[[1.0,2.0,3.0]]}'),
    ("GET", "/iris-parallel/predict/get/test", b""),
    ("GET", "/iris-parallel/metadata", b""),
    ("GET", "/iris-parallel/label", b""),
    ("GET", "/iris-parallel/health/all", b""),
    ("GET", "/iris-parallel/health/pred", b""),
    ("POST", "/iris-parameters/predict", b'{"data":[[5.1,3.5,1.4,0.2]]}'),
    ("POST", "/iris-parameters/predict", b'{"data":[[50.0,30.1,111.4,110.2]]}'),
    ("GET", "/iris-parameters/health/all", b""),
]


class Apart:
    """The example's three classifiers as servers of their own, and a gateway in front of them."""

    def __init__(self, gateway: Serving, arms: dict[str, Serving]) -> None:
        self.gateway = gateway
        self.arms = arms

    def until_known(self) -> None:
        """Return when the gateway knows what its remote models are."""
        while not all(self.known().values()):
            pass

    def known(self) -> dict[str, bool]:
        (worker,) = as_json(self.gateway.ask("GET", "/health/detail"))["workers"]
        return {name: model["known"] for name, model in worker["models"].items()}


@contextlib.contextmanager
def apart() -> Iterator[Apart]:
    with contextlib.ExitStack() as stack:
        arms = {name: stack.enter_context(serving(EXAMPLE, "--route", name)) for name in NAMES}
        addresses = {f"SERVICE_{n.upper()}": f"127.0.0.1:{arms[n].port}" for n in NAMES}
        gateway = stack.enter_context(serving(EXAMPLE, environment=addresses))
        running = Apart(gateway, arms)
        running.until_known()
        yield running


@pytest.fixture(scope="module")
def together() -> Iterator[Serving]:
    with serving(EXAMPLE) as server:
        yield server


@pytest.fixture(scope="module")
def healthy() -> Iterator[Apart]:
    with apart() as running:
        yield running


@pytest.mark.parametrize(("method", "path", "body"), ASKED)
def test_answers_as_the_one_process_does(
    healthy: Apart, together: Serving, method: str, path: str, body: bytes
) -> None:
    remote, local = (one.ask(method, path, body) for one in (healthy.gateway, together))
    assert remote.status == local.status
    if remote.status == 200:
        assert as_json(remote) == as_json(local)
    else:
        assert remote.error["code"] == local.error["code"]


def test_a_gateway_starts_without_its_predictors_and_finds_them_later() -> None:
    nowhere = {"SERVICE_SETOSA": "127.0.0.1:1"}
    with serving(EXAMPLE, environment=nowhere) as gateway:
        assert gateway.ask("GET", "/health/ready").status == 200
        answer = gateway.ask("POST", "/iris-parallel/predict", ASKED[0][2])
        assert answer.status == 200
        assert as_json(answer)["setosa"] == {"error": {"code": "not_ready"}}
        assert "prediction" in as_json(answer)["versicolor"]
        healths = as_json(gateway.ask("GET", "/iris-parallel/health/all"))
        assert healths["setosa"] == {"health": "ng"}
        assert healths["versicolor"] == {"health": "ok"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_an_arm_that_is_killed_or_frozen_costs_only_its_own_entry(number: signal.Signals) -> None:
    with apart() as running:
        running.arms["virginica"].process.send_signal(number)
        answer = running.gateway.ask(
            "POST", "/iris-parallel/predict", ASKED[0][2], {"x-timeout-ms": "500"}
        )
        assert answer.status == 200
        entries = as_json(answer)
        assert set(entries["virginica"]) == {"error"}
        assert [len(entries[name]["prediction"]) for name in ("setosa", "versicolor")] == [2, 2]
        healths = as_json(running.gateway.ask("GET", "/iris-parallel/health/all"))
        assert [healths[name]["health"] for name in NAMES] == ["ok", "ok", "ng"]
        running.arms["virginica"].process.send_signal(signal.SIGCONT)
