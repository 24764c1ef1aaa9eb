"""One exchange: headers, errors in their one shape, answers that linger."""

from __future__ import annotations

import json

import pytest
from msgspec import Struct

from penstock.core import errors
from penstock.core.values import AnswerKind, FieldValue, Hop, InferenceResponse
from penstock.gateway.exchange import Exchange, Headers, arm_header, error_body, over_asgi
from tests.gateway.asking import Message


class Sent(Struct):
    status: int
    headers: dict[bytes, bytes]
    content: bytes
    ends: bool


def an_exchange(method: str = "GET") -> tuple[Exchange, list[Sent]]:
    sent: list[Sent] = []

    async def respond(status: int, headers: Headers, content: bytes, *, ends: bool) -> None:
        sent.append(Sent(status, dict(headers), content, ends))

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    return Exchange(method, "/", b"", {}, receive, respond, "an-id", 0.0), sent


async def test_an_answer_has_type_length_and_id() -> None:
    exchange, (sent) = an_exchange()
    await exchange.answer(200, b"{}", (b"x", b"y"))
    (answer,) = sent
    assert answer == Sent(
        200,
        {
            b"content-type": b"application/json",
            b"content-length": b"2",
            b"x-request-id": b"an-id",
            b"x": b"y",
        },
        b"{}",
        ends=True,
    )
    assert exchange.answered


async def test_head_is_answered_without_content() -> None:
    exchange, sent = an_exchange("HEAD")
    await exchange.answer_json({"a": 1})
    assert sent[0].content == b""
    assert sent[0].headers[b"content-length"] == b"7"


@pytest.mark.parametrize(
    "error",
    [
        errors.NotReady("x"),
        errors.Overloaded("x", 1, "rows"),
        errors.SwitchedOff("x"),
        errors.BreakerOpen("x"),
        errors.UpstreamFailed("m", "x"),
    ],
)
async def test_what_may_succeed_later_says_when(error: errors.ServingError) -> None:
    exchange, sent = an_exchange()
    await exchange.answer_error(error)
    assert sent[0].headers[b"retry-after"] == b"1"


async def test_other_errors_say_nothing_of_later() -> None:
    exchange, sent = an_exchange()
    await exchange.answer_error(errors.DeadlineExceeded("x"))
    assert b"retry-after" not in sent[0].headers


async def test_a_method_that_is_not_allowed() -> None:
    exchange, sent = an_exchange()
    await exchange.answer_error(errors.MethodNotAllowed("PUT", "/x", ("GET", "HEAD")))
    assert sent[0].status == 405
    assert sent[0].headers[b"allow"] == b"GET, HEAD"


async def test_who_brings_no_token_is_told_how() -> None:
    exchange, sent = an_exchange()
    await exchange.answer_error(errors.Unauthorized())
    assert sent[0].status == 401
    assert sent[0].headers[b"www-authenticate"] == b"Bearer"


async def test_another_content_type() -> None:
    exchange, sent = an_exchange()
    await exchange.answer(200, b"x", content_type=(b"content-type", b"text/plain"))
    assert sent[0].headers[b"content-type"] == b"text/plain"


def test_a_refused_change_says_all_reasons() -> None:
    body = error_body(errors.ChangeRefused(("one", "two")), "7")
    assert (body["message"], body["problems"]) == ("one\ntwo", ["one", "two"])


async def test_an_exchange_that_lingers_is_left_open_and_the_connection_is_to_close() -> None:
    exchange, sent = an_exchange()
    exchange.lingers = True
    await exchange.answer_error(errors.BodyTooLarge(10, "bytes"))
    assert not sent[0].ends
    assert sent[0].headers[b"connection"] == b"close"


async def test_one_that_does_not_ends() -> None:
    exchange, sent = an_exchange()
    await exchange.answer_error(errors.BodyTooLarge(10, "rows"))
    assert sent[0].ends
    assert b"connection" not in sent[0].headers


def test_an_error_says_code_message_and_id() -> None:
    assert error_body(errors.NotReady("model m"), "7") == {
        "code": "not_ready",
        "message": "model m is not ready",
        "request_id": "7",
    }


def test_an_error_in_the_body_says_where() -> None:
    body = error_body(errors.InvalidInput("wrong", "$.data[0]"), "7")
    assert body["path"] == "$.data[0]"
    assert "path" not in error_body(errors.InvalidInput("wrong"), "7")


def test_a_fan_out_says_every_cause_in_order() -> None:
    causes = {"b": errors.ModelFailed("m"), "a": errors.DeadlineExceeded("a")}
    body = error_body(errors.FanOutFailed("all", 1, causes), "7")
    assert json.dumps(body["causes"]) == json.dumps(
        {
            "b": {"code": "model_failed", "message": "model m raised an error"},
            "a": {"code": "deadline_exceeded", "message": "the deadline passed at a"},
        }
    )


async def test_over_asgi_headers_are_a_list_that_middlewares_may_append_to() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await over_asgi(send)(200, ((b"a", b"b"),), b"x", ends=False)
    assert sent == [
        {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]},
        {"type": "http.response.body", "body": b"x", "more_body": True},
    ]
    assert isinstance(sent[0]["headers"], list)


@pytest.mark.parametrize(
    ("fields", "hops", "named"),
    [
        ({"mode": "a.onnx"}, ("split:rf:no_key", "model:rf@1"), ((b"x-penstock-arm", b"rf"),)),
        ({"mode": "a.onnx"}, ("split:x", "split:a.b"), ((b"x-penstock-arm", b"x/a.b"),)),
        ({"job_id": "7"}, ("model:rf@1",), ()),
        ({}, ("fan_out", "split:rf"), ()),
    ],
)
def test_an_answer_names_the_arm_that_was_chosen(
    fields: dict[str, FieldValue], hops: tuple[str, ...], named: Headers
) -> None:
    trail = tuple(Hop(name, 0.0, 0.0) for name in hops)
    response = InferenceResponse(AnswerKind.KEYED, {}, trail=trail, fields=fields)
    assert arm_header(response) == named


async def test_an_error_names_the_arm_that_was_chosen() -> None:
    exchange, sent = an_exchange()
    error = errors.NotReady("x")
    error.trail = (Hop("routes.a.split!not_ready", 0.0, 0.0), Hop("split:rf", 0.0, 0.0))
    await exchange.answer_error(error)
    assert sent[0].headers[b"x-penstock-arm"] == b"rf"
    assert sent[0].headers[b"retry-after"] == b"1"
