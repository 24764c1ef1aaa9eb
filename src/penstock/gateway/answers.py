"""Responses to JSON, in the forms of the plain face (`docs/reference/answers.md`).

float32 is widened to double and printed shortest. One row is answered flat, several as lists.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias, assert_never

from penstock.core.errors import ServingError
from penstock.core.labels import LABEL, PROBA
from penstock.core.values import AnswerKind, Array, FieldValue, InferenceResponse
from penstock.gateway.exchange import encode_json

Json: TypeAlias = Any
Outcome: TypeAlias = InferenceResponse | ServingError

LARGE_VALUES: Final = 4096
"""An answer with more numbers is encoded in pieces, between which the loop serves others."""


def as_json(response: InferenceResponse) -> dict[str, Json]:
    """Return a response as what JSON can hold.

    scores `{"prediction": [...]}`, labelled `{"prediction": "label"}`,
    best `{"prediction": {"proba", "label"}}`, keyed `{"arm": {...}, ...}`,
    binary `{"arm": 0 or 1, ...}`; each with the response's fields, and with `errors` where arms
    behind one answer failed.
    """
    answer = _content(response)
    if response.fields:
        answer.update(response.fields)
    return answer


def _content(response: InferenceResponse) -> dict[str, Json]:
    match response.kind:
        case AnswerKind.SCORES | AnswerKind.LABELLED:
            return {"prediction": by_row(response.primary), **failed_arms(response.arms)}
        case AnswerKind.BEST:
            best = {name: by_row(response.outputs[name]) for name in (PROBA, LABEL)}
            return {"prediction": best, **failed_arms(response.arms)}
        case AnswerKind.KEYED:
            return {arm: _keyed(outcome) for arm, outcome in response.arms.items()}
        case AnswerKind.BINARY:
            return {arm: _binary(outcome) for arm, outcome in response.arms.items()}
        case _:
            assert_never(response.kind)


def by_row(tensor: Array) -> Json:
    """Return a tensor's one row, or the list of its rows."""
    rows = tensor.tolist()
    return rows[0] if len(rows) == 1 else rows


def _keyed(outcome: Outcome) -> Json:
    if isinstance(outcome, ServingError):
        return arm_error(outcome)
    if outcome.kind is AnswerKind.SCORES and not (outcome.arms or outcome.fields):
        return {"prediction": by_row(outcome.primary)}  # nearly always
    return as_json(outcome)


def _binary(outcome: Outcome) -> Json:
    return arm_error(outcome) if isinstance(outcome, ServingError) else by_row(outcome.primary)


def arm_error(error: ServingError) -> Json:
    """Return the entry of an arm that failed."""
    return {"error": {"code": error.code}}


def failed_arms(arms: Mapping[str, Outcome]) -> dict[str, Json]:
    """Return `errors` of the arms that are missing from an answer made of several; or nothing."""
    failed = {
        arm: {"code": outcome.code}
        for arm, outcome in arms.items()
        if isinstance(outcome, ServingError)
    }
    return {"errors": failed} if failed else {}


def size(response: InferenceResponse) -> int:
    """Return how many values an answer has, about."""
    values = 0
    for output in response.outputs.values():
        values += output.size
    for arm in response.arms.values():
        if not isinstance(arm, ServingError):
            values += size(arm)
    return values


def encode(response: InferenceResponse, fields: Mapping[str, FieldValue]) -> bytes | None:
    """Return the answer as JSON text, or None where it is large: then see `encode_large`.

    Args:
        response: what was answered.
        fields: what the face itself adds to it.
    """
    if response.kind is AnswerKind.SCORES and not response.arms:
        scores = response.primary  # the most frequent answer by far goes without detours
        if len(scores) == 1 and scores.size <= LARGE_VALUES:
            return encode_json({"prediction": scores[0].tolist(), **fields, **response.fields})
    if size(response) > LARGE_VALUES:
        return None
    return encode_json({**_content(response), **fields, **response.fields})


async def encode_large(response: InferenceResponse, fields: Mapping[str, FieldValue]) -> bytes:
    """Return the answer as JSON text, letting the loop serve others between its pieces."""
    pieces = []
    for piece in _in_pieces(response, fields):
        pieces.append(piece)
        await asyncio.sleep(0)
    return b"".join(pieces)


def _in_pieces(response: InferenceResponse, fields: Mapping[str, FieldValue]) -> Iterator[bytes]:
    """Yield the answer's JSON text, no piece of it of many more than `LARGE_VALUES` values."""
    match response.kind:
        case AnswerKind.SCORES | AnswerKind.LABELLED:
            yield b'{"prediction":'
            yield from _rows_in_pieces(response.primary)
            yield from _closing({**failed_arms(response.arms), **fields, **response.fields})
        case AnswerKind.BEST:
            yield b'{"prediction":{"proba":'
            yield from _rows_in_pieces(response.outputs[PROBA])
            yield b',"label":'
            yield from _rows_in_pieces(response.outputs[LABEL])
            yield b"}"
            yield from _closing({**failed_arms(response.arms), **fields, **response.fields})
        case AnswerKind.KEYED | AnswerKind.BINARY:
            separator = b"{"
            for arm, outcome in response.arms.items():
                yield separator + encode_json(arm) + b":"
                separator = b","
                if isinstance(outcome, ServingError):
                    yield encode_json(arm_error(outcome))
                elif response.kind is AnswerKind.BINARY:
                    yield from _rows_in_pieces(outcome.primary)
                else:
                    yield from _in_pieces(outcome, {})
            yield from _closing({**fields, **response.fields})
        case _:
            assert_never(response.kind)


def _rows_in_pieces(tensor: Array) -> Iterator[bytes]:
    if len(tensor) == 1:
        yield encode_json(by_row(tensor))
        return
    step = max(1, LARGE_VALUES * len(tensor) // tensor.size)
    separator = b"["
    for start in range(0, len(tensor), step):
        yield separator + encode_json(tensor[start : start + step].tolist())[1:-1]
        separator = b","
    yield b"]"


def _closing(fields: Mapping[str, Json]) -> Iterator[bytes]:
    yield b"," + encode_json(fields)[1:] if fields else b"}"
