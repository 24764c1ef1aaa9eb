"""The published samples' own model files and the figures that their users know."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from penstock.gateway.gateway import Gateway
from tests.gateway.asking import Head, Json, ask, rows
from tests.gateway.opening import PUBLISHED, needs_published, open_gateway
from tests.support import settle

pytestmark = [needs_published, pytest.mark.asyncio(loop_scope="module")]

SPEC: Final = """
models:
  svc: {path: iris_svc.onnx, labels: label.json, sample: [[5.1, 3.5, 1.4, 0.2]]}
  rf: {path: iris_rf.onnx, labels: label.json, sample: [[5.1, 3.5, 1.4, 0.2]]}
  setosa: {path: iris_svc_0_setosa.onnx, sample: [[5.1, 3.5, 1.4, 0.2]]}
  versicolor: {path: iris_svc_0_versicolor.onnx, sample: [[5.1, 3.5, 1.4, 0.2]]}
  virginica: {path: iris_svc_0_virginica.onnx, sample: [[5.1, 3.5, 1.4, 0.2]]}
  ocs: {path: iris_ocs.onnx, sample: [[5.1, 3.5, 1.4, 0.2]]}
routes:
  single: svc
  forest: rf
  outlier: ocs
  logged: [{prediction_log: {outlier: ocs}}, svc]
  ab: {split: {sticky: header:x-user-id, arms: {svc: {weight: 60}, rf: {weight: 40}}}}
  shadowed: [{mirror: {shadow: rf}}, svc]
  parallel:
    fan_out: {arms: {setosa: setosa, versicolor: versicolor, virginica: virginica}, positive: 0}
  parameters:
    fan_out:
      positive: 0
      arms:
        setosa: {use: setosa, threshold: 0.9}
        versicolor: {use: versicolor, threshold: 0.85}
        virginica: {use: virginica, threshold: 0.95, state: 0}
default: single
"""

IRIS: Final = [5.1, 3.5, 1.4, 0.2]
OTHER: Final = [6.7, 3.0, 5.2, 2.3]
FOUR: Final = [1.0, 2.0, 3.0, 4.0]
OF_IRIS: Final = [0.9709315896034241, 0.015583082102239132, 0.013485366478562355]
OF_OTHER: Final = [0.009793723002076149, 0.009877714328467846, 0.9803286194801331]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[Gateway]:
    async with open_gateway(SPEC, folder=PUBLISHED) as gateway:
        yield gateway


async def posted(gateway: Gateway, path: str, *given: list[float]) -> Json:
    answer = await ask(gateway, "POST", path, rows(*given))
    assert answer.status == 200
    return answer.json


async def got(gateway: Gateway, path: str) -> Json:
    answer = await ask(gateway, "GET", path)
    assert answer.status == 200
    return answer.json


async def test_single(gateway: Gateway) -> None:
    assert await posted(gateway, "/predict", IRIS) == {"prediction": OF_IRIS}
    assert await posted(gateway, "/predict", OTHER) == {"prediction": OF_OTHER}
    assert await posted(gateway, "/predict/label", OTHER) == {"prediction": "virginica"}
    assert await posted(gateway, "/predict", IRIS, OTHER) == {"prediction": [OF_IRIS, OF_OTHER]}
    assert await got(gateway, "/predict/test") == {"prediction": OF_IRIS}
    assert await got(gateway, "/predict/test/label") == {"prediction": "setosa"}


async def test_figures_are_printed_to_the_last_digit(gateway: Gateway) -> None:
    answer = await ask(gateway, "POST", "/predict", rows(IRIS))
    assert answer.content == (
        b'{"prediction":[0.9709315896034241,0.015583082102239132,0.013485366478562355]}'
    )


async def test_single_metadata_and_labels(gateway: Gateway) -> None:
    assert await got(gateway, "/metadata") == {
        "data_type": "float32",
        "data_structure": "(1,4)",
        "data_sample": [[5.1, 3.5, 1.4, 0.2]],
        "prediction_type": "float32",
        "prediction_structure": "(1,3)",
        "prediction_sample": [0.97093159, 0.01558308, 0.01348537],
    }
    assert await got(gateway, "/label") == {"0": "setosa", "1": "versicolor", "2": "virginica"}


async def test_forest(gateway: Gateway) -> None:
    answer = await posted(gateway, "/forest/predict", IRIS)
    assert answer["prediction"] == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)


async def test_outlier_scores(gateway: Gateway) -> None:
    answer = await posted(gateway, "/outlier/predict", IRIS, OTHER)
    assert answer == {"prediction": [[0.1915884017944336], [0.44043588638305664]]}


async def test_shadowed(gateway: Gateway) -> None:
    at, answer = "/shadowed", {"job_id": "000000", "prediction": OF_IRIS}
    assert await got(gateway, f"{at}/predict-test/000000") == answer
    labelled = await got(gateway, f"{at}/predict-test-label/000000")
    assert labelled == {"job_id": "000000", "prediction": "setosa"}
    assert await posted(gateway, f"{at}/predict/000000", IRIS) == answer
    labelled = await posted(gateway, f"{at}/predict-label/000000", OTHER)
    assert labelled == {"job_id": "000000", "prediction": "virginica"}
    assert await posted(gateway, f"{at}/predict", OTHER) == {"prediction": OF_OTHER}
    assert await got(gateway, f"{at}/metadata") == await got(gateway, "/metadata")
    assert await got(gateway, f"{at}/label") == await got(gateway, "/label")
    assert await got(gateway, f"{at}/health/all") == await got(gateway, "/health/all")
    await settle()
    assert gateway.graph.background.queues["routes.shadowed[0].mirror"].begun == 5
    assert gateway.graph.background.failed == 0


async def test_logged(gateway: Gateway) -> None:
    answer = await ask(gateway, "POST", "/logged/predict", rows(OTHER))
    assert answer.json == {
        "job_id": answer.header("x-request-id"),
        "prediction": OF_OTHER,
        "is_outlier": False,
        "outlier_score": 0.44043588638305664,
    }
    labelled = await posted(gateway, "/logged/predict-label/000000", IRIS, OTHER)
    assert labelled == {
        "job_id": "000000",
        "prediction": ["setosa", "virginica"],
        "is_outlier": [False, False],
        "outlier_score": [0.1915884017944336, 0.44043588638305664],
    }
    far = [50.0, 30.1, 111.4, 110.2]
    assert (await posted(gateway, "/logged/predict", far))["is_outlier"] is True
    metadata = await got(gateway, "/logged/metadata")
    assert {name: metadata[name] for name in metadata if name.startswith("outlier")} == {
        "outlier_type": "bool, float32",
        "outlier_structure": "(1,2)",
        "outlier_sample": [False, 0.1915884],
    }


async def test_parallel(gateway: Gateway) -> None:
    expected = {
        "setosa": {"prediction": [0.9824145436286926, 0.017585478723049164]},
        "versicolor": {"prediction": [0.0046140821650624275, 0.9953859448432922]},
        "virginica": {"prediction": [0.011562099680304527, 0.9884378910064697]},
    }
    assert await posted(gateway, "/parallel/predict", IRIS) == expected
    for path in ("/predict/test", "/predict/get/test", "/predict/post/test"):
        assert await got(gateway, f"/parallel{path}") == expected
    assert await posted(gateway, "/parallel/predict", FOUR) == {
        "setosa": {"prediction": [0.2897033989429474, 0.710296630859375]},
        "versicolor": {"prediction": [0.05282164365053177, 0.9471783638000488]},
        "virginica": {"prediction": [0.3042130172252655, 0.6957869529724121]},
    }


async def test_parallel_label(gateway: Gateway) -> None:
    answer = await posted(gateway, "/parallel/predict/label", FOUR)
    assert answer == {"prediction": {"proba": 0.3042130172252655, "label": "virginica"}}


async def test_parallel_metadata(gateway: Gateway) -> None:
    metadata = await got(gateway, "/parallel/metadata")
    assert metadata["data_structure"] == "(1,4)"
    assert metadata["prediction_structure"] == "(1,2)"
    assert metadata["prediction_sample"] == {
        "setosa": [0.98241454, 0.01758548],
        "versicolor": [0.00461408, 0.99538594],
        "virginica": [0.0115621, 0.98843789],
    }


async def test_parameters(gateway: Gateway) -> None:
    at = "/parameters/predict"
    assert await posted(gateway, at, IRIS) == {"setosa": 1, "versicolor": 0}
    far = [50.0, 30.1, 111.4, 110.2]
    assert await posted(gateway, at, far) == {"setosa": 0, "versicolor": 0}
    health = await got(gateway, "/parameters/health/all")
    assert health == {"setosa": "ok", "versicolor": "ok", "virginica": "ok"}


async def test_online_ab(gateway: Gateway) -> None:
    met = {}
    for user in range(20):
        headers: Head = {"x-user-id": str(user)}
        answer = await ask(gateway, "POST", "/ab/predict", rows(IRIS), headers=headers)
        assert answer.status == 200
        assert set(answer.json) == {"prediction", "mode"}
        met[answer.json["mode"]] = answer.json["prediction"]
    assert set(met) == {"iris_svc.onnx", "iris_rf.onnx"}
    assert met["iris_svc.onnx"] == OF_IRIS
    assert met["iris_rf.onnx"] == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)


async def test_online_ab_names_the_file_in_every_form(gateway: Gateway) -> None:
    headers: Head = {"x-user-id": "0"}
    alone = await ask(gateway, "POST", "/ab/predict", rows(IRIS), headers=headers)
    mode = alone.json["mode"]
    for path, added in (("/ab/predict/label", {}), ("/ab/predict-label/7", {"job_id": "7"})):
        answer = await ask(gateway, "POST", path, rows(IRIS), headers=headers)
        assert answer.json == {"prediction": "setosa", "mode": mode, **added}
    both = await ask(gateway, "POST", "/ab/predict", rows(IRIS, IRIS), headers=headers)
    assert both.json == {"prediction": [alone.json["prediction"]] * 2, "mode": mode}
    for path, added in (("/ab/predict/test", {}), ("/ab/predict-test/7", {"job_id": "7"})):
        answer = await ask(gateway, "GET", path, headers=headers)
        assert answer.json == {**alone.json, **added}
    assert (await ask(gateway, "GET", "/ab/health/all")).json == {"svc": "ok", "rf": "ok"}
