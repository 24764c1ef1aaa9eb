"""Errors of no prediction are counted by status: none twice, and none is lost."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from penstock.core import families
from penstock.gateway.exchange import Exchange
from penstock.gateway.gateway import Gateway
from tests.gateway.asking import Head, Message, ask, exchanged, rows, scope
from tests.gateway.opening import FLOWER, open_gateway
from tests.gateway.wire import Wire, request

PLAIN = """
models:
  flower: {runtime: "gateway_callables:flower"}
routes:
  iris: flower
  plain: flower
"""
FIRST = [1.0, 2.0, 3.0, 4.0]


def edge(gateway: Gateway) -> Mapping[tuple[str, ...], float]:
    return gateway.graph.measures.snapshot().numbers.get(families.EDGE_ERRORS.name, {})


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/nothing", {}, 404),
        ("PUT", "/iris/label", {}, 405),
        ("GET", "/iris/label", {"x-request-id": "not well formed"}, 400),
        ("GET", "/plain/label", {}, 404),
    ],
)
async def test_what_reaches_no_prediction(
    method: str, path: str, headers: Head, status: int
) -> None:
    async with open_gateway(PLAIN) as gateway:
        assert (await ask(gateway, method, path, headers=headers)).status == status
        assert edge(gateway) == {(str(status),): 1}
        assert gateway.graph.measures.route("iris").answers == {200: 0}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("PUT", "/iris/predict", {}, 405),
        ("POST", "/iris/predict", {"x-request-id": "not well formed"}, 400),
        ("POST", "/iris/predict/not%well", {}, 400),
        ("GET", "/predict-test/label", {}, 400),
    ],
)
async def test_what_is_refused_before_a_prediction_is_its_routes(
    method: str, path: str, headers: Head, status: int
) -> None:
    async with open_gateway(PLAIN + "default: iris\n") as gateway:
        assert (await ask(gateway, method, path, headers=headers)).status == status
        assert edge(gateway) == {}
        assert gateway.graph.measures.route("iris").answers == {200: 0, status: 1}


async def test_a_predictions_own_error_is_its_routes() -> None:
    async with open_gateway(FLOWER) as gateway:
        assert (await ask(gateway, "POST", "/iris/predict", b"nonsense")).status == 400
        assert (await ask(gateway, "POST", "/iris/predict", rows(FIRST))).status == 200
        assert edge(gateway) == {}
        assert gateway.graph.measures.route("iris").answers == {200: 1, 400: 1}


async def test_in_the_lane_it_is_the_same() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.send(request("POST", "/iris/predict", b"nonsense"))
        assert (await wire.answer()).status == 400
        wire.send(request("GET", "/nothing", b""))
        assert (await wire.answer()).status == 404
        assert edge(gateway) == {("404",): 1}
        assert gateway.graph.measures.route("iris").answers == {200: 0, 400: 1}


async def test_what_is_no_http() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.send(b"nonsense\r\n\r\n")
        assert (await wire.answer()).status == 400
        assert edge(gateway) == {("400",): 1}


@pytest.mark.parametrize(("method", "path"), [("POST", "/iris/predict"), ("GET", "/health")])
async def test_a_connection_too_many_is_a_shed(method: str, path: str) -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        wire.protocol.limit_concurrency = 1
        wire.send(request(method, path, b""))
        assert (await wire.answer()).status == 503
        numbers = gateway.graph.measures.snapshot().numbers
        assert numbers[families.SHEDS.name] == {("connections", "overloaded"): 1}
        assert edge(gateway) == {}


async def test_a_fault_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    async def broken(exchange: Exchange) -> None:
        raise RuntimeError("ours")

    async with open_gateway(FLOWER) as gateway:
        gateway._table.add("GET", "/broken", broken)
        assert (await ask(gateway, "GET", "/broken")).status == 500
        assert edge(gateway) == {("500",): 1}
    assert "RuntimeError: ours" in capsys.readouterr().err


@pytest.mark.parametrize(("client", "peer"), [(("10.0.0.7", 5), "10.0.0.7"), (None, "")])
async def test_who_asked_is_known_by_address(client: object, peer: str) -> None:
    async def who(exchange: Exchange) -> None:
        await exchange.answer_json(exchange.peer)

    async def never() -> Message:
        raise AssertionError

    async with open_gateway(FLOWER) as gateway:
        gateway._table.add("GET", "/who", who)
        answer = await exchanged(gateway, {**scope("GET", "/who"), "client": client}, never)
    assert answer.json == peer
