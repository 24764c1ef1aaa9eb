# mypy: disable-error-code="import-untyped,import-not-found"
# onnxruntime ships no types.
"""How an exported file answers the held-out rows; always asked of the file, not the estimator."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import onnxruntime

from training.data import Classes, Rows


class Port(TypedDict):
    """An input or output of a file; a shape has null where any size goes, or is null itself."""

    name: str
    datatype: str
    shape: list[int | None] | None


class ClassFigures(TypedDict):
    """How one class fared; a ratio is null where it would divide by zero."""

    rows: int
    precision: float | None
    recall: float | None


class Quality(TypedDict):
    """How a classifier fared on the held-out rows."""

    accuracy: float
    classes: dict[str, ClassFigures]
    rows_where_own_label_differs: int


class OutlierQuality(TypedDict):
    """Which share of rows a one-class model flags as outliers."""

    held_out_flagged_ratio: float
    synthetic_outliers: int
    synthetic_outliers_flagged_ratio: float


class ExportedModel:
    """An ONNX file, opened from its bytes."""

    def __init__(self, content: bytes) -> None:
        """Opens the file on the CPU."""
        self._session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    @property
    def inputs(self) -> list[Port]:
        """What the file takes."""
        return [_port(node) for node in self._session.get_inputs()]

    @property
    def outputs(self) -> list[Port]:
        """What the file answers."""
        return [_port(node) for node in self._session.get_outputs()]

    def classify(self, rows: Rows) -> tuple[Classes, npt.NDArray[np.float64]]:
        """Returns the file's own labels and its probabilities."""
        labels, maps = self._session.run(None, {"float_input": rows})
        probabilities = [[row[key] for key in sorted(row)] for row in maps]
        return labels, np.array(probabilities, dtype=np.float64)

    def outlier_scores(self, rows: Rows) -> npt.NDArray[np.float64]:
        """Returns one score a row."""
        _, scores = self._session.run(None, {"float_input": rows})
        flat: npt.NDArray[np.float64] = np.asarray(scores, dtype=np.float64).ravel()
        return flat


def classifier_quality(
    model: ExportedModel, rows: Rows, truth: Classes, names: Sequence[str]
) -> Quality:
    """Judges a classifier; its label is the arg max of its probabilities."""
    own_labels, probabilities = model.classify(rows)
    labels = probabilities.argmax(axis=1)
    return {
        "accuracy": round(float((labels == truth).mean()), 4),
        "classes": {
            name: _class_figures(labels == index, truth == index)
            for index, name in enumerate(names)
        },
        "rows_where_own_label_differs": int((labels != own_labels).sum()),
    }


def outlier_quality(model: ExportedModel, held_out: Rows, outliers: Rows) -> OutlierQuality:
    """Judges a one-class model; a score below 0 is an outlier."""
    return {
        "held_out_flagged_ratio": _flagged_ratio(model, held_out),
        "synthetic_outliers": len(outliers),
        "synthetic_outliers_flagged_ratio": _flagged_ratio(model, outliers),
    }


def _flagged_ratio(model: ExportedModel, rows: Rows) -> float:
    return round(float((model.outlier_scores(rows) < 0).mean()), 4)


def _class_figures(chosen: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> ClassFigures:
    right = int((chosen & true).sum())
    return {
        "rows": int(true.sum()),
        "precision": _ratio(right, int(chosen.sum())),
        "recall": _ratio(right, int(true.sum())),
    }


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _port(node: onnxruntime.NodeArg) -> Port:
    is_tensor = node.type.startswith("tensor(")
    return {
        "name": node.name,
        "datatype": node.type,
        "shape": list(node.shape) if is_tensor else None,
    }
