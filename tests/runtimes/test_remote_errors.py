from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import (
    AnswerNotFinite,
    DeadlineExceeded,
    InvalidInput,
    NoLabels,
    NotReady,
    ServingError,
    UpstreamFailed,
    UpstreamShed,
)
from penstock.runtimes.http_terms import Answer
from penstock.runtimes.remote_errors import (
    MAX_ERROR_BYTES,
    MAX_MESSAGE,
    error_of,
    in_one_line,
    read_refusal,
)


def plain(status: int, code: str = "", message: str = "oh", path: object = None) -> Answer:
    body = {"error": {"code": code, "message": message, "path": path}}
    return Answer(status, [], json.dumps(body).encode())


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (plain(400), InvalidInput, "the remote model svc refused the input: oh"),
        (plain(413), InvalidInput, "the remote model svc refused the input: oh"),
        (plain(422), InvalidInput, "the remote model svc refused the input: oh"),
        (Answer(422, [], b""), InvalidInput, "the remote model svc refused the input"),
        (plain(422, "answer_not_finite", path="$.data[4]"), AnswerNotFinite, "infinity for row 4"),
        (plain(422, "answer_not_finite", path="$.rows"), InvalidInput, "refused the input: oh"),
        (plain(404, "no_labels"), NoLabels, "model svc has no labels: the remote has none"),
        (plain(404, "unknown_route"), UpstreamFailed, "it answered 404: oh"),
        (plain(503, "not_ready"), NotReady, "model svc (the remote: oh) is not ready"),
        (plain(503, "not_ready", ""), NotReady, "model svc (the remote said so) is not ready"),
        (plain(503, "overloaded"), UpstreamShed, "the remote model svc is too busy: oh"),
        (Answer(429, [], b""), UpstreamShed, "is too busy: it answered 429"),
        (plain(504), DeadlineExceeded, "the deadline passed at model svc, at the remote"),
        (plain(500), UpstreamFailed, "the remote model svc failed: it answered 500: oh"),
        (Answer(302, [(b"location", b"x")], b""), UpstreamFailed, "it answered 302"),
        (Answer(500, [], b'{"error":"as in the protocol"}'), UpstreamFailed, "500: as in the pro"),
    ],
)
def test_what_a_status_means(answer: Answer, kind: type[ServingError], message: str) -> None:
    error = error_of("svc", answer)
    assert type(error) is kind
    assert message in str(error)


def test_what_was_asked_is_said() -> None:
    error = error_of("svc", Answer(500, [], b""), "/metadata")
    assert str(error) == "the remote model svc failed: it answered 500 to /metadata"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"7", 7), (b" 7 ", 7), (b"0", 1), (b"9999", 3600), (b"99999999", 1), (b"Sat, 21 Nov", 1)],
)
def test_how_long_a_remote_wants_to_be_left_alone(value: bytes, seconds: int) -> None:
    error = error_of("svc", Answer(503, [(b"Retry-After", value)], b""))
    assert isinstance(error, UpstreamShed)
    assert error.retry_after_s == seconds


def test_the_place_of_a_mistake_goes_on_if_it_is_short() -> None:
    for path, known in (("$.data[0]", "$.data[0]"), ("", None), ("x" * 101, None), (7, None)):
        error = error_of("svc", plain(422, "invalid_input", path=path))
        assert isinstance(error, InvalidInput)
        assert error.path == known


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"7", b"{", b"\xff", b'{"error":7}', b'{"error":{"code":7,"message":[]}}',
     b'{"error":{"code":"Not A Code"}}', b"[" * 100_000],
)  # fmt: skip
def test_a_body_that_says_nothing_is_nothing(body: bytes) -> None:
    assert read_refusal(body) == read_refusal(b"{}")


def test_a_huge_body_is_not_read() -> None:
    body = b'{"error":"' + b"x" * MAX_ERROR_BYTES + b'"}'
    assert read_refusal(body).message == ""


@given(st.text())
def test_a_foreign_message_is_one_short_printable_line(text: str) -> None:
    line = in_one_line(text)
    assert len(line) <= MAX_MESSAGE
    assert line.isprintable()
    assert in_one_line(line) == line


@given(st.binary(), st.integers(100, 999))
def test_any_body_is_an_error_of_ours(body: bytes, status: int) -> None:
    assert isinstance(error_of("svc", Answer(status, [], body)), ServingError)
