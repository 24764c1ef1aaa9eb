"""What a request's end holds in memory while it waits to be made a record of."""

from __future__ import annotations

from collections.abc import Mapping
from sys import getsizeof
from typing import Final

from penstock.core.errors import FanOutFailed, ServingError
from penstock.core.record import Record
from penstock.core.values import AnswerField, Array, InferenceResponse

BASE_BYTES: Final = 2048
"""Of the request and its answer beside all that is counted, about."""

_ARM_BYTES: Final = 512
_HOP_BYTES: Final = 192
_VALUE_BYTES: Final = 40
"""A flag, or a score, and its place in a tuple."""


def held_bytes(record: Record) -> int:
    """Return about how many bytes a record holds: its inputs, its answer, and all arms of it.

    It asks no value for its size but those of tensors of `bytes`, and texts among the fields.
    """
    size_bytes = BASE_BYTES
    request, outcome = record.request, record.outcome
    if request is not None:
        for tensor in request.tensors.values():
            size_bytes += _of_tensor(tensor)
        if request.fields:
            size_bytes += _of_fields(request.fields)
    if outcome is not None:
        size_bytes += _of_outcome(outcome)
    return size_bytes


def _of_outcome(outcome: InferenceResponse | ServingError) -> int:
    size_bytes = _HOP_BYTES * len(outcome.trail)
    if isinstance(outcome, InferenceResponse):
        for tensor in outcome.outputs.values():
            size_bytes += _of_tensor(tensor)
        if outcome.fields:
            size_bytes += _of_fields(outcome.fields)
        for arm in outcome.arms.values():
            size_bytes += _ARM_BYTES + _of_outcome(arm)
    elif isinstance(outcome, FanOutFailed):
        for cause in outcome.causes.values():
            size_bytes += _ARM_BYTES + _of_outcome(cause)
    return size_bytes


def _of_tensor(tensor: Array) -> int:
    if tensor.dtype.hasobject:
        return tensor.nbytes + sum(map(getsizeof, tensor.flat))
    return tensor.nbytes


def _of_fields(fields: Mapping[str, AnswerField]) -> int:
    size_bytes = 0
    for value in fields.values():
        if isinstance(value, tuple):
            size_bytes += _VALUE_BYTES * len(value)
        elif isinstance(value, str):
            size_bytes += getsizeof(value)
    return size_bytes
