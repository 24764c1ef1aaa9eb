"""A mirrored route through HTTP: ids, large bodies, what is shown of the copies."""

from __future__ import annotations

import pytest

from penstock.core.errors import NotReady
from penstock.core.record import Record, Role
from penstock.gateway.detail import detail_of
from penstock.gateway.gateway import Gateway
from tests.gateway.asking import ask
from tests.gateway.opening import open_gateway
from tests.support import settle

SPEC = """
models:
  flower: {runtime: "gateway_callables:flower", execution: inline, sample: [[1, 2, 3, 4]]}
  bloom: {runtime: "gateway_callables:bloom", execution: inline}
  broken: {runtime: "gateway_callables:broken", execution: inline}
routes:
  iris: [{mirror: {shadow: bloom}}, flower]
  unhappy: [{mirror: {shadow: bloom}}, broken]
"""
AT = "routes.iris[0].mirror"
NOWHERE = 'bloom: {url: "127.0.0.1:1"}'


async def asked(gateway: Gateway, path: str, rows: int = 1) -> int:
    answer = await ask(gateway, "POST", path, {"data": [[1, 2, 3, 4]] * rows})
    await settle()
    return answer.status


async def test_the_shadows_record_has_the_id_of_its_request() -> None:
    records: list[Record] = []
    async with open_gateway(SPEC, recorder=records.append) as gateway:
        assert records == []  # nothing is copied at the start, when samples are predicted
        assert await asked(gateway, "/iris/predict/000000") == 200
        assert detail_of(gateway.graph)["shadows"][AT] == {
            "running": 0,
            "waiting": 0,
            "held_bytes": 0,
            "asked": 1,
            "dropped": {"full": 0, "bytes": 0, "late": 0, "closing": 0},
        }
    assert [(one.role, one.request_id) for one in records] == [
        (Role.PRIMARY, "000000"),
        (Role.SHADOW, "000000"),
    ]


async def test_a_request_that_fails_is_copied_as_well() -> None:
    records: list[Record] = []
    async with open_gateway(SPEC, recorder=records.append) as gateway:
        assert await asked(gateway, "/unhappy/predict") == 500
    assert [one.role for one in records] == [Role.PRIMARY, Role.SHADOW]


@pytest.mark.parametrize("rows", [2, 10_000])
async def test_bodies_of_any_admitted_size_are_copied(rows: int) -> None:
    records: list[Record] = []
    async with open_gateway(SPEC, recorder=records.append) as gateway:
        assert await asked(gateway, "/iris/predict", rows) == 200
    (shadow,) = (one for one in records if one.role is Role.SHADOW)
    assert shadow.request is not None
    assert shadow.request.rows == rows


async def test_a_refused_body_is_not_copied() -> None:
    records: list[Record] = []
    async with open_gateway(SPEC, recorder=records.append) as gateway:
        assert (await ask(gateway, "POST", "/iris/predict", b"nope")).status == 400
        await settle()
    assert [one.role for one in records] == [Role.PRIMARY]


async def test_a_remote_shadow_that_is_not_there_is_no_concern_of_the_caller() -> None:
    records: list[Record] = []
    spec = SPEC.replace('bloom: {runtime: "gateway_callables:bloom", execution: inline}', NOWHERE)
    async with open_gateway(spec, recorder=records.append) as gateway:
        assert await asked(gateway, "/iris/predict") == 200
        assert (await ask(gateway, "GET", "/iris/health/pred")).json == {"health": "ok"}
        detail = detail_of(gateway.graph)["models"]["bloom"]
        assert (detail["known"], detail["pool"]["open"]) == (False, 0)
    (shadow,) = (one for one in records if one.role is Role.SHADOW)
    assert isinstance(shadow.outcome, NotReady)
