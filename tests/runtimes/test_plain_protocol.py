"""The plain face from both sides: a gateway of ours answers, a remote model understands it."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
import numpy as np
import pytest

from penstock.core.errors import (
    InvalidInput,
    NoLabels,
    ServingError,
    UpstreamFailed,
)
from penstock.core.predictor import OpenModel
from penstock.core.values import AnswerKind, InferenceRequest, InferenceResponse
from penstock.gateway.answers import as_json
from tests.gateway.asking import ask
from tests.gateway.opening import CALLABLES, open_gateway
from tests.runtimes.faulty_server import (
    METADATA,
    Behaviour,
    Request,
    Visit,
    answer,
    faulty,
)
from tests.runtimes.remotes import Opened, opened, remote_source
from tests.runtimes.served import known, served
from tests.support import START_S, ManualClock

MODELS: Final = """
models:
  flower: {runtime: "gateway_callables:flower", execution: inline,
           labels: [setosa, versicolor, virginica], sample: [[1, 0, 0, 0]]}
  bloom: {runtime: "gateway_callables:bloom", execution: inline,
           labels: [setosa, versicolor, virginica], sample: [[1, 0, 0, 0]]}
  rose: {runtime: "gateway_callables:rose", execution: inline, sample: [[1, 0, 0, 0]]}
  tulip: {runtime: "gateway_callables:tulip", execution: inline, sample: [[1, 0, 0, 0]]}
  timid: {runtime: "gateway_callables:timid", execution: inline,
           labels: [setosa, versicolor, virginica], sample: [[1, 0, 0, 0]]}
  broken: {runtime: "gateway_callables:broken", execution: inline}
"""
ARMS: Final = "{rose: rose, tulip: tulip}"
ROUTES: Final = {
    "scores": "flower",
    "scores without labels": "rose",
    "a threshold": "[threshold: {min: 0.6}, flower]",
    "a constant label": "[constant: {answer: cat}]",
    "constant scores": "[constant: {answer: [0.25, 0.75]}]",
    "keyed": f"[fan_out: {{arms: {ARMS}}}]",
    "keyed, of labels too": (
        "[fan_out: {arms: {rose: rose, cat: {use: [constant: {answer: cat}]}}}]"
    ),
    "keyed, an arm fails": "[fan_out: {arms: {rose: rose, broken: broken}}]",
    "keyed, within keyed": (
        f"[fan_out: {{arms: {{a: {{use: [fan_out: {{arms: {ARMS}}}]}}, b: rose}}}}]"
    ),
    "binary": f"[fan_out: {{default_threshold: 0.5, arms: {ARMS}}}]",
    "best": f"[fan_out: {{aggregate: label, arms: {ARMS}}}]",
    "mean": "[fan_out: {aggregate: mean, arms: {flower: flower, bloom: bloom}}]",
    "mean, an arm fails": "[fan_out: {aggregate: mean, arms: {flower: flower, timid: timid}}]",
}
ONE: Final = [[1.0, 0.0, 0.0, 0.0]]
TWO: Final = [[1.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0]]


def asking(rows: list[list[float]], *, labelled: bool) -> InferenceRequest:
    data = np.array(rows, np.float64)
    return InferenceRequest("r", "it", {"data": data}, START_S + 30.0, 7, labelled)


async def told(model: OpenModel, request: InferenceRequest) -> tuple[int, Any]:
    try:
        response = await model.predict(request)
    except ServingError as error:
        return (404 if isinstance(error, NoLabels) else 500), None
    return 200, without_messages(as_json(response))


def without_messages(content: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return an answer without the codes of failed arms, which become `upstream_failed`."""
    text = json.dumps(content)
    return json.loads(text.replace('"model_failed"', '"upstream_failed"'))


@pytest.mark.parametrize("labelled", [False, True], ids=["scores", "labels"])
@pytest.mark.parametrize("route", ROUTES)
async def test_a_remote_route_answers_as_it_does_itself(route: str, labelled: bool) -> None:
    text = f"{MODELS}routes: {{it: {ROUTES[route]}}}"
    async with open_gateway(text, folder=CALLABLES) as gateway, served(gateway) as server:
        source = remote_source(f"http://{server.url}/it")
        async with known(source, ManualClock()) as model:
            for rows in (ONE, TWO):
                path = "/it/predict/label" if labelled else "/it/predict"
                itself = await ask(gateway, "POST", path, {"data": rows})
                status, content = await told(model, asking(rows, labelled=labelled))
                assert status == itself.status
                if status == 200:
                    assert content == without_messages(json.loads(itself.content))


async def test_an_arm_that_failed_has_the_code_it_had() -> None:
    text = f"{MODELS}routes: {{it: {ROUTES['keyed, an arm fails']}}}"
    async with (
        open_gateway(text, folder=CALLABLES) as gateway,
        served(gateway) as server,
        known(remote_source(f"http://{server.url}/it"), ManualClock()) as model,
    ):
        response = await model.predict(asking(ONE, labelled=False))
    error = response.arms["broken"]
    assert isinstance(error, UpstreamFailed)
    assert str(error) == "the remote model svc, arm broken, failed: model_failed"


async def test_the_refusal_of_an_input_goes_on() -> None:
    text = f"{MODELS}routes: {{it: flower}}\nlimits: {{max_rows: 1}}"
    async with (
        open_gateway(text, folder=CALLABLES) as gateway,
        served(gateway) as server,
        known(remote_source(f"http://{server.url}/it"), ManualClock()) as model,
    ):
        with pytest.raises(InvalidInput, match="refused the input: the body is over the limit"):
            await model.predict(asking(TWO, labelled=False))


# --- with answers made up ----------------------------------------------------------------


def telling(metadata: bytes = METADATA, **told: bytes) -> Behaviour:
    """Return what answers each path as it is told; 404 where it is not."""

    def behave(visit: Visit, request: Request) -> None:
        name = request.path.strip("/").replace("/", "_")
        body = {"metadata": metadata, **told}.get(name)
        visit.write(answer(body) if body is not None else answer(b"{}", 404))

    return behave


async def test_labels_of_the_spec_are_chosen_here() -> None:
    behave = telling(predict=b'{"prediction":[0.1,0.7,0.2]}')
    source = remote_source(labels=("a", "b", "c"))
    async with faulty(behave) as server:
        source = msgspec.structs.replace(source, urls=(server.url,))
        async with opened(source) as remote:
            response = await remote.model.predict(remote.request(labelled=True))
        assert response.kind is AnswerKind.LABELLED
        assert response.outputs["label"].tolist() == ["b"]
        assert response.outputs["scores"].tolist() == [[np.float32(x) for x in (0.1, 0.7, 0.2)]]
        assert "/label" not in [request.path for request in server.requests]


async def test_without_labels_anywhere_none_are_asked_for() -> None:
    async with faulty(telling()) as server, opened(remote_source(server.url)) as remote:
        asked = len(server.requests)
        with pytest.raises(NoLabels, match="model svc has no labels"):
            await remote.model.predict(remote.request(labelled=True))
        assert len(server.requests) == asked


def sampled(sample: object, kind: str = "float64") -> bytes:
    content = {**json.loads(METADATA), "prediction_type": kind, "prediction_sample": sample}
    return json.dumps(content).encode()


KEYED: Final = sampled({"a": [0.5], "b": "cat"})
DECIDED: Final = sampled({"a": 1}, "int64")
BEST: Final = sampled({"proba": 0.5, "label": "a"})
LABELLED: Final = sampled("cat", "str")


@pytest.mark.parametrize(
    ("metadata", "said", "wrong"),
    [
        (METADATA, b'{"prediction":[1,2,3],"more":1}', ""),
        (METADATA, b'{"prediction":[1,2,3],"errors":{"x":{"code":"late"}}}', ""),
        (
            METADATA,
            b'{"prediction":[1,2,3],"errors":{%b}}' % b",".join(b'"%d":1' % i for i in range(300)),
            "its answer has errors of more than 256 arms",
        ),
        (METADATA, b"{", "its answer is not JSON"),
        (METADATA, b'{"prediction":"cat"}', "its answer is not what was expected: expected `arr"),
        (KEYED, b'{"a":{"prediction":[1.5]},"b":{"prediction":null},"job_id":"7"}', ""),
        (KEYED, b'{"a":{"prediction":[1.5]},"b":{"error":{}}}', ""),
        (KEYED, b'{"a":{"prediction":[1.5]},"b":{"error":7}}', ""),
        (KEYED, b"[]", "its answer is no object of arms"),
        (KEYED, b'{"a":{"prediction":[1.5]}}', "its answer lacks the arm b"),
        (KEYED, b'{"a":[1.5],"b":{"error":{}}}', "its answer has no prediction"),
        (KEYED, b'{"a":{"prediction":[true]},"b":{"error":{}}}', "expected `float`, got `bool`"),
        (KEYED, b'{"a":{"prediction":[1,2]},"b":{"error":{}}}', "has 2 values in a row, not 1"),
        (KEYED, b'{"a":{"prediction":[1]},"b":{"prediction":7}}', r"expected `str \| null`"),
        (DECIDED, b'{"a":0}', ""),
        (DECIDED, b'{"a":0.5}', "expected `int`, got `float`"),
        (BEST, b'{"prediction":{"proba":1,"label":null}}', ""),
        (BEST, b'{"prediction":{"proba":1}}', "has no proba and label"),
        (BEST, b'{"prediction":[]}', "has no proba and label"),
        (BEST, b'{"prediction":{"proba":"x","label":"a"}}', "expected `float`, got `str`"),
        (LABELLED, b'{"prediction":"dog"}', ""),
        (LABELLED, b'"dog"', "has no prediction"),
    ],
)  # fmt: skip
async def test_answers_are_read_strictly(metadata: bytes, said: bytes, wrong: str) -> None:
    async with (
        faulty(telling(metadata, predict=said)) as server,
        opened(remote_source(server.url)) as remote,
    ):
        asking = remote.model.predict(remote.request())
        if not wrong:
            assert isinstance(await asking, InferenceResponse)
            return
        with pytest.raises(UpstreamFailed, match=wrong):
            await asking


async def test_labels_of_several_rows_are_as_many() -> None:
    async with (
        faulty(telling(LABELLED, predict=b'{"prediction":["a","b","c"]}')) as server,
        opened(remote_source(server.url)) as remote,
    ):
        four = (1.0, 2.0, 3.0, 4.0)
        with pytest.raises(UpstreamFailed, match="its answer has 3 labels for 2 rows"):
            await remote.model.predict(remote.request(four, four))


# --- learning ----------------------------------------------------------------------------


async def why_not(behave: Behaviour) -> str:
    """Return why a remote is not ready, once it has been asked."""
    async with faulty(behave) as server, opened(remote_source(server.url), known=False) as remote:
        await until_asked(remote)
        return remote.predictor.why_not_ready


async def until_asked(remote: Opened) -> None:
    from tests.runtimes.remotes import until

    first = remote.predictor.why_not_ready
    await until(lambda: remote.predictor.why_not_ready != first)


@pytest.mark.parametrize(
    ("behave", "why"),
    [
        (telling(b"{"), "its /metadata is not JSON"),
        (telling(label=b"7"), "its /label is not what was expected"),
        (telling(label=b"{}"), ""),
        (lambda visit, request: visit.write(answer(b"", 500)), "it answered 500 to /metadata"),
        (telling(b" " * 2_000_000), "its answer is over the limit of 1048576 bytes"),
        (
            telling(sampled(None, "float32"), health_all=b'{"a":{"health":"ok"}}'),
            "its /metadata has no prediction_sample to tell the form of its answers by: give one",
        ),
        (telling(sampled(None, "float32"), health_all=b'{"a":"ok","b":"ok"}'), "no prediction_s"),
    ],
)
async def test_why_it_is_not_ready_is_said(behave: Behaviour, why: str) -> None:
    if why:
        assert why in await why_not(behave)


@pytest.mark.parametrize("healths", [{}, {"health_all": b'{"svc":"ok"}'}, {"health_all": b"?"}])
async def test_one_model_needs_no_sample(healths: dict[str, bytes]) -> None:
    async with (
        faulty(telling(sampled(None, "float32"), **healths)) as server,
        opened(remote_source(server.url)) as remote,
    ):
        assert remote.told[0].kind is AnswerKind.SCORES


async def test_labels_that_cannot_be_had_keep_it_from_being_ready() -> None:
    def behave(visit: Visit, request: Request) -> None:
        visit.write(answer(METADATA) if request.path == "/metadata" else answer(b"", 500))

    assert await why_not(behave) == "it answered 500 to /label"
