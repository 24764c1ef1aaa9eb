"""Bad input, and good: each request of `requests.py` through ASGI."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from penstock.core.ids import is_well_formed
from penstock.gateway.gateway import Gateway, gateway_of
from penstock.gateway.serving import read_served
from tests.gateway.asking import Answer, ask, ask_in_pieces
from tests.gateway.opening import EXAMPLE, MODELS, predicted
from tests.gateway.requests import CASES, GOOD, Case

pytestmark = pytest.mark.asyncio(loop_scope="module")

PIECE = 1_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[Gateway]:
    async with gateway_of(read_served(EXAMPLE, {})) as gateway:
        yield gateway


async def asked(gateway: Gateway, case: Case) -> Answer:
    headers: dict[str, str | bytes] = dict(case.headers)
    if not case.chunked:
        return await ask(gateway, case.method, case.path, case.body, headers=headers)
    body = case.body
    pieces = [body[i : i + PIECE] for i in range(0, len(body), PIECE)] or [b""]
    return await ask_in_pieces(gateway, case.method, case.path, pieces, headers=headers)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_is_answered(gateway: Gateway, case: Case) -> None:
    answer = await asked(gateway, case)
    assert answer.status == case.status, answer.content[:500]
    check_headers(answer, case)
    if case.method == "HEAD":
        assert answer.content == b""
    elif case.status != 200:
        check_error(answer, case)
    good = await ask(gateway, "POST", "/iris/predict", GOOD)
    assert good.status == 200
    scores = predicted(MODELS / "iris_svc.onnx", [[5.1, 3.5, 1.4, 0.2]])
    assert good.json == {"prediction": scores[0].tolist()}


def check_headers(answer: Answer, case: Case) -> None:
    assert answer.header("content-type") == "application/json"
    assert answer.header("allow") == case.allow
    request_id = answer.header("x-request-id")
    assert request_id is not None
    assert is_well_formed(request_id)
    given = case.headers.get("x-request-id", b"").decode("latin-1")
    if is_well_formed(given):
        assert request_id == given


def check_error(answer: Answer, case: Case) -> None:
    error = answer.error
    assert error["code"] == case.code
    assert error["request_id"] == answer.header("x-request-id")
    assert error.get("path") == case.place
    assert set(error) <= {"code", "message", "request_id", "path"}
    message = error["message"]
    assert message
    assert "\n" not in message
    assert "Traceback" not in message
