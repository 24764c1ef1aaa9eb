"""The admin endpoints: for those with the token, and only what the operator does."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import (
    ChangeRefused,
    InvalidInput,
    MalformedBody,
    SpecError,
    Unavailable,
)
from penstock.gateway.admin import (
    ENDPOINTS,
    MAX_ADMIN_BYTES,
    MAX_EVENTS,
    Admin,
    Changes,
    admin_token,
    decoded,
)
from penstock.gateway.paths import PathTable
from tests.gateway.asking import Answer
from tests.gateway.operating import FakeOperator, ask_table
from tests.support import ManualClock

TOKEN = "tøken-0123456789"
SET = {"changes": [{"target": "iris/svc", "key": "weight", "value": "5"}]}
BEARER = {"authorization": f"Bearer {TOKEN}".encode().decode("latin-1")}

each = pytest.mark.parametrize(("method", "path"), [(one[0], one[1]) for one in ENDPOINTS])


def table_of(operator: FakeOperator | None = None) -> PathTable:
    table = PathTable()
    Admin(operator or FakeOperator(), TOKEN.encode(), ManualClock()).serve_at(table)
    return table


async def asked(
    method: str,
    path: str,
    body: object = b"",
    *,
    operator: FakeOperator | None = None,
    query: bytes = b"",
) -> Answer:
    """Ask with the token."""
    clock = ManualClock()
    return await ask_table(
        table_of(operator), method, path, body, headers=BEARER, query=query, clock=clock
    )


# --- the token ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (None, None),
        ("", None),
        (" \n", None),
        ("abc", b"abc"),
        (" abc\n", b"abc"),
        ("ø", b"\xc3\xb8"),
    ],
)
def test_there_is_an_admin_only_with_a_token(value: str | None, token: bytes | None) -> None:
    environment = {} if value is None else {"PENSTOCK_ADMIN_TOKEN": value}
    assert admin_token(environment) == token


@each
@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN} x",
        f"Bearer {TOKEN[:-1]}",
    ],
)
async def test_nobody_else_is_answered(method: str, path: str, given: str | None) -> None:
    headers = {} if given is None else {"authorization": given.encode().decode("latin-1")}
    operator = FakeOperator()
    operator.refusal = AssertionError("it was asked")
    answer = await ask_table(table_of(operator), method, path, SET, headers=headers)
    assert answer.status == 401
    assert answer.error["code"] == "unauthorized"
    assert answer.header("www-authenticate") == "Bearer"
    assert TOKEN not in answer.content.decode()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
async def test_the_scheme_is_of_any_case(scheme: str) -> None:
    headers = {"authorization": f"{scheme} {TOKEN} ".encode().decode("latin-1")}
    answer = await ask_table(table_of(), "GET", "/admin/status", headers=headers)
    assert answer.status == 200


# --- what it does ------------------------------------------------------------------------


async def test_set() -> None:
    body = {
        "changes": [
            {"target": "iris/svc", "key": "weight", "value": 5},
            {"target": "iris/rf", "key": "weight", "value": 0.5},
            {"target": "iris/rf", "key": "threshold", "value": "0.9"},
            {"target": "iris", "key": "odd", "value": True},
        ]
    }
    answer = await asked("POST", "/admin/set", body)
    assert answer.status == 200
    assert answer.json == {
        "generation": 8,
        "asked": [
            ["iris/svc", "weight", "5"],
            ["iris/rf", "weight", "0.5"],
            ["iris/rf", "threshold", "0.9"],
            ["iris", "odd", "true"],
        ],
        "who": "admin 10.0.0.7",
    }


async def test_switch() -> None:
    answer = await asked("POST", "/admin/switch", {"target": "iris/svc", "state": "off"})
    assert answer.json["asked"] == [["iris/svc", "state", "off"]]
    assert answer.json["who"] == "admin 10.0.0.7"


@pytest.mark.parametrize("body", [b"", b"{}", b"nonsense"])
async def test_reload_looks_at_no_body(body: bytes) -> None:
    answer = await asked("POST", "/admin/reload", body)
    assert (answer.status, answer.json["generation"]) == (200, 8)


@pytest.mark.parametrize(
    ("query", "limit"),
    [(b"", MAX_EVENTS), (b"limit=3", 3), (b"limit=3&limit=4", 4), (b"other=1", MAX_EVENTS)],
)
async def test_history(query: bytes, limit: int) -> None:
    operator = FakeOperator()
    answer = await asked("GET", "/admin/history", operator=operator, query=query)
    assert [event["generation"] for event in answer.json["events"]] == [1, 2]
    assert operator.limits == [limit]


@pytest.mark.parametrize(
    "query",
    [
        b"limit=0",
        b"limit=",
        b"limit=-1",
        b"limit=1001",
        b"limit=99999999999999999999",
        b"limit=\xb2",
        b"limit=1_0",
        b"limit=x",
        b"&".join([b"a=1"] * 11),
    ],
)
async def test_a_limit_that_is_none(query: bytes) -> None:
    answer = await asked("GET", "/admin/history", query=query)
    assert (answer.status, answer.error["code"]) == (422, "invalid_input")


async def test_status() -> None:
    answer = await asked("GET", "/admin/status")
    assert answer.json["path"] == "penstock.yaml"


@each
async def test_another_method_is_refused(method: str, path: str) -> None:
    other = "GET" if method == "POST" else "POST"
    answer = await asked(other, path)
    assert answer.status == 405
    assert answer.header("allow") == ("GET, HEAD" if method == "GET" else "POST")


# --- what is refused ---------------------------------------------------------------------


@pytest.mark.parametrize("refusal", [ChangeRefused(("one", "two")), SpecError(("one", "two"))])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/admin/set", SET),
        ("/admin/switch", {"target": "iris", "state": "off"}),
        ("/admin/reload", b""),
    ],
)
async def test_a_change_that_cannot_be_made_tells_all_reasons(
    path: str, body: object, refusal: Exception
) -> None:
    operator = FakeOperator()
    operator.refusal = refusal
    answer = await asked("POST", path, body, operator=operator)
    assert answer.status == 409
    assert answer.error["code"] == "change_refused"
    assert answer.error["problems"] == ["one", "two"]
    assert answer.error["message"] == "one\ntwo"


@each
async def test_a_supervisor_that_does_not_answer(method: str, path: str) -> None:
    operator = FakeOperator()
    operator.refusal = Unavailable("the supervisor has not answered")
    body = {"target": "iris", "state": "off"} if path.endswith("switch") else SET
    answer = await asked(method, path, body, operator=operator)
    assert (answer.status, answer.error["code"]) == (503, "unavailable")


@pytest.mark.parametrize(
    ("body", "status", "code", "path"),
    [
        (b"", 400, "malformed_body", None),
        (b"{", 400, "malformed_body", None),
        (b"\xff\xfe\xff", 400, "malformed_body", None),
        (b"[" * 50_000, 400, "malformed_body", None),
        (b'{"changes": NaN}', 400, "malformed_body", None),
        (
            b'{"changes": [{"target": "\\ud800", "key": "a", "value": 1}]}',
            400,
            "malformed_body",
            None,
        ),
        (b'{"changes": [], "changes": []}', 400, "malformed_body", None),
        (b"[]", 422, "invalid_input", "$"),
        (
            b'{"changes": [{"target": "iris/svc", "key": "weight", "value": 1e-400}]}',
            422,
            "invalid_input",
            "$",
        ),
        (b'{"changes": 1e400}', 422, "invalid_input", "$"),
        (b"{}", 422, "invalid_input", "$"),
        (b'{"changes": 3}', 422, "invalid_input", "$.changes"),
        (b'{"changes": [{"target": "iris"}]}', 422, "invalid_input", "$.changes[0]"),
        (b'{"changes": [], "more": 1}', 422, "invalid_input", "$"),
        (
            b'{"changes": [{"target": "iris", "key": "k", "value": null}]}',
            422,
            "invalid_input",
            "$.changes[0].value",
        ),
    ],
)
async def test_a_body_that_is_wrong(body: bytes, status: int, code: str, path: str | None) -> None:
    answer = await asked("POST", "/admin/set", body)
    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.error.get("path") == path


async def test_a_body_that_is_too_large() -> None:
    answer = await asked("POST", "/admin/set", b" " * (MAX_ADMIN_BYTES + 1))
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")


@given(
    st.binary()
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_whatever_the_body_it_is_decoded_or_refused(body: bytes) -> None:
    with contextlib.suppress(MalformedBody, InvalidInput):
        decoded(body, Changes)
