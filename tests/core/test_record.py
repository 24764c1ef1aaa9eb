from __future__ import annotations

import pytest

from penstock.core.errors import DeadlineExceeded
from penstock.core.record import Record, Recorder, Role
from penstock.core.values import AnswerKind, Hop, InferenceResponse
from tests.support import a_request, scores


def test_a_recorder_is_told_of_every_end() -> None:
    records = list[Record]()
    recorder: Recorder = records.append
    request = a_request()

    for outcome in (scores([0.1, 0.9]), DeadlineExceeded("svc"), None):
        recorder(Record(Role.PRIMARY, "iris", "id", request, outcome, 0.25))

    assert [type(record.outcome).__name__ for record in records] == [
        "InferenceResponse",
        "DeadlineExceeded",
        "NoneType",
    ]


def test_roles_are_written_as_words() -> None:
    assert [str(role) for role in Role] == ["primary", "observe", "shadow", "later"]


def test_a_record_has_the_arm_that_was_chosen() -> None:
    trail = (Hop("split:rf:no_key", 0.0, 0.0), Hop("split:next", 0.0, 0.0))
    fields = {"mode": "iris_rf.onnx"}
    answered = InferenceResponse(AnswerKind.SCORES, {}, trail=trail, fields=fields)
    failed = DeadlineExceeded("svc")
    failed.trail = trail
    for outcome in (answered, failed):
        assert Record(Role.PRIMARY, "iris", "id", None, outcome, 0.0).arm == "rf/next"
    no_split = InferenceResponse(AnswerKind.SCORES, {}, trail=trail)
    for nobody in (scores([0.1, 0.9]), no_split, None):
        assert Record(Role.PRIMARY, "iris", "id", None, nobody, 0.0).arm == ""


def test_a_record_cannot_be_changed() -> None:
    record = Record(Role.PRIMARY, "iris", "id", None, None, 0.0)

    with pytest.raises(AttributeError):
        record.place = "other"  # type: ignore[misc]
