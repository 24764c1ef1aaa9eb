from __future__ import annotations

import asyncio
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import (
    AnswerNotFinite,
    DeadlineExceeded,
    InvalidInput,
    LogUnavailable,
    ModelFailed,
    Overloaded,
    ServingError,
)
from penstock.core.outliers import MAX_TRIES, Outlier, flagged
from penstock.core.predictor import Abreast, Predictor
from penstock.core.record import Record, Role
from penstock.core.values import AnswerKind, InferenceRequest, InferenceResponse
from penstock.patterns.prediction_log import PredictionLog
from penstock.stores.policy import LogPolicy
from tests.support import (
    START_S,
    Held,
    ManualClock,
    Recording,
    Start,
    a_request,
    answering,
    both_ways,
    classifying,
    echo,
    failing,
    hops,
    scores,
    settle,
    slow,
)

PLACE = "routes.iris[0].prediction_log"
PLACE_RE = re.escape(PLACE)
OUTLIER_S = 5.0

beside_or_after = pytest.mark.parametrize("runs_beside", [True, False])


def a_log(
    inner: Predictor,
    outlier: Predictor | None = None,
    *,
    threshold: float = 0.0,
    runs_beside: bool = True,
    abreast: Abreast | None = None,
    room: bool | None = None,
    percent: float = 100.0,
    faults: list[BaseException] | None = None,
    clock: ManualClock | None = None,
) -> PredictionLog:
    return PredictionLog(
        inner=inner,
        outlier=None
        if outlier is None
        else Outlier(
            predictor=outlier,
            place=f"{PLACE}.outlier",
            threshold=threshold,
            timeout_s=OUTLIER_S,
            runs_beside=runs_beside,
            on_fault=([] if faults is None else faults).append,
            abreast=abreast,
        ),
        has_room=None if room is None else lambda: room,
        sample_percent=percent,
        place=PLACE,
        clock=clock or ManualClock(),
    )


def scoring(*by_row: float) -> Predictor:
    """Return an outlier model that gives each row its own score."""

    async def answer(request: InferenceRequest, /) -> InferenceResponse:
        return scores(*([score] for score in by_row), model="ocs", datatype="float64")

    return answer


# --- passes through ----------------------------------------------------------------------


@both_ways
async def test_answers_as_the_inner_one_does_behind_its_hop(start: Start) -> None:
    answer = await start(a_log(answering(0.9, 0.1))(a_request(request_id="r1")))
    assert answer.fields == {}
    assert hops(answer) == ["prediction_log", "model:fake@1"]
    assert (answer.kind, answer.model, answer.version) == (AnswerKind.SCORES, "fake", "1")


@both_ways
async def test_fields_from_below_stay(start: Start) -> None:
    async def inner(request: InferenceRequest, /) -> InferenceResponse:
        one = scores([0.5])
        return InferenceResponse(one.kind, one.outputs, fields={"mode": "svc.onnx"})

    answer = await start(a_log(inner, scoring(0.5))(a_request()))
    assert answer.fields == {"mode": "svc.onnx", "is_outlier": False, "outlier_score": 0.5}


def test_reads_as_in_the_spec() -> None:
    assert repr(a_log(echo)) == "prediction_log: {outlier: None}"


# --- does its one thing: tells how unusual the input is ----------------------------------


@both_ways
@beside_or_after
@pytest.mark.parametrize(
    ("score", "flag", "shown", "hop"),
    [
        (0.44, False, 0.44, "inlier"),
        (0.0, False, 0.0, "inlier"),
        (-0.1, True, -0.1, "outlier"),
        (math.nan, True, None, "outlier"),
        (math.inf, False, None, "inlier"),
    ],
)
async def test_flag_and_score(
    start: Start, score: float, shown: float | None, hop: str, *, flag: bool, runs_beside: bool
) -> None:
    log = a_log(answering(0.9, 0.1), scoring(score), runs_beside=runs_beside)
    answer = await start(log(a_request(request_id="r1")))
    assert answer.fields == {"is_outlier": flag, "outlier_score": shown}
    assert hops(answer) == [f"prediction_log:{hop}", "model:fake@1", "model:ocs@1"]
    assert answer.primary.tolist() == np.array([[0.9, 0.1]], np.float32).tolist()


@both_ways
async def test_several_rows_have_a_flag_each(start: Start) -> None:
    log = a_log(echo, scoring(0.3, -2.0), threshold=0.25)
    answer = await start(log(a_request((1.0,), (2.0,))))
    assert answer.fields["is_outlier"] == (False, True)
    assert answer.fields["outlier_score"] == (0.3, -2.0)
    assert hops(answer)[0] == "prediction_log:outlier"


@both_ways
async def test_both_are_asked_side_by_side_the_outlier_model_for_scores(start: Start) -> None:
    inner, outlier = Held(classifying(0.9, 0.1, labels="ab")), Recording(scoring(0.5))
    answer = start(a_log(inner, outlier)(a_request(labelled=True)))
    await settle()
    assert (inner.waiting, len(outlier.requests)) == (1, 1)
    assert outlier.requests[0].labelled is False
    inner.release()
    assert (await answer).kind is AnswerKind.LABELLED


async def in_one_run(request: InferenceRequest, /) -> list[InferenceResponse]:
    return [scores([0.9, 0.1]), scores([-0.5], model="ocs")]


async def in_no_run(request: InferenceRequest, /) -> None:
    return None


@both_ways
async def test_two_on_the_loop_are_asked_in_one_run(start: Start) -> None:
    inner, outlier = Recording(), Recording()
    log = a_log(inner, outlier, runs_beside=False, abreast=in_one_run)
    answer = await start(log(a_request(request_id="r1")))
    assert answer.fields == {"is_outlier": True, "outlier_score": -0.5}
    assert hops(answer) == ["prediction_log:outlier", "model:fake@1", "model:ocs@1"]
    assert inner.requests == outlier.requests == []


@both_ways
async def test_where_that_cannot_be_each_is_asked_by_itself(start: Start) -> None:
    inner, outlier = classifying(0.9, 0.1, labels="ab"), scoring(0.5)
    unlike = a_log(inner, outlier, runs_beside=False, abreast=in_no_run)
    assert (await start(unlike(a_request()))).fields["outlier_score"] == 0.5
    log = a_log(inner, outlier, runs_beside=False, abreast=in_one_run)
    labelled = await start(log(a_request(labelled=True)))
    assert labelled.kind is AnswerKind.LABELLED
    assert labelled.fields["outlier_score"] == 0.5


# --- inner error -------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("outlier", [None, scoring(0.5)])
@pytest.mark.parametrize("error", [ModelFailed("svc"), InvalidInput("no"), ValueError("a fault")])
async def test_an_error_is_passed_on(
    start: Start, outlier: Predictor | None, error: Exception
) -> None:
    with pytest.raises(type(error)) as caught:
        await start(a_log(failing(error), outlier)(a_request()))
    assert caught.value is error


@both_ways
@beside_or_after
@pytest.mark.parametrize("error", [ModelFailed("ocs"), DeadlineExceeded("ocs"), InvalidInput("no")])
async def test_an_outlier_model_that_fails_costs_the_score_only(
    start: Start, error: ServingError, runs_beside: bool
) -> None:
    log = a_log(answering(0.9, 0.1), failing(error), runs_beside=runs_beside)
    answer = await start(log(a_request()))
    assert (answer.fields["is_outlier"], answer.fields["outlier_score"]) == (None, None)
    assert hops(answer) == ["prediction_log:unscored", "model:fake@1"]


def not_finite(*rows: float, other: float = 0.5) -> Predictor:
    """Return an outlier model that has no finite score of rows that begin so, and says which."""

    async def answer(request: InferenceRequest, /) -> InferenceResponse:
        (tensor,) = request.tensors.values()
        for row, first in enumerate(tensor[:, 0].tolist()):
            if first in rows:
                raise AnswerNotFinite("ocs", row)
        return scores(*([other] for _ in tensor), model="ocs", datatype="float64")

    return answer


@both_ways
@beside_or_after
async def test_a_score_that_is_not_finite_is_an_outliers(start: Start, runs_beside: bool) -> None:
    outlier = Recording(not_finite(2.0, 4.0))
    log = a_log(echo, outlier, runs_beside=runs_beside)
    answer = await start(log(a_request((1.0,), (2.0,), (3.0,), (4.0,))))
    assert answer.fields["is_outlier"] == (False, True, False, True)
    assert answer.fields["outlier_score"] == (0.5, None, 0.5, None)
    assert hops(answer)[0] == "prediction_log:outlier"
    assert [one.rows for one in outlier.requests] == [4, 3, 2]


@both_ways
async def test_the_only_row_is_not_asked_for_again(start: Start) -> None:
    outlier = Recording(not_finite(1.0))
    answer = await start(a_log(echo, outlier)(a_request((1.0,))))
    assert answer.fields["is_outlier"] is True
    assert answer.fields["outlier_score"] is None
    assert len(outlier.requests) == 1


@both_ways
async def test_rows_are_not_asked_for_again_for_ever(start: Start) -> None:
    outlier = Recording(not_finite(*range(20)))
    rows = [(float(row),) for row in range(20)]
    answer = await start(a_log(echo, outlier)(a_request(*rows)))
    flags = answer.fields["is_outlier"]
    assert isinstance(flags, tuple)
    assert flags == (True,) * (MAX_TRIES + 1) + (None,) * (19 - MAX_TRIES)
    assert len(outlier.requests) == MAX_TRIES + 1


@both_ways
async def test_a_row_that_was_not_asked_for_is_no_outlier(start: Start) -> None:
    strange = a_log(echo, failing(AnswerNotFinite("ocs", 9)))
    assert (await start(strange(a_request()))).fields["is_outlier"] is None


@both_ways
@beside_or_after
@pytest.mark.parametrize("error", [ValueError("a fault"), ModelFailed("ocs")])
async def test_a_fault_beside_costs_no_answer_and_is_told(
    start: Start, runs_beside: bool, error: Exception
) -> None:
    faults: list[BaseException] = []
    log = a_log(answering(0.9, 0.1), failing(error), runs_beside=runs_beside, faults=faults)
    answer = await start(log(a_request()))
    assert (answer.fields["is_outlier"], answer.fields["outlier_score"]) == (None, None)
    assert hops(answer) == ["prediction_log:unscored", "model:fake@1"]
    assert faults == [error]


# --- deadline and cancellation -----------------------------------------------------------


@both_ways
async def test_a_late_outlier_model_is_given_up_before_the_deadline(start: Start) -> None:
    clock, outlier = ManualClock(), Held()
    log = a_log(answering(0.9, 0.1), outlier, clock=clock)
    answer = start(log(a_request(deadline_s=START_S + 1.0)))
    await clock.elapse(0.991)
    assert (await answer).fields["is_outlier"] is None
    assert (outlier.cancelled, clock.timers) == (1, 0)


@both_ways
async def test_an_outlier_model_has_a_time_of_its_own(start: Start) -> None:
    clock, outlier = ManualClock(), Held()
    answer = start(a_log(answering(0.9, 0.1), outlier, clock=clock)(a_request()))
    await clock.elapse(OUTLIER_S)
    assert (await answer).fields["outlier_score"] is None
    assert hops(await answer) == ["prediction_log:unscored", "model:fake@1"]
    assert (outlier.cancelled, clock.timers) == (1, 0)


@both_ways
async def test_a_late_answer_is_waited_for(start: Start) -> None:
    clock = ManualClock()
    log = a_log(slow(echo, clock=clock, seconds=2.0), scoring(0.5), clock=clock)
    answer = start(log(a_request(deadline_s=START_S + 1.0)))
    await clock.elapse(2.0)
    assert (await answer).fields["outlier_score"] == 0.5


@both_ways
async def test_when_the_answer_fails_the_outlier_model_is_given_up(start: Start) -> None:
    outlier = Held()
    with pytest.raises(Overloaded):
        await start(a_log(failing(Overloaded("svc", 1, "rows")), outlier)(a_request()))
    assert outlier.cancelled == 1
    after = Recording(scoring(0.5))
    log = a_log(failing(Overloaded("svc", 1, "rows")), after, runs_beside=False)
    with pytest.raises(Overloaded):
        await start(log(a_request()))
    assert after.requests == []


@both_ways
async def test_cancellation_reaches_both(start: Start) -> None:
    inner, outlier = Held(), Held()
    answer = start(a_log(inner, outlier)(a_request()))
    await settle()
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answer
    assert (inner.cancelled, outlier.cancelled) == (1, 1)


@both_ways
async def test_without_room_nothing_below_is_asked(start: Start) -> None:
    inner, outlier = Recording(), Recording()
    with pytest.raises(LogUnavailable, match=PLACE_RE):
        await start(a_log(inner, outlier, room=False)(a_request()))
    assert inner.requests == outlier.requests == []
    assert hops(await start(a_log(inner, room=True)(a_request())))[0] == "prediction_log"


@both_ways
async def test_only_what_is_recorded_needs_room(start: Start) -> None:
    """By the seed, as `LogPolicy.samples` chooses what is recorded."""
    log = a_log(echo, room=False, percent=50.0)
    policy = LogPolicy(route="iris", place=PLACE, sample_percent=50.0)
    refused = 0
    for seed in range(64):
        request = a_request(seed=seed)
        if policy.samples(Record(Role.PRIMARY, "iris", "id", request, None, 0.0)):
            refused += 1
            with pytest.raises(LogUnavailable):
                await start(log(request))
        else:
            await start(log(request))
    assert 0 < refused < 64


# --- under concurrency -------------------------------------------------------------------


@both_ways
async def test_every_answer_has_its_own_score(start: Start) -> None:
    log = a_log(echo, echo, threshold=2.0)
    requests = [a_request((float(i),), request_id=f"r{i}") for i in range(5)]
    answers = [start(log(request)) for request in requests]
    fields = [(await answer).fields for answer in answers]
    assert [one["outlier_score"] for one in fields] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert [one["is_outlier"] for one in fields] == [True, True, False, False, False]


# --- property ----------------------------------------------------------------------------


@given(rows=st.lists(st.floats()), threshold=st.floats(allow_nan=False))
def test_a_flag_is_always_told_and_a_score_can_always_be_written(
    rows: list[float], threshold: float
) -> None:
    told = flagged(rows, threshold)
    assert len(told) == len(rows)
    for (flag, score), given_score in zip(told, rows, strict=True):
        assert flag is (math.isnan(given_score) or given_score < threshold)
        assert score is None or (score == given_score and math.isfinite(score))
