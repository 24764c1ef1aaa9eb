"""What waits counts with all that it holds."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs

from penstock.core.errors import FanOutFailed, ModelFailed, ServingError
from penstock.core.record import Record
from penstock.core.values import AnswerKind, Array, Hop, InferenceResponse
from penstock.stores.held_bytes import BASE_BYTES, held_bytes
from tests.stores.ends import a_record, image

MB = 1_000_000
LARGE: Array = np.zeros((1, MB // 8))


def answer(output: Array = LARGE, **told: object) -> InferenceResponse:
    return InferenceResponse(AnswerKind.SCORES, {"scores": output}, **told)  # type: ignore[arg-type]


def of(outcome: InferenceResponse | ServingError | None) -> Record:
    return structs.replace(a_record(), outcome=outcome)


def test_a_small_one_is_little_more_than_what_every_one_is() -> None:
    assert BASE_BYTES < held_bytes(a_record()) < BASE_BYTES + 500
    assert held_bytes(structs.replace(a_record(), request=None, outcome=None)) == BASE_BYTES


def test_inputs_and_outputs() -> None:
    assert MB < held_bytes(a_record(rows=[[0.0] * (MB // 4)])) < MB + 3000
    assert MB < held_bytes(of(answer())) < MB + 3000


def test_arms_within_one_another() -> None:
    inner = answer(arms={"a": answer(), "b": ModelFailed("m")})
    assert 3 * MB < held_bytes(of(answer(arms={"c": inner}))) < 3 * MB + 6000


def test_the_causes_of_an_error() -> None:
    causes: dict[str, ServingError] = {str(number): ModelFailed("m") for number in range(10)}
    assert held_bytes(of(FanOutFailed("all", 0, causes))) > held_bytes(of(ModelFailed("m"))) + 5000


def test_what_bytes_hold() -> None:
    request = a_record().request
    assert request is not None
    images = structs.replace(request, tensors={"image": image(b"x" * MB, b"y" * MB)})
    assert held_bytes(structs.replace(a_record(), request=images)) > 2 * MB
    assert held_bytes(of(answer(image(b"x" * MB)))) > MB


@pytest.mark.parametrize("field", ["is_outlier", "outlier_score"])
def test_a_value_for_each_row(field: str) -> None:
    small = np.zeros((1, 1))
    assert held_bytes(of(answer(small, fields={field: (0.5,) * MB}))) > 32 * MB
    assert held_bytes(of(answer(small, fields={field: 0.5}))) < BASE_BYTES + 500
    assert held_bytes(of(answer(small, fields={field: "x" * MB}))) > MB


def test_fields_of_the_request_and_hops() -> None:
    record = a_record()
    assert record.request is not None
    request = structs.replace(record.request, fields={"field:x": "x" * MB})
    assert held_bytes(structs.replace(record, request=request)) > MB
    hops = (Hop("model:a", 0.0, 0.0),) * 1000
    assert held_bytes(of(answer(trail=hops))) > held_bytes(of(answer())) + 100_000
