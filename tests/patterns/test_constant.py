from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import NoLabels
from penstock.core.labels import LABEL, SCORES
from penstock.core.values import AnswerKind
from penstock.patterns.constant import Constant, repeated
from tests.support import START_S, ManualClock, Start, a_request, both_ways, hops


def a_constant(answer: str | tuple[float, ...] = "setosa") -> Constant:
    return Constant(answer=answer, place="routes.edge", clock=ManualClock())


# --- passes through: nothing, there is no inner predictor --------------------------------


@both_ways
async def test_adds_its_hop(start: Start) -> None:
    response = await start(a_constant()(a_request()))

    assert hops(response) == ["constant"]
    assert (response.trail[0].started_s, response.trail[0].elapsed_s) == (START_S, 0.0)
    assert (response.model, response.version) == ("", "")


def test_reads_as_in_the_spec() -> None:
    assert repr(a_constant("setosa")) == "constant: setosa"
    assert repr(a_constant((0.0, 1.0))) == "constant: (0.0, 1.0)"


# --- does its one thing: the same answer to every row ------------------------------------


@both_ways
@pytest.mark.parametrize("labelled", [True, False])
async def test_answers_a_label_for_each_row(start: Start, labelled: bool) -> None:
    request = a_request([1.0], [2.0], labelled=labelled)

    response = await start(a_constant("setosa")(request))

    assert response.kind is AnswerKind.LABELLED
    assert response.outputs[LABEL].tolist() == ["setosa", "setosa"]


@both_ways
async def test_answers_scores_for_each_row(start: Start) -> None:
    response = await start(a_constant((0.0, 0.25, 0.75))(a_request([1.0], [2.0])))

    assert response.kind is AnswerKind.SCORES
    assert response.outputs[SCORES].dtype == np.float64
    assert response.outputs[SCORES].tolist() == [[0.0, 0.25, 0.75], [0.0, 0.25, 0.75]]


# --- inner error: its own, where a label is asked for and there is none ------------------


@both_ways
async def test_scores_have_no_label(start: Start) -> None:
    with pytest.raises(NoLabels, match=r"the constant at routes\.edge has no labels"):
        await start(a_constant((0.0, 1.0))(a_request(labelled=True)))


# --- deadline and cancellation: answers at once ------------------------------------------


@both_ways
async def test_answers_even_past_the_deadline(start: Start) -> None:
    response = await start(a_constant()(a_request(deadline_s=START_S - 1.0)))

    assert response.primary.tolist() == ["setosa"]


# --- under concurrency -------------------------------------------------------------------


@both_ways
async def test_answers_to_several_are_not_shared(start: Start) -> None:
    constant = a_constant((0.0, 1.0))
    first, second = [await start(constant(a_request())) for _ in range(2)]

    first.primary[0, 0] = 9.0

    assert second.primary.tolist() == [[0.0, 1.0]]


# --- property ----------------------------------------------------------------------------

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(scores=st.lists(finite, min_size=1, max_size=5), rows=st.integers(0, 5))
def test_repeats_scores(scores: list[float], rows: int) -> None:
    assert repeated(tuple(scores), rows)[SCORES].tolist() == [scores] * rows


@given(label=st.text(), rows=st.integers(0, 5))
def test_repeats_a_label(label: str, rows: int) -> None:
    assert repeated(label, rows)[LABEL].tolist() == [label] * rows
