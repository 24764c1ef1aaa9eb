"""What an exchange's head says of its request."""

from __future__ import annotations

import pytest

from penstock.core.errors import InvalidHeader
from penstock.gateway.exchange import Exchange, Headers
from penstock.gateway.fields import FieldReader
from penstock.gateway.heads import HeadReader
from tests.gateway.asking import Message

NEW_SEED = 7


def given(headers: dict[bytes, bytes] | None = None) -> Exchange:
    async def receive() -> Message:
        raise AssertionError

    async def respond(status: int, headers: Headers, content: bytes, *, ends: bool) -> None:
        raise AssertionError

    return Exchange("GET", "/", b"", headers or {}, receive, respond, "an-id", 100.0)


def reader(*names: str) -> HeadReader:
    return HeadReader("iris", FieldReader(names), timeout_s=30.0, new_seed=lambda: NEW_SEED)


def test_a_request_without_rows() -> None:
    request = reader("header:target").request(given({b"target": b"mountain"}))
    assert (request.request_id, request.route, request.tensors) == ("an-id", "iris", {})
    assert (request.deadline_s, request.seed) == (130.0, NEW_SEED)
    assert request.fields == {"header:target": "mountain"}


def test_fields_that_nobody_looks_at_are_not_read() -> None:
    assert reader().fields(given({b"target": b"mountain"}), {}) == {}


def test_fields_of_the_body_are_fields() -> None:
    assert reader("field:user").fields(given(), {"user": "b"}) == {"field:user": "b"}


def test_the_callers_seed() -> None:
    assert reader().seed(given({b"x-penstock-seed": b"00000000000000ff"})) == 255


def test_a_seed_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidHeader):
        reader().seed(given({b"x-penstock-seed": b"seven"}))


@pytest.mark.parametrize(("asked", "deadline_s"), [(b"500", 100.5), (b"60000", 130.0)])
def test_a_caller_shortens_the_deadline_and_never_lengthens_it(
    asked: bytes, deadline_s: float
) -> None:
    assert reader().deadline_s(given({b"x-timeout-ms": asked})) == deadline_s
