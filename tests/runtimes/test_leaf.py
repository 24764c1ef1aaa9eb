from __future__ import annotations

import asyncio
from typing import Any, Final

import numpy as np
import pytest

from penstock.core.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelFailed,
    NoLabels,
    Overloaded,
)
from penstock.core.predictor import TensorSpec
from penstock.core.values import AnswerKind, Array, InferenceRequest
from penstock.runtimes.leaf import ModelPredictor, Signature
from tests.support import START_S, ManualClock, Start, a_request, both_ways, hops, settle

LABELS: Final = ("setosa", "versicolor", "virginica")


class Runs:
    """A runner: gives each row its own scores, after `seconds` by the clock.

    Attributes:
        given: the rows that it got.
        deadlines_s: and until when.
    """

    def __init__(self, clock: ManualClock, seconds: float = 0.0) -> None:
        self._clock = clock
        self._seconds = seconds
        self.given: list[Array] = []
        self.deadlines_s: list[float] = []
        self.error: Exception | None = None
        self.gate: asyncio.Future[None] | None = None

    async def __call__(self, rows: Array, deadline_s: float, /) -> Array:
        self.given.append(rows)
        self.deadlines_s.append(deadline_s)
        if self.gate is not None:
            await self.gate
        self._clock.advance(self._seconds)
        if self.error is not None:
            raise self.error
        return np.tile(np.array([[0.2, 0.5, 0.3]], dtype=np.float32), (len(rows), 1))

    def close(self) -> None:
        """Nothing waits here."""


def predictor(
    runs: Runs,
    clock: ManualClock,
    *,
    version: str = "6c4ef19f5054",
    labels: tuple[str, ...] = LABELS,
    datatype: str = "float32",
    shape: tuple[int, ...] = (-1, 4),
) -> ModelPredictor:
    rows = TensorSpec("float_input", datatype, shape)
    scores = TensorSpec("probabilities", "float32", (-1, 3))
    signature = Signature("svc", version, rows, scores, labels)
    return ModelPredictor(signature, runner=runs, clock=clock)


def asking(rows: Array, *, deadline_s: float = START_S + 30.0) -> InferenceRequest:
    return InferenceRequest("a-request", "iris", {"data": rows}, deadline_s, 7)


@both_ways
async def test_it_looks_at_the_number_of_scores(start: Start) -> None:
    clock = ManualClock()
    rows = TensorSpec("float_input", "float32", (-1, 4))
    for shape in ((-1, 2), (-1, 3, 1), (-1,)):
        signature = Signature("svc", "1", rows, TensorSpec("p", "float32", shape), ())
        odd = ModelPredictor(signature, runner=Runs(clock), clock=clock)
        with pytest.raises(ModelFailed) as caught:
            await start(odd(a_request()))
        assert str(caught.value) == f"model svc gave (3,) a row, not {shape[1:]}"
        assert hops(caught.value) == ["model:svc@1!model_failed"]
    signature = Signature("svc", "1", rows, TensorSpec("p", "float32", (-1, -1)), ())
    any_number = ModelPredictor(signature, runner=Runs(clock), clock=clock)
    assert (await start(any_number(a_request()))).primary.shape == (1, 3)


# --- answers -----------------------------------------------------------------------------


@both_ways
async def test_it_answers_scores(start: Start) -> None:
    clock = ManualClock()
    runs = Runs(clock, seconds=0.25)
    request = a_request((1, 2, 3, 4), (5, 6, 7, 8))
    response = await start(predictor(runs, clock)(request))
    assert response.kind is AnswerKind.SCORES
    assert list(response.outputs) == ["probabilities"]
    assert response.primary.shape == (2, 3)
    assert (response.model, response.version) == ("svc", "6c4ef19f5054")
    (hop,) = response.trail
    assert hop.name == "model:svc@6c4ef19f5054"
    assert (hop.started_s, hop.elapsed_s) == (START_S, 0.25)
    assert runs.given[0] is request.tensors["data"]
    assert runs.deadlines_s == [request.deadline_s]


async def test_it_answers_labels_when_asked() -> None:
    clock = ManualClock()
    response = await predictor(Runs(clock), clock)(a_request((1, 2, 3, 4), labelled=True))
    assert response.kind is AnswerKind.LABELLED
    assert list(response.outputs) == ["label", "scores"]
    assert response.primary.tolist() == ["versicolor"]


async def test_a_model_without_a_version() -> None:
    clock = ManualClock()
    answering = predictor(Runs(clock), clock, version="")
    assert hops(await answering(a_request())) == ["model:svc"]
    assert repr(answering) == "svc"


async def test_a_model_without_labels_has_none_to_give() -> None:
    clock = ManualClock()
    runs = Runs(clock)
    with pytest.raises(NoLabels, match=r"^model svc has no labels"):
        await predictor(runs, clock, labels=())(a_request(labelled=True))
    assert runs.given == []


# --- what it takes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (np.zeros((1, 3)), "model svc takes [rows, 4], got [1, 3]"),
        (np.zeros(4), "model svc takes [rows, 4], got [4]"),
        (np.zeros((1, 2, 2)), "model svc takes [rows, 4], got [1, 2, 2]"),
        (np.full((1, 4), b"1", dtype=object), "model svc takes float32, got object"),
        (np.full((1, 4), "1"), "model svc takes float32, got str32"),
        (np.full((1, 4), True), "model svc takes float32, got bool"),
        (np.full((1, 4), 1j), "model svc takes float32, got complex128"),
        (np.full((1, 4), 1e39), "values do not fit float32, which model svc takes"),
        (np.full((1, 4), np.inf), "values do not fit float32, which model svc takes"),
        (np.full((1, 4), np.nan), "values do not fit float32, which model svc takes"),
    ],
)
async def test_it_refuses_what_it_does_not_take(rows: Array, sentence: str) -> None:
    clock = ManualClock()
    runs = Runs(clock)
    with pytest.raises(InvalidInput) as caught:
        await predictor(runs, clock)(asking(rows))
    assert str(caught.value) == sentence
    assert caught.value.path == "$.data"
    assert hops(caught.value) == ["model:svc@6c4ef19f5054!invalid_input"]
    assert runs.given == []


@pytest.mark.parametrize("tensors", [{}, {"a": np.zeros((1, 4)), "b": np.zeros((1, 4))}])
async def test_it_takes_one_tensor(tensors: dict[str, Array]) -> None:
    clock = ManualClock()
    request = InferenceRequest("r", "iris", tensors, START_S + 1.0, 7)
    with pytest.raises(InvalidInput, match=r"^model svc takes one tensor$"):
        await predictor(Runs(clock), clock)(request)


@pytest.mark.parametrize(
    ("shape", "fits", "misfits"),
    [
        ((-1, -1), [(1, 1), (2, 9)], [(1,), (1, 1, 1)]),
        ((-1, -1, 3), [(1, 1, 3), (2, 9, 3)], [(1, 3), (1, 1, 2)]),
        ((1, 4), [(1, 4), (7, 4)], [(1, 3)]),
    ],
)
async def test_axes_may_be_open(
    shape: tuple[int, ...], fits: list[tuple[int, ...]], misfits: list[tuple[int, ...]]
) -> None:
    clock = ManualClock()
    answering = predictor(Runs(clock), clock, shape=shape)
    for one in fits:
        assert len((await answering(asking(np.zeros(one)))).primary) == one[0]
    for one in misfits:
        with pytest.raises(InvalidInput, match="takes"):
            await answering(asking(np.zeros(one)))


async def test_an_open_axis_is_called_any() -> None:
    clock = ManualClock()
    with pytest.raises(InvalidInput, match=r"^model svc takes \[rows, any, 3\], got \[1, 3\]$"):
        await predictor(Runs(clock), clock, shape=(-1, -1, 3))(asking(np.zeros((1, 3))))


FITTING: Final[list[tuple[str, Any]]] = [
    ("float32", np.array([[0.1, 3.4e38]])),
    ("float32", np.array([[2**24 + 1, 7]])),
    ("float16", np.array([[0.1, 65504.0]])),
    ("float64", np.array([[0.1, 3.4e38]], dtype=np.float32)),
    ("int64", np.array([[3.0, -4.0]])),
    ("int64", np.array([[2.0**53 - 1, 1 - 2.0**53]])),
    ("int8", np.array([[-128, 127]])),
    ("uint64", np.array([[0, 2**63 - 1]])),
    ("int64", np.array([[0, 2**63 - 1]], dtype=np.uint64)),
]


@pytest.mark.parametrize(("datatype", "rows"), FITTING)
async def test_it_changes_the_datatype_where_nothing_is_lost(datatype: str, rows: Array) -> None:
    clock = ManualClock()
    runs = Runs(clock)
    await predictor(runs, clock, datatype=datatype, shape=(-1, 2))(asking(rows))
    assert runs.given[0].dtype.name == datatype
    np.testing.assert_array_equal(runs.given[0], rows.astype(datatype))


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        ("int64", 0.5),
        ("int64", np.nan),
        ("int64", np.inf),
        ("int64", 2.0**64),
        ("int64", np.uint64(2**63)),
        ("int8", 128),
        ("uint8", -1),
        ("uint64", -1),
        ("uint64", -1.0),
        ("float16", 65536.0),
    ],
)
async def test_it_never_makes_another_number_of_one(datatype: str, value: float) -> None:
    clock = ManualClock()
    runs = Runs(clock)
    with pytest.raises(InvalidInput, match=rf"^values do not fit {datatype}, which model svc"):
        await predictor(runs, clock, datatype=datatype, shape=(-1, 1))(asking(np.array([[value]])))
    assert runs.given == []


# --- errors, deadline, cancellation ------------------------------------------------------


@both_ways
@pytest.mark.parametrize("error", [ModelFailed("svc"), Overloaded("the queue", 1, "rows")])
async def test_an_error_of_the_runner_gets_the_models_hop(
    start: Start, error: ModelFailed | Overloaded
) -> None:
    error.trail = ()  # one instance serves all parameters
    clock = ManualClock()
    runs = Runs(clock, seconds=0.5)
    runs.error = error
    with pytest.raises(type(error)) as caught:
        await start(predictor(runs, clock)(a_request()))
    assert caught.value is error
    (hop,) = caught.value.trail
    assert hop.name == f"model:svc@6c4ef19f5054!{error.code}"
    assert hop.elapsed_s == 0.5


async def test_a_deadline_that_has_passed_is_not_run_for() -> None:
    clock = ManualClock()
    runs = Runs(clock)
    with pytest.raises(DeadlineExceeded, match=r"^the deadline passed at model svc$"):
        await predictor(runs, clock)(a_request(deadline_s=START_S))
    assert runs.given == []


@pytest.mark.parametrize("seconds", [1.0, 2.0])
async def test_an_answer_after_its_deadline_is_none(seconds: float) -> None:
    clock = ManualClock()
    runs = Runs(clock, seconds=seconds)
    with pytest.raises(DeadlineExceeded):
        await predictor(runs, clock)(a_request(deadline_s=START_S + 1.0))
    assert len(runs.given) == 1


@both_ways
async def test_cancelling_cancels_the_waiting(start: Start) -> None:
    clock = ManualClock()
    runs = Runs(clock)
    runs.gate = asyncio.get_running_loop().create_future()
    waiting = start(predictor(runs, clock)(a_request()))
    await settle()
    waiting.cancel()
    await settle()
    assert waiting.cancelled()
    assert runs.gate.cancelled()
