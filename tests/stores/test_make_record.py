"""What is kept of a request's end, and what is not."""

from __future__ import annotations

import pytest
from msgspec import structs

from penstock.core.errors import DeadlineExceeded, FanOutFailed, InvalidInput, ModelFailed
from penstock.core.record import Record, Role
from penstock.core.values import AnswerKind, FieldValue, Hop, InferenceResponse, Tensors
from penstock.stores.held_bytes import held_bytes
from penstock.stores.make_record import (
    MAX_GROUP_CHARACTERS,
    MAX_STORED_VALUES,
    Entry,
    entry_of,
)
from penstock.stores.policy import LogPolicy
from penstock.stores.prediction_record import ArmRecord
from tests.stores.ends import a_maker, a_record, an_entry, image, kept
from tests.support import START_S, a_request, scores


def test_an_answer() -> None:
    trail = (Hop("prediction_log", START_S, 0.25), Hop("model:svc@1", START_S + 0.125, 0.0625))
    answer = structs.replace(scores([0.25, 0.75], model="svc"), trail=trail)
    record = a_record(7, answer, rows=((1.0, 2.0), (3.0, 4.0)))
    assert record.request is not None
    record = structs.replace(record, request=structs.replace(record.request, record_id="the-id"))
    told = kept(an_entry(record, LogPolicy(route="iris", generation=3)))
    assert (told.schema, told.record_id, told.role, told.route) == (1, "the-id", "primary", "iris")
    assert (told.place, told.request_id, told.seed, told.generation) == ("iris", "r7", 7, 3)
    assert (told.time_us, told.elapsed_ms) == (1_749_999_999_750_000, 250.0)
    assert (told.model, told.version, told.labelled) == ("svc", "1", False)
    assert told.trail == (("prediction_log", 0.0, 250.0), ("model:svc@1", 125.0, 62.5))
    assert (told.rows, told.input, told.input_digest) == (2, [[1.0, 2.0], [3.0, 4.0]], "")
    assert (told.output, told.arms, told.left_out) == ([[0.25, 0.75]], {}, ())
    assert (told.status, told.code, told.groups) == (200, "", {})
    assert (told.is_outlier, told.outlier_score) == (None, None)


@pytest.mark.parametrize(
    ("flag", "score"), [(True, -0.5), (None, None), ((True, False), (-0.5, 0.5))]
)
def test_flag_and_score_are_those_of_the_answer(flag: object, score: object) -> None:
    fields = {"job_id": "x", "is_outlier": flag, "outlier_score": score}
    answer = structs.replace(scores([0.5]), fields=fields)
    told = kept(an_entry(a_record(outcome=answer)))
    as_told = [list(one) if isinstance(one, tuple) else one for one in (flag, score)]
    assert [told.is_outlier, told.outlier_score] in (as_told, [flag, score])


# --- other ends --------------------------------------------------------------------------


def test_a_body_that_could_not_be_decoded() -> None:
    record = Record(Role.PRIMARY, "iris", "r1", None, InvalidInput("no"), 0.5)
    told = kept(an_entry(record, LogPolicy(route="iris", groups=("header:x",))))
    assert (told.request_id, told.seed, told.rows, told.input) == ("r1", None, 0, None)
    assert (told.status, told.code, told.trail) == (422, "invalid_input", ())
    assert (told.left_out, told.groups, told.record_id) == ((), {}, "the-id")


def test_an_error_has_its_trail() -> None:
    error = DeadlineExceeded("svc")
    error.trail = (Hop("model:svc!deadline_exceeded", START_S, 1.0),)
    told = kept(an_entry(a_record(outcome=error)))
    assert (told.status, told.code, told.output) == (504, "deadline_exceeded", None)
    assert told.trail == (("model:svc!deadline_exceeded", 0.0, 1000.0),)
    assert told.input == [[1.0, 2.0]]


def test_a_caller_who_has_gone() -> None:
    record = structs.replace(a_record(), outcome=None)
    told = kept(an_entry(record))
    assert (told.status, told.code, told.trail) == (499, "client_gone", ())


def test_a_fan_out_that_failed_names_its_arms_causes() -> None:
    error = FanOutFailed("all", 1, {"a": ModelFailed("a"), "b": DeadlineExceeded("b")})
    told = kept(an_entry(a_record(outcome=error)))
    assert told.arms == {
        "a": ArmRecord(code="model_failed"),
        "b": ArmRecord(code="deadline_exceeded"),
    }


# --- answers of several ------------------------------------------------------------------


def test_arms() -> None:
    nested = InferenceResponse(AnswerKind.KEYED, {}, arms={"x": scores([0.25], model="x")})
    answer = InferenceResponse(
        AnswerKind.KEYED,
        {},
        arms={"a": scores([0.5, 0.5], model="a"), "b": ModelFailed("b"), "c": nested},
    )
    told = kept(an_entry(a_record(outcome=answer)))
    assert told.output is None
    assert told.arms == {
        "a": ArmRecord(model="a", version="1", output=[[0.5, 0.5]]),
        "b": ArmRecord(code="model_failed"),
        "c": ArmRecord(arms={"x": ArmRecord(model="x", version="1", output=[[0.25]])}),
    }


def test_labels() -> None:
    names = image(b"")
    names[:] = ["setosa"]
    outputs: Tensors = {"label": names, "scores": scores([1.0]).primary}
    told = kept(an_entry(a_record(outcome=InferenceResponse(AnswerKind.LABELLED, outputs))))
    assert told.output == ["setosa"]
    best: Tensors = {"label": names, "proba": scores([0.5]).primary[:, 0]}
    told = kept(an_entry(a_record(outcome=InferenceResponse(AnswerKind.BEST, best))))
    assert told.output == [{"proba": 0.5, "label": "setosa"}]


# --- what is left out --------------------------------------------------------------------


def test_input_and_output_may_be_left_out() -> None:
    policy = LogPolicy(route="iris", keeps_input=False, keeps_output=False)
    answer = InferenceResponse(AnswerKind.KEYED, {}, arms={"a": scores([0.5], model="a")})
    told = kept(an_entry(a_record(outcome=answer), policy))
    assert (told.input, told.output, told.left_out) == (None, None, ("input", "output"))
    assert told.arms["a"] == ArmRecord(model="a", version="1")
    assert len(told.input_digest) == 32


def test_columns_may_be_left_out() -> None:
    policy = LogPolicy(route="iris", columns=(1, 5))
    rows = ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    told = kept(an_entry(a_record(rows=rows), policy))
    assert told.input == [[1.0, None, 3.0], [4.0, None, 6.0]]
    assert told.left_out == ("column:1",)


def test_of_what_is_too_large_there_is_a_digest_at_most() -> None:
    fits = [[1.0] * MAX_STORED_VALUES]
    told = kept(an_entry(a_record(rows=fits, outcome=scores(*fits))))
    assert (told.left_out, len(told.input[0])) == ((), MAX_STORED_VALUES)
    large = [[1.0] * (MAX_STORED_VALUES + 1)]
    told = kept(an_entry(a_record(rows=large, outcome=scores(*large))))
    assert (told.input, told.output, told.left_out) == (None, None, ("input", "output"))
    assert (told.rows, len(told.input_digest)) == (1, 32)
    arms = InferenceResponse(AnswerKind.KEYED, {}, arms={"a": scores(*fits), "b": scores([1.0])})
    told = kept(an_entry(a_record(outcome=arms)))
    assert (told.left_out, told.arms["b"].output) == (("output",), None)


@pytest.mark.parametrize("keeps_output", [True, False])
def test_an_output_that_is_not_kept_is_let_go_at_once(keeps_output: bool) -> None:
    large = scores([0.5] * (MAX_STORED_VALUES + 1))
    fields = {"is_outlier": True, "outlier_score": -0.5}
    inner = InferenceResponse(AnswerKind.KEYED, {}, arms={"x": large, "y": ModelFailed("y")})
    answers = (
        structs.replace(large, fields=fields),
        InferenceResponse(AnswerKind.KEYED, {}, arms={"a": scores([1.0]), "b": inner}),
    )
    policy = LogPolicy(route="iris", keeps_output=keeps_output)
    for answer in answers:
        whole = a_record(outcome=answer)
        entry = entry_of(whole, policy, 1_750_000_000.0, "an-id")
        assert entry.size_bytes < held_bytes(whole) - MAX_STORED_VALUES
        assert kept(entry) == kept(Entry(whole, policy, 1_750_000_000.0, 0, "an-id"))
        assert kept(entry).left_out == ("output",)
        assert held_bytes(whole) > MAX_STORED_VALUES  # what the caller gets is as it was


@pytest.mark.parametrize("keeps_output", [True, False])
@pytest.mark.parametrize("outcome", [None, ModelFailed("m"), scores([0.5, 0.5])])
def test_what_is_handed_over_gives_the_same_record(
    keeps_output: bool, outcome: InferenceResponse | ModelFailed | None
) -> None:
    policy = LogPolicy(route="iris", keeps_output=keeps_output)
    record = structs.replace(a_record(), outcome=outcome)
    entry = entry_of(record, policy, 1_750_000_000.0, "an-id")
    assert kept(entry) == kept(Entry(record, policy, 1_750_000_000.0, 0, "an-id"))
    assert (entry.record is record) == (keeps_output or not isinstance(outcome, InferenceResponse))


def test_of_too_many_rows_one_flag_and_score_are_kept() -> None:
    most = MAX_STORED_VALUES // 2

    def told(
        flags: tuple[bool | None, ...], scores_of_rows: tuple[float | None, ...]
    ) -> tuple[object, object, tuple[str, ...]]:
        fields = {"is_outlier": flags, "outlier_score": scores_of_rows}
        record = a_record(outcome=structs.replace(scores([0.5]), fields=fields))
        one = kept(an_entry(record))
        return one.is_outlier, one.outlier_score, one.left_out

    assert told((False,) * most, (0.5,) * most) == ((False,) * most, (0.5,) * most, ())
    rest = (None,) * most
    assert told((False, *rest), (0.5, *rest)) == (False, 0.5, ("outlier",))
    assert told((*rest, False, True), (0.5, *rest, -0.5)) == (True, -0.5, ("outlier",))
    assert told((None, *rest), (None, *rest)) == (None, None, ("outlier",))


def test_of_images_only_a_digest_is_kept() -> None:
    def digest(*values: bytes, key: bytes = b"k" * 32) -> str:
        request = structs.replace(a_request(), tensors={"image": image(*values)})
        record = structs.replace(a_record(), request=request)
        told = kept(an_entry(record), a_maker(key))
        assert (told.input, told.left_out) == (None, ("input",))
        return told.input_digest

    assert digest(b"cat") == digest(b"cat")
    assert len({digest(b"cat"), digest(b"dog"), digest(b"c", b"at"), digest(b"ca", b"t")}) == 4
    assert digest(b"cat") != digest(b"cat", key=b"other")


def test_a_digest_tells_datatypes_and_shapes_apart() -> None:
    policy = LogPolicy(route="iris", keeps_input=False)
    told = {
        kept(an_entry(structs.replace(a_record(), request=request), policy)).input_digest
        for request in (
            a_request((1.0, 2.0)),
            a_request((1.0,), (2.0,)),
            a_request((1.0, 2.0), datatype="float64"),
            a_request((1.0, 2.0)),
        )
    }
    assert len(told) == 3


# --- groups ------------------------------------------------------------------------------


def test_groups_are_kept_as_they_came_and_long_texts_cut() -> None:
    fields: dict[str, FieldValue] = {
        "header:x-age": "30-40",
        "field:n": 3,
        "field:long": "x" * 1000,
        "field:other": 1,
    }
    record = structs.replace(a_record(), request=a_request(fields=fields))
    policy = LogPolicy(route="iris", groups=("header:x-age", "field:n", "field:long", "field:no"))
    assert kept(an_entry(record, policy)).groups == {
        "header:x-age": "30-40",
        "field:n": 3,
        "field:long": "x" * MAX_GROUP_CHARACTERS,
    }


def test_sticky_keys_are_kept_as_a_digest() -> None:
    def key_of(user: str | int, key: bytes = b"k" * 32) -> object:
        record = structs.replace(a_record(), request=a_request(fields={"field:user": user}))
        policy = LogPolicy(route="iris", keys=frozenset({"field:user", "field:absent"}))
        groups = kept(an_entry(record, policy), a_maker(key)).groups
        assert list(groups) == ["field:user"]
        return groups["field:user"]

    assert key_of("anna") == key_of("anna")
    assert len({key_of("anna"), key_of("ben"), key_of("7"), key_of(7), key_of("anna", b"k")}) == 5
    assert "anna" not in str(key_of("anna"))
