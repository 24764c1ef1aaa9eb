from __future__ import annotations

import json
from typing import Any, Final

import msgspec
import numpy as np
import pytest

from penstock.core.errors import UpstreamFailed
from penstock.core.model import ModelSource
from penstock.core.predictor import TensorSpec
from penstock.core.values import AnswerKind
from penstock.runtimes.http_address import Address
from penstock.runtimes.open_inference import model_address
from penstock.runtimes.open_inference_description import DATATYPES, describe, read_metadata
from penstock.runtimes.remote_dialect import WrongAnswer
from tests.runtimes.faulty_server import Behaviour, Request, Visit, answer, faulty
from tests.runtimes.remotes import SMALL, opened, remote_source, until

INPUT: Final = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
SCORES: Final = {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}
LABEL: Final = {"name": "label", "datatype": "INT64", "shape": [-1]}
LABELS: Final = ("setosa", "versicolor", "virginica")


def metadata(*outputs: object, inputs: object = (INPUT,)) -> bytes:
    told = {"name": "svc", "platform": "onnx_onnxv1", "inputs": inputs}
    return json.dumps({**told, "outputs": outputs or (LABEL, SCORES)}).encode()


def inferred(data: object, shape: object = (1, 3), **changes: object) -> bytes:
    output = {"name": "probabilities", "datatype": "FP32", "shape": shape, "data": data}
    content = {"model_name": "svc", "id": "a-request", "outputs": [{**output, **changes}]}
    return json.dumps(content).encode()


def serving(body: bytes, told: bytes | None = None, *, version: str = "") -> Behaviour:
    def behave(visit: Visit, request: Request) -> None:
        said = {
            "/v2/models/svc": told or metadata(),
            "/v2/models/svc/infer": body,
            "/v2/models/svc/ready": b"",
        }.get(request.path)
        visit.write(answer(b"{}", 404) if said is None else answer(said))

    return behave


def source(url: str = "h:1", **options: Any) -> ModelSource:  # noqa: ANN401 - ModelSource's own
    return remote_source(url, protocol="oip", **options)


# --- asking ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/v2/models/svc", "/v2/models/svc/"])
async def test_a_model_is_asked_by_the_protocol(path: str) -> None:
    async with faulty(serving(inferred([0.75, 0.125, 0.125]))) as server:
        async with opened(source(f"http://{server.url}{path}")) as remote:
            assert remote.model.running == "remote, oip"
            assert await remote.model.health(remote.clock.now_s() + 5.0)
            response = await remote.model.predict(remote.request())
        request = server.requests[-1]
    assert response.kind is AnswerKind.SCORES
    assert response.outputs["probabilities"].tolist() == [[0.75, 0.125, 0.125]]
    assert response.outputs["probabilities"].dtype == np.float32
    assert request.line == "POST /v2/models/svc/infer HTTP/1.1"
    sent = json.loads(request.body)
    data = sent["inputs"][0].pop("data")
    assert (
        np.array(data, np.float32).tolist() == np.array([5.1, 3.5, 1.4, 0.2], np.float32).tolist()
    )
    assert sent == {
        "id": "a-request",
        "inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32"}],
        "outputs": [{"name": "probabilities"}],
    }


async def test_labels_are_those_of_the_spec() -> None:
    async with (
        faulty(serving(inferred([[0.1, 0.8, 0.1], [0.5, 0.2, 0.3]], [2, 3]))) as server,
        opened(source(server.url, labels=LABELS)) as remote,
    ):
        row = (1.0, 2.0, 3.0, 4.0)
        response = await remote.model.predict(remote.request(row, row, labelled=True))
    assert response.outputs["label"].tolist() == ["versicolor", "setosa"]
    assert response.outputs["scores"].shape == (2, 3)


async def test_the_version_that_answered_stands_in_the_trail() -> None:
    body = json.loads(inferred([1, 2, 3]))
    body["model_version"] = "7"
    async with (
        faulty(serving(json.dumps(body).encode())) as server,
        opened(source(server.url)) as remote,
    ):
        response = await remote.model.predict(remote.request())
    assert response.version == "7"
    assert [hop.name for hop in response.trail] == ["remote:svc@7"]


@pytest.mark.parametrize(
    ("datatype", "data", "expected"),
    [
        ("FP64", [[0.1, 0.2, 0.7]], [[0.1, 0.2, 0.7]]),
        ("INT64", [2**62 + 1, 0, 1], [[2**62 + 1, 0, 1]]),
        ("UINT64", [2**64 - 1, 0, 1], [[2**64 - 1, 0, 1]]),
        ("INT8", [[-128, 0, 127]], [[-128, 0, 127]]),
    ],
)
async def test_numbers_of_all_kinds_are_read(datatype: str, data: object, expected: object) -> None:
    told = metadata({**SCORES, "datatype": datatype})
    async with (
        faulty(serving(inferred(data, datatype=datatype), told)) as server,
        opened(source(server.url, output="probabilities")) as remote,
    ):
        response = await remote.model.predict(remote.request())
    assert response.primary.tolist() == expected


async def test_a_single_score_may_come_without_an_axis_of_its_own() -> None:
    told = metadata({"name": "probabilities", "datatype": "FP32", "shape": [-1]})
    async with (
        faulty(serving(inferred([0.5], [1]), told)) as server,
        opened(source(server.url)) as remote,
    ):
        response = await remote.model.predict(remote.request())
    assert response.primary.tolist() == [[0.5]]


@pytest.mark.parametrize("form", ["flat", "nested", "wide"])
async def test_large_answers_are_read_too(form: str) -> None:
    rows = [(float(i), 2.0, 3.0, 4.0) for i in range(9000)]
    table = np.array(rows, np.float32)[:, :3]
    data = (table if form == "nested" else table.ravel()).tolist()
    body = inferred(data, [9000, 3])
    if form != "wide":
        body = json.dumps(json.loads(body), separators=(",", ":")).encode()
    limits = msgspec.structs.replace(SMALL, answer_bytes=10_000_000)
    async with (
        faulty(serving(body)) as server,
        opened(source(server.url, labels=LABELS), limits=limits) as remote,
    ):
        response = await remote.model.predict(remote.request(*rows))
        labelled = await remote.model.predict(remote.request(*rows, labelled=True))
        server.behave = serving(body.replace(b"8999.0", b"null"))
        with pytest.raises(UpstreamFailed, match="expected `float`, got `null`"):
            await remote.model.predict(remote.request(*rows))
        server.behave = serving(body)
        with pytest.raises(UpstreamFailed, match=r"not \[2, 3\]|has 9000 rows for 2"):
            await remote.model.predict(remote.request(*rows[:2]))
    assert response.primary.tolist() == table.tolist()
    assert labelled.primary.shape == (9000,)


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (b"{", "its answer is not JSON"),
        (b'{"outputs":[]}', "its answer lacks the output probabilities"),
        (inferred([1, 2, 3], name="other"), "its answer lacks the output probabilities"),
        (inferred([1, 2]), r"has other data than its shape \[1, 3\] says"),
        (inferred([1, 2, 3], [1, 2]), r"has other data than its shape \[1, 2\] says"),
        (inferred([1, 2, 3], [3, 1]), r"has the shape \[3, 1\], not \[1, 3\]"),
        (inferred([[1, 2], [3, 4]], [2, 2]), "has 2 rows for 1"),
        (inferred([1, 2, 3], [-1, 3]), r"says its shape is \[-1, 3\]"),
        (inferred([1, 2, 3], []), r"says its shape is \[\]"),
        (inferred([], []), r"says its shape is \[\]"),
        (inferred([1, 2, 3], [1, 10**12]), "is not what was expected"),
        (inferred([1, 2, "x"]), "expected `float`, got `str`"),
        (inferred(None), "expected `array`, got `null`"),
        (inferred([[1, 2, [3]]]), "expected `float`, got `array`"),
        (inferred([1, 2, 1e39]), "has numbers out of the range of float32"),
        (inferred([[1, 2, 1e39]]), "has numbers out of the range of float32"),
    ],
)
async def test_answers_are_read_strictly(body: bytes, wrong: str) -> None:
    async with faulty(serving(body)) as server, opened(source(server.url)) as remote:
        with pytest.raises(UpstreamFailed, match=wrong):
            await remote.model.predict(remote.request())


async def test_numbers_too_large_for_any_datatype_are_refused() -> None:
    told = metadata({**SCORES, "datatype": "INT64"})
    async with (
        faulty(serving(inferred([2**80, 0, 1]), told)) as server,
        opened(source(server.url, output="probabilities")) as remote,
    ):
        with pytest.raises(UpstreamFailed, match="out of"):
            await remote.model.predict(remote.request())


async def test_a_model_that_is_not_there_is_said() -> None:
    def behave(visit: Visit, request: Request) -> None:
        visit.write(answer(b'{"error":"no model svc"}', 404))

    async with faulty(behave) as server, opened(source(server.url), known=False) as remote:
        why = remote.predictor.why_not_ready
        await until(lambda: remote.predictor.why_not_ready != why)
        assert remote.predictor.why_not_ready == "it answered 404 to its metadata: no model svc"
        assert not await remote.model.health(remote.clock.now_s() + 5.0)


async def test_why_it_is_not_ready_is_said() -> None:
    async with (
        faulty(serving(b"", metadata(LABEL))) as server,
        opened(source(server.url), known=False) as remote,
    ):
        why = remote.predictor.why_not_ready
        await until(lambda: remote.predictor.why_not_ready != why)
        assert remote.predictor.why_not_ready.startswith("its metadata has no floating-point out")


# --- descriptions ------------------------------------------------------------------------


def test_a_model_is_described() -> None:
    description = describe(source(labels=LABELS), read_metadata(metadata()))
    assert description.inputs == (TensorSpec("x", "float32", (-1, 4)),)
    assert description.outputs == (TensorSpec("probabilities", "float32", (-1, 3)),)
    assert description.labels == LABELS
    assert description.source == "svc"
    assert description.known
    assert description.sample is None


def test_the_spec_names_the_output_where_there_are_several() -> None:
    other = {**SCORES, "name": "other"}
    description = describe(source(output="other"), read_metadata(metadata(SCORES, other)))
    assert description.outputs[0].name == "other"


def test_the_sample_is_the_spec_s() -> None:
    description = describe(source(sample=((1, 2, 3, 4),)), read_metadata(metadata()))
    assert description.sample is not None
    assert description.sample.dtype == np.float32


@pytest.mark.parametrize(
    ("told", "options", "wrong"),
    [
        (metadata(inputs=[]), {}, "tells of 0 inputs; a model has one here"),
        (metadata(inputs=[INPUT, INPUT]), {}, "tells of 2 inputs"),
        (metadata(inputs=[{**INPUT, "datatype": "BYTES"}]), {}, "says that x is BYTES, not numb"),
        (metadata(inputs=[{**INPUT, "shape": [4]}]), {}, r"tells of an input of shape \[-1\]"),
        (metadata(inputs=[{**INPUT, "shape": []}]), {}, "there are no rows in it"),
        (metadata(inputs=[{**INPUT, "shape": [-1, 0]}]), {}, "there are no rows in it"),
        (metadata(LABEL), {}, "no floating-point output: name one by `output:`.*it has label"),
        (metadata(SCORES, SCORES), {}, "several floating-point outputs: name one"),
        (metadata(), {"output": "z"}, "has no output z; it has label, probabilities"),
        (metadata(), {"labels": ("a", "b")}, r"scores of shape \[3\] a row, and the spec of 2 l"),
        (metadata(), {"sample": ((1,),)}, "does not go with the spec: sample"),
        (metadata(inputs=[{**INPUT, "shape": [-2, 4]}]), {}, "is not what was expected"),
        (b"{}", {}, "is not what was expected: object missing required field `inputs`"),
        (b"\xff", {}, "is not JSON"),
    ],
)
def test_what_is_odd_is_a_sentence(told: bytes, options: dict[str, Any], wrong: str) -> None:
    with pytest.raises(WrongAnswer, match=wrong):
        describe(source(**options), read_metadata(told))


def test_datatypes_are_numpy_s() -> None:
    for ours in DATATYPES.values():
        assert np.dtype(ours).name == ours


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("", "/v2/models/svc"),
        ("/serving", "/serving/v2/models/svc"),
        ("/v2/models/other", "/v2/models/other"),
        ("/a/v2/models/other/versions/3", "/a/v2/models/other/versions/3"),
    ],
)
def test_an_address_may_name_the_server_or_the_model(base: str, expected: str) -> None:
    assert model_address(Address("h", 1, base), "svc").base == expected
