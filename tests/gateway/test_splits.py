"""Routes that are split, over the plain face: mode, header, stickiness, records, health."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from penstock.core.record import Record
from penstock.core.rendezvous import choose, odds_of, seed_key, value_key
from penstock.core.values import InferenceResponse
from penstock.gateway.gateway import Gateway
from penstock.gateway.lane import LaneCycle
from tests.gateway.asking import Answer, Head, ask, rows
from tests.gateway.opening import open_gateway
from tests.gateway.wire import Wire, request

SPEC: Final = """
models:
  flower: {runtime: "gateway_callables:flower", execution: inline, sample: [[1, 2, 3, 4]],
           labels: [setosa, versicolor, virginica]}
  bloom: {runtime: "gateway_callables:bloom", execution: inline, sample: [[1, 5, 5, 5]],
          labels: [setosa, versicolor, virginica]}
  wide: {runtime: "gateway_callables:wide", execution: inline}
  broken: {runtime: "gateway_callables:broken", execution: inline}
  far: {url: "127.0.0.1:1"}
routes:
  ab: {split: {sticky: header:X-User-Id, arms: {flower: 60, bloom: 40}}}
  by-field: {split: {sticky: field:user, experiment: ab, arms: {flower: 60, bloom: 40}}}
  by-seed: {split: {experiment: ab, arms: {flower: 60, bloom: 40}}}
  outer: {split: {arms: {inner: {weight: 1, use: by-seed}}}}
  beside: {fan_out: {arms: {x: by-seed, y: outer, z: flower}}}
  large: {split: {arms: {wide: 1}}}
  unready: {split: {arms: {far: 1, flower: 0}, fallback: flower}}
  dead: {split: {arms: {far: 1}}}
  sick: flower
  half-dead: {split: {sticky: header:x-user-id, arms: {sick: 1, flower: 1}}}
  failing: {split: {arms: {broken: 1}}}
  of-fan-outs: {split: {arms: {both: {weight: 1, use: {fan_out: {arms: {s: flower, r: bloom}}}}}}}
states: {sick: "off"}
"""
SAMPLES: Final = {"flower": [1.0, 2.0, 3.0, 4.0], "bloom": [1.0, 5.0, 5.0, 5.0]}
ROW: Final = [1.0, 2.0, 3.0, 4.0]
ODDS: Final = odds_of("ab", {"flower": 60, "bloom": 40})
HALF_DEAD: Final = odds_of("half-dead", {"sick": 1, "flower": 1})
SEEDS: Final = [number * 0x9E3779B97F4A7C15 % 2**64 for number in range(24)]


def of_user(user: str) -> str:
    return choose(ODDS, value_key(user) or b"")


def of_seed(seed: int) -> str:
    return choose(ODDS, seed_key(seed))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[Gateway]:
    async with open_gateway(SPEC) as gateway:
        yield gateway


def in_lane(wire: Wire) -> bool:
    return isinstance(wire.protocol.cycle, LaneCycle)


async def post(gateway: Gateway, path: str, body: object = None, **headers: str) -> Answer:
    named: Head = {name.replace("_", "-"): value for name, value in headers.items()}
    return await ask(gateway, "POST", path, body or rows(ROW), headers=named)


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_user_meets_one_arm_and_is_told_which(gateway: Gateway) -> None:
    met = set()
    for user in map(str, range(24)):
        arm = of_user(user)
        for path in ("/ab/predict", "/ab/predict/label", "/ab/predict/7"):
            answer = await post(gateway, path, x_user_id=user)
            assert answer.json["mode"] == arm
            assert answer.header("x-penstock-arm") == arm
        met.add(arm)
    assert met == {"flower", "bloom"}


async def test_a_key_of_the_body_is_as_good_as_a_header(gateway: Gateway) -> None:
    for user in range(24):
        answer = await post(gateway, "/by-field/predict", {"data": [ROW], "user": user})
        assert answer.header("x-penstock-arm") == of_user(str(user))


async def test_of_a_long_value_its_beginning_counts(gateway: Gateway) -> None:
    for number in range(12):
        beginning = f"{number}".ljust(256, "x")
        met = {
            (await post(gateway, "/ab/predict", x_user_id=beginning + more)).json["mode"]
            for more in ("", "a", "b" * 5000)
        }
        assert met == {of_user(beginning)}


async def test_a_seed_is_pinned_through_routes_and_fan_outs(gateway: Gateway) -> None:
    for seed in SEEDS:
        given = f"{seed:016x}"
        arm = of_seed(seed)
        alone = await post(gateway, "/by-seed/predict", x_penstock_seed=given)
        outer = await post(gateway, "/outer/predict", x_penstock_seed=given)
        beside = await post(gateway, "/beside/predict", x_penstock_seed=given)
        assert alone.header("x-penstock-arm") == arm
        assert outer.header("x-penstock-arm") == f"inner/{arm}"
        assert beside.header("x-penstock-arm") is None
        assert alone.json == outer.json == beside.json["x"] == beside.json["y"]
        assert "mode" not in beside.json["z"]
    assert {of_seed(seed) for seed in SEEDS} == {"flower", "bloom"}


async def test_without_a_seed_each_request_is_drawn_anew(gateway: Gateway) -> None:
    met = {(await post(gateway, "/ab/predict")).json["mode"] for _ in range(64)}
    assert met == {"flower", "bloom"}


@pytest.mark.parametrize("path", ["/ab/predict", "/ab/predict/label"])
async def test_the_lane_answers_as_asgi_does(gateway: Gateway, path: str) -> None:
    for user in map(str, range(8)):
        wire = Wire(gateway)
        wire.send(request("POST", path, b'{"data":[[1,2,3,4]]}', {"x-user-id": user.encode()}))
        got = await wire.answer()
        expected = await post(gateway, path, x_user_id=user)
        assert in_lane(wire)
        assert (got.status, got.content) == (200, expected.content)
        assert got.header("x-penstock-arm") == expected.header("x-penstock-arm") == of_user(user)


async def test_a_large_answer_has_its_mode(gateway: Gateway) -> None:
    answer = await post(gateway, "/large/predict", rows(*[ROW] * 5))
    assert len(answer.json["prediction"]) == 5
    assert answer.json["mode"] == answer.header("x-penstock-arm") == "wide"


async def test_an_arm_that_is_not_ready(gateway: Gateway) -> None:
    answer = await post(gateway, "/unready/predict")
    assert (answer.json["mode"], answer.header("x-penstock-arm")) == ("flower", "flower")
    answer = await post(gateway, "/dead/predict")
    assert (answer.status, answer.error["code"]) == (503, "not_ready")
    assert answer.header("x-penstock-arm") == "far"


async def test_an_arm_that_fails_is_named(gateway: Gateway) -> None:
    answer = await post(gateway, "/failing/predict")
    assert (answer.status, answer.error["code"]) == (500, "model_failed")
    assert answer.header("x-penstock-arm") == "broken"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/ab/health/all", {"flower": "ok", "bloom": "ok"}),
        ("/ab/health/pred", {"health": "ok"}),
        ("/outer/health/all", {"inner": "ok"}),
        ("/unready/health/all", {"far": "ng", "flower": "ok"}),
        ("/unready/health/pred", {"health": "ok"}),
        ("/dead/health/pred", {"health": "ng"}),
        ("/of-fan-outs/health/all", {"both": "ok"}),
        ("/ab/label", {"0": "setosa", "1": "versicolor", "2": "virginica"}),
    ],
)
async def test_what_is_known_of_a_split(gateway: Gateway, path: str, said: object) -> None:
    answer = await ask(gateway, "GET", path)
    assert (answer.status, answer.json) == (200, said)


async def test_metadata_is_of_the_arm_that_the_request_would_take(gateway: Gateway) -> None:
    predicted = {"flower": [0.75, 0.125, 0.125], "bloom": [0.5, 0.25, 0.25]}
    for user in map(str, range(8)):
        answer = await ask(gateway, "GET", "/ab/metadata", headers={"x-user-id": user})
        assert answer.json["data_sample"] == [SAMPLES[of_user(user)]]
        assert answer.json["prediction_structure"] == "(1,3)"
        assert answer.json["prediction_sample"] == predicted[of_user(user)]


async def test_one_seed_is_drawn_for_sample_and_answer(gateway: Gateway) -> None:
    """Else the sample of one arm would now and then be answered by the other."""
    for _ in range(24):
        metadata = (await ask(gateway, "GET", "/by-seed/metadata")).json
        arm = "bloom" if metadata["prediction_sample"][0] == 0.5 else "flower"
        assert metadata["data_sample"] == [SAMPLES[arm]]


async def test_health_is_of_the_arm_that_the_request_would_take(gateway: Gateway) -> None:
    said = {
        arm: {
            (await ask(gateway, "GET", "/half-dead/health/pred", headers={"x-user-id": user})).json[
                "health"
            ]
            for user in map(str, range(24))
            if choose(HALF_DEAD, value_key(user) or b"") == arm
        }
        for arm in ("sick", "flower")
    }
    assert said == {"sick": {"ng"}, "flower": {"ok"}}


async def test_the_sample_is_shared_out_as_requests_are(gateway: Gateway) -> None:
    for seed in SEEDS:
        headers: Head = {"x-penstock-seed": f"{seed:016x}"}
        answer = await ask(gateway, "GET", "/ab/predict/test", headers=headers)
        assert answer.json["mode"] == answer.header("x-penstock-arm") == of_seed(seed)


async def test_a_fan_out_s_answer_has_a_mode_as_a_whole(gateway: Gateway) -> None:
    answer = await post(gateway, "/of-fan-outs/predict")
    assert list(answer.json) == ["s", "r", "mode"]
    assert answer.json["mode"] == answer.header("x-penstock-arm") == "both"


async def test_records_tell_arm_and_mode() -> None:
    records: list[Record] = []
    async with open_gateway(SPEC, recorder=records.append) as gateway:
        await post(gateway, "/ab/predict", x_user_id="17")
        await post(gateway, "/ab/predict", x_penstock_seed=f"{SEEDS[0]:016x}")
        await post(gateway, "/failing/predict")
    by_user, by_seed, failed = (record.outcome for record in records)
    assert isinstance(by_user, InferenceResponse)
    assert by_user.fields["mode"] == records[0].arm == of_user("17")
    assert by_seed is not None
    assert by_seed.trail[0].name == f"split:{of_seed(SEEDS[0])}:no_key"
    assert failed is not None
    assert records[2].arm == "broken"
