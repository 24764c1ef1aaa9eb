"""What a remote of the plain face takes and gives, deduced from its `/metadata` and `/label`.

A stranger's word: whatever is odd in it is a sentence of `WrongAnswer`, never another exception.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
from msgspec import Struct

from penstock.core.errors import InvalidInput, ModelFileError
from penstock.core.labels import LABEL, PROBA, SCORES
from penstock.core.model import ModelSource
from penstock.core.predictor import Description, TensorSpec
from penstock.core.rows import ANY_ROWS, RowReader, is_integral
from penstock.core.values import AnswerKind, Array
from penstock.runtimes.describe import sample_rows
from penstock.runtimes.remote_dialect import MAX_COLUMNS, NUMBERS, WrongAnswer, undecodable

Json: TypeAlias = Any

MAX_ARMS: Final = 256
"""How many arms a remote fan-out may have."""

MAX_DEPTH: Final = 16
"""How many fan-outs of a remote may stand within each other."""

MAX_AXES: Final = 8

_STRUCTURE: Final = re.compile(r"\((?:\d{1,9}|n)(?:, ?(?:\d{1,9}|n))*,?\)")
_ANY: Final = "any"


class Metadata(Struct, frozen=True):
    """`GET /metadata` of the plain face."""

    data_type: str
    data_structure: str
    data_sample: Json = None
    prediction_type: Json = None
    prediction_structure: Json = None
    prediction_sample: Json = None


_decode_metadata = msgspec.json.Decoder(Metadata).decode
_decode_labels = msgspec.json.Decoder(dict[str, str] | list[str]).decode


def read_metadata(body: bytes | bytearray) -> Metadata:
    """Return the content of a `/metadata`.

    Raises:
        WrongAnswer: it is something else.
    """
    try:
        return _decode_metadata(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise undecodable(error) from error


def read_labels(body: bytes | bytearray) -> tuple[str, ...]:
    """Return the class names of a `/label`, by column.

    Raises:
        WrongAnswer: it is something else.
    """
    try:
        content = _decode_labels(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise undecodable(error) from error
    if isinstance(content, dict):
        keys = [str(column) for column in range(len(content))]
        if set(content) != set(keys):
            raise WrongAnswer('has other keys than "0", "1", ... without a gap')
        content = [content[key] for key in keys]
    if len(set(content)) < len(content):
        raise WrongAnswer("has a label twice")
    return tuple(content)


def describe(source: ModelSource, metadata: Metadata, labels: tuple[str, ...]) -> Description:
    """Return the description of a remote model; what the spec itself says goes first.

    Args:
        source: from the spec.
        metadata: the remote's.
        labels: the remote's, or none.

    Raises:
        WrongAnswer: it contradicts itself or the spec, or says too little.
    """
    rows = _input(metadata)
    sample = _sample(source, metadata, rows)
    if metadata.prediction_sample is None and not isinstance(metadata.prediction_type, str):
        raise WrongAnswer("has no prediction_sample to tell the form of its answers by")
    count = _rows_in(metadata)
    told = (metadata.prediction_type, metadata.prediction_structure, metadata.prediction_sample)
    answer = _describe(source.name, told, count, 0)
    labels = source.labels or (answer.labels if answer.arms else labels)
    _check_labels(answer, labels)
    return msgspec.structs.replace(
        answer,
        inputs=() if rows is None else (rows,),
        labels=labels,
        sample=sample,
        source=source.name,
    )


def _check_labels(answer: Description, labels: tuple[str, ...]) -> None:
    if answer.kind is not AnswerKind.SCORES or not labels:
        return
    columns = answer.outputs[0].shape[1:]
    if len(columns) == 1 and columns[0] not in (-1, len(labels)):
        raise WrongAnswer(f"says {columns[0]} scores a row, and there are {len(labels)} labels")


def _input(metadata: Metadata) -> TensorSpec | None:
    if metadata.data_type == _ANY:
        return None
    shape = _shape("data_structure", metadata.data_structure)
    return TensorSpec("data", _number("data_type", metadata.data_type), (-1, *shape[1:]))


def _sample(source: ModelSource, metadata: Metadata, rows: TensorSpec | None) -> Array | None:
    rows = rows or ANY_ROWS
    if source.sample is not None:
        try:
            return sample_rows(source, rows)
        except ModelFileError as error:
            raise WrongAnswer(f"does not go with the spec: {error.what}") from error
    if metadata.data_sample is None:
        return None
    number: Json = int if is_integral(rows.datatype) else float
    for _ in rows.shape:
        number = list[number]
    try:
        content = msgspec.convert(metadata.data_sample, number)
        return RowReader(rows, "data_sample").read(content)
    except msgspec.ValidationError as error:
        raise WrongAnswer(f"has a data_sample that is none: {error}") from error
    except InvalidInput as error:
        raise WrongAnswer(f"contradicts itself: {error.message}") from error


def _rows_in(metadata: Metadata) -> int:
    sample = metadata.data_sample
    return len(sample) if isinstance(sample, list) and sample else 1


def _describe(name: str, told: tuple[Json, Json, Json], rows: int, depth: int) -> Description:
    """Return what is told of an answer or of an arm of one.

    Args:
        name: of the model or the arm.
        told: type, structure and sample.
        rows: how many the sample has.
        depth: of fan-outs around.
    """
    kind_of, structure, sample = told
    match sample:
        case {"proba": _, "label": _} if len(sample) == len((PROBA, LABEL)):
            return Description(name, AnswerKind.BEST)
        case dict() if sample:
            return _describe_arms(name, told, rows, depth)
        case str():
            return _labelled(name)
        case [None | str(), *_]:
            return _labelled(name)
        case None if kind_of == "str":
            return _labelled(name)
        case None:
            shape = _shape("prediction_structure", structure)
            datatype = _number("prediction_type", kind_of)
            return _scores(name, datatype, shape[1:])
        case [*values]:
            shape = _shape_of(values[0] if rows > 1 and values else values)
            return _scores(name, _number("prediction_type", kind_of), shape)
        case _:
            raise WrongAnswer("has a prediction_sample that is no answer of the plain face")


def _labelled(name: str) -> Description:
    label = TensorSpec(LABEL, "object", (-1,))
    return Description(name, AnswerKind.LABELLED, outputs=(label,))


def _scores(name: str, datatype: str, shape: tuple[int, ...]) -> Description:
    if not shape:
        raise WrongAnswer("has a prediction_sample without scores for each row")
    return Description(
        name, AnswerKind.SCORES, outputs=(TensorSpec(SCORES, datatype, (-1, *shape)),)
    )


def _describe_arms(name: str, told: tuple[Json, Json, Json], rows: int, depth: int) -> Description:
    _, _, sample = told
    if len(sample) > MAX_ARMS or depth >= MAX_DEPTH:
        raise WrongAnswer(f"has more than {MAX_ARMS} arms, or {MAX_DEPTH} fan-outs in each other")
    whole = {arm: one for arm, one in sample.items() if not is_error(one)}
    if not whole:
        raise WrongAnswer("has a prediction_sample in which every arm failed")
    binary = all(_is_binary(one, rows) for one in whole.values())
    arms: dict[str, Description] = {}
    for arm, one in whole.items():
        told_of_arm = (_of_arm(told[0], arm), _of_arm(told[1], arm), one)
        arms[arm] = _decided(arm) if binary else _describe(arm, told_of_arm, rows, depth + 1)
    first = next(iter(arms.values()))  # a failed arm is taken to be as the others are
    arms = {arm: arms.get(arm) or msgspec.structs.replace(first, name=arm) for arm in sample}
    kind = AnswerKind.BINARY if binary else AnswerKind.KEYED
    return Description(name, kind, labels=tuple(arms), arms=arms)


def _decided(arm: str) -> Description:
    return Description(arm, AnswerKind.BINARY, outputs=(TensorSpec(arm, "int64", (-1,)),))


def is_error(content: Json) -> bool:
    """Tell whether an arm's entry says that the arm failed."""
    return isinstance(content, dict) and set(content) == {"error"}


def _is_binary(sample: Json, rows: int) -> bool:
    values = sample if rows > 1 and isinstance(sample, list) else [sample]
    return all(type(value) is int and value in (0, 1) for value in values)


def _of_arm(told: Json, arm: str) -> Json:
    return told.get(arm) if isinstance(told, Mapping) else told


def _shape_of(values: Json) -> tuple[int, ...]:
    """Return the lengths of evenly nested lists of numbers."""
    try:
        with np.errstate(all="ignore"):
            table = np.array(values)
    except (ValueError, OverflowError) as error:
        raise WrongAnswer("has a ragged prediction_sample") from error
    if table.dtype.kind not in "fiu" or not table.size:
        raise WrongAnswer("has a prediction_sample of other than numbers")
    return table.shape


def _number(key: str, datatype: Json) -> str:
    if not isinstance(datatype, str) or datatype not in NUMBERS:
        raise WrongAnswer(f"says {key} {_quoted(datatype)}, which is not understood here")
    return datatype


def _shape(key: str, structure: Json) -> tuple[int, ...]:
    if not isinstance(structure, str) or not _STRUCTURE.fullmatch(structure):
        raise WrongAnswer(f"says {key} {_quoted(structure)}, which is no structure such as '(1,4)'")
    axes = [axis.strip() for axis in structure[1:-1].split(",") if axis.strip()]
    shape = tuple(-1 if axis == "n" else int(axis) for axis in axes)
    too_large = len(shape) > MAX_AXES or math.prod(abs(size) for size in shape) > MAX_COLUMNS
    if len(shape) < len(("rows", "columns")) or too_large or 0 in shape[1:]:
        raise WrongAnswer(f"says {key} {_quoted(structure)}, which cannot be: rows and columns")
    return shape


def _quoted(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
