"""`/metadata` and `/label` of every kind of answer: told, not written by hand."""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest

from penstock.core.predictor import Description, TensorSpec
from penstock.core.values import AnswerKind, InferenceResponse
from penstock.gateway.metadata import metadata, shortest, structure
from penstock.graph.node import Node, Route, always_healthy
from tests.gateway.asking import Json, ask
from tests.gateway.opening import ROOT, open_gateway
from tests.support import echo

MODELS: Final = """\
models:
  flower: {runtime: "gateway_callables:flower", labels: [setosa, versicolor, virginica],
           sample: [[1, 0, 0, 0]], execution: inline}
  rose: {runtime: "gateway_callables:rose", sample: [[1, 0, 0, 0]], execution: inline}
  tulip: {runtime: "gateway_callables:tulip", sample: [[1, 0, 0, 0]], execution: inline}
  bare: {runtime: "gateway_callables:rose", execution: inline}
  broken: {runtime: "gateway_callables:broken", execution: inline}
"""

ROSE: Final = [0.96875, 0.03125]
TULIP: Final = [0.0625, 0.9375]
BOTH: Final = "{rose: rose, tulip: tulip}"


async def told(expression: str, path: str = "metadata") -> Json:
    async with open_gateway(f"{MODELS}\nroutes:\n  it: {expression}\n") as gateway:
        return (await ask(gateway, "GET", f"/it/{path}")).json


@pytest.mark.parametrize(
    ("expression", "datatype", "shape", "sample"),
    [
        ("flower", "float64", "(1,3)", [0.75, 0.125, 0.125]),
        (
            f"{{fan_out: {{positive: 0, arms: {BOTH}}}}}",
            "float64",
            "(1,2)",
            {"rose": ROSE, "tulip": TULIP},
        ),
        (
            f"{{fan_out: {{positive: 0, default_threshold: 0.5, arms: {BOTH}}}}}",
            "int64",
            "(1,1)",
            {"rose": 1, "tulip": 0},
        ),
        (
            f"{{fan_out: {{positive: 0, aggregate: label, arms: {BOTH}}}}}",
            "str",
            "(1,1)",
            {"proba": 0.96875, "label": "rose"},
        ),
        (
            f"{{fan_out: {{aggregate: mean, arms: {BOTH}}}}}",
            "float64",
            "(1,2)",
            [0.515625, 0.484375],
        ),
        (
            "{fan_out: {positive: 0, arms: {rose: rose, flower: flower}}}",
            "float64",
            {"rose": "(1,2)", "flower": "(1,3)"},
            {"rose": ROSE, "flower": [0.75, 0.125, 0.125]},
        ),
        (
            f"{{fan_out: {{positive: 0, arms: {{rose: rose, in:"
            f" {{fan_out: {{positive: 0, arms: {BOTH}}}}}}}}}}}",
            "float64",
            "(1,2)",
            {"rose": ROSE, "in": {"rose": ROSE, "tulip": TULIP}},
        ),
        (
            f"{{fan_out: {{positive: 0, arms: {{rose: rose, in:"
            f" {{fan_out: {{positive: 0, default_threshold: 0.5, arms: {BOTH}}}}}}}}}}}",
            {"rose": "float64", "in": "int64"},
            {"rose": "(1,2)", "in": "(1,1)"},
            {"rose": ROSE, "in": {"rose": 1, "tulip": 0}},
        ),
        (
            "{fan_out: {positive: 0, arms: {rose: rose, bad: broken}}}",
            "float64",
            "(1,2)",
            {"rose": ROSE, "bad": {"error": {"code": "model_failed"}}},
        ),
        (
            "{fan_out: {positive: 0, arms: {rose: rose, always: {constant: {answer: x}}}}}",
            {"rose": "float64", "always": "str"},
            {"rose": "(1,2)", "always": "(1,1)"},
            {"rose": ROSE, "always": "x"},
        ),
    ],
)
async def test_of_a_sample(
    expression: str, datatype: object, shape: object, sample: object
) -> None:
    assert await told(expression) == {
        "data_type": "float64",
        "data_structure": "(1,4)",
        "data_sample": [[1.0, 0.0, 0.0, 0.0]],
        "prediction_type": datatype,
        "prediction_structure": shape,
        "prediction_sample": sample,
    }


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("bare", ("float64", "(1,n)", "float64", "(1,n)")),
        ("{constant: {answer: [0.5, 0.5, 0]}}", ("any", "any", "float64", "(1,3)")),
        ("{constant: {answer: setosa}}", ("any", "any", "str", "(1,1)")),
        (
            "{fan_out: {positive: 0, arms: {a: bare, b: bare}}}",
            ("float64", "(1,n)", "float64", "(1,n)"),
        ),
        (
            "{fan_out: {positive: 0, arms: {a: bare, b: {constant: {answer: x}}}}}",
            ("float64", "(1,n)", {"a": "float64", "b": "str"}, {"a": "(1,n)", "b": "(1,1)"}),
        ),
    ],
)
async def test_without_a_sample(expression: str, expected: tuple[object, ...]) -> None:
    metadata = await told(expression)
    keys = ("data_type", "data_structure", "prediction_type", "prediction_structure")
    assert tuple(metadata[key] for key in keys) == expected
    assert metadata["data_sample"] is None
    assert metadata["prediction_sample"] is None


async def test_a_model_of_whole_numbers() -> None:
    spec = "models: {m: {path: integers.onnx, sample: [[1, 2]]}}\nroutes: {it: m}\n"
    async with open_gateway(spec, folder=ROOT / "tests" / "data" / "models") as gateway:
        metadata = (await ask(gateway, "GET", "/it/metadata")).json
    assert metadata["data_type"].startswith("int")
    assert metadata["data_sample"] == [[1, 2]]


async def test_labels() -> None:
    classes = {"0": "setosa", "1": "versicolor", "2": "virginica"}
    assert await told("flower", "label") == classes
    arms = {"0": "rose", "1": "tulip"}
    assert await told(f"{{fan_out: {{positive: 0, arms: {BOTH}}}}}", "label") == arms
    assert (await told("rose", "label"))["error"]["code"] == "no_labels"


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (np.array([[5.1, 1e-8]], dtype=np.float32), [[5.1, 1e-8]]),
        (np.array([[5.1, 1 / 3]], dtype=np.float64), [[5.1, 1 / 3]]),
        (np.array([[0.1]], dtype=np.float16), [[0.1]]),
        (np.array([[5, -1]], dtype=np.int64), [[5, -1]]),
    ],
)
def test_samples_are_shown_as_they_were_written(sample: np.ndarray, expected: object) -> None:
    assert shortest(sample) == expected


@pytest.mark.parametrize(
    ("shape", "words"),
    [((-1, 4), "(1,4)"), ((2, 4), "(2,4)"), ((-1, -1), "(1,n)"), ((-1, 2, 3), "(1,2,3)")],
)
def test_shapes_in_words(shape: tuple[int, ...], words: str) -> None:
    assert structure(shape) == words


def test_of_several_rows_each_has_its_flag_and_score() -> None:
    fields = {"is_outlier": (False, None), "outlier_score": (0.123456789012, None)}
    answer = InferenceResponse(AnswerKind.SCORES, {"s": np.zeros((2, 1))}, fields=fields)
    score = TensorSpec("s", "float32", (-1, 1))
    description = Description("it", AnswerKind.SCORES, outlier=score)
    told = metadata(Route("it", Node(echo, description, always_healthy), answer))
    assert told["outlier_type"] == "bool, float32"
    assert told["outlier_structure"] == "(2,2)"
    assert told["outlier_sample"] == [[False, 0.12345679], [None, None]]
