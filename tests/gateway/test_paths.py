"""The path table."""

from __future__ import annotations

import pytest

from penstock.core.errors import InvalidRequestId, MethodNotAllowed, UnknownRoute
from penstock.gateway.exchange import Exchange, Headers
from penstock.gateway.paths import COMING, MOST_NAMED, NOT_IDS, PathTable
from tests.gateway.asking import Message


def to(method: str, path: str) -> Exchange:
    async def receive() -> Message:
        raise AssertionError

    async def respond(status: int, headers: Headers, content: bytes, *, ends: bool) -> None:
        raise AssertionError

    return Exchange(method, path, b"", {}, receive, respond, "", 0.0)


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    async def fixed(self, exchange: Exchange) -> None:
        self.lines.append(f"fixed {exchange.path}")

    async def with_id(self, exchange: Exchange, request_id: str) -> None:
        self.lines.append(f"id {request_id}")


def a_table() -> tuple[PathTable, Log]:
    log, table = Log(), PathTable()
    table.add("POST", "/predict", log.fixed)
    table.add("GET", "/metadata", log.fixed)
    table.add("GET", "/predict/test", log.fixed)
    table.add_with_id("POST", "/predict/", log.with_id)
    return table, log


async def test_finds_a_fixed_path() -> None:
    table, log = a_table()
    await table.find(to("POST", "/predict"))
    await table.find(to("GET", "/predict/test"))
    assert log.lines == ["fixed /predict", "fixed /predict/test"]
    assert "/predict" in table
    assert "/predict/" not in table


async def test_head_is_answered_by_get() -> None:
    table, log = a_table()
    await table.find(to("HEAD", "/metadata"))
    assert log.lines == ["fixed /metadata"]


async def test_finds_an_id() -> None:
    table, log = a_table()
    await table.find(to("POST", "/predict/0-a_B.c"))
    assert log.lines == ["id 0-a_B.c"]


@pytest.mark.parametrize("path", ["", "/", "/nope", "/predict/", "/predict/a/b", "/Predict", "x"])
def test_nothing_is_served_elsewhere(path: str) -> None:
    table, _ = a_table()
    with pytest.raises(UnknownRoute):
        table.find(to("POST", path))


def test_who_asks_for_something_else_is_told_the_routes() -> None:
    with pytest.raises(UnknownRoute, match=r"nothing is served at '/x'; routes: /a/, /b/$"):
        PathTable(("a", "b")).find(to("GET", "/x"))
    with pytest.raises(UnknownRoute, match=r"nothing is served at '/x'$"):
        PathTable().find(to("GET", "/x"))
    with pytest.raises(UnknownRoute) as raised:
        PathTable([f"route-{i}" for i in range(1000)]).find(to("GET", "/x"))
    assert raised.value.message.count("/route-") == MOST_NAMED


def test_a_long_path_is_cut_in_the_message() -> None:
    table, _ = a_table()
    with pytest.raises(UnknownRoute) as raised:
        table.find(to("GET", "/" + "x" * 10_000))
    assert len(raised.value.message) < 400


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict", ("POST",)),
        ("HEAD", "/predict", ("POST",)),
        ("POST", "/metadata", ("GET", "HEAD")),
        ("DELETE", "/predict/an-id", ("POST",)),
    ],
)
def test_another_method_is_told_which(method: str, path: str, allowed: tuple[str, ...]) -> None:
    table, _ = a_table()
    with pytest.raises(MethodNotAllowed) as raised:
        table.find(to(method, path))
    assert raised.value.allowed == allowed


@pytest.mark.parametrize("word", [*sorted(NOT_IDS - {"test"}), "a b", "ä", "a" * 129, "a\n"])
def test_what_is_no_id(word: str) -> None:
    table, _ = a_table()
    with pytest.raises(InvalidRequestId):
        table.find(to("POST", f"/predict/{word}"))


def test_words_of_later_faces_are_kept_free() -> None:
    assert {"v1", "v2", "metrics", "job", "feedback", "admin"} <= COMING
