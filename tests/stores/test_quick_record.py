"""Records made at once are the very same as those that the log's thread makes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from penstock.core.errors import ModelFailed
from penstock.core.labels import LABEL, PROBA
from penstock.core.record import Record
from penstock.core.values import AnswerKind, Array, Hop, InferenceResponse
from penstock.stores.batch import Encoded
from penstock.stores.policy import LogPolicy
from penstock.stores.prediction_record import decode_record
from penstock.stores.quick_record import QUICK_VALUES, quick_record
from tests.stores.ends import IRIS, a_record, an_entry, image, kept
from tests.support import START_S, a_request, scores

WALL_S = an_entry().ended_s


def a_plain(
    rows: list[list[float]] | None = None, answer: InferenceResponse | None = None
) -> Record:
    return a_record(3, answer or scores([0.25, 0.75]), rows=rows or [[1.5, -2.0]])


def made(record: Record, policy: LogPolicy = IRIS) -> bool:
    return quick_record(record, policy, WALL_S, "the-id", Encoded())


@given(
    rows=st.lists(st.lists(st.floats(width=32), min_size=2, max_size=2), min_size=1, max_size=5),
    labels=st.lists(st.sampled_from(["setosa", "ä", None]), max_size=3),
    hops=st.lists(st.tuples(st.text(max_size=5), st.floats(0, 1), st.floats(0, 1)), max_size=3),
    outlier=st.sampled_from([None, (True, None), ((True, False), (None, 0.5))]),
    fields=st.dictionaries(
        st.sampled_from(["field:a", "field:b"]), st.text() | st.integers(-(2**63), 2**63 - 1)
    ),
    generation=st.integers(0, 9),
)
def test_they_are_the_same(
    rows: list[list[float]],
    labels: list[str | None],
    hops: list[tuple[str, float, float]],
    outlier: tuple[object, object] | None,
    fields: dict[str, str | int],
    generation: int,
) -> None:
    trail = tuple(Hop(name, START_S + at, took) for name, at, took in hops)
    answer = scores([0.25, 0.75], model="svc")
    if labels:
        output = np.array(labels, dtype=object)
        answer = InferenceResponse(AnswerKind.LABELLED, {"label": output}, "svc", "1")
    answer = structs.replace(answer, trail=trail)
    if outlier is not None:
        trail = (Hop("split:b", START_S, 0.5), *trail)
        answer = structs.replace(answer, trail=trail)
        flag, score = outlier
        told = {"job_id": "r3", "mode": "b.onnx", "is_outlier": flag, "outlier_score": score}
        answer = structs.replace(answer, fields=told)
    request = a_request(*rows, request_id="r3", fields=fields, seed=2**64 - 1)
    record = structs.replace(a_plain(answer=answer), request=request)
    policy = LogPolicy(route="iris", generation=generation, groups=("field:a",))
    encoded = Encoded()
    encoded.records += b"before"
    is_quick = quick_record(record, policy, WALL_S, "the-id", encoded)
    slow = structs.replace(an_entry(record, policy), record_id="the-id")
    if not is_quick:  # half of a surrogate pair
        assert (bytes(encoded.records), encoded.count) == (b"before", 0)
        with pytest.raises(UnicodeEncodeError):
            kept(slow)
    else:
        assert encoded.records.startswith(b"before")
        assert encoded.count == 1
        made = bytes(encoded.records.removeprefix(b"before"))
        assert repr(decode_record(made)) == repr(kept(slow))


def outputs(**by_name: Array) -> InferenceResponse:
    return InferenceResponse(AnswerKind.BEST, by_name)


@pytest.mark.parametrize(
    "record",
    [
        a_plain(rows=[[0.0] * (QUICK_VALUES + 1)]),
        a_plain(answer=scores([0.0] * (QUICK_VALUES + 1))),
        a_plain(answer=outputs(**{PROBA: np.zeros(1), LABEL: np.zeros(1)})),
        a_plain(answer=InferenceResponse(AnswerKind.KEYED, {}, arms={"a": scores([0.5])})),
        a_record(outcome=ModelFailed("svc")),
        structs.replace(a_plain(), request=None),
        structs.replace(a_plain(), request=structs.replace(a_request(), tensors={})),
        structs.replace(
            a_plain(), request=structs.replace(a_request(), tensors={"image": image(b"x")})
        ),
        structs.replace(a_plain(), request_id="\ud800"),
    ],
    ids=["input", "output", "best", "arms", "error", "unread", "no rows", "image", "surrogate"],
)
def test_others_are_left_to_the_thread(record: Record) -> None:
    assert not made(record)


def test_plain_ones_are_not() -> None:
    assert made(a_plain())
    assert made(a_plain(rows=[[0.0] * QUICK_VALUES]))
