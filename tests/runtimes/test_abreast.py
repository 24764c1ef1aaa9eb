from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.core.errors import ModelFailed
from penstock.core.predictor import InlineModel, TensorSpec
from penstock.core.values import AnswerKind, Array, InferenceRequest, InferenceResponse
from penstock.runtimes.abreast import Abreast, abreast_of
from penstock.runtimes.onnx import open_onnx
from penstock.runtimes.probe import LOOP_SLICE_S, MAX_BATCH_ROWS
from tests.runtimes.contract import MODELS, QUICK_S, Passing, of_file
from tests.support import IRIS, START_S, ManualClock, Start, both_ways, hops, nothing_loose

ROWS: Final = TensorSpec("float_input", "float32", (-1, 2))


def model(
    name: str,
    run: Callable[[Array], Array],
    *,
    rows: TensorSpec = ROWS,
    datatype: str = "float32",
    columns: tuple[int, ...] = (2,),
    one_s: float = 1e-5,
    row_s: float = LOOP_SLICE_S / 100,
) -> InlineModel:
    return InlineModel(
        name=name,
        version="1",
        rows=rows,
        output=f"{name}_scores",
        datatype=datatype,
        columns=columns,
        run=run,
        one_s=one_s,
        row_s=row_s,
        hop=f"model:{name}@1",
    )


def times(factor: float) -> Callable[[Array], Array]:
    def run(rows: Array) -> Array:
        if (rows == 13).any():
            raise ModelFailed("m")
        product: Array = np.where(rows < 0, np.nan, rows * np.float32(factor))
        return product

    return run


def three(clock: ManualClock) -> Abreast:
    found = abreast_of([model(f"x{factor}", times(factor)) for factor in (1, 2, 3)], clock)
    assert found is not None
    return found


def asking(*rows: Sequence[float], deadline_s: float = START_S + 1.0) -> InferenceRequest:
    return InferenceRequest("r", "x", {"data": np.array(rows, dtype=np.float32)}, deadline_s, 7)


def tables(answers: Sequence[InferenceResponse] | None) -> list[object] | None:
    return None if answers is None else [answer.primary.tolist() for answer in answers]


# --- abreast_of --------------------------------------------------------------------------

ONE: Final = model("one", times(1))


@pytest.mark.parametrize(
    "models",
    [
        [],
        [ONE],
        [ONE, None],
        [None, None],
        [ONE, model("b", times(1), rows=TensorSpec("x", "float64", (-1, 2)))],
        [ONE, model("b", times(1), rows=TensorSpec("x", "float32", (-1, 3)))],
        [ONE, model("b", times(1), columns=(2, 2))],
        [ONE, model("b", times(1), datatype="float64")],
        [model(name, times(1), rows=TensorSpec("x", "float32", (-1, -1))) for name in "ab"],
    ],
)
def test_models_that_cannot_be_run_together(models: list[InlineModel | None]) -> None:
    assert abreast_of(models, ManualClock()) is None


def test_models_of_like_rows_and_scores_can_be() -> None:
    other_name = model("b", times(1), rows=TensorSpec("another", "float32", (-1, 2)))
    assert abreast_of([ONE, other_name, ONE], ManualClock()) is not None


def test_so_can_models_that_give_unlike_numbers_of_scores_a_row() -> None:
    assert abreast_of([ONE, model("b", times(1), columns=(3,))], ManualClock()) is not None


# --- answers -----------------------------------------------------------------------------


def summed(rows: Array) -> Array:
    total: Array = rows.sum(axis=1, keepdims=True)
    return total


@both_ways
async def test_each_has_its_own_columns(start: Start) -> None:
    clock = ManualClock()
    models = [model("x2", times(2)), model("sum", summed, columns=(1,)), model("x1", times(1))]
    several = abreast_of(models, clock)
    assert several is not None
    async with nothing_loose():
        answers = await start(several(asking((1, 2), (3, 4))))
    assert tables(answers) == [[[2, 4], [6, 8]], [[3], [7]], [[1, 2], [3, 4]]]


async def test_one_that_gives_other_columns_than_it_says_is_asked_singly() -> None:
    several = abreast_of([ONE, model("sum", summed, columns=(3,))], ManualClock())
    assert several is not None
    assert await several(asking((1, 2))) is None


@both_ways
async def test_each_model_answers_under_its_own_name(start: Start) -> None:
    clock = ManualClock()
    async with nothing_loose():
        answers = await start(three(clock)(asking((1, 2), (3, 4))))
    assert answers is not None
    assert tables(answers) == [
        [[1, 2], [3, 4]],
        [[2, 4], [6, 8]],
        [[3, 6], [9, 12]],
    ]
    for answer, name in zip(answers, ("x1", "x2", "x3"), strict=True):
        assert answer.kind is AnswerKind.SCORES
        assert (answer.model, answer.version) == (name, "1")
        assert list(answer.outputs) == [f"{name}_scores"]
        assert hops(answer) == [f"model:{name}@1"]


@pytest.mark.parametrize(
    "tensors",
    [
        {"data": np.ones((1, 2))},
        {"data": np.ones((1, 3), dtype=np.float32)},
        {"data": np.ones(2, dtype=np.float32)},
        {"data": np.ones((102, 2), dtype=np.float32)},
        {"data": np.full((1, 2), 13, dtype=np.float32)},
        {"data": np.full((1, 2), -1, dtype=np.float32)},
        {"a": np.ones((1, 2), dtype=np.float32), "b": np.ones((1, 2), dtype=np.float32)},
        {},
    ],
)
async def test_what_is_unusual_is_left_to_the_arms(tensors: dict[str, Array]) -> None:
    request = InferenceRequest("r", "x", tensors, START_S + 1.0, 7)
    assert await three(ManualClock())(request) is None


async def test_an_answer_after_the_deadline_is_none() -> None:
    clock = Passing()
    asked = three(clock)
    clock.step_s = 1.0
    assert await asked(asking((1, 2), deadline_s=START_S + 1.0)) is None


async def test_models_that_do_not_go_together_after_all() -> None:
    found = abreast_of([ONE, model("b", lambda rows: rows[:1])], ManualClock())
    assert found is not None
    assert await found(asking((1, 2), (3, 4))) is None
    assert tables(await found(asking((1, 2)))) == [[[1, 2]], [[1, 2]]]


async def test_models_that_all_give_another_number_of_scores_are_left_to_the_arms() -> None:
    def wide(rows: Array) -> Array:
        return np.hstack([rows, rows]) if (rows == 7).any() else rows

    found = abreast_of([model("a", wide), model("b", wide)], ManualClock())
    assert found is not None
    assert await found(asking((7, 2))) is None
    assert tables(await found(asking((1, 2)))) == [[[1, 2]], [[1, 2]]]


@pytest.mark.parametrize(
    ("one_s", "row_s", "most"),
    [
        (LOOP_SLICE_S / 8, LOOP_SLICE_S / 64, 1 + 24),
        (LOOP_SLICE_S / 4, LOOP_SLICE_S / 64, 1 + 16),
        (LOOP_SLICE_S / 2, LOOP_SLICE_S / 64, 1),
        (LOOP_SLICE_S * 2, LOOP_SLICE_S / 64, 1),
        (LOOP_SLICE_S / 8, 1e-12, MAX_BATCH_ROWS),
    ],
)
async def test_together_they_hold_the_loop_no_longer_than_one(
    one_s: float, row_s: float, most: int
) -> None:
    both = [model(name, times(1), one_s=one_s, row_s=row_s) for name in "ab"]
    found = abreast_of(both, ManualClock())
    assert found is not None
    answers = await found(asking(*[(1, 2)] * most))
    assert answers is not None
    assert [len(answer.primary) for answer in answers] == [most, most]
    assert await found(asking(*[(1, 2)] * (most + 1))) is None


async def test_requests_of_one_pass_are_run_in_batches_of_so_many_rows() -> None:
    runs = list[int]()

    def run(rows: Array) -> Array:
        runs.append(len(rows))
        return rows

    both = [
        model(name, runs_it, one_s=LOOP_SLICE_S / 4, row_s=LOOP_SLICE_S / 64)
        for name, runs_it in (("a", run), ("b", times(1)))
    ]
    found = abreast_of(both, ManualClock())
    assert found is not None
    answers = await asyncio.gather(*(found(asking((i % 12, 2))) for i in range(40)))
    assert [tables(one) for one in answers] == [[[[i % 12, 2]]] * 2 for i in range(40)]
    assert runs == [17, 17, 6]


async def test_closed_models_are_not_run() -> None:
    clock = Passing()
    clock.step_s = QUICK_S
    names = ("iris_setosa", "iris_versicolor", "iris_virginica")
    inline = []
    for name in names:
        of = of_file(name, MODELS / f"{name}.onnx")
        async with open_onnx(of, clock=clock) as opened:
            assert opened.inline is not None
            assert opened.inline.run(np.array([IRIS], dtype=np.float32)).shape == (1, 2)
            inline.append(opened.inline)
    asked = abreast_of(inline, clock)
    assert asked is not None
    rows = {"data": np.array([IRIS], dtype=np.float32)}
    assert await asked(InferenceRequest("r", "x", rows, START_S + 9.0, 7)) is None


async def test_a_model_that_runs_singly_is_not_run_with_others() -> None:
    of = of_file("m", MODELS / "iris_setosa.onnx", execution="inline")
    async with open_onnx(of, clock=ManualClock()) as opened:
        assert opened.running == "inline, singly"
        assert opened.inline is None
    async with open_onnx(msgspec.structs.replace(of, execution="thread"), clock=Passing()) as slow:
        assert slow.inline is None


MOST_OF_THREE: Final = 33
"""How many rows `three` takes: a row costs 3 % of the slice, and the first one as much."""

# --- property ----------------------------------------------------------------------------


@example(requests=[[0] * MOST_OF_THREE, [0] * (MOST_OF_THREE + 1)])
@given(requests=st.lists(st.lists(st.integers(-1, 14), min_size=1, max_size=40), max_size=12))
def test_concurrent_requests_are_answered_as_the_models_do_alone(
    requests: list[list[int]],
) -> None:
    arrays = [np.array(values, dtype=np.float32).reshape(-1, 1) * [[1, 1]] for values in requests]

    async def together() -> list[Sequence[InferenceResponse] | None]:
        asked = three(ManualClock())
        return await asyncio.gather(*(asked(asking(*array)) for array in arrays))

    with asyncio.Runner() as loop:
        found = loop.run(together())
    for array, answers in zip(arrays, found, strict=True):
        if (array == 13).any() or (array < 0).any() or len(array) > MOST_OF_THREE:
            assert answers is None
        else:
            assert tables(answers) == [(array * factor).tolist() for factor in (1, 2, 3)]
