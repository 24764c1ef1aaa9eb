from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import ModelFailed
from penstock.core.labels import LABEL, SCORES
from penstock.core.predictor import Predictor
from penstock.core.values import AnswerKind, InferenceRequest, InferenceResponse
from penstock.patterns.threshold import Threshold, below
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
    failing,
    hops,
    settle,
    slow,
)

IRIS: Final = ("setosa", "versicolor", "virginica")


def a_threshold(
    inner: Predictor,
    thresholds: Sequence[float] = (0.6, 0.6, 0.6),
    *,
    clock: ManualClock | None = None,
) -> Threshold:
    return Threshold(inner=inner, thresholds=thresholds, clock=clock or ManualClock())


async def rows_as_scores(request: InferenceRequest, /) -> InferenceResponse:
    """Answer the rows as their own scores, labelled when asked."""
    table = request.tensors["data"]
    if not request.labelled:
        return InferenceResponse(AnswerKind.SCORES, {SCORES: table})
    labels = np.array([IRIS[best] for best in table.argmax(axis=1)], dtype=object)
    return InferenceResponse(AnswerKind.LABELLED, {LABEL: labels, SCORES: table})


# --- passes through ----------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("labelled", [True, False])
async def test_asks_the_inner_predictor_the_same(start: Start, labelled: bool) -> None:
    inner = Recording(classifying(0.1, 0.8, 0.1, labels=IRIS, model="svc"))
    request = a_request(labelled=labelled)

    response = await start(a_threshold(inner)(request))

    assert inner.requests == [request]
    assert (response.model, response.version) == ("svc", "1")
    assert hops(response) == ["threshold:passed", "model:svc@1"]


@both_ways
async def test_leaves_scores_as_they_are(start: Start) -> None:
    response = await start(a_threshold(answering(0.34, 0.33, 0.33))(a_request()))

    assert response.kind is AnswerKind.SCORES
    assert response.primary.shape == (1, 3)
    assert response.primary[0].tolist() == pytest.approx([0.34, 0.33, 0.33])
    assert hops(response)[0] == "threshold:below"


@both_ways
async def test_keeps_what_others_have_added(start: Start) -> None:
    inner_response = InferenceResponse(
        AnswerKind.LABELLED,
        {LABEL: np.array(["setosa"], dtype=object), SCORES: np.array([[0.4, 0.3, 0.3]])},
        "svc",
        "1",
        (),
        {},
        {"mode": "svc.onnx"},
    )

    async def inner(request: InferenceRequest, /) -> InferenceResponse:
        return inner_response

    response = await start(a_threshold(inner)(a_request(labelled=True)))

    assert response.fields == {"mode": "svc.onnx"}
    assert response.outputs[LABEL].tolist() == [None]
    assert inner_response.outputs[LABEL].tolist() == ["setosa"]


def test_reads_as_in_the_spec() -> None:
    assert repr(a_threshold(answering(1.0), [0.5, 0.25])) == "threshold: [0.5, 0.25]"


# --- does its one thing: no label below the threshold ------------------------------------


@both_ways
@pytest.mark.parametrize(
    ("scores", "label", "hop"),
    [
        ((0.34, 0.33, 0.33), None, "threshold:below"),
        ((0.1, 0.8, 0.1), "versicolor", "threshold:passed"),
        ((0.1, 0.15, 0.75), "virginica", "threshold:passed"),
        ((0.5, 0.25, 0.25), "setosa", "threshold:passed"),
        ((0.4375, 0.3125, 0.25), None, "threshold:below"),
        ((0.25, 0.625, 0.125), None, "threshold:below"),
    ],
)
async def test_a_label_needs_its_classes_threshold(
    start: Start, scores: tuple[float, ...], label: str | None, hop: str
) -> None:
    inner = classifying(*scores, labels=IRIS)
    threshold = a_threshold(inner, [0.5, 0.7, 0.75])

    response = await start(threshold(a_request(labelled=True)))

    assert response.kind is AnswerKind.LABELLED
    assert response.outputs[LABEL].tolist() == [label]
    assert response.outputs[SCORES][0].tolist() == pytest.approx(scores)
    assert hops(response)[0] == hop


@both_ways
async def test_scores_are_compared_as_they_are_printed(start: Start) -> None:
    in_float32 = a_threshold(classifying(0.9, 0.1, labels=IRIS), [0.9, 0.9])
    assert float(np.float32(0.9)) < 0.9

    response = await start(in_float32(a_request(labelled=True)))

    assert response.outputs[LABEL].tolist() == [None]


@both_ways
async def test_each_row_is_judged_on_its_own(start: Start) -> None:
    rows = ([0.9, 0.1, 0.0], [0.4, 0.3, 0.3], [0.0, 0.3, 0.7])

    response = await start(a_threshold(rows_as_scores)(a_request(*rows, labelled=True)))

    assert response.outputs[LABEL].tolist() == ["setosa", None, "virginica"]
    assert hops(response)[0] == "threshold:below"


@both_ways
async def test_rows_that_all_pass_have_passed(start: Start) -> None:
    rows = ([0.9, 0.1, 0.0], [0.0, 0.3, 0.7])

    response = await start(a_threshold(rows_as_scores)(a_request(*rows, labelled=True)))

    assert response.outputs[LABEL].tolist() == ["setosa", "virginica"]
    assert hops(response)[0] == "threshold:passed"


# --- inner error -------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("error", [ModelFailed("svc"), ValueError("a fault")])
async def test_errors_pass_through(start: Start, error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        await start(a_threshold(failing(error))(a_request()))

    assert raised.value is error


# --- deadline and cancellation -----------------------------------------------------------


@both_ways
async def test_the_deadline_is_left_to_what_is_below(start: Start) -> None:
    clock = ManualClock()
    inner = slow(answering(0.9, 0.1), clock=clock, seconds=60.0)
    request = a_request(deadline_s=START_S + 1.0)
    answer = start(a_threshold(inner, [0.5, 0.5], clock=clock)(request))

    await clock.elapse(60.0)

    hop = (await answer).trail[0]
    assert (hop.started_s, hop.elapsed_s) == (START_S, 60.0)


@both_ways
async def test_cancellation_cancels_what_runs_below(start: Start) -> None:
    inner = Held()
    answer = start(a_threshold(inner)(a_request()))
    await settle()

    answer.cancel()
    await settle()

    assert answer.cancelled()
    assert inner.cancelled == 1


# --- under concurrency -------------------------------------------------------------------


@both_ways
async def test_answers_to_several_do_not_mix(start: Start) -> None:
    inner = Held(rows_as_scores)
    threshold = a_threshold(inner)
    rows = [[0.01 * i, 0.0, 0.0] for i in range(100)]
    answers = [start(threshold(a_request(row, labelled=True))) for row in rows]
    await settle()
    inner.release()

    labels = [answer.outputs[LABEL][0] for answer in await asyncio.gather(*answers)]

    assert labels == [None] * 60 + ["setosa"] * 40  # 0.6 as float32 is 0.60000002, and passes


# --- property ----------------------------------------------------------------------------

probabilities = st.floats(0.0, 1.0) | st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])
tables = st.integers(1, 4).flatmap(
    lambda classes: st.tuples(
        st.lists(
            st.lists(probabilities, min_size=classes, max_size=classes), min_size=1, max_size=4
        ),
        st.lists(probabilities, min_size=classes, max_size=classes),
    )
)


@given(tables, st.sampled_from(["float32", "float64"]))
def test_below_is_what_plain_python_says(
    table: tuple[list[list[float]], list[float]], datatype: str
) -> None:
    scores = np.array(table[0], dtype=datatype)
    thresholds = np.array(table[1])

    missed = below(scores, thresholds)

    rows = scores.tolist()
    assert missed.dtype == np.bool_
    assert missed.tolist() == [max(row) < table[1][row.index(max(row))] for row in rows]


@given(tables, st.sampled_from(["float32", "float64"]))
def test_one_row_is_judged_as_it_is_among_others(
    table: tuple[list[list[float]], list[float]], datatype: str
) -> None:
    scores = np.array(table[0], dtype=datatype)
    thresholds = np.array(table[1])

    one_by_one = [bool(below(scores[i : i + 1], thresholds)[0]) for i in range(len(scores))]

    assert one_by_one == below(np.concatenate([scores, scores]), thresholds)[: len(scores)].tolist()
