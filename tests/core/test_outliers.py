"""Scores of rows: flags, what is no score, and rows that are asked for again."""

from __future__ import annotations

import math

import pytest

from penstock.core.errors import AnswerNotFinite, ModelFailed
from penstock.core.outliers import MAX_TRIES, OneScore, Outlier, flagged, score, told_by, unscored
from penstock.core.predictor import Predictor
from penstock.core.values import Hop, InferenceRequest, InferenceResponse
from tests.support import Recording, a_request, failing, hops, scores


def an_outlier(
    predictor: Predictor, threshold: float = 0.0, faults: list[BaseException] | None = None
) -> Outlier:
    return Outlier(
        predictor=predictor,
        place="outlier",
        threshold=threshold,
        timeout_s=1.0,
        runs_beside=True,
        on_fault=([] if faults is None else faults).append,
    )


async def by_first_value(request: InferenceRequest, /) -> InferenceResponse:
    """Score a row by its first value, and refuse the first that is 9."""
    (tensor,) = request.tensors.values()
    firsts = tensor[:, 0].tolist()
    if 9.0 in firsts:
        raise AnswerNotFinite("ocs", firsts.index(9.0))
    return scores(*([first] for first in firsts), model="ocs")


@pytest.mark.parametrize(
    ("given", "flag", "shown"),
    [(0.5, False, 0.5), (0.25, False, 0.25), (0.0, True, 0.0), (math.nan, True, None),
     (math.inf, False, None), (-math.inf, True, None)],
)  # fmt: skip
def test_below_the_threshold_or_no_number_is_an_outlier(
    given: float, flag: bool, shown: float | None
) -> None:
    assert flagged([given], 0.25) == [(flag, shown)]


async def test_a_model_scores_all_rows() -> None:
    told = await score(an_outlier(by_first_value, 0.25), a_request((0.5,), (0.125,)))
    assert told.flags == [(False, 0.5), (True, 0.125)]
    assert [hop.name for hop in told.trail] == ["model:ocs@1"]


async def test_an_error_is_no_score_and_its_way_is_kept() -> None:
    error = ModelFailed("ocs")
    error.trail = (Hop("models.ocs!model_failed", 0.0, 0.0),)
    faults: list[BaseException] = []
    told = await score(an_outlier(failing(error), faults=faults), a_request((1.0,), (2.0,)))
    assert faults == [error]
    assert told == unscored(2, error.trail)
    assert hops(error) == ["models.ocs!model_failed"]


async def test_a_fault_is_no_score_and_told() -> None:
    fault, faults = ValueError("a fault"), list[BaseException]()
    told = await score(an_outlier(failing(fault), faults=faults), a_request())
    assert told == unscored(1, ())
    assert faults == [fault]


async def several(request: InferenceRequest, /) -> InferenceResponse:
    return scores(*[[0.5, 0.25]] * request.rows, model="ocs")


async def test_one_that_gives_several_scores_a_row_fails() -> None:
    faults: list[BaseException] = []
    model = OneScore(several)
    told = await score(an_outlier(model, faults=faults), a_request((1.0,), (2.0,)))
    assert told.flags == unscored(2, ()).flags
    assert [hop.name for hop in told.trail] == ["model:ocs@1"]
    (fault,) = faults
    assert isinstance(fault, ModelFailed)
    assert repr(model) == repr(several)
    assert (await OneScore(by_first_value)(a_request((0.5,)))).primary.tolist() == [[0.5]]


async def test_in_a_run_with_another_as_well() -> None:
    answer = await several(a_request((1.0,), (2.0,)))
    assert told_by(answer, an_outlier(several), 2) == unscored(2, answer.trail)


async def test_rows_without_a_finite_score_are_outliers_and_the_others_asked_again() -> None:
    asked = Recording(by_first_value)
    told = await score(an_outlier(asked), a_request((1.0,), (9.0,), (-2.0,), (9.0,)))
    assert told.flags == [(False, 1.0), (True, None), (True, -2.0), (True, None)]
    assert [one.rows for one in asked.requests] == [4, 3, 2]
    assert (await score(an_outlier(asked), a_request((9.0,)))).flags == [(True, None)]
    assert len(asked.requests) == 4


async def test_but_not_for_ever() -> None:
    asked = Recording(by_first_value)
    told = await score(an_outlier(asked), a_request(*[(9.0,)] * 20))
    assert told.flags == [(True, None)] * (MAX_TRIES + 1) + [(None, None)] * (19 - MAX_TRIES)
    assert len(asked.requests) == MAX_TRIES + 1


async def test_a_row_that_was_not_asked_for_is_no_outlier() -> None:
    strange = an_outlier(failing(AnswerNotFinite("ocs", 5)))
    assert await score(strange, a_request((1.0,))) == unscored(1, ())


async def test_each_time_that_a_model_is_asked_again_is_told_in_the_way() -> None:
    model = Recording(by_first_value)
    await score(an_outlier(model), a_request([9.0], [1.0], [9.0]).by("an arm"))
    again = "outlier again/"
    found = [(one.rows, one.way) for one in model.requests]
    assert found == [(3, "an arm/"), (2, f"an arm/{again}"), (1, f"an arm/{again}{again}")]
