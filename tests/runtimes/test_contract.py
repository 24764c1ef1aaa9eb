"""What every runtime has to do, asked of every one of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.core.errors import (
    AnswerNotFinite,
    DeadlineExceeded,
    InvalidInput,
    ModelFailed,
    NotReady,
    Overloaded,
    UpstreamFailed,
)
from penstock.core.predictor import OpenModel
from penstock.core.values import AnswerKind, Array, InferenceRequest, InferenceResponse
from tests.runtimes.contract import (
    ASYNC,
    CASES,
    LABELS,
    PROCESS,
    REMOTE,
    THREAD,
    Case,
    Passing,
    code_source,
)
from tests.support import IRIS, START_S, ManualClock, Start, both_ways, nothing_loose, settle

T = TypeVar("T")

ROWS: Final = (IRIS, (6.7, 3.0, 5.2, 2.3), (5.9, 3.0, 4.2, 1.5), (1.0, 2.0, 3.0, 4.0))
FLOWERS: Final = np.array(ROWS, dtype=np.float64)


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


every_case_that_waits = pytest.mark.parametrize(
    "case", [case for case in CASES if case.waits], ids=lambda case: case.name
)


def asking(
    rows: Array | Sequence[Sequence[float]],
    *,
    deadline_s: float = START_S + 30.0,
    labelled: bool = False,
) -> InferenceRequest:
    tensor = np.asarray(rows, dtype=np.float64)
    return InferenceRequest("a-request", "iris", {"data": tensor}, deadline_s, 7, labelled)


async def table(model: OpenModel, rows: Array | Sequence[Sequence[float]]) -> Array:
    return (await model.predict(asking(rows))).primary


def close(got: Array, expected: Array) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


# --- opens and answers -------------------------------------------------------------------


async def test_it_opens_and_says_what_it_is(case: Case, tmp_path: Path) -> None:
    async with case.open("flowers", tmp_path) as model:
        assert model.running == case.running
        description = model.description
        assert description.name == "flowers"
        assert description.kind is AnswerKind.SCORES
        assert description.labels == LABELS
        (rows,) = description.inputs
        assert rows.shape[1:] in ((4,), (-1,))
        assert description.outputs[0].shape[0] == -1
        assert await model.health(START_S + 1.0) is True


@both_ways
async def test_it_predicts_a_row(start: Start, case: Case, tmp_path: Path) -> None:
    async with case.open("flowers", tmp_path) as model, nothing_loose():
        response = await start(model.predict(asking([IRIS])))
        assert response.kind is AnswerKind.SCORES
        assert response.primary.shape == (1, 3)
        assert response.primary.sum() == pytest.approx(1.0, abs=1e-5)
        assert response.model == "flowers"
        assert response.version == model.description.version
        version = f"@{response.version}" if response.version else ""
        kind = "remote" if case.remote else "model"
        assert [hop.name for hop in response.trail] == [f"{kind}:flowers{version}"]


@both_ways
async def test_it_predicts_many_rows_as_one_by_one(
    start: Start, case: Case, tmp_path: Path
) -> None:
    async with case.open("flowers", tmp_path) as model:
        together = (await start(model.predict(asking(FLOWERS)))).primary
        alone = [await table(model, [row]) for row in FLOWERS]
    close(together, np.concatenate(alone))


async def test_it_answers_labels(case: Case, tmp_path: Path) -> None:
    async with case.open("flowers", tmp_path) as model:
        scores = await table(model, FLOWERS)
        response = await model.predict(asking(FLOWERS, labelled=True))
    assert response.kind is AnswerKind.LABELLED
    assert response.primary.tolist() == [LABELS[best] for best in scores.argmax(axis=1)]
    if not case.remote:  # which was asked for labels only
        close(response.outputs["scores"], scores)


async def test_it_leaves_the_request_as_it_is(case: Case, tmp_path: Path) -> None:
    request = asking(FLOWERS.copy())
    async with case.open("flowers", tmp_path) as model:
        await model.predict(request)
    np.testing.assert_array_equal(request.tensors["data"], FLOWERS)


# --- refuses -----------------------------------------------------------------------------


async def test_it_refuses_another_width(case: Case, tmp_path: Path) -> None:
    async with case.open("flowers", tmp_path) as model:
        (rows,) = model.description.inputs
        wrong = np.zeros((2, 3)) if rows.shape[1] > 0 else np.zeros((2, 3, 4))
        takes = "[rows, 4]" if rows.shape[1] > 0 else "[rows, any]"
        with pytest.raises(InvalidInput) as caught:
            await model.predict(asking(wrong))
        assert str(caught.value) == f"model flowers takes {takes}, got {list(wrong.shape)}"
        assert caught.value.path == "$.data"


async def test_it_refuses_another_datatype(case: Case, tmp_path: Path) -> None:
    text = {"data": np.full((1, 4), b"1", dtype=object)}
    request = InferenceRequest("r", "iris", text, START_S + 30.0, 7)
    async with case.open("flowers", tmp_path) as model:
        (rows,) = model.description.inputs
        with pytest.raises(InvalidInput, match=rf"flowers takes {rows.datatype}, got object$"):
            await model.predict(request)


# --- failures ----------------------------------------------------------------------------


async def outcomes(
    model: OpenModel, *requests: InferenceRequest
) -> list[InferenceResponse | BaseException]:
    return await asyncio.gather(*map(model.predict, requests), return_exceptions=True)


async def test_an_answer_that_is_not_finite_names_the_row(case: Case, tmp_path: Path) -> None:
    rows = np.ones((6, 2))
    rows[4, 1] = -1.0
    async with case.open("logarithm", tmp_path) as model:
        with pytest.raises(AnswerNotFinite) as caught:
            await model.predict(asking(rows))
        assert caught.value.row == 4
        assert caught.value.path == "$.data[4]"


async def test_a_row_that_is_not_finite_fails_its_own_request_only(
    case: Case, tmp_path: Path
) -> None:
    requests = [asking([(1, value), (1, value)]) for value in (1, -1, 2, 1, -1)]
    async with case.open("logarithm", tmp_path) as model:
        found = await outcomes(model, *requests)
    errors = [one for one in found if isinstance(one, AnswerNotFinite)]
    assert [type(one) for one in found].count(InferenceResponse) == 3
    assert [error.row for error in errors] == [0, 0]
    assert errors[0] is not errors[1]


async def test_a_model_that_raises_fails_with_its_cause(case: Case, tmp_path: Path) -> None:
    async with case.open("picky", tmp_path) as model:
        if case.remote:  # the cause is in the remote's log
            with pytest.raises(UpstreamFailed, match=r"picky failed: it answered 500: model local"):
                await model.predict(asking([[9.0]]))
            return
        with pytest.raises(ModelFailed, match=r"^model picky raised an error$") as caught:
            await model.predict(asking([[9.0]]))
        assert caught.value.__cause__ is not None
        assert "out of" in str(caught.value.__cause__)


async def test_a_row_that_raises_fails_its_own_request_only(case: Case, tmp_path: Path) -> None:
    async with case.open("picky", tmp_path) as model, nothing_loose():
        found = await outcomes(model, *(asking([[value]]) for value in (1, 9, 2, 3, 9)))
        failure = UpstreamFailed if case.remote else ModelFailed
        assert [type(one) for one in found] == [
            InferenceResponse,
            failure,
            InferenceResponse,
            InferenceResponse,
            failure,
        ]
        answers = [one.primary.tolist() for one in found if isinstance(one, InferenceResponse)]
        assert answers == [[[11.0]], [[12.0]], [[13.0]]]
        assert (await table(model, [[0.0]])).tolist() == [[10.0]]


# --- deadlines ---------------------------------------------------------------------------


async def test_a_deadline_that_has_passed_is_not_run_for(case: Case, tmp_path: Path) -> None:
    async with case.open("picky", tmp_path) as model:
        with pytest.raises(DeadlineExceeded):  # and not ModelFailed
            await model.predict(asking([[9.0]], deadline_s=START_S))


@both_ways
async def test_a_deadline_that_passes_during_the_run(
    start: Start, case: Case, tmp_path: Path
) -> None:
    clock = Passing()
    async with case.open("flowers", tmp_path, clock) as model, nothing_loose():
        clock.step_s = 1.0
        late = asking(FLOWERS, deadline_s=clock.now_s() + 1.5)
        with pytest.raises(DeadlineExceeded, match=r"at model flowers$"):
            await start(model.predict(late))
        clock.step_s = 0.0
        assert len(await table(model, FLOWERS)) == 4


# --- waiting -----------------------------------------------------------------------------


def queued_after(model: OpenModel, rows: int) -> None:
    """Let no more than `rows` rows wait."""
    model.predict._runner._queue._max_rows = rows  # type: ignore[attr-defined]


@every_case_that_waits
async def test_what_waits_is_bounded(case: Case, tmp_path: Path) -> None:
    async with case.open("flowers", tmp_path) as model:
        queued_after(model, 3)
        found = await outcomes(model, *(asking([IRIS]) for _ in range(9)))
        shed = [one for one in found if isinstance(one, Overloaded)]
        assert len(shed) == 9 - 3 - case.beside  # beside the loop, the first is under way already
        assert str(shed[0]) == str(Overloaded("the queue of model flowers", 3, "rows"))
        assert len([one for one in found if isinstance(one, InferenceResponse)]) + len(shed) == 9
        assert len(await table(model, [IRIS])) == 1


@both_ways
async def test_cancelling_one_leaves_the_others(start: Start, case: Case, tmp_path: Path) -> None:
    async with case.open("flowers", tmp_path) as model, nothing_loose():
        alone = await table(model, FLOWERS)
        requests = [start(model.predict(asking([row]))) for row in FLOWERS]
        await asyncio.sleep(0)
        requests[1].cancel()
        answers = await asyncio.gather(*requests, return_exceptions=True)
        assert isinstance(answers.pop(1), asyncio.CancelledError)
        for answer, expected in zip(answers, alone[[0, 2, 3]], strict=True):
            assert isinstance(answer, InferenceResponse)
            close(answer.primary[0], expected)


# --- closing -----------------------------------------------------------------------------


@both_ways
async def test_closing_fails_what_waits(start: Start, case: Case, tmp_path: Path) -> None:
    async with nothing_loose():
        async with case.open("flowers", tmp_path) as model:
            waiting = [start(model.predict(asking([row]))) for row in FLOWERS]
            await asyncio.sleep(0)
        found = await asyncio.gather(*waiting, return_exceptions=True)
        if case.waits:
            assert {type(one) for one in found[1:]} == {NotReady}
        assert {type(one) for one in found} <= {NotReady, InferenceResponse}
        for rows in (FLOWERS[:1], np.tile(FLOWERS, (100, 1))):
            with pytest.raises(NotReady, match=r"^model flowers is not ready$"):
                await table(model, rows)


# --- large requests ----------------------------------------------------------------------


async def with_passes(answer: Awaitable[T]) -> tuple[T, int]:
    """Return the answer, and how many passes of the loop there were until it came."""
    waiting = asyncio.ensure_future(answer)
    passes = 0
    while not waiting.done():
        await asyncio.sleep(0)
        passes += 1
    return waiting.result(), passes


@every_case_that_waits
async def test_a_huge_request_does_not_stay_on_the_loop(case: Case, tmp_path: Path) -> None:
    async with case.open("flowers", tmp_path) as model:
        few = await table(model, FLOWERS)
        huge = asking(np.tile(FLOWERS, (2500, 1)))
        response, passes = await with_passes(model.predict(huge))
    assert passes > 4
    close(response.primary, np.tile(few, (2500, 1)))


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """What `held` waits for: a pipe that it opens to read."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    yield path
    with suppress(OSError):  # let go of what a failed test has left
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


async def held_at(gate: Path) -> int:
    """Return the pipe, open to write, once somebody has opened it to read."""
    while True:
        try:
            return os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads yet; the loop goes on meanwhile
            await asyncio.sleep(0)


@pytest.mark.parametrize("case", [THREAD, PROCESS], ids=lambda case: case.name)
async def test_the_loop_goes_on_during_a_run(case: Case, tmp_path: Path, gate: Path) -> None:
    clock = ManualClock()
    async with case.runtime(code_source(case, "held", tmp_path), clock=clock) as model:
        first = asyncio.ensure_future(table(model, [[1.0]]))
        pipe = await held_at(gate)
        others = [asyncio.ensure_future(table(model, [[value]])) for value in (2.0, 3.0)]
        late = asyncio.ensure_future(model.predict(asking([[4.0]], deadline_s=START_S + 1.0)))
        await clock.elapse(1.0)
        with pytest.raises(DeadlineExceeded):
            await late
        assert not first.done()
        os.close(pipe)
        assert (await first).tolist() == [[1.0]]
        os.close(await held_at(gate))  # the others, together
        assert [(await one).tolist() for one in others] == [[[2.0]], [[3.0]]]


@pytest.mark.parametrize("case", [PROCESS], ids=lambda case: case.name)
async def test_closing_ends_a_run_in_a_process(case: Case, tmp_path: Path, gate: Path) -> None:
    async with case.runtime(code_source(case, "held", tmp_path), clock=ManualClock()) as model:
        under_way = asyncio.ensure_future(table(model, [[1.0]]))
        pipe = await held_at(gate)
    with pytest.raises(NotReady):
        await under_way
    with pytest.raises(BrokenPipeError):
        os.write(pipe, b"is anybody there?")
    os.close(pipe)


# --- property ----------------------------------------------------------------------------

REQUESTS: Final = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=40), min_size=1, max_size=12
)


def test_concurrent_requests_are_answered_as_if_alone(case: Case, tmp_path: Path) -> None:
    """Whoever asks at the same time, with however many rows: each gets its own rows' answers."""
    with asyncio.Runner() as loop:
        opening = case.open("flowers", tmp_path)
        model = loop.run(opening.__aenter__())
        alone = np.concatenate([loop.run(table(model, [row])) for row in FLOWERS])

        @settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
        @given(requests=REQUESTS)
        def as_if_alone(requests: list[list[int]]) -> None:
            async def together() -> list[Array]:
                return await asyncio.gather(*(table(model, FLOWERS[rows]) for rows in requests))

            for rows, answer in zip(requests, loop.run(together()), strict=True):
                close(answer, alone[rows])

        as_if_alone()
        loop.run(opening.__aexit__(None, None, None))
        loop.run(settle())


def test_every_runtime_is_here() -> None:
    assert {case.runtime.__module__ for case in CASES if not case.remote} == {
        "penstock.runtimes.onnx",
        "penstock.runtimes.callable",
    }
    assert [case.name for case in CASES if not case.waits] == [ASYNC.name, REMOTE.name]
    assert [case.name for case in CASES if case.remote] == [REMOTE.name]
