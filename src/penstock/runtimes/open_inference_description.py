"""What a model of the Open Inference Protocol takes and gives, from its metadata.

A stranger's word: whatever is odd in it is a sentence of `WrongAnswer`, never another exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct

from penstock.core.errors import ModelFileError
from penstock.core.model import ModelSource
from penstock.core.predictor import Description, TensorSpec
from penstock.core.values import AnswerKind
from penstock.runtimes.describe import sample_rows
from penstock.runtimes.remote_dialect import MAX_COLUMNS, WrongAnswer, undecodable
from penstock.runtimes.remote_errors import in_one_line

DATATYPES: Final[Mapping[str, str]] = {
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
}
"""The protocol's datatypes of numbers, and numpy's names for them."""

MAX_TENSORS: Final = 256
"""How many inputs or outputs a remote model may tell of."""

Axis: TypeAlias = Annotated[int, Meta(ge=-1, le=MAX_COLUMNS)]
"""An axis in the protocol; -1 is any length."""


class TensorMetadata(Struct, frozen=True):
    """One input or output in a model's metadata."""

    name: str
    datatype: str
    shape: Annotated[list[Axis], Meta(max_length=8)]


class ModelMetadata(Struct, frozen=True):
    """`GET /v2/models/M`."""

    inputs: Annotated[list[TensorMetadata], Meta(max_length=MAX_TENSORS)]
    outputs: Annotated[list[TensorMetadata], Meta(max_length=MAX_TENSORS)]


_decode_metadata = msgspec.json.Decoder(ModelMetadata).decode


def read_metadata(body: bytes | bytearray) -> ModelMetadata:
    """Return a model's metadata.

    Raises:
        WrongAnswer: it is something else.
    """
    try:
        return _decode_metadata(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise undecodable(error) from error


def describe(source: ModelSource, metadata: ModelMetadata) -> Description:
    """Return the description of a model of the protocol.

    Raises:
        WrongAnswer: it has not one input, or no one output is the scores, or it contradicts the
            spec.
    """
    if len(metadata.inputs) != 1:
        raise WrongAnswer(f"tells of {len(metadata.inputs)} inputs; a model has one here")
    rows = _spec(metadata.inputs[0])
    scores = _spec(_scores_of(source, metadata.outputs))
    if len(rows.shape) == 1:
        raise WrongAnswer(f"tells of an input of shape {list(rows.shape)}; rows have columns")
    columns = scores.shape[1:] or (1,)
    if source.labels and columns not in ((-1,), (len(source.labels),)):
        found = f"scores of shape {list(columns)} a row"
        raise WrongAnswer(f"tells of {found}, and the spec of {len(source.labels)} labels")
    try:
        sample = sample_rows(source, rows)
    except ModelFileError as error:
        raise WrongAnswer(f"does not go with the spec: {error.what}") from error
    return Description(
        source.name,
        AnswerKind.SCORES,
        inputs=(rows,),
        outputs=(TensorSpec(scores.name, scores.datatype, (-1, *columns)),),
        labels=source.labels,
        sample=sample,
        source=source.name,
    )


def _scores_of(source: ModelSource, outputs: Sequence[TensorMetadata]) -> TensorMetadata:
    names = ", ".join(in_one_line(output.name) for output in outputs) or "none"
    if source.output is not None:
        found = [output for output in outputs if output.name == source.output]
        if not found:
            raise WrongAnswer(f"has no output {source.output}; it has {names}")
        return found[0]
    floating = [output for output in outputs if output.datatype in ("FP16", "FP32", "FP64")]
    if len(floating) != 1:
        what = "several floating-point outputs" if floating else "no floating-point output"
        raise WrongAnswer(f"has {what}: name one by `output:` in the spec; it has {names}")
    return floating[0]


def _spec(tensor: TensorMetadata) -> TensorSpec:
    datatype = DATATYPES.get(tensor.datatype)
    name = in_one_line(tensor.name)
    if datatype is None:
        raise WrongAnswer(f"says that {name} is {in_one_line(tensor.datatype)}, not numbers")
    if not tensor.shape or 0 in tensor.shape:
        raise WrongAnswer(f"says that {name} has the shape {tensor.shape}; there are no rows in it")
    return TensorSpec(tensor.name, datatype, (-1, *tensor.shape[1:]))
