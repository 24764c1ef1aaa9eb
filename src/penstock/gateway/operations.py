"""The operators' face: is the process live and ready, what does it count, what does it serve."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, final

import penstock
from penstock.core import families
from penstock.core.clock import Clock
from penstock.core.errors import NotReady, Overloaded
from penstock.core.snapshot import Reading, Snapshot, add_number, merged
from penstock.gateway.exchange import Exchange
from penstock.gateway.metrics import exposition
from penstock.gateway.operator import AllReports, LatestReport, Operator, ServerStatus
from penstock.gateway.paths import PathTable
from penstock.stores.postgresql.status import ship_detail, ship_readings

MAX_SCRAPES: Final = 4
"""Answers of `/metrics` and `/health/detail` that are being made; 503 beyond."""

IsReady = Callable[[], bool]


def always_ready() -> bool:
    """Tell that the gateway is ready: it is open."""
    return True


def serve_operations(table: PathTable, prefix: str, is_ready: IsReady = always_ready) -> None:
    """Put the two endpoints that probes ask into the table, below `prefix`.

    Args:
        table: to put them into.
        prefix: of a route, or empty.
        is_ready: tells whether new requests are welcome; they are not while draining.
    """

    async def ready(exchange: Exchange) -> None:
        """`GET /health/ready`: the spec is applied, all its local models are open."""
        if not is_ready():
            raise NotReady("the gateway is about to stop: it")
        await exchange.answer(200, b'{"health":"ok"}')

    table.add("GET", f"{prefix}/health", health)
    table.add("GET", f"{prefix}/health/ready", ready)


async def health(exchange: Exchange) -> None:
    """`GET /health`: the process is live."""
    await exchange.answer(200, b'{"health":"ok"}')


@final
class Operations:
    """What all workers of a server count and are.

    Args:
        operator: asks them.
        clock: tells the time.
        shipped: the folder of the log that is shipped to PostgreSQL; None where none is.
    """

    def __init__(self, operator: Operator, clock: Clock, shipped: Path | None = None) -> None:
        self._operator = operator
        self._clock = clock
        self._shipped = shipped
        self._scrapes = 0

    def serve_at(self, table: PathTable) -> None:
        """Put the endpoints into the table, at the root."""
        for method, path, ask in ENDPOINTS:
            table.add(method, path, partial(ask, self))

    async def metrics(self, exchange: Exchange) -> None:
        """`GET /metrics`: what all workers count, for Prometheus."""
        accept = exchange.headers.get(b"accept", b"").decode("latin-1")
        with self._scrape():
            status, reports = await self._operator.status(), await self._operator.reports()
            # Of many routes it is long: the loop goes on meanwhile.
            text, kind = await asyncio.to_thread(self._exposition, status, reports, accept)
        await exchange.answer(200, text, content_type=(b"content-type", kind.encode()))

    async def detail(self, exchange: Exchange) -> None:
        """`GET /health/detail`: the server, its workers, and what each of them serves."""
        with self._scrape():
            status, reports = await self._operator.status(), await self._operator.reports()
            told = detail(status, reports, self._clock.wall_s())
            if self._shipped is not None:
                ship = partial(ship_detail, self._shipped, self._clock.wall_s())
                told["postgresql"] = await asyncio.to_thread(ship)
        await exchange.answer_json(told)

    def _exposition(
        self, status: ServerStatus, reports: AllReports, accept: str
    ) -> tuple[bytes, str]:
        shipped: Iterable[Reading] = ()
        if self._shipped is not None:
            shipped = ship_readings(self._shipped, self._clock.wall_s())
        return exposition(all_counted(status, reports, shipped), accept)

    @contextmanager
    def _scrape(self) -> Iterator[None]:
        if self._scrapes >= MAX_SCRAPES:
            raise Overloaded("/metrics and /health/detail", MAX_SCRAPES, "requests")
        self._scrapes += 1
        try:
            yield
        finally:
            self._scrapes -= 1


ENDPOINTS: Final = (
    ("GET", "/health/detail", Operations.detail),
    ("GET", "/metrics", Operations.metrics),
)


def all_counted(
    status: ServerStatus, reports: AllReports, beside: Iterable[Reading] = ()
) -> Snapshot:
    """Return what all workers have counted, those that ended included, and what they are.

    Args:
        status: of the server.
        reports: of its workers.
        beside: what is counted beside them, once for all.
    """
    numbers: dict[str, dict[tuple[str, ...], float]] = {}
    for family, labels, value in (*_of_the_server(status), *beside):
        add_number(numbers.setdefault(family.name, {}), family, labels, value)
    counted = (one.report.measures for one in reports.workers)
    return merged([reports.departed, *counted, Snapshot(numbers)])


def _of_the_server(status: ServerStatus) -> Iterator[Reading]:
    serving = sum(one.phase == "serving" for one in status.workers)
    yield families.GENERATION, (), status.generation
    yield families.WORKERS, (), serving
    yield families.LAST_RELOAD, (), 1 if status.refused is None else 0
    for one in status.workers:
        yield families.WORKER_RESTARTS, (str(one.index),), one.restarts


def detail(status: ServerStatus, reports: AllReports, now_wall_s: float) -> dict[str, Any]:
    """Return what `/health/detail` answers.

    Args:
        status: of the server.
        reports: of its workers.
        now_wall_s: seconds since the epoch.
    """
    latest = {one.index: one for one in reports.workers}
    workers = []
    for member in status.workers:
        said: dict[str, Any] = {
            "worker": member.index,
            "phase": member.phase,
            "restarts": member.restarts,
        }
        if member.index in latest:
            said |= _said(latest[member.index], now_wall_s)
        workers.append(said)
    return {
        "version": penstock.__version__,
        "generation": status.generation,
        "refused": status.refused is not None,  # why is for those with the token
        "workers": workers,
    }


def _said(latest: LatestReport, now_wall_s: float) -> dict[str, Any]:
    report = latest.report
    resident = report.measures.numbers.get(families.RESIDENT_BYTES.name, {})
    started = datetime.fromtimestamp(report.started_wall_s, UTC).isoformat(timespec="seconds")
    return {
        "fresh": latest.fresh,
        "pid": report.pid,
        "generation": report.generation,
        "started": started.replace("+00:00", "Z"),
        "uptime_s": round(max(0.0, now_wall_s - report.started_wall_s), 3),
        "resident_bytes": int(max(resident.values(), default=0)),
        **report.detail,
    }
