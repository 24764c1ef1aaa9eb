from __future__ import annotations

import pytest

from penstock.core.predictor import Description, OpenModel, PoolCounted, Predictor, TensorSpec
from penstock.core.readings import pool_readings
from penstock.core.values import AnswerKind
from penstock.runtimes.http_terms import PoolCounts
from tests.support import a_request, echo


async def test_a_plain_async_function_is_a_predictor() -> None:
    predictor: Predictor = echo

    response = await predictor(a_request([1.0, 2.0]))

    assert response.primary.tolist() == [[1.0, 2.0]]


def test_specs_are_equal_by_what_they_say() -> None:
    spec = TensorSpec("scores", "float32", (-1, 3))

    assert spec == TensorSpec("scores", "float32", (-1, 3))
    assert spec != TensorSpec("scores", "float64", (-1, 3))
    assert len({spec, TensorSpec("scores", "float32", (-1, 3))}) == 1


def test_a_description_knows_nothing_but_name_and_kind_unless_told() -> None:
    description = Description("constant", AnswerKind.LABELLED)

    assert (description.inputs, description.outputs, description.labels) == ((), (), ())
    assert (description.version, description.source) == ("", "")
    assert description.sample is None
    assert description.arms == {}


def test_a_description_cannot_be_changed() -> None:
    description = Description("constant", AnswerKind.LABELLED)

    with pytest.raises(AttributeError):
        description.name = "other"  # type: ignore[misc]


async def test_an_open_model_can_be_asked_for_its_health() -> None:
    async def healthy(deadline_s: float) -> bool:
        return deadline_s > 0.0

    model = OpenModel(echo, Description("echo", AnswerKind.SCORES), healthy, "inline")

    assert await model.health(1.0)
    assert (await model.predict(a_request())).model == "echo"


def test_a_pools_counts_are_what_the_metrics_read() -> None:
    names = [name for name in vars(PoolCounted) if not name.startswith("_")]
    counts = PoolCounts(**{name: number for number, name in enumerate(names, 1)})
    read = {(family.name, *labels): value for family, labels, value in pool_readings("m", counts)}
    assert len(read) == len(names)
    assert read["penstock_pool_waiting", "m"] == counts.waiting
    assert read["penstock_pool_connections", "m", "other"] == counts.open - counts.busy
