"""Model cards: what a file is, what it was trained on, and how it fared."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

from training.data import HELD_OUT_RATIO, SEED, Split
from training.estimators import Estimator
from training.evaluation import ExportedModel, OutlierQuality, Quality

_LIBRARIES = ("scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy")


@dataclass(frozen=True, slots=True)
class Subject:
    """The model that a card is about."""

    name: str
    estimator: Estimator
    labels: Mapping[str, str] | None
    split: Split


def card(subject: Subject, content: bytes, quality: Quality | OutlierQuality) -> bytes:
    """Returns the card of a file with this content."""
    model = ExportedModel(content)
    return json_text(
        {
            "name": subject.name,
            "file": f"{subject.name}.onnx",
            "sha256": hashlib.sha256(content).hexdigest(),
            "labels": subject.labels,
            "inputs": model.inputs,
            "outputs": model.outputs,
            "training": {
                "data": "iris (sklearn.datasets.load_iris), as float32",
                "columns": [
                    "sepal length cm",
                    "sepal width cm",
                    "petal length cm",
                    "petal width cm",
                ],
                "estimator": " ".join(repr(subject.estimator).split()),
                "seed": SEED,
                "split": f"stratified by flower, {HELD_OUT_RATIO:.0%} held out",
                "train_rows": len(subject.split.train_rows),
                "held_out_rows": len(subject.split.held_out_rows),
            },
            "evaluation": quality,
            "made_with": {library: version(library) for library in _LIBRARIES},
        }
    )


def json_text(value: object) -> bytes:
    """Returns indented JSON with a final newline."""
    return (json.dumps(value, indent=2) + "\n").encode()
