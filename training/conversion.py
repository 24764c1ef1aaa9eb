# mypy: disable-error-code="import-untyped,import-not-found"
# skl2onnx ships no types; it and onnx are not there where only the server is installed.
"""From a fitted estimator to the bytes of an ONNX file."""

from typing import Literal

import onnx
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType

from training.estimators import Estimator, accepting_svc_probability

INPUT = "float_input"
Form = Literal["maps", "tensor", "columns"]

_ZIPMAP = {"tensor": False, "columns": "columns"}


@accepting_svc_probability()
def converted(name: str, model: Estimator, *, width: int = 4, form: Form = "maps") -> bytes:
    """Returns the file's bytes, probabilities in this form; maps are what skl2onnx defaults to."""
    options = None if form == "maps" else {id(model): {"zipmap": _ZIPMAP[form]}}
    exported: onnx.ModelProto = to_onnx(
        model,
        initial_types=[(INPUT, FloatTensorType([None, width]))],
        options=options,
        name=name,
    )
    # skl2onnx lists them in the order of a set of strings, which each process shuffles.
    exported.opset_import.sort(key=lambda opset: opset.domain)
    onnx.checker.check_model(exported, full_check=True)
    return serialised(exported)


def serialised(model: onnx.ModelProto) -> bytes:
    """Returns the model's bytes, the same for the same model."""
    content: bytes = model.SerializeToString(deterministic=True)
    return content
