from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.values import (
    MAX_WAY_CHARACTERS,
    AnswerKind,
    Hop,
    InferenceRequest,
    InferenceResponse,
)
from tests.support import START_S, a_request, hops, scores


def differing(one: msgspec.Struct, other: msgspec.Struct) -> list[str]:
    """Name the fields that are not the very same object in both."""
    return [
        name for name in one.__struct_fields__ if getattr(one, name) is not getattr(other, name)
    ]


# --- requests ----------------------------------------------------------------------------


def test_a_request_has_as_many_rows_as_its_tensors() -> None:
    assert a_request([1.0, 2.0]).rows == 1
    assert a_request([1.0, 2.0], [3.0, 4.0], [5.0, 6.0]).rows == 3


def test_a_request_without_tensors_has_no_rows() -> None:
    assert InferenceRequest("id", "iris", {}, START_S, seed=1).rows == 0


def test_an_earlier_deadline_makes_another_request() -> None:
    request = a_request(deadline_s=10.0, fields={"age": 3}, labelled=True)

    sooner = request.due(9.0)

    assert sooner.deadline_s == 9.0
    assert request.deadline_s == 10.0
    assert differing(request, sooner) == ["deadline_s"]


@pytest.mark.parametrize("deadline_s", [10.0, 11.0, float("inf")])
def test_a_deadline_is_never_lengthened(deadline_s: float) -> None:
    request = a_request(deadline_s=10.0)

    assert request.due(deadline_s) is request


@given(st.lists(st.floats(-1e9, 1e9), min_size=1))
def test_of_many_deadlines_the_earliest_holds(deadlines_s: list[float]) -> None:
    request = a_request(deadline_s=0.0)
    for deadline_s in deadlines_s:
        request = request.due(deadline_s)

    assert request.deadline_s == min(0.0, *deadlines_s)


def test_asking_for_labels_makes_another_request() -> None:
    request = a_request(fields={"age": 3})

    labelled = request.asking(labelled=True)

    assert labelled.labelled
    assert differing(request, labelled) == ["labelled"]
    assert differing(request, labelled.asking(labelled=False)) == []


@pytest.mark.parametrize("labelled", [True, False])
def test_asking_for_what_is_asked_changes_nothing(labelled: bool) -> None:
    request = a_request(labelled=labelled)

    assert request.asking(labelled=labelled) is request


def test_a_way_is_made_of_the_places_in_their_order() -> None:
    request = a_request(fields={"age": 3})

    led = request.by("routes.a.fan_out.arms.x").by("routes.b[0].mirror.shadow")

    assert led.way == "routes.a.fan_out.arms.x/routes.b[0].mirror.shadow/"
    assert request.way == ""
    assert differing(request, led) == ["way"]
    assert led.due(0.0).way == led.asking(labelled=True).way == led.way


def test_a_long_way_is_a_digest_of_it_and_goes_on() -> None:
    request = a_request().by("x" * (MAX_WAY_CHARACTERS - 1))
    assert len(request.way) == MAX_WAY_CHARACTERS

    one, other = request.by("p"), request.by("q")

    assert len(one.way) == len(other.way) == 33
    assert one.way == request.by("p").way != other.way
    assert one.by("r").way == f"{one.way}r/"


@given(st.lists(st.sampled_from("pqr"), max_size=4), st.lists(st.sampled_from("pqr"), max_size=4))
@pytest.mark.parametrize("length", [1, 300, 2000])
def test_other_places_make_another_way(length: int, one: list[str], other: list[str]) -> None:
    first = second = a_request()
    for place in one:
        first = first.by(place * length)
    for place in other:
        second = second.by(place * length)

    assert (first.way == second.way) is (one == other)


def test_a_request_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        a_request().seed = 3  # type: ignore[misc]


# --- responses ---------------------------------------------------------------------------


def test_the_first_output_is_the_primary_one() -> None:
    outputs = {"b": np.array([1.0]), "a": np.array([2.0])}

    assert InferenceResponse(AnswerKind.SCORES, outputs).primary.tolist() == [1.0]


def test_a_hop_goes_in_front_of_the_trail() -> None:
    response = scores([0.1, 0.9], model="svc")

    behind = response.behind(Hop("timeout", START_S, 0.1)).behind(Hop("split:a", START_S, 0.2))

    assert hops(behind) == ["split:a", "timeout", "model:svc@1"]
    assert hops(response) == ["model:svc@1"]
    assert differing(response, behind) == ["trail"]


def test_a_response_has_nothing_but_outputs_unless_told() -> None:
    response = InferenceResponse(AnswerKind.SCORES, {})

    assert (response.model, response.version, response.trail) == ("", "", ())
    assert response.arms == {}
    assert response.fields == {}


def test_a_response_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        scores([1.0]).model = "other"  # type: ignore[misc]


def test_answer_kinds_are_written_as_words() -> None:
    words = ["scores", "labelled", "best", "keyed", "binary"]

    assert [str(kind) for kind in AnswerKind] == words
