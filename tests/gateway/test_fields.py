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


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"\xe4", "ä"),
        (b"\xc3\xa4", "ä"),
        (b"\xc3\xa4\xe4", "Ã¤ä"),
        (b" fan \t", "fan"),
        (b"", ""),
    ],
)
def test_a_header_is_utf_8_or_else_latin_1_without_blanks_at_its_ends(
    value: bytes, text: str
) -> None:
    assert FieldReader(("header:x",)).read(given({b"x": value}), {}) == {"header:x": text}


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        (b"a=", {"query:a": ""}),
        (b"a", {"query:a": ""}),
        (b"a=1&b=2&a=3", {"query:a": "3"}),
        (b"a=1=2;b", {"query:a": "1=2;b"}),
        (b"A=1", {}),
        (b"a=\xc3\xa4", {"query:a": "ä"}),
        (b"a=%F6", {"query:a": "ö"}),
        (b"a=%zz%", {"query:a": "%zz%"}),
        (b"%61=%2B+", {"query:a": "+ "}),
        (b"\xc3\xb6=1", {"query:ö": "1"}),
        (b"%c3%b6=1", {"query:ö": "1"}),
    ],
)
def test_a_query(query: bytes, fields: dict[str, FieldValue]) -> None:
    assert FieldReader(("query:a", "query:ö")).read(given(query=query), {}) == fields


def test_no_more_than_the_beginning_of_a_long_value_is_read() -> None:
    """A character more than patterns see tells them that it goes on."""
    reader = FieldReader(("header:x", "query:y", "field:z", "field:n"))
    exchange = given({b"x": "ä".encode() * 300}, b"y=" + b"q" * 300)
    assert reader.read(exchange, {"z": "b" * 300, "n": 10**300}) == {
        "header:x": "ä" * 257,
        "query:y": "q" * 257,
        "field:z": "b" * 257,
        "field:n": 10**300,
    }


def test_a_query_of_too_many_parameters_is_refused() -> None:
    reader = FieldReader(("query:a",))
    full = b"&".join([b"a=1"] * MAX_QUERY_FIELDS)
    assert reader.read(given(query=b"&&&" + full + b"&" * 99), {}) == {"query:a": "1"}
    with pytest.raises(RequestError, match="more than 64") as raised:
        reader.read(given(query=full + b"&a"), {})
    assert status_of(raised.value) == 400
