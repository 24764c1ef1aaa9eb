"""ONNX files made by hand, byte by byte: what no trained model shows.

The `onnx` library is not there where only the server is; the format is protobuf, and simple.
Names of fields are onnx.proto's.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

FLOAT: Final = 1
UINT8: Final = 2
INT64: Final = 7
STRING: Final = 8

Axis = int | str | None
"""A size, a name for any size, or any size."""


def number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def piece(field: int, content: bytes | str) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return _varint(field << 3 | 2) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def tensor(name: str, values: Sequence[float], *dims: int) -> bytes:
    """A TensorProto of floats."""
    raw = struct.pack(f"<{len(values)}f", *values)
    sizes = b"".join(number(1, dim) for dim in dims)
    return sizes + number(2, FLOAT) + piece(8, name) + piece(9, raw)


def strings(name: str, *values: str) -> bytes:
    """An AttributeProto of strings."""
    return piece(1, name) + b"".join(piece(9, value) for value in values) + number(20, 8)


def floats(name: str, *values: float) -> bytes:
    """An AttributeProto of floats."""
    each = b"".join(_varint(7 << 3 | 5) + struct.pack("<f", value) for value in values)
    return piece(1, name) + each + number(20, 6)


def wholes(name: str, *values: int) -> bytes:
    """An AttributeProto of integers."""
    return piece(1, name) + b"".join(number(8, value) for value in values) + number(20, 7)


def whole(name: str, value: int) -> bytes:
    """An AttributeProto of one integer."""
    return piece(1, name) + number(3, value) + number(20, 2)


def constant(name: str, value: bytes) -> bytes:
    """A NodeProto that gives a TensorProto."""
    return node("Constant", "", name, piece(1, "value") + piece(5, value) + number(20, 4))


def node(op_type: str, inputs: str, outputs: str, *attributes: bytes, domain: str = "") -> bytes:
    """A NodeProto; inputs and outputs are names with spaces between them."""
    return b"".join(
        [
            *(piece(1, name) for name in inputs.split()),
            *(piece(2, name) for name in outputs.split()),
            piece(4, op_type),
            *(piece(5, attribute) for attribute in attributes),
            piece(7, domain),
        ]
    )


def value(name: str, shape: Sequence[Axis] | None, datatype: int = FLOAT) -> bytes:
    """A ValueInfoProto; its shape is left open where it is None."""
    tensor_type = number(1, datatype)
    if shape is not None:
        tensor_type += piece(2, b"".join(piece(1, _axis(axis)) for axis in shape))
    return piece(1, name) + piece(2, piece(1, tensor_type))


def _axis(axis: Axis) -> bytes:
    if axis is None:
        return b""
    return number(1, axis) if isinstance(axis, int) else piece(2, axis)


def model(
    nodes: Sequence[bytes],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
    *,
    initializers: Sequence[bytes] = (),
    functions: Sequence[bytes] = (),
) -> bytes:
    """A ModelProto."""
    graph = b"".join(
        [
            *(piece(1, one) for one in nodes),
            piece(2, "made_by_hand"),
            *(piece(5, one) for one in initializers),
            *(piece(11, one) for one in inputs),
            *(piece(12, one) for one in outputs),
        ]
    )
    opsets = piece(8, number(2, 13)) + piece(8, piece(1, "ai.onnx.ml") + number(2, 1))
    made_of = b"".join(piece(25, one) for one in functions)
    return number(1, 8) + piece(7, graph) + opsets + made_of


def unary(op_type: str, shape: Sequence[Axis], *attributes: bytes, datatype: int = FLOAT) -> bytes:
    """A model of one operator, `rows` to `scores` of the same shape."""
    return model(
        [node(op_type, "rows", "scores", *attributes)],
        [value("rows", shape, datatype)],
        [value("scores", shape, datatype)],
    )


def lookup(table: Sequence[float], shape: Sequence[Axis]) -> bytes:
    """A model that answers `table[int(row)]`, and fails where there is no such entry."""
    return model(
        [
            node("Cast", "rows", "index", whole("to", INT64)),
            node("Gather", "table index", "scores"),
        ],
        [value("rows", shape)],
        [value("scores", shape)],
        initializers=[tensor("table", table, len(table))],
    )
