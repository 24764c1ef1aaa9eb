"""Responses to JSON: every kind, one row and several, small and in pieces."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from penstock.core.errors import DeadlineExceeded, ModelFailed, ServingError
from penstock.core.labels import LABEL, PROBA, SCORES, as_labels
from penstock.core.values import AnswerKind, FieldValue, InferenceResponse
from penstock.gateway.answers import LARGE_VALUES, as_json, by_row, encode, encode_large, size
from penstock.gateway.exchange import encode_json

Arms: TypeAlias = dict[str, InferenceResponse | ServingError]
Fields: TypeAlias = dict[str, FieldValue]
Make: TypeAlias = Callable[[int], InferenceResponse]

PENDING: Fields = {"job_id": "7", "is_outlier": False, "outlier_score": 0.5}


def table(rows: int, columns: int, datatype: str = "float32") -> np.ndarray:
    return np.linspace(0, 1, rows * columns, dtype=datatype).reshape(rows, columns)


def scores(
    rows: int, columns: int = 3, arms: Arms | None = None, fields: Fields | None = None
) -> InferenceResponse:
    outputs = {SCORES: table(rows, columns)}
    return InferenceResponse(AnswerKind.SCORES, outputs, arms=arms or {}, fields=fields or {})


def labelled(rows: int) -> InferenceResponse:
    names = as_labels([None if row % 3 == 2 else f"l{row}" for row in range(rows)])
    return InferenceResponse(AnswerKind.LABELLED, {LABEL: names, SCORES: table(rows, 3)})


def best(rows: int) -> InferenceResponse:
    names = as_labels([f"arm-{row % 2}" for row in range(rows)])
    outputs = {LABEL: names, PROBA: table(rows, 1)[:, 0]}
    arms: Arms = {"a": scores(rows), "b": ModelFailed("m")}
    return InferenceResponse(AnswerKind.BEST, outputs, arms=arms)


def keyed(rows: int, fields: Fields | None = None) -> InferenceResponse:
    inner = InferenceResponse(AnswerKind.KEYED, {}, arms={"x": scores(rows), "y": labelled(rows)})
    arms: Arms = {
        "a": scores(rows, 2),
        "b": DeadlineExceeded("b"),
        "c": inner,
        "d": binary(rows),
        "e": best(rows),
        "f": scores(rows, fields={"mode": "m"}),
    }
    return InferenceResponse(AnswerKind.KEYED, {}, arms=arms, fields=fields or {})


def binary(rows: int) -> InferenceResponse:
    decision = (np.arange(rows) % 2).astype(np.int64)
    arms: Arms = {
        "a": InferenceResponse(AnswerKind.BINARY, {"a": decision, SCORES: table(rows, 2)}),
        "b": ModelFailed("m"),
    }
    return InferenceResponse(AnswerKind.BINARY, {}, arms=arms)


def with_failed_arm(rows: int) -> InferenceResponse:
    arms: Arms = {"a": scores(rows), "b": DeadlineExceeded("b")}
    return scores(rows, arms=arms, fields={"mode": "m"})


KINDS: dict[str, Make] = {
    "scores": scores,
    "scores with arms": with_failed_arm,
    "labelled": labelled,
    "best": best,
    "keyed": keyed,
    "binary": binary,
}
by_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())


class TestForms:
    def test_scores(self) -> None:
        assert as_json(scores(1)) == {"prediction": [0.0, 0.5, 1.0]}
        assert as_json(scores(2, 2)) == {"prediction": table(2, 2).tolist()}

    def test_labelled(self) -> None:
        assert as_json(labelled(1)) == {"prediction": "l0"}
        assert as_json(labelled(3)) == {"prediction": ["l0", "l1", None]}

    def test_best(self) -> None:
        errors = {"b": {"code": "model_failed"}}
        expected = {"prediction": {"proba": 0.0, "label": "arm-0"}, "errors": errors}
        assert as_json(best(1)) == expected
        two = {"proba": [0.0, 1.0], "label": ["arm-0", "arm-1"]}
        assert as_json(best(2))["prediction"] == two

    def test_binary(self) -> None:
        error = {"error": {"code": "model_failed"}}
        assert as_json(binary(1)) == {"a": 0, "b": error}
        assert as_json(binary(2)) == {"a": [0, 1], "b": error}

    def test_keyed(self) -> None:
        answer = as_json(keyed(1, PENDING))
        assert list(answer) == ["a", "b", "c", "d", "e", "f", *PENDING]
        assert answer["a"] == {"prediction": [0.0, 1.0]}
        assert answer["b"] == {"error": {"code": "deadline_exceeded"}}
        assert answer["c"]["y"] == {"prediction": "l0"}
        assert answer["d"]["a"] == 0
        assert answer["f"]["mode"] == "m"

    def test_failed_arms_behind_one_answer(self) -> None:
        answer = as_json(with_failed_arm(1))
        assert answer["errors"] == {"b": {"code": "deadline_exceeded"}}
        assert answer["mode"] == "m"

    def test_one_row_is_flat(self) -> None:
        assert by_row(np.array([[1.0]])) == [1.0]
        assert by_row(np.array([1])) == 1
        assert by_row(as_labels([None])) is None
        assert by_row(np.array([[1.0], [2.0]])) == [[1.0], [2.0]]

    def test_float32_is_widened_and_printed_shortest(self) -> None:
        value = np.array([[0.9709315896034241]], dtype=np.float32)
        response = InferenceResponse(AnswerKind.SCORES, {SCORES: value})
        assert encode(response, {}) == b'{"prediction":[0.9709315896034241]}'


@by_kind
class TestEncoding:
    def test_is_the_answer_and_the_face_s_own_fields(self, make: Make) -> None:
        for rows in (1, 2, 7):
            response = make(rows)
            for fields in ({}, PENDING):
                content = encode(response, fields)
                assert content is not None
                assert json.loads(content) == {**as_json(response), **fields}

    async def test_large_ones_come_in_pieces(self, make: Make) -> None:
        response = make(LARGE_VALUES)
        if size(response) > LARGE_VALUES:
            assert encode(response, PENDING) is None
        content = await encode_large(response, PENDING)
        assert json.loads(content) == {**as_json(response), **PENDING}

    async def test_pieces_are_the_whole(self, make: Make) -> None:
        for rows in (1, 2, 1365, 1366, 5000):
            response = make(rows)
            for fields in ({}, PENDING):
                pieces = json.loads(await encode_large(response, fields))
                assert pieces == {**as_json(response), **fields}


@by_kind
async def test_the_face_s_fields_stand_before_the_answer_s_in_pieces_too(make: Make) -> None:
    response = structs.replace(make(2), fields={"mode": "rose"})
    content = encode(response, {"job_id": "r1"})
    assert content is not None
    assert content.endswith(b',"job_id":"r1","mode":"rose"}')
    assert await encode_large(response, {"job_id": "r1"}) == content


@given(rows=st.integers(1, 9000), columns=st.integers(1, 9000))
async def test_any_size_is_encoded_whole(rows: int, columns: int) -> None:
    if rows * columns > 60_000:
        columns = max(1, 60_000 // rows)
    response = scores(rows, columns)
    content = encode(response, {})
    assert (content is None) == (rows * columns > LARGE_VALUES)
    whole = content or await encode_large(response, {})
    assert whole == encode_json(as_json(response))


async def test_one_row_of_many_scores() -> None:
    response = scores(1, LARGE_VALUES + 1)
    assert encode(response, {}) is None
    assert json.loads(await encode_large(response, {})) == as_json(response)
