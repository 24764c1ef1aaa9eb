"""What a plain predictor answers that always says the same: the remote end of the comparisons.

Answers are those of the real models for one row, and the metadata is the real models', so that a
gateway finds what it would find at a real predictor; only the model's own time is left out.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from benchmarks.calls import IRIS_ROW, predicted
from benchmarks.models import ARMS, MODELS, iris

DATATYPE: Final = "float32"
DIGITS: Final = 8
SINGLE: Final = "svc"


def prediction(name: str) -> dict[str, Any]:
    """A model's answer to the row of the benchmarks."""
    return {"prediction": predicted(iris(name), [IRIS_ROW])}


def predictions(names: tuple[str, ...]) -> dict[str, Any]:
    """Every model's answer, by its name."""
    return {name: prediction(name) for name in names}


def labels(name: str) -> dict[str, str]:
    """The label map that comes with a model."""
    file = MODELS / ("iris_labels.json" if name not in ARMS else f"iris_{name}_labels.json")
    read = json.loads(file.read_text())
    named = read if isinstance(read, dict) else dict(enumerate(read))
    return {str(index): label for index, label in named.items()}


def metadata(name: str) -> dict[str, Any]:
    """What a plain predictor says about itself."""
    scores = prediction(name)["prediction"]
    return {
        "data_type": DATATYPE,
        "data_structure": f"(1,{len(IRIS_ROW)})",
        "data_sample": [IRIS_ROW],
        "prediction_type": DATATYPE,
        "prediction_structure": f"(1,{len(scores)})",
        "prediction_sample": [round(score, DIGITS) for score in scores],
    }


def plain_answers(name: str) -> Mapping[str, str]:
    """Path by path what the predictor answers, whatever the method and the body."""
    named = labels(name)
    scores = prediction(name)["prediction"]
    best = named[str(scores.index(max(scores)))]
    answers = {
        "/health": {"health": "ok"},
        "/health/ready": {"health": "ok"},
        "/metadata": metadata(name),
        "/label": named,
        "/predict": prediction(name),
        "/predict/label": {"prediction": best},
    }
    return {path: json.dumps(answer) for path, answer in answers.items()}
