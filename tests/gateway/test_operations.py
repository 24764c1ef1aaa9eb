"""Live and ready, at the root and below every route; what all workers count and are."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import penstock
from penstock.core import families
from penstock.core.errors import Unavailable
from penstock.core.snapshot import Snapshot
from penstock.gateway.operations import (
    MAX_SCRAPES,
    Operations,
    all_counted,
    serve_operations,
)
from penstock.gateway.operator import AllReports
from penstock.gateway.paths import PathTable
from penstock.stores.postgresql.outbox import Outbox
from penstock.stores.postgresql.status import ShipStatus, write_status
from tests.gateway.asking import ask
from tests.gateway.opening import FLOWER, open_gateway
from tests.gateway.operating import All, FakeOperator, Latest, Member, Status, ask_table, counting
from tests.support import ManualClock, settle


def table_of(operator: FakeOperator) -> PathTable:
    table = PathTable()
    Operations(operator, ManualClock()).serve_at(table)
    return table


# --- live and ready ----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/iris/health", "/iris/health/ready"])
@pytest.mark.parametrize("default", ["", "default: iris\n"])
async def test_is_live_and_ready(path: str, default: str) -> None:
    async with open_gateway(FLOWER + default) as gateway:
        answer = await ask(gateway, "GET", path)
        assert (answer.status, answer.content) == (200, b'{"health":"ok"}')


async def test_without_a_default_route_the_root_has_nothing_else() -> None:
    async with open_gateway(FLOWER) as gateway:
        assert (await ask(gateway, "POST", "/predict")).status == 404
        assert (await ask(gateway, "GET", "/health/all")).status == 404


async def test_while_draining_it_is_live_and_not_ready() -> None:
    table = PathTable()
    serve_operations(table, "/iris", lambda: False)
    assert (await ask_table(table, "GET", "/iris/health")).status == 200
    answer = await ask_table(table, "GET", "/iris/health/ready")
    assert answer.status == 503
    assert answer.error["code"] == "not_ready"
    assert answer.header("retry-after") == "1"


# --- metrics -----------------------------------------------------------------------------


async def test_metrics_are_those_of_all_workers_together() -> None:
    departed = counting(9, 100).measures
    reports = All(
        workers=(
            Latest(index=0, report=counting(1, 3)),
            Latest(index=1, report=counting(2, 4), fresh=False),
        ),
        departed=Snapshot(
            {families.REQUESTS.name: departed.numbers[families.REQUESTS.name]},
            departed.distributions,
        ),
    )
    members = (Member(index=0), Member(index=1, restarts=2), Member(index=2, phase="down"))
    table = table_of(FakeOperator(reports, Status(generation=5, workers=members)))
    answer = await ask_table(table, "GET", "/metrics")
    assert answer.status == 200
    assert answer.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in text_string_to_metric_families(answer.content.decode())
        for sample in metric.samples
    }
    assert told["penstock_requests_total", "iris", "200"] == 107
    assert told["penstock_request_seconds_count", "iris"] == 107
    assert told["penstock_process_resident_memory_bytes", "1"] == 1e6
    assert told["penstock_generation",] == 5
    assert told["penstock_workers",] == 2
    assert told["penstock_worker_restarts_total", "1"] == 2


async def test_metrics_in_open_metrics() -> None:
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"
    table = table_of(FakeOperator())
    answer = await ask_table(table, "GET", "/metrics", headers={"accept": accept})
    kind = answer.header("content-type") or ""
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert answer.content.endswith(b"# EOF\n")


async def test_metrics_of_a_supervisor_that_does_not_answer() -> None:
    operator = FakeOperator()
    operator.refusal = Unavailable("the supervisor has not answered")
    table = table_of(operator)
    for _ in range(MAX_SCRAPES + 1):  # none of them is still counted as under way
        answer = await ask_table(table, "GET", "/metrics")
        assert answer.status == 503
        assert answer.error["code"] == "unavailable"


class Slow(FakeOperator):
    """Reports once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = asyncio.Event()

    async def reports(self) -> AllReports:
        await self.may.wait()
        return All()


async def test_scrapes_are_bounded() -> None:
    operator = Slow()
    table = table_of(operator)
    paths = ["/metrics", "/health/detail"] * (MAX_SCRAPES // 2)
    scrapes = [asyncio.ensure_future(ask_table(table, "GET", path)) for path in paths]
    await settle()
    for path in ("/metrics", "/health/detail"):
        shed = await ask_table(table, "GET", path)
        assert (shed.status, shed.error["code"]) == (503, "overloaded")
    operator.may.set()
    assert {answer.status for answer in await asyncio.gather(*scrapes)} == {200}
    assert (await ask_table(table, "GET", "/metrics")).status == 200


def test_a_worker_that_is_down_is_none() -> None:
    status = Status(workers=(Member(index=0, phase="opening"), Member(index=1)))
    assert all_counted(status, All()).numbers[families.WORKERS.name] == {(): 1}


@pytest.mark.parametrize(("refused", "successful"), [(None, 1), ("line 3: no", 0)])
def test_a_reload_that_was_refused_shows(refused: str | None, successful: int) -> None:
    numbers = all_counted(Status(refused=refused), All()).numbers
    assert numbers[families.LAST_RELOAD.name] == {(): successful}


async def test_what_is_shipped_is_counted_once_for_all_workers(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.make()
    write_status(outbox, ShipStatus(pid=7, shipped=42, failing="57P03", failing_s=0.0))
    table = PathTable()
    operator = FakeOperator()
    Operations(operator, ManualClock(), tmp_path).serve_at(table)
    text = (await ask_table(table, "GET", "/metrics")).content.decode()
    assert 'penstock_postgresql_records_total{outcome="shipped"} 42.0' in text
    told = (await ask_table(table, "GET", "/health/detail")).json["postgresql"]
    assert (told["shipped"], told["failing"]) == (42, "57P03")
    assert (
        "postgresql"
        not in (await ask_table(table_of(operator), "GET", "/metrics")).content.decode()
    )


# --- detail ------------------------------------------------------------------------------


async def test_detail() -> None:
    report = counting(41, 3, resident_bytes=5e6)
    reports = All(workers=(Latest(index=1, report=report, fresh=False),))
    members = (Member(index=0, phase="down", restarts=3), Member(index=1))
    table = table_of(FakeOperator(reports, Status(workers=members)))
    answer = await ask_table(table, "GET", "/health/detail")
    assert answer.status == 200
    assert answer.json == {
        "version": penstock.__version__,
        "generation": 7,
        "refused": False,
        "workers": [
            {"worker": 0, "phase": "down", "restarts": 3},
            {
                "worker": 1,
                "phase": "serving",
                "restarts": 0,
                "fresh": False,
                "pid": 41,
                "generation": 7,
                "started": "2025-06-15T15:06:30Z",
                "uptime_s": 10.0,
                "resident_bytes": 5_000_000,
            },
        ],
    }


async def test_detail_shows_what_a_worker_adds_and_takes_one_without_memory() -> None:
    report = counting(41, 0)
    bare = type(report)(pid=1, detail={"models": {"svc": {"known": True}}})
    table = table_of(FakeOperator(All(workers=(Latest(index=0, report=bare),))))
    (worker,) = (await ask_table(table, "GET", "/health/detail")).json["workers"]
    assert worker["models"] == {"svc": {"known": True}}
    assert worker["resident_bytes"] == 0


async def test_detail_of_a_supervisor_that_does_not_answer() -> None:
    operator = FakeOperator()
    operator.refusal = Unavailable("the supervisor has not answered")
    answer = await ask_table(table_of(operator), "GET", "/health/detail")
    assert answer.status == 503
