"""A fake of whom operators ask, and a way to ask a path table without a gateway around it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from penstock.core import families
from penstock.core.errors import ServingError
from penstock.core.measures import Measures
from penstock.core.snapshot import Snapshot
from penstock.gateway.exchange import Exchange, Headers
from penstock.gateway.operator import AllReports, Change, ServerStatus
from penstock.gateway.paths import PathTable
from tests.gateway.asking import Answer, Message
from tests.support import START_S, ManualClock

STARTED_WALL_S = 1_749_999_990.0
"""Ten seconds before what a ManualClock shows."""


class Said(Struct, frozen=True, kw_only=True):
    """A worker's report."""

    pid: int
    generation: int = 7
    started_wall_s: float = STARTED_WALL_S
    measures: Snapshot = Snapshot()
    detail: Mapping[str, Any] = {}


class Latest(Struct, frozen=True, kw_only=True):
    """... and whether it is of now."""

    index: int
    report: Said
    fresh: bool = True


class All(Struct, frozen=True, kw_only=True):
    """All workers' reports."""

    workers: tuple[Latest, ...] = ()
    departed: Snapshot = Snapshot()


class Member(Struct, frozen=True, kw_only=True):
    """What is known of a worker."""

    index: int
    phase: str = "serving"
    restarts: int = 0


class Status(Struct, frozen=True, kw_only=True):
    """What is served."""

    generation: int = 7
    workers: tuple[Member, ...] = (Member(index=0),)
    path: str = "penstock.yaml"
    refused: str | None = None


class Changed(Struct, frozen=True, kw_only=True):
    """A change that was made."""

    generation: int
    asked: tuple[Change, ...] = ()
    who: str = ""


class FakeOperator:
    """Makes every change, or raises `refusal`.

    Attributes:
        refusal: raised in place of every answer.
        asked: how often for reports.
    """

    def __init__(self, reports: All | None = None, status: Status | None = None) -> None:
        self._reports = reports or All()
        self._status = status or Status()
        self.refusal: Exception | None = None
        self.limits: list[int | None] = []

    async def set(self, changes: Sequence[Change], who: str) -> object:
        self._refuse()
        return Changed(generation=8, asked=tuple(changes), who=who)

    async def switch(self, target: str, state: str, who: str) -> object:
        return await self.set([(target, "state", state)], who)

    async def reload(self, who: str) -> object:
        return await self.set([], who)

    async def history(self, limit: int | None = None) -> Sequence[object]:
        self._refuse()
        self.limits.append(limit)
        return (Changed(generation=1), Changed(generation=2))

    async def status(self) -> ServerStatus:
        self._refuse()
        return self._status

    async def reports(self) -> AllReports:
        return self._reports

    def _refuse(self) -> None:
        if self.refusal is not None:
            raise self.refusal


def counting(pid: int, requests: int, *, resident_bytes: float = 1e6, route: str = "iris") -> Said:
    """Return the report of a worker that has answered so many requests."""
    measures = Measures()
    for _ in range(requests):
        measures.route(route).answered(0.002)
    numbers = dict(measures.snapshot().numbers)
    numbers[families.RESIDENT_BYTES.name] = {(str(pid),): resident_bytes}
    return Said(pid=pid, measures=Snapshot(numbers, measures.snapshot().distributions))


async def ask_table(
    table: PathTable,
    method: str,
    path: str,
    body: object = b"",
    *,
    headers: Mapping[str, str] | None = None,
    query: bytes = b"",
    clock: ManualClock | None = None,
) -> Answer:
    """Ask what the table serves; errors of ours are answered as the gateway would."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answers: list[Answer] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    async def respond(status: int, headers: Headers, content: bytes, *, ends: bool) -> None:
        text = tuple((name.decode(), value.decode()) for name, value in headers)
        answers.append(Answer(status, text, content))

    head = {name.encode(): value.encode("latin-1") for name, value in (headers or {}).items()}
    head.setdefault(b"content-length", str(len(content)).encode())
    now_s = START_S if clock is None else clock.now_s()
    exchange = Exchange(method, path, query, head, receive, respond, "an-id", now_s)
    exchange.peer = "10.0.0.7"
    try:
        await table.find(exchange)
    except ServingError as error:
        await exchange.answer_error(error)
    (answer,) = answers
    return answer
