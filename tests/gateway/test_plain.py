"""The plain face: the serving contract's endpoints, deadlines, records, labels."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final

import numpy as np
import pytest
import pytest_asyncio

from penstock.core.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    InvalidHeader,
    InvalidInput,
    MalformedBody,
    NoSample,
    ServingError,
    UnsupportedContent,
)
from penstock.core.record import Record, Role
from penstock.core.values import InferenceResponse
from penstock.gateway.gateway import Gateway, gateway_of
from penstock.gateway.headers import timeout_ms
from penstock.gateway.plain import first_words
from penstock.gateway.serving import read_served
from tests.gateway.asking import Answer, Head, Json, Unanswered, ask, ask_in_pieces, rows
from tests.gateway.faults import faults
from tests.gateway.opening import EXAMPLE, FLOWER, MODELS, open_gateway, predicted
from tests.gateway.sleepers import waking
from tests.support import ManualClock

IRIS: Final = [5.1, 3.5, 1.4, 0.2]
TRACE: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FIRST: Final = [1.0, 2.0, 3.0, 4.0]
OTHER: Final = [6.7, 3.0, 5.2, 2.3]
FAR: Final = [50.0, 30.1, 111.4, 110.2]
LABELS: Final = ["setosa", "versicolor", "virginica"]
ARMS: Final = LABELS


def scores(model: str, *given: list[float]) -> list[list[float]]:
    table: list[list[float]] = predicted(MODELS / f"iris_{model}.onnx", list(given)).tolist()
    return table


async def get(gateway: Gateway, path: str) -> Json:
    answer = await ask(gateway, "GET", path)
    assert answer.status == 200, answer.content
    return answer.json


async def post(gateway: Gateway, path: str, *given: list[float]) -> Json:
    answer = await ask(gateway, "POST", path, rows(*given))
    assert answer.status == 200, answer.content
    return answer.json


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[Gateway]:
    async with gateway_of(read_served(EXAMPLE, {})) as gateway:
        yield gateway


@pytest.mark.asyncio(loop_scope="module")
class TestContract:
    """`serving-contract.md`, sections 1 to 4, with the project's own models."""

    @pytest.mark.parametrize("at", ["", "/iris", "/iris-parallel", "/iris-mean"])
    async def test_is_live_and_ready(self, gateway: Gateway, at: str) -> None:
        assert await get(gateway, f"{at}/health") == {"health": "ok"}
        assert await get(gateway, f"{at}/health/ready") == {"health": "ok"}
        assert await get(gateway, f"{at}/health/pred") == {"health": "ok"}

    @pytest.mark.parametrize("at", ["", "/iris"])
    async def test_one_model(self, gateway: Gateway, at: str) -> None:
        for row in (IRIS, OTHER):
            (expected,) = scores("svc", row)
            label = LABELS[int(np.argmax(expected))]
            assert await post(gateway, f"{at}/predict", row) == {"prediction": expected}
            assert await post(gateway, f"{at}/predict/label", row) == {"prediction": label}

    async def test_one_model_several_rows(self, gateway: Gateway) -> None:
        expected = scores("svc", IRIS, OTHER)
        assert await post(gateway, "/predict", IRIS, OTHER) == {"prediction": expected}
        labels = {"prediction": ["setosa", "virginica"]}
        assert await post(gateway, "/predict/label", IRIS, OTHER) == labels

    async def test_labels_go_by_the_largest_probability(self, gateway: Gateway) -> None:
        rng = np.random.default_rng(7)
        given = rng.uniform(0.1, 8.0, (200, 4)).round(1).tolist()
        expected = [LABELS[int(np.argmax(row))] for row in scores("svc", *given)]
        assert await post(gateway, "/iris/predict/label", *given) == {"prediction": expected}

    async def test_one_model_s_health_is_flat(self, gateway: Gateway) -> None:
        assert await get(gateway, "/health/all") == {"svc": "ok"}
        assert await get(gateway, "/iris-sure/health/all") == {"svc": "ok"}

    async def test_one_model_s_labels_and_metadata(self, gateway: Gateway) -> None:
        assert await get(gateway, "/label") == {str(i): name for i, name in enumerate(LABELS)}
        assert await get(gateway, "/metadata") == {
            "data_type": "float32",
            "data_structure": "(1,4)",
            "data_sample": [IRIS],
            "prediction_type": "float32",
            "prediction_structure": "(1,3)",
            "prediction_sample": [round(score, 8) for score in scores("svc", IRIS)[0]],
        }

    @pytest.mark.parametrize("at", ["", "/iris"])
    async def test_a_sample_is_predicted(self, gateway: Gateway, at: str) -> None:
        (expected,) = scores("svc", IRIS)
        assert await get(gateway, f"{at}/predict/test") == {"prediction": expected}
        assert await get(gateway, f"{at}/predict/test/label") == {"prediction": "setosa"}

    @pytest.mark.parametrize("at", ["", "/iris"])
    async def test_a_client_s_own_id(self, gateway: Gateway, at: str) -> None:
        (expected,) = scores("svc", IRIS)
        for answer in (
            await ask(gateway, "POST", f"{at}/predict/000000", rows(IRIS)),
            await ask(gateway, "GET", f"{at}/predict-test/000000"),
        ):
            assert answer.json == {"prediction": expected, "job_id": "000000"}
            assert answer.header("x-request-id") == "000000"
        for answer in (
            await ask(gateway, "POST", f"{at}/predict-label/a-Z_0.9", rows(IRIS)),
            await ask(gateway, "GET", f"{at}/predict-test-label/a-Z_0.9"),
        ):
            assert answer.json == {"prediction": "setosa", "job_id": "a-Z_0.9"}
            assert answer.header("x-request-id") == "a-Z_0.9"

    async def test_the_id_in_the_path_wins_over_the_header_s(self, gateway: Gateway) -> None:
        path, headers = "/predict-test/in-the-path", {"x-request-id": "in-the-header"}
        answer = await ask(gateway, "GET", path, headers=dict(headers))
        assert answer.header("x-request-id") == "in-the-path"

    async def test_an_id_is_made_where_none_is_given(self, gateway: Gateway) -> None:
        ids = {(await ask(gateway, "GET", "/health")).header("x-request-id") for _ in range(300)}
        assert len(ids) == 300
        assert all(len(made or "") == 32 for made in ids)

    async def test_head_has_the_headers_of_get(self, gateway: Gateway) -> None:
        for path in ("/metadata", "/predict/test", "/health", "/label", "/health/all"):
            head, got = await ask(gateway, "HEAD", path), await ask(gateway, "GET", path)
            assert head.content == b""
            assert head.status == got.status == 200
            assert head.header("content-length") == str(len(got.content))

    async def test_threshold(self, gateway: Gateway) -> None:
        (sure, unsure) = scores("svc", IRIS, [1.0, 2.0, 3.0, 4.0])
        assert max(sure) >= 0.6 > max(unsure)
        given = (IRIS, [1.0, 2.0, 3.0, 4.0])
        assert await post(gateway, "/iris-sure/predict", *given) == {"prediction": [sure, unsure]}
        labelled = await post(gateway, "/iris-sure/predict/label", *given)
        assert labelled == {"prediction": ["setosa", None]}
        assert await post(gateway, "/iris-sure/predict/label", given[1]) == {"prediction": None}

    @pytest.mark.parametrize("path", ["/predict", "/predict/get/test", "/predict/post/test"])
    async def test_fan_out(self, gateway: Gateway, path: str) -> None:
        at = f"/iris-parallel{path}"
        answer = await (get(gateway, at) if path.endswith("test") else post(gateway, at, IRIS))
        assert answer == {arm: {"prediction": scores(arm, IRIS)[0]} for arm in ARMS}

    async def test_fan_out_of_several_rows(self, gateway: Gateway) -> None:
        answer = await post(gateway, "/iris-parallel/predict", IRIS, OTHER)
        assert answer == {arm: {"prediction": scores(arm, IRIS, OTHER)} for arm in ARMS}

    async def test_fan_out_label_is_the_best_arm(self, gateway: Gateway) -> None:
        table = {arm: [row[0] for row in scores(arm, IRIS, OTHER)] for arm in ARMS}
        best = [max(ARMS, key=lambda arm: table[arm][i]) for i in range(2)]
        probas = [table[arm][i] for i, arm in enumerate(best)]
        answer = await post(gateway, "/iris-parallel/predict/label", IRIS, OTHER)
        assert answer == {"prediction": {"proba": probas, "label": best}}
        answer = await get(gateway, "/iris-parallel/predict/test/label")
        assert answer == {"prediction": {"proba": probas[0], "label": best[0]}}

    async def test_fan_out_metadata_health_and_labels(self, gateway: Gateway) -> None:
        metadata = await get(gateway, "/iris-parallel/metadata")
        samples = {arm: [round(v, 8) for v in scores(arm, IRIS)[0]] for arm in ARMS}
        assert metadata == {
            "data_type": "float32",
            "data_structure": "(1,4)",
            "data_sample": [IRIS],
            "prediction_type": "float32",
            "prediction_structure": "(1,2)",
            "prediction_sample": samples,
        }
        health = await get(gateway, "/iris-parallel/health/all")
        assert health == {arm: {"health": "ok"} for arm in ARMS}
        labels = await get(gateway, "/iris-parallel/label")
        assert labels == {str(i): arm for i, arm in enumerate(ARMS)}

    async def test_thresholds_and_states(self, gateway: Gateway) -> None:
        at = "/iris-parameters/predict"
        given = (IRIS, OTHER, FAR)
        expected = {
            arm: [int(row[0] >= bar) for row in scores(arm, *given)]
            for arm, bar in (("setosa", 0.9), ("versicolor", 0.85))
        }
        assert await post(gateway, at, *given) == expected
        assert await post(gateway, at, IRIS) == {arm: of[0] for arm, of in expected.items()}
        assert expected["setosa"] == [1, 0, 0]

    async def test_observed_arms_count_in_the_flat_health(self, gateway: Gateway) -> None:
        assert await get(gateway, "/iris-parameters/health/all") == dict.fromkeys(ARMS, "ok")

    async def test_mean(self, gateway: Gateway) -> None:
        table = [np.asarray(scores(model, IRIS), dtype=np.float64) for model in ("svc", "rf")]
        (expected,) = np.mean(table, axis=0).tolist()
        assert await post(gateway, "/iris-mean/predict", IRIS) == {"prediction": expected}
        assert await post(gateway, "/iris-mean/predict/label", IRIS) == {"prediction": "setosa"}

    async def test_no_label_without_labels(self, gateway: Gateway) -> None:
        async with open_gateway(
            FLOWER.replace("labels: [setosa, versicolor, virginica],", "")
        ) as g:
            for method, path, body in (
                ("POST", "/iris/predict/label", rows(IRIS)),
                ("GET", "/iris/predict/test/label", b""),
                ("GET", "/iris/label", b""),
            ):
                answer = await ask(g, method, path, body)
                assert (answer.status, answer.error["code"]) == (404, "no_labels")


class TestStates:
    """Environment names that users know."""

    async def test_activate_threshold_and_default_threshold(self) -> None:
        environment = {
            "ACTIVATE_VIRGINICA": "1",
            "THRESHOLD_SETOSA": "0.999",
            "THRESHOLD_VERSICOLOR": "0.0",
        }
        async with gateway_of(read_served(EXAMPLE, environment)) as gateway:
            answer = await post(gateway, "/iris-parameters/predict", IRIS)
        assert answer == {"setosa": 0, "versicolor": 1, "virginica": 0}

    async def test_an_arm_that_is_off_is_not_there(self) -> None:
        async with gateway_of(read_served(EXAMPLE, {"ACTIVATE_SETOSA": "off"})) as gateway:
            assert list(await post(gateway, "/iris-parameters/predict", IRIS)) == ["versicolor"]
            health = await get(gateway, "/iris-parameters/health/all")
        assert health == {"versicolor": "ok", "virginica": "ok"}


class TestDeadlines:
    LATE: Final = 'models: {late: {runtime: "gateway_callables:late"}}\nroutes: {it: late}\n'

    @pytest.mark.parametrize(
        ("header", "wait_s"), [(None, 30.0), (b"1500", 1.5), (b"86400000", 30.0)]
    )
    async def test_the_caller_shortens_it_and_never_lengthens(
        self, header: bytes | None, wait_s: float
    ) -> None:
        clock = ManualClock()
        headers: dict[str, str | bytes] = {} if header is None else {"x-timeout-ms": header}
        async with open_gateway(self.LATE, clock=clock) as gateway:
            asking = asyncio.ensure_future(
                ask(gateway, "POST", "/it/predict", rows(IRIS), headers=headers)
            )
            await clock.elapse(wait_s - 0.25)
            assert not asking.done()
            await clock.elapse(0.25)
            answer = await asking
        assert (answer.status, answer.error["code"]) == (504, "deadline_exceeded")

    async def test_limits_set_it(self) -> None:
        clock = ManualClock()
        spec = self.LATE + "limits: {timeout_s: 2}\n"
        async with open_gateway(spec, clock=clock) as gateway:
            asking = asyncio.ensure_future(ask(gateway, "POST", "/it/predict", rows(IRIS)))
            await clock.elapse(2.0)
            assert (await asking).status == 504

    @pytest.mark.parametrize("text", [b"0", b"-1", b"nan", b"inf", b"x", b"", b"1_0", b"86400001"])
    def test_a_header_that_is_no_time(self, text: bytes) -> None:
        with pytest.raises(InvalidHeader, match="x-timeout-ms"):
            timeout_ms(text)

    @pytest.mark.parametrize(("text", "value"), [(b"1", 1.0), (b"0.5", 0.5), (b"1e3", 1000.0)])
    def test_a_header_that_is(self, text: bytes, value: float) -> None:
        assert timeout_ms(text) == value

    async def test_a_sample_s_deadline(self) -> None:
        async with open_gateway(FLOWER) as gateway:
            headers: dict[str, str | bytes] = {"x-timeout-ms": "0.0001"}
            answer = await ask(gateway, "GET", "/iris/predict/test", headers=headers)
            assert (answer.status, answer.error["code"]) == (504, "deadline_exceeded")


class TestFailures:
    async def test_what_the_model_raised_is_not_shown(self) -> None:
        spec = 'models: {bad: {runtime: "gateway_callables:broken"}}\nroutes: {it: bad}\n'
        async with open_gateway(spec) as gateway:
            answer = await ask(gateway, "POST", "/it/predict", rows(IRIS))
        assert (answer.status, answer.error["code"]) == (500, "model_failed")
        assert b"secret" not in answer.content

    async def test_a_user_s_own_kind_of_refusal(self) -> None:
        spec = 'models: {it: {runtime: "gateway_callables:picky"}}\nroutes: {picky: it}\n'
        async with open_gateway(spec) as gateway:
            answer = await ask(gateway, "POST", "/picky/predict", rows([7.0, 1, 2, 3]))
        assert answer.status == 422
        assert answer.error["code"] == "invalid_input"
        assert answer.error["message"] == "no flower is 7.0 wide"
        assert answer.error["path"] == "$.data[0][0]"

    async def test_an_answer_that_is_not_finite(self) -> None:
        spec = "models: {nan: {path: ../../data/models/nan_maker.onnx}}\nroutes: {it: nan}\n"
        async with open_gateway(spec) as gateway:
            answer = await ask(gateway, "POST", "/it/predict", rows([1.0, 1, 1, -1], [0, 0, 0, 0]))
            assert answer.status in (200, 422)
            json.loads(answer.content)


def outcome_of(record: Record) -> object:
    outcome = record.outcome
    return type(outcome) if isinstance(outcome, ServingError | InferenceResponse) else outcome


class TestRecords:
    """One primary record a request to a route, whatever its end."""

    LATE: Final = (
        'models: {late: {runtime: "gateway_callables:late"}}\nroutes: {it: late}\n'
        "limits: {max_body_bytes: 1000}\n"
    )

    @pytest.mark.parametrize(
        ("method", "path", "body", "headers", "outcome"),
        [
            ("POST", "/iris/predict", rows(FIRST), {}, InferenceResponse),
            ("POST", "/iris/predict/label", rows(FIRST), {}, InferenceResponse),
            ("POST", "/iris/predict/an-id", rows(FIRST), {}, InferenceResponse),
            ("POST", "/iris/predict-label/an-id", rows(FIRST), {}, InferenceResponse),
            ("GET", "/iris/predict/test", b"", {}, InferenceResponse),
            ("GET", "/iris/predict-test-label/an-id", b"", {}, InferenceResponse),
            ("POST", "/iris/predict", b"nope", {}, MalformedBody),
            ("POST", "/iris/predict", {"data": [[1]]}, {}, InvalidInput),
            ("POST", "/iris/predict", rows(FIRST), {"content-type": "a/b"}, UnsupportedContent),
            ("POST", "/iris/predict", b" " * 20_000, {}, BodyTooLarge),
            ("POST", "/iris/predict", rows(FIRST), {"x-timeout-ms": "x"}, InvalidHeader),
            ("POST", "/iris/predict", rows(FIRST), {"x-timeout-ms": "1e-9"}, DeadlineExceeded),
            ("GET", "/iris/predict/test", b"", {"x-timeout-ms": "x"}, InvalidHeader),
            ("GET", "/iris/predict/test", b"", {"x-timeout-ms": "1e-9"}, DeadlineExceeded),
            ("GET", "/bare/predict/test", b"", {}, NoSample),
        ],
    )
    async def test_one_each(
        self, method: str, path: str, body: object, headers: dict[str, str], outcome: object
    ) -> None:
        records: list[Record] = []
        spec = FLOWER.replace("\nroutes:", '\n  bare: {runtime: "gateway_callables:rose"}\nroutes:')
        spec += "  bare-route: bare\nlimits: {max_body_bytes: 10000}\n"
        path = path.replace("/bare/", "/bare-route/")
        async with open_gateway(spec, recorder=records.append) as gateway:
            answer = await ask(gateway, method, path, body, headers=dict(headers))
        (record,) = records
        assert record.role is Role.PRIMARY
        assert record.place == path.split("/")[1]
        assert record.request_id == answer.header("x-request-id")
        assert outcome_of(record) is outcome
        assert record.elapsed_s >= 0.0

    @pytest.mark.parametrize(
        ("method", "path", "headers"),
        [
            ("GET", "/health", {}),
            ("GET", "/iris/metadata", {}),
            ("GET", "/iris/label", {}),
            ("GET", "/iris/health/all", {}),
            ("POST", "/nope/predict", {}),
            ("POST", "/iris/label", {"x-request-id": "a b"}),
        ],
    )
    async def test_none_without_a_route_s_prediction(
        self, method: str, path: str, headers: dict[str, str]
    ) -> None:
        records: list[Record] = []
        async with open_gateway(FLOWER, recorder=records.append) as gateway:
            await ask(gateway, method, path, headers=dict(headers))
        assert records == []

    @pytest.mark.parametrize(
        ("method", "path", "headers", "code"),
        [
            ("GET", "/iris/predict", {}, "method_not_allowed"),
            ("POST", "/iris/predict/get", {}, "invalid_request_id"),
            ("POST", "/iris/predict", {"x-request-id": "a b"}, "invalid_request_id"),
        ],
    )
    async def test_of_what_was_refused_before_it_was_looked_at(
        self, method: str, path: str, headers: dict[str, str], code: str
    ) -> None:
        records: list[Record] = []
        async with open_gateway(FLOWER, recorder=records.append) as gateway:
            answer = await ask(gateway, method, path, headers=dict(headers))
        (record,) = records
        assert (record.role, record.place) == (Role.PRIMARY, "iris")
        assert record.request_id == answer.header("x-request-id")
        assert isinstance(record.outcome, ServingError)
        assert record.outcome.code == code

    async def test_a_recorder_that_raises_then_costs_no_answer(self) -> None:
        def refuse(record: Record) -> None:
            raise RuntimeError("the log is gone")

        async with open_gateway(FLOWER, recorder=refuse) as gateway:
            assert (await ask(gateway, "GET", "/iris/predict")).status == 405

    async def test_of_a_client_that_went_away(self) -> None:
        records: list[Record] = []
        async with open_gateway(FLOWER, recorder=records.append) as gateway:
            with pytest.raises(Unanswered):
                await ask_in_pieces(
                    gateway,
                    "POST",
                    "/iris/predict",
                    [b'{"data":'],
                    headers={"x-request-id": "gone"},
                    whole=False,
                )
        (record,) = records
        assert (record.request_id, record.request, record.outcome) == ("gone", None, None)

    async def test_of_a_deadline(self) -> None:
        records: list[Record] = []
        clock = ManualClock()
        with waking(lambda: clock.advance(30.0)):
            async with open_gateway(self.LATE, clock=clock, recorder=records.append) as gateway:
                await ask(gateway, "POST", "/it/predict", rows(FIRST))
        (record,) = records
        assert outcome_of(record) is DeadlineExceeded
        assert record.request is not None
        assert record.elapsed_s == 30.0

    async def test_of_a_cancelled_request(self) -> None:
        records: list[Record] = []
        clock = ManualClock()
        async with open_gateway(self.LATE, clock=clock, recorder=records.append) as gateway:
            asking = asyncio.ensure_future(ask(gateway, "POST", "/it/predict", rows(FIRST)))
            await clock.elapse()
            asking.cancel()
            await asyncio.wait([asking])
        (record,) = records
        assert record.outcome is None

    async def test_of_an_observed_arm(self) -> None:
        records: list[Record] = []
        spec = FLOWER.replace(
            "iris: flower",
            "iris: {fan_out: {positive: 0, arms: {a: flower, b: {use: flower, state: observe}}}}",
        )
        async with open_gateway(spec, recorder=records.append) as gateway:
            records.clear()  # of the sample that was predicted at the start
            answer = await ask(gateway, "POST", "/iris/predict/an-id", rows(FIRST))
            assert list(answer.json) == ["a", "job_id"]
            await gateway.graph.background.close(1.0)
        assert sorted(record.role for record in records) == [Role.OBSERVE, Role.PRIMARY]
        assert {record.request_id for record in records} == {"an-id"}

    async def test_seeds_differ_and_fit_64_bits(self) -> None:
        records: list[Record] = []
        async with open_gateway(FLOWER, recorder=records.append) as gateway:
            for _ in range(50):
                await ask(gateway, "GET", "/iris/predict/test")
        seeds = {record.request.seed for record in records if record.request is not None}
        assert len(seeds) == 50
        assert all(0 <= seed < 2**64 for seed in seeds)

    async def test_the_seed_of_a_gateway_that_asks_this_one_is_taken(self) -> None:
        records: list[Record] = []
        async with open_gateway(FLOWER, recorder=records.append) as gateway:
            headers: Head = {"x-penstock-seed": "00000000DEADbeef"}
            for method, path in (("POST", "/iris/predict"), ("GET", "/iris/predict/test")):
                body = rows(FIRST) if method == "POST" else b""
                assert (await ask(gateway, method, path, body, headers=headers)).status == 200
        assert [record.request.seed for record in records if record.request] == [0xDEADBEEF] * 2

    async def test_a_seed_that_is_none_is_refused(self) -> None:
        async with open_gateway(FLOWER) as gateway:
            headers: Head = {"x-penstock-seed": "7"}
            answer = await ask(gateway, "POST", "/iris/predict", rows(FIRST), headers=headers)
        assert (answer.status, answer.error["code"]) == (400, "invalid_header")

    @pytest.mark.parametrize(
        ("header", "told"),
        [({}, ""), ({"traceparent": TRACE}, TRACE), ({"traceparent": "nonsense"}, "")],
    )
    async def test_the_callers_trace_is_passed_on(self, header: Head, told: str) -> None:
        records: list[Record] = []
        async with open_gateway(FLOWER, recorder=records.append) as gateway:
            await ask(gateway, "POST", "/iris/predict", rows(FIRST), headers=header)
        assert [record.request.traceparent for record in records if record.request] == [told]


class TestCounts:
    """Every end of a prediction is counted of its route."""

    async def test_all_ends(self) -> None:
        async with open_gateway(FLOWER) as gateway:
            route = gateway.graph.measures.route("iris")
            await ask(gateway, "POST", "/iris/predict", rows(FIRST))
            await ask(gateway, "GET", "/iris/predict/test")
            await ask(gateway, "POST", "/iris/predict/an-id", b"nonsense")
            await ask(gateway, "POST", "/iris/predict/label", b"x", headers={"content-type": "a/b"})
            with pytest.raises(Unanswered):
                await ask_in_pieces(gateway, "POST", "/iris/predict", [b"{"], whole=False)
            assert route.answers == {200: 2, 400: 1, 415: 1, 499: 1}
            assert route.errors == {
                "malformed_body": 1,
                "unsupported_content": 1,
                "client_gone": 1,
            }
            assert (sum(route.seconds.counts), route.in_flight) == (5, 0)

    async def test_what_is_no_prediction_is_not(self) -> None:
        async with open_gateway(FLOWER) as gateway:
            for path in ("metadata", "health", "health/all", "nothing"):
                await ask(gateway, "GET", f"/iris/{path}")
            assert gateway.graph.measures.route("iris").answers == {200: 0}

    async def test_what_is_under_way_is_in_flight(self) -> None:
        clock = ManualClock()
        async with open_gateway(TestRecords.LATE, clock=clock) as gateway:
            route = gateway.graph.measures.route("it")
            asking = asyncio.ensure_future(ask(gateway, "POST", "/it/predict", rows(FIRST)))
            await clock.elapse()
            assert route.in_flight == 1
            asking.cancel()
            await asyncio.wait([asking])
            assert (route.in_flight, route.answers) == (0, {200: 0, 499: 1})


async def test_a_recorder_that_raises_is_a_fault_of_ours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(record: Record) -> None:
        raise RuntimeError("the log is gone")

    async with open_gateway(FLOWER, recorder=refuse) as gateway:
        for path in ("/iris/predict", "/iris/predict/test"):
            method = "GET" if path.endswith("test") else "POST"
            answer = await ask(gateway, method, path, rows(FIRST) if method == "POST" else b"")
            check_fault(answer, capsys.readouterr().err)
        assert (await ask(gateway, "GET", "/iris/metadata")).status == 200


def check_fault(answer: Answer, said: str) -> None:
    assert answer.status == 500
    assert answer.error["code"] == "internal_error"
    assert set(answer.error) == {"code", "message", "request_id"}
    assert b"the log is gone" not in answer.content
    (fault,) = faults(said)
    assert fault.request_id == answer.header("x-request-id")
    assert fault.traceback.count("RuntimeError: the log is gone") == 1


async def test_large_answers_come_whole() -> None:
    spec = (
        'models: {wide: {runtime: "gateway_callables:wide", sample: [[1.5, 2]]}}\n'
        "routes: {it: wide, both: {fan_out: {positive: 0, arms: {a: wide, b: wide}}}}\n"
    )
    async with open_gateway(spec) as gateway:
        given = [[float(i), 0.0] for i in range(12)]
        wide = [[row[0]] * 1000 for row in given]
        answer = await ask(gateway, "POST", "/it/predict/an-id", rows(*given))
        assert answer.json == {"prediction": wide, "job_id": "an-id"}
        answer = await ask(gateway, "POST", "/both/predict", rows(*given))
        assert answer.json == {"a": {"prediction": wide}, "b": {"prediction": wide}}
        two = spec.replace("[[1.5, 2]]", "[[1.5, 2], [1, 2], [1, 2], [1, 2], [1, 2]]")
    async with open_gateway(two) as gateway:
        answer = await ask(gateway, "GET", "/it/predict/test")
        assert len(answer.json["prediction"]) == 5


def test_first_words_are_those_of_the_paths() -> None:
    words = {"predict", "predict-label", "predict-test", "predict-test-label"}
    assert first_words() == words | {"metadata", "label", "health"}
