"""Records in a real database against answers: over stops, kills and outages of a real server."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, Final

import pytest

from penstock.stores.postgresql.address import VARIABLE
from tests.e2e.process import Serving, as_json, serving, wait_until_gone
from tests.gateway.opening import CALLABLES, ROOT
from tests.postgres import PostgresServer, asked
from tests.waiting import until_blocking

SPEC: Final = """
models:
  flower: {runtime: "gateway_callables:flower", execution: inline, sample: [[1, 2, 3, 4]]}
routes:
  iris: [{prediction_log: {groups: [header:x-age-band]}}, flower]
  twice: [{prediction_log: }, {fan_out: {arms: {a: mirrored, b: mirrored}}}]
  mirrored: [{mirror: {shadow: flower}}, flower]
default: iris
"""
ROW: Final = b'{"data":[[1,2,3,4]]}'
PATHS: Final = os.pathsep.join((str(CALLABLES), str(ROOT), os.environ.get("PYTHONPATH", "")))


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return path


def around(database: str) -> dict[str, str]:
    return {"PYTHONPATH": PATHS, VARIABLE: database}


def ask(server: Serving, *request_ids: str) -> None:
    for request_id in request_ids:
        headers = {"x-request-id": request_id, "x-age-band": "30-40"}
        assert server.ask("POST", "/predict", ROW, headers).status == 200


def ids(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number:03}" for number in range(count)]


def there(database: str) -> list[str]:
    found = asked(database, "SELECT request_id FROM penstock_predictions ORDER BY request_id")
    return [str(one) for (one,) in found]


def shipped(server: Serving) -> dict[str, Any]:
    told: dict[str, Any] = as_json(server.ask("GET", "/health/detail"))["postgresql"]
    return told


def said(server: Serving) -> str:
    assert server.process.stderr is not None
    return server.process.stderr.read().decode()


@pytest.mark.parametrize("workers", [1, 2])
def test_after_a_normal_stop_all_records_are_in_the_database(
    spec: Path, tmp_path: Path, database: str, workers: int
) -> None:
    folder = tmp_path / "records"
    options = ("--workers", str(workers), "--log-dir", str(folder))
    with serving(spec, *options, environment=around(database)) as server:
        until_blocking(lambda: shipped(server).get("pid", 0) > 0)
        ask(server, *ids("a", 200))
        assert server.stop() == 0
        assert "sesame" not in said(server)
    assert there(database) == ids("a", 200)
    found = asked(
        database,
        "SELECT DISTINCT route, role, status, input, groups, trail->0->>'name' "
        "FROM penstock_predictions",
    )
    assert [one[:3] for one in found] == [("iris", "primary", 200)]
    assert found[0][3] == [[1.0, 2.0, 3.0, 4.0]]
    assert list(found[0][4].values()) == ["30-40"]
    assert list((folder / "outbox" / "postgresql").glob("*.segment")) == []
    assert len(list((folder / "segments").glob("*.segment"))) in range(1, workers + 1)


def test_the_records_of_a_route_that_a_request_meets_twice_are_all_there(
    spec: Path, tmp_path: Path, database: str
) -> None:
    options = ("--log-dir", str(tmp_path / "records"))
    with serving(spec, *options, environment=around(database)) as server:
        assert server.ask("POST", "/twice/predict", ROW).status == 200
        until_blocking(lambda: shipped(server).get("shipped") == 3)
        assert server.stop() == 0
    arms, shadow = "routes.twice[1].fan_out.arms", "routes.mirrored[0].mirror.shadow"
    assert asked(database, "SELECT role, place FROM penstock_predictions ORDER BY 1, 2") == [
        ("primary", "twice"),
        ("shadow", f"{arms}.a/{shadow}"),
        ("shadow", f"{arms}.b/{shadow}"),
    ]


def test_a_shipper_that_is_killed_is_replaced(spec: Path, tmp_path: Path, database: str) -> None:
    options = ("--log-dir", str(tmp_path / "records"))
    with serving(spec, *options, environment=around(database)) as server:
        until_blocking(lambda: shipped(server).get("pid", 0) > 0)
        before = shipped(server)["pid"]
        ask(server, *ids("a", 50))
        os.kill(before, signal.SIGKILL)
        ask(server, *ids("b", 50))
        until_blocking(lambda: shipped(server)["pid"] != before)
        until_blocking(lambda: len(there(database)) == 100)
        assert server.stop() == 0
        assert "was ended by signal 9" in said(server)
    assert there(database) == [*ids("a", 50), *ids("b", 50)]


def test_a_database_that_is_down_costs_no_answer_and_no_record(
    spec: Path, tmp_path: Path, postgres: PostgresServer, database: str
) -> None:
    options = ("--log-dir", str(tmp_path / "records"))
    with serving(spec, *options, environment=around(database)) as server:
        ask(server, *ids("a", 20))
        until_blocking(lambda: shipped(server).get("shipped") == 20)
        postgres.stop()
        try:
            ask(server, *ids("b", 20))
            until_blocking(lambda: shipped(server)["failing"] is not None)
            until_blocking(lambda: shipped(server)["waiting"] == 20)
            metrics = server.ask("GET", "/metrics").content.decode()
        finally:
            postgres.start()
        until_blocking(lambda: shipped(server)["shipped"] == 40)
        until_blocking(lambda: shipped(server)["failing"] is None)
        assert server.stop() == 0
        told = said(server)
    assert "penstock_postgresql_failing 1.0" in metrics
    assert "penstock_postgresql_waiting_records 20.0" in metrics
    assert told.count("they wait in the outbox") == 1
    assert told.count("records are shipped to PostgreSQL again") == 1
    assert there(database) == [*ids("a", 20), *ids("b", 20)]


def test_the_shipper_of_a_killed_server_ships_the_rest_and_ends(
    spec: Path, tmp_path: Path, database: str
) -> None:
    options = ("--log-dir", str(tmp_path / "records"))
    with serving(spec, *options, environment=around(database)) as server:
        until_blocking(lambda: shipped(server).get("pid", 0) > 0)
        shipper = shipped(server)["pid"]
        ask(server, *ids("a", 100))
        server.stop(signal.SIGKILL)
        wait_until_gone(shipper)
    found = there(database)
    assert found == ids("a", len(found))  # but for what was in the killed process's memory
    with serving(spec, *options, environment=around(database)) as server:
        until_blocking(lambda: shipped(server)["pid"] != shipper)
        ask(server, "b")
        assert server.stop() == 0
    assert there(database) == [*found, "b"]


@pytest.mark.parametrize(
    ("variable", "text", "sentence"),
    [
        (VARIABLE, "postgres//open-sesame", "is no address of a database"),
        ("PENSTOCK_LOG_OUTBOX_MB", "much", "give a number above 0"),
    ],
)
def test_what_the_environment_says_wrong_ends_the_start(
    spec: Path, variable: str, text: str, sentence: str
) -> None:
    environment = {**around("postgresql://localhost:1/db"), variable: text}
    started = serving(spec, environment=environment)
    with pytest.raises(AssertionError, match=sentence) as raised, started:
        pass
    assert "sesame" not in str(raised.value)
