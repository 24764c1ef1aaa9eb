# mypy: disable-error-code="import-not-found"
# onnx is not there where only the server is installed.
"""Small hand-made graphs for the tests: what trained models do not show."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from training.conversion import serialised

_OPSET = 13
_IR_VERSION = 8

_WEIGHT = np.array(
    [[0.5, 0.1, -0.7], [1.0, -0.4, -0.4], [-1.5, 0.4, 1.3], [-0.7, -0.3, 1.1]], dtype=np.float32
)
_BIAS = np.array([0.4, 0.8, -1.6], dtype=np.float32)


def two_inputs() -> bytes:
    """Returns a graph of two inputs: `total` is `left` + `right`."""
    node = helper.make_node("Add", ["left", "right"], ["total"])
    return _checked(
        _model("two_inputs", [node], {"left": [None, 2], "right": [None, 2]}, {"total": [None, 2]})
    )


def fixed_batch() -> bytes:
    """Returns a graph that takes exactly one row: softmax of a linear map."""
    nodes = [
        helper.make_node("Gemm", ["float_input", "weight", "bias"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"]),
    ]
    values = {"weight": _WEIGHT, "bias": _BIAS}
    return _checked(
        _model("fixed_batch", nodes, {"float_input": [1, 4]}, {"probabilities": [1, 3]}, values)
    )


def integers() -> bytes:
    """Returns a graph of integer inputs: `mean` of the two columns, as a float."""
    nodes = [
        helper.make_node("Cast", ["numbers"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1]),
    ]
    return _checked(
        _model(
            "integers", nodes, {"numbers": [None, 2]}, {"mean": [None, 1]}, reads=TensorProto.INT64
        )
    )


def nan_maker() -> bytes:
    """Returns a graph that answers the logarithm: NaN below zero, minus infinity at zero."""
    node = helper.make_node("Log", ["float_input"], ["logarithm"])
    return _checked(
        _model("nan_maker", [node], {"float_input": [None, 2]}, {"logarithm": [None, 2]})
    )


def picky() -> bytes:
    """Returns a graph that fails at run time when any row is not between -5 and 4, bounds excluded.

    The row, cut to an integer, is an index into a table of four.
    """
    nodes = [
        helper.make_node("Cast", ["float_input"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["chosen"], axis=0),
    ]
    values = {"table": np.array([10.0, 11.0, 12.0, 13.0], dtype=np.float32)}
    return _checked(
        _model("picky", nodes, {"float_input": [None, 1]}, {"chosen": [None, 1]}, values)
    )


def external(name: str, location: str) -> tuple[bytes, bytes]:
    """Returns a linear map whose weight is in another file, and that other file's bytes."""
    node = helper.make_node("MatMul", ["float_input", "weight"], ["scores"])
    model = _model(
        name, [node], {"float_input": [None, 4]}, {"scores": [None, 3]}, {"weight": _WEIGHT}
    )
    (weight,) = model.graph.initializer
    data = weight.raw_data
    set_external_data(weight, location=location, offset=0, length=len(data))
    weight.ClearField("raw_data")
    return serialised(model), data


def _model(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | None]],
    outputs: Mapping[str, Sequence[int | None]],
    values: Mapping[str, npt.NDArray[np.float32]] | None = None,
    *,
    reads: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(key, reads, shape) for key, shape in inputs.items()],
        [
            helper.make_tensor_value_info(key, TensorProto.FLOAT, shape)
            for key, shape in outputs.items()
        ],
        [numpy_helper.from_array(value, key) for key, value in (values or {}).items()],
    )
    opset = helper.make_opsetid("", _OPSET)
    return helper.make_model(
        graph, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="penstock"
    )


def _checked(model: onnx.ModelProto) -> bytes:
    onnx.checker.check_model(model, full_check=True)
    return serialised(model)
