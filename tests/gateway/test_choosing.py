"""Routes that choose by the request: whom it meets, and what it is told of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from penstock.core.errors import ServingError
from penstock.core.record import Record
from penstock.core.values import InferenceResponse
from penstock.gateway.gateway import Gateway
from tests.gateway.asking import Answer, Head, Json, ask, rows
from tests.gateway.opening import open_gateway
from tests.gateway.wire import Wire, request
from tests.support import ManualClock, hops

MODELS: Final = """\
models:
  flower: {runtime: "gateway_callables:flower", labels: [setosa, versicolor, virginica],
           sample: [[1, 0, 0, 0]], execution: inline}
  bloom: {runtime: "gateway_callables:bloom", labels: [rot, blau, gelb],
          sample: [[2, 0, 0, 0]], execution: inline}
  narrow: {runtime: "gateway_callables:price", sample: [[2, 0]], execution: inline}
  rose: {runtime: "gateway_callables:rose", execution: inline}
  far: {url: "127.0.0.1:9"}
"""
SPEC: Final = (
    MODELS
    + """\
routes:
  it:
    condition:
      when:
        - {header: {Target: mountain}, use: bloom}
        - {header: {target: far}, use: far}
        - {query: {kind: {one_of: [rose, 7]}}, use: rose}
        - {query: {kind: narrow}, use: narrow}
        - {field: {age: {above: 64}}, use: {constant: {answer: old}}}
        - {field: {note: {regex: "a*b?"}}, use: {constant: {answer: note}}}
        - {column: 3, above: 9, use: {constant: {answer: extreme}}}
        - {time: {between: [22:00, 06:00]}, use: bloom}
      otherwise: flower
  many: {fan_out: {positive: 0, arms: {first: it, second: flower}}}
  nights: [{timeout: {timeout_s: 5}}, by-night]
  by-night:
    condition:
      when: [{time: {between: [22:00, 06:00]}, use: bloom}]
      otherwise: flower
  rows-only:
    condition:
      when: [{column: 0, above: 1.5, use: bloom}]
      otherwise: flower
states: {rows-only: 'off'}
"""
)

NOON_S: Final = 86400.0 * 20000 + 12 * 3600
ONE: Final = [1.0, 0.0, 0.0, 0.0]
TO_BLOOM: Final[Head] = {"target": "mountain"}
FLOWER: Final = [0.75, 0.125, 0.125]
BLOOM: Final = [0.5, 0.25, 0.25]
RICH: Final = [0.25, 0.25, 0.5]


class Opened:
    """A gateway, its clock, and what was recorded."""

    def __init__(self, gateway: Gateway, clock: ManualClock, records: list[Record]) -> None:
        self.gateway = gateway
        self.clock = clock
        self.records = records

    async def post(
        self, body: object, path: str = "/it/predict", query: bytes = b"", **headers: str
    ) -> Answer:
        return await ask(self.gateway, "POST", path, body, headers={**headers}, query=query)

    async def get(self, path: str, query: bytes = b"", **headers: str) -> Answer:
        return await ask(self.gateway, "GET", path, headers={**headers}, query=query)

    @property
    def trail(self) -> list[str]:
        """The hops of the last request."""
        outcome = self.records[-1].outcome
        assert isinstance(outcome, InferenceResponse | ServingError)
        return hops(outcome)


@pytest_asyncio.fixture
async def it() -> AsyncIterator[Opened]:
    clock, records = ManualClock(wall_s=NOON_S), list[Record]()
    async with open_gateway(SPEC, clock=clock, recorder=records.append) as gateway:
        yield Opened(gateway, clock, records)


# --- whom a request meets ----------------------------------------------------------------


async def test_a_header(it: Opened) -> None:
    answer = await it.post(rows(ONE), target="mountain")
    assert answer.json == {"prediction": BLOOM}
    assert it.trail[0] == "condition:when[0]"
    answer = await it.post(rows(ONE), target="Mountain")
    assert answer.json == {"prediction": FLOWER}
    assert it.trail[0] == "condition:otherwise"


@pytest.mark.parametrize("query", [b"kind=rose", b"a=1&kind=7"])
async def test_a_query_parameter(it: Opened, query: bytes) -> None:
    await it.post(rows(ONE), query=query)
    assert it.trail[0] == "condition:when[2]"


@pytest.mark.parametrize(
    ("fields", "hop"),
    [
        ({"age": 65}, "condition:when[4]"),
        ({"age": "65.5"}, "condition:when[4]"),
        ({"age": 64}, "condition:otherwise"),
        ({"age": None}, "condition:otherwise"),
        ({"note": "aab"}, "condition:when[5]"),
        ({"note": "aabb"}, "condition:otherwise"),
    ],
)
async def test_a_key_of_the_body(it: Opened, fields: dict[str, Json], hop: str) -> None:
    answer = await it.post({**rows(ONE), **fields}, "/it/predict/label")
    assert answer.status == 200
    assert it.trail[0] == hop


async def test_a_key_that_no_rule_names_is_refused(it: Opened) -> None:
    answer = await it.post({**rows(ONE), "name": "x"})
    assert answer.status == 422
    assert answer.error["path"] == "$"


@pytest.mark.parametrize(
    ("field", "hop"),
    [
        ("a" * 256, "condition:when[5]"),
        ("a" * 257, "condition:otherwise"),
        ("a" * 100_000, "condition:otherwise"),
    ],
)
async def test_a_value_of_more_than_256_characters_matches_nothing(
    it: Opened, field: str, hop: str
) -> None:
    assert (await it.post({**rows(ONE), "note": field})).status == 200
    assert it.trail[0] == hop


async def test_blanks_at_the_end_of_a_header_change_nothing(it: Opened) -> None:
    blank = {"target": b"mountain \t", "x-request-id": b"an-id\t", "x-timeout-ms": b"500 "}
    wire = Wire(it.gateway)
    wire.send(request("POST", "/it/predict", json.dumps(rows(ONE)).encode(), blank))
    answer = await wire.answer()
    assert answer.json == {"prediction": BLOOM}
    assert answer.header("x-request-id") == "an-id"


async def test_a_column_of_the_input(it: Opened) -> None:
    answer = await it.post(rows([1, 0, 0, 10], [1, 0, 0, 11]), "/it/predict/label")
    assert answer.json == {"prediction": ["extreme", "extreme"]}
    answer = await it.post(rows([1, 0, 0, 10], [1, 0, 0, 9]))
    assert answer.status == 422
    assert (answer.error["code"], answer.error["path"]) == ("invalid_input", "$.data[1]")
    answer = await it.post(rows([1, 0]))
    assert answer.status == 422
    assert "looks at column 3 of rows of numbers, got float64 of [1, 2]" in answer.error["message"]


async def test_rows_of_another_width_are_for_the_branch_that_takes_them(it: Opened) -> None:
    assert (await it.post(rows([1, 0]), query=b"kind=narrow")).json == {"prediction": [12.5]}
    answer = await it.post(rows(ONE), query=b"kind=narrow")
    assert (answer.status, answer.error["code"]) == (422, "invalid_input")


async def test_the_time_of_day(it: Opened) -> None:
    assert (await it.post(rows(ONE), "/by-night/predict")).json == {"prediction": FLOWER}
    it.clock.advance(10 * 3600)
    assert (await it.post(rows(ONE), "/by-night/predict")).json == {"prediction": BLOOM}
    it.clock.advance(8 * 3600)
    assert (await it.post(rows(ONE), "/by-night/predict")).json == {"prediction": FLOWER}


async def test_within_a_fan_out(it: Opened) -> None:
    answer = await it.post(rows(ONE), "/many/predict", target="mountain")
    assert answer.json == {"first": {"prediction": BLOOM}, "second": {"prediction": FLOWER}}
    assert (await it.get("/many/metadata", target="mountain")).json["prediction_sample"] == {
        "first": [0.5, 0.375, 0.125],
        "second": [0.25, 0.25, 0.5],
    }


@pytest.mark.parametrize("policy", ["all", "quorum: 2"])
async def test_rows_that_part_within_a_fan_out_are_the_callers_mistake(policy: str) -> None:
    fan_out = f"{{fan_out: {{policy: '{policy}', arms: {{a: flower, b: it}}}}}}"
    condition = "{condition: {when: [{column: 0, above: 1, use: bloom}], otherwise: flower}}"
    routes = f"routes: {{many: {fan_out}, it: {condition}}}"
    async with open_gateway(f"{MODELS}{routes}\n") as gateway:
        parting = rows([1, 0, 0, 0], [2, 0, 0, 0])
        answer = await ask(gateway, "POST", "/many/predict", parting)
        assert (answer.status, answer.error["code"]) == (422, "invalid_input")
        assert answer.error["path"] == "$.data[1]"


async def test_only_requests_of_an_unknown_branch_are_not_ready(it: Opened) -> None:
    answer = await it.post(rows(ONE), target="far")
    assert (answer.status, answer.error["code"]) == (503, "not_ready")
    assert "condition:when[1]" in it.trail
    for path in ("/it/metadata", "/it/label"):
        answer = await it.get(path, target="far")
        assert (answer.status, answer.error["code"]) == (503, "not_ready")
        assert (await it.get(path)).status == 200
    assert (await it.get("/it/health/pred", target="far")).json == {"health": "ng"}


# --- what it is told ---------------------------------------------------------------------


async def test_labels_are_the_branchs(it: Opened) -> None:
    assert (await it.get("/it/label")).json["0"] == "setosa"
    assert (await it.get("/it/label", target="mountain")).json["0"] == "rot"
    answer = await it.get("/it/label", b"kind=rose")
    assert (answer.status, answer.error["code"]) == (404, "no_labels")


async def test_metadata_is_the_branchs(it: Opened) -> None:
    for _ in range(2):  # nothing is kept of what another request was told
        plain = (await it.get("/it/metadata")).json
        assert plain["data_sample"] == [[1.0, 0.0, 0.0, 0.0]]
        assert plain["prediction_sample"] == FLOWER
        chosen = (await it.get("/it/metadata", target="mountain")).json
        assert chosen["data_sample"] == [[2.0, 0.0, 0.0, 0.0]]
        assert chosen["prediction_sample"] == [0.5, 0.375, 0.125]
        narrow = (await it.get("/it/metadata", b"kind=narrow")).json
        assert (narrow["data_structure"], narrow["prediction_structure"]) == ("(1,2)", "(1,1)")
    rose = (await it.get("/it/metadata", b"kind=rose")).json
    assert (rose["data_sample"], rose["prediction_sample"]) == (None, None)
    assert rose["prediction_type"] == "float64"


BY_COLUMN: Final = """\
  it:
    condition:
      when:
        - {column: 0, above: 0, use: bloom}
        - {header: {x: narrow}, use: narrow}
      otherwise: rich
  many: {fan_out: {arms: {first: it, second: flower}}}
  limited: [{timeout: {timeout_s: 5}}, it]
"""


async def test_the_sample_of_a_branch_is_predicted_by_that_branch() -> None:
    """Sent like any rows, the sample of `otherwise` would meet the rule on its column."""
    rich = '  rich: {runtime: "gateway_callables:flower", sample: [[2, 0, 0, 1]]}'
    async with open_gateway(f"{MODELS}{rich}\nroutes:\n{BY_COLUMN}") as gateway:
        for route in ("it", "limited"):
            told = (await ask(gateway, "GET", f"/{route}/metadata")).json
            assert told["data_sample"] == [[2.0, 0.0, 0.0, 1.0]]
            assert told["prediction_sample"] == RICH
            answer = await ask(gateway, "GET", f"/{route}/predict/test")
            assert answer.json == {"prediction": [0.5, 0.375, 0.125]}  # it is rows like any
            told = (await ask(gateway, "GET", f"/{route}/metadata", headers={"x": "narrow"})).json
            assert (told["data_structure"], told["prediction_structure"]) == ("(1,2)", "(1,1)")
        told = (await ask(gateway, "GET", "/many/metadata")).json
        assert told["prediction_sample"] == {"first": RICH, "second": RICH}


async def test_the_sample_is_the_branchs(it: Opened) -> None:
    assert (await it.get("/it/predict/test")).json == {"prediction": FLOWER}
    answer = await it.get("/it/predict/test/label", target="mountain")
    assert answer.json == {"prediction": "rot"}
    answer = await it.get("/it/predict-test/7", target="mountain")
    assert answer.json == {"prediction": [0.5, 0.375, 0.125], "job_id": "7"}
    answer = await it.get("/it/predict/test", b"kind=rose")
    assert (answer.status, answer.error["code"]) == (404, "no_sample")


async def test_what_is_told_changes_with_the_time_of_day(it: Opened) -> None:
    labels = [(await it.get(f"/{route}/label")).json["0"] for route in ("by-night", "nights")]
    it.clock.advance(11 * 3600)
    labels += [(await it.get(f"/{route}/label")).json["0"] for route in ("by-night", "nights")]
    assert labels == ["setosa", "setosa", "rot", "rot"]


async def test_health(it: Opened) -> None:
    assert (await it.get("/it/health/pred")).json == {"health": "ok"}
    assert (await it.get("/rows-only/health/pred")).json == {"health": "ng"}
    assert (await it.get("/it/health/all")).json == {
        "when[0]": "ok",
        "when[1]": "ng",
        **{f"when[{index}]": "ok" for index in range(2, 8)},
        "otherwise": "ok",
    }


@pytest.mark.parametrize("path", ["/it/label", "/it/metadata", "/it/health/pred"])
async def test_a_head_with_mistakes_is_refused(it: Opened, path: str) -> None:
    answer = await ask(it.gateway, "GET", path, headers={"x-timeout-ms": "soon"})
    assert (answer.status, answer.error["code"]) == (400, "invalid_header")
    query = b"&".join(b"a%d=1" % index for index in range(65))
    assert (await it.get(path, query)).status == 400
