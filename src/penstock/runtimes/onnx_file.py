"""ONNX files, read as far as serving needs: digest, ZipMap, class labels, external data.

scikit-learn exports end in a ZipMap operator, which turns a tensor of probabilities into a list of
maps, one Python dictionary a row. It is cut off here, before the model is loaded: what fed it
becomes the output.

The file is read with a partial description of the format (field numbers of the ONNX specification,
onnx.proto): what is not described is kept as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from msgspec import Struct

from penstock.core.errors import ModelFileError

_TYPES: Final = {"bytes": 12, "int64": 3, "int32": 5, "message": 11}
_OPTIONAL: Final = 1
_REPEATED: Final = 3

# message -> field -> (number, type, repeated)
_FORMAT: Final[dict[str, dict[str, tuple[int, str, bool]]]] = {
    "Model": {
        "graph": (7, "Graph", False),
        "functions": (25, "Function", True),
    },
    "Function": {"node": (7, "Node", True)},
    "Graph": {
        "node": (1, "Node", True),
        "initializer": (5, "Tensor", True),
        "output": (12, "ValueInfo", True),
        "sparse_initializer": (15, "SparseTensor", True),
    },
    "Node": {
        "input": (1, "bytes", True),
        "output": (2, "bytes", True),
        "op_type": (4, "bytes", False),
        "attribute": (5, "Attribute", True),
    },
    "Attribute": {
        "name": (1, "bytes", False),
        "t": (5, "Tensor", False),
        "g": (6, "Graph", False),
        "strings": (9, "bytes", True),
        "tensors": (10, "Tensor", True),
        "graphs": (11, "Graph", True),
        "sparse_tensor": (22, "SparseTensor", False),
    },
    "Tensor": {
        "external_data": (13, "Entry", True),
        "data_location": (14, "int32", False),
    },
    "SparseTensor": {"values": (1, "Tensor", False), "indices": (2, "Tensor", False)},
    "Entry": {"key": (1, "bytes", False), "value": (2, "bytes", False)},
    "ValueInfo": {"name": (1, "bytes", False)},
}

_EXTERNAL: Final = 1
VERSION_DIGITS: Final = 12


class OnnxFile(Struct, frozen=True):
    """What was read.

    Attributes:
        content: the model to load, its ZipMap cut off.
        sha256: of the file as it is on disk, in hexadecimal.
        probabilities: the output that fed the ZipMap, if there was one.
        zipmap: what that ZipMap's own output was called.
        labels: the class names that the file itself holds; empty where it has none, or numbers.
    """

    content: bytes
    sha256: str
    probabilities: str | None
    zipmap: str | None
    labels: tuple[str, ...]

    @property
    def version(self) -> str:
        """The first 12 digits of the digest."""
        return self.sha256[:VERSION_DIGITS]


def read_onnx_file(name: str, path: Path) -> OnnxFile:
    """Read and prepare the model's file.

    Args:
        name: the model's, for messages.
        path: its file.

    Raises:
        ModelFileError: missing, unreadable, not an ONNX file, or with external data that is not
            inside the file's folder.
    """
    raw = read_model_file(name, path)
    model = _message_classes()["Model"]()
    try:
        model.ParseFromString(raw)
    except DecodeError as error:
        what = "is not an ONNX file, or not all of one"
        raise ModelFileError(name, str(path), what) from error
    if not model.graph.node and not model.graph.output:
        raise ModelFileError(name, str(path), "is not an ONNX file: it holds no graph")
    _check_external_data(name, path, model)
    labels = _labels(model.graph)
    probabilities, zipmap = _cut_zipmap(model.graph)
    content = raw if probabilities is None else model.SerializeToString()
    return OnnxFile(content, hashlib.sha256(raw).hexdigest(), probabilities, zipmap, labels)


def read_model_file(name: str, path: Path) -> bytes:
    """Return a model file's content.

    Args:
        name: the model's, for messages.
        path: its file.

    Raises:
        ModelFileError: missing or unreadable.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelFileError(name, str(path), "there is no such file") from error
    except OSError as error:
        what = (error.strerror or "unknown reason").lower()
        raise ModelFileError(name, str(path), f"cannot be read: {what}") from error
    except ValueError as error:  # a NUL byte, or half a surrogate
        raise ModelFileError(name, repr(path), "is no path of a file") from error


def _cut_zipmap(graph: Any) -> tuple[str, str] | tuple[None, None]:  # noqa: ANN401 - a message
    """Cut the first ZipMap that feeds an output; return what fed it, and what it was called."""
    outputs = {output.name: output for output in graph.output}
    for i, node in enumerate(graph.node):
        if node.op_type == b"ZipMap" and node.input and set(node.output[:1]) & set(outputs):
            probabilities, zipmap = node.input[0], node.output[0]
            described = outputs[zipmap]
            if probabilities in outputs:
                graph.output.remove(described)
            else:
                described.Clear()  # the type was a list of maps; the runtime infers the tensor's
                described.name = probabilities
            del graph.node[i]
            return _text(probabilities), _text(zipmap)
    return None, None


def _text(name: bytes) -> str:
    return name.decode(errors="replace")


def _labels(graph: Any) -> tuple[str, ...]:  # noqa: ANN401
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == b"classlabels_strings" and attribute.strings:
                return tuple(_text(label) for label in attribute.strings)
    return ()


def _check_external_data(name: str, path: Path, model: Any) -> None:  # noqa: ANN401
    folder = path.parent.resolve()
    for tensor in _tensors(model):
        if tensor.data_location != _EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = _text(entries.get(b"location", b"")).replace("\0", "\ufffd")
        shown = repr(location[:100])
        target = (folder / location).resolve()
        if folder not in target.parents:
            raise ModelFileError(
                name, str(path), f"its external data {shown} is outside the model's folder"
            )
        if not is_file(target):
            raise ModelFileError(name, str(path), f"its external data {shown} is missing")


def is_file(path: Path) -> bool:
    """Tell whether there is such a file; a path that cannot be one is none."""
    try:
        return path.is_file()
    except OSError:  # a name that is too long, say
        return False


def _tensors(model: Any) -> Iterator[Any]:  # noqa: ANN401
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: Any) -> Iterator[Any]:  # noqa: ANN401
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Any) -> Iterator[Any]:  # noqa: ANN401
    for node in nodes:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
            yield from _graph_tensors(attribute.g)
            for graph in attribute.graphs:
                yield from _graph_tensors(graph)


def _message_classes() -> dict[str, Any]:
    package = "penstock.onnx"
    file = descriptor_pb2.FileDescriptorProto(
        name="penstock/onnx.proto", package=package, syntax="proto2"
    )
    for message, fields in _FORMAT.items():
        described = file.message_type.add(name=message)
        for field, (number, kind, repeated) in fields.items():
            described.field.add(
                name=field,
                number=number,
                label=_REPEATED if repeated else _OPTIONAL,
                type=_TYPES.get(kind, _TYPES["message"]),
                type_name=None if kind in _TYPES else f".{package}.{kind}",
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in _FORMAT
    }
