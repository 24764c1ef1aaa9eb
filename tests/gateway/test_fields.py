"""What a route's patterns look at, out of headers, query and body."""

from __future__ import annotations

import pytest

from penstock.core.errors import RequestError
from penstock.core.values import FieldValue
from penstock.gateway.exchange import Exchange, Headers
from penstock.gateway.fields import MAX_QUERY_FIELDS, FieldReader
from penstock.gateway.status import status_of
from tests.gateway.asking import Message


def given(headers: dict[bytes, bytes] | None = None, query: bytes = b"") -> Exchange:
    async def receive() -> Message:
        raise AssertionError

    async def respond(status: int, headers: Headers, content: bytes, *, ends: bool) -> None:
        raise AssertionError

    return Exchange("POST", "/", query, headers or {}, receive, respond, "", 0.0)


def test_nothing_named_nothing_read() -> None:
    exchange = given({b"x-user-id": b"7"}, b"page=1")
    assert FieldReader(()).read(exchange, {}) == {}


def test_headers_query_and_body_are_told_apart() -> None:
    reader = FieldReader(("header:x-user-id", "query:page", "field:user", "field:age"))
    assert reader.body_keys == ("user", "age")
    exchange = given({b"x-user-id": b"h", b"user": b"no"}, b"page=2&user=no&x-user-id=no")
    body: dict[str, FieldValue] = {"user": "b", "age": 7}
    assert reader.read(exchange, body) == {
        "header:x-user-id": "h",
        "query:page": "2",
        "field:user": "b",
        "field:age": 7,
    }


def test_what_is_not_given_is_not_there() -> None:
    reader = FieldReader(("header:x", "query:y", "field:z"))
    assert reader.read(given(), {}) == {}


def test_escapes_of_the_query() -> None:
    reader = FieldReader(("query:a", "query:b c"))
    assert reader.read(given(query=b"a=%C3%A4+1&b%20c=x"), {}) == {
        "query:a": "ä 1",
        "query:b c": "x",
    }


def test_bytes_of_a_header_that_are_no_ascii() -> None:
    reader = FieldReader(("header:x",))
    assert reader.read(given({b"x": b"\xe4"}), {}) == {"header:x": "ä"}


def test_no_more_than_the_beginning_of_a_long_value_is_read() -> None:
    reader = FieldReader(("header:x", "query:y", "field:z", "field:n"))
    exchange = given({b"x": b"h" * 300}, b"y=" + b"q" * 300)
    assert reader.read(exchange, {"z": "b" * 300, "n": 10**300}) == {
        "header:x": "h" * 256,
        "query:y": "q" * 256,
        "field:z": "b" * 256,
        "field:n": 10**300,
    }


def test_a_query_of_too_many_parameters_is_refused() -> None:
    reader = FieldReader(("query:a",))
    with pytest.raises(RequestError, match="more than 64") as raised:
        reader.read(given(query=b"&".join([b"a=1"] * (MAX_QUERY_FIELDS + 1))), {})
    assert status_of(raised.value) == 400
