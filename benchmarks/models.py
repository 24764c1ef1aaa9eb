"""The models that are served: the repository's own, and two that are made here for their size."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.bench import REPOSITORY

MODELS: Final = REPOSITORY / "models"
ARMS: Final = ("setosa", "versicolor", "virginica")
SEED: Final = 20
OPSET: Final = 17
IR_VERSION: Final = 8

LAYER_WIDTH: Final = 2048
SMALL_INPUT_WIDTH: Final = 16
WIDE_INPUT_WIDTH: Final = 256
CLASSES: Final = 2

IMAGE_SIDE: Final = 32
CHANNELS: Final = 48
CONVOLUTIONS: Final = 4
KERNEL_SCALE: Final = (2 / (9 * CHANNELS)) ** 0.5

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def iris(name: str) -> Path:
    """One of the repository's iris models."""
    return MODELS / f"iris_{name}.onnx"


def weights(rng: np.random.Generator, name: str, rows: int, columns: int) -> onnx.TensorProto:
    """Random weights that keep the size of what passes through them."""
    values: Floats = rng.normal(0, (2 / rows) ** 0.5, (rows, columns)).astype(np.float32)
    return numpy_helper.from_array(values, name)


def layer(source: str, matrix: str, target: str) -> list[onnx.NodeProto]:
    """A dense layer without bias, and its ReLU."""
    return [
        helper.make_node("MatMul", [source, matrix], [f"{target}_sum"]),
        helper.make_node("Relu", [f"{target}_sum"], [target]),
    ]


def scores(source: str, matrix: str) -> list[onnx.NodeProto]:
    """The last layer: a score for each class."""
    return [
        helper.make_node("MatMul", [source, matrix], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]


def save(
    path: Path,
    width: int,
    nodes: Sequence[onnx.NodeProto],
    matrices: Sequence[onnx.TensorProto],
) -> Path:
    """Writes a model from `[n, width]` to the probabilities of the classes."""
    rows = helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, width])
    answers = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, CLASSES])
    graph = helper.make_graph(list(nodes), path.stem, [rows], [answers], list(matrices))
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def make_millisecond_model(folder: Path) -> Path:
    """A memory-bound model of some milliseconds: two dense layers of 2048 x 2048.

    One row reads 32 MB of weights, and so do 32 rows: a batch costs little more than a row. The
    input has only 16 numbers, widened inside the graph, so that JSON is not what is measured.
    """
    rng = np.random.default_rng(SEED)
    matrices = [
        weights(rng, "widen", SMALL_INPUT_WIDTH, LAYER_WIDTH),
        weights(rng, "first", LAYER_WIDTH, LAYER_WIDTH),
        weights(rng, "second", LAYER_WIDTH, LAYER_WIDTH),
        weights(rng, "last", LAYER_WIDTH, CLASSES),
    ]
    nodes = [
        helper.make_node("MatMul", ["input", "widen"], ["wide"]),
        *layer("wide", "first", "hidden_1"),
        *layer("hidden_1", "second", "hidden_2"),
        *scores("hidden_2", "last"),
    ]
    return save(folder / "millisecond.onnx", SMALL_INPUT_WIDTH, nodes, matrices)


def make_compute_model(folder: Path) -> Path:
    """A compute-bound model of some milliseconds: convolutions, whose batches gain nothing.

    The input has only 16 numbers, widened inside the graph, so that JSON is not what is measured.
    """
    rng = np.random.default_rng(SEED)
    side, channels = IMAGE_SIDE, CHANNELS
    shape: Ints = np.array([-1, channels, side, side], dtype=np.int64)
    kernel: Floats = rng.normal(0, KERNEL_SCALE, (channels, channels, 3, 3)).astype(np.float32)
    matrices = [
        weights(rng, "widen", SMALL_INPUT_WIDTH, channels * side * side),
        weights(rng, "last", channels, CLASSES),
        numpy_helper.from_array(kernel, "kernel"),
        numpy_helper.from_array(shape, "shape"),
    ]
    nodes = [
        helper.make_node("MatMul", ["input", "widen"], ["wide"]),
        helper.make_node("Reshape", ["wide", "shape"], ["image_0"]),
    ]
    for depth in range(CONVOLUTIONS):
        source, sums, target = f"image_{depth}", f"sums_{depth}", f"image_{depth + 1}"
        nodes += [
            helper.make_node("Conv", [source, "kernel"], [sums], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [sums], [target]),
        ]
    nodes += [
        helper.make_node("GlobalAveragePool", [f"image_{CONVOLUTIONS}"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        *scores("flat", "last"),
    ]
    return save(folder / "compute.onnx", SMALL_INPUT_WIDTH, nodes, matrices)


def make_wide_model(folder: Path) -> Path:
    """A cheap model with wide rows, for bodies of megabytes."""
    rng = np.random.default_rng(SEED)
    matrices = [weights(rng, "last", WIDE_INPUT_WIDTH, CLASSES)]
    return save(folder / "wide.onnx", WIDE_INPUT_WIDTH, scores("input", "last"), matrices)
