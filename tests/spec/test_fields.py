from __future__ import annotations

import pytest

from penstock.spec.decode import decode
from penstock.spec.fields import normal_name, request_fields, wrong_field
from penstock.spec.read import read_text

TEXT = """
models: {svc: {path: a.onnx}, rf: {path: b.onnx}}
routes:
  none: svc
  random: {split: {arms: {svc: 1, rf: 1}}}
  sticky: {split: {arms: {svc: 1, rf: 1}, sticky: "header:X-User-Id"}}
  logged: [{prediction_log: {groups: [header:x-age, field:Region, header:X-AGE]}}, svc]
  limited: [{rate_limit: {rate: 1}}, {rate_limit: {rate: 1, per: "header:X-Key"}}, svc]
  chosen:
    condition:
      when:
        - {header: {Target: a}, use: sticky}
        - {query: {Size: a}, use: svc}
        - {field: {age: {above: 1}}, use: {constant: {answer: a}}}
        - {column: 0, above: 1, use: svc}
      otherwise: none
  nested:
    - mirror: {shadow: chosen}
    - breaker: {otherwise: logged}
    - threshold: {min: 1}
    - timeout: {timeout_s: 1}
    - retry:
    - fan_out: {arms: {x: sticky, y: {sync_async: {now: limited, later: nested}}}}
"""


@pytest.mark.parametrize(
    ("route", "fields"),
    [
        ("none", ()),
        ("random", ()),
        ("sticky", ("header:x-user-id",)),
        ("logged", ("header:x-age", "field:Region")),
        ("limited", ("header:x-key",)),
        ("chosen", ("header:target", "query:Size", "field:age", "header:x-user-id")),
        (
            "nested",
            (
                "header:target",
                "query:Size",
                "field:age",
                "header:x-age",
                "field:Region",
                "header:x-user-id",
                "header:x-key",
            ),
        ),
    ],
)
def test_fields(route: str, fields: tuple[str, ...]) -> None:
    spec, problems = decode(read_text(TEXT, {}))
    assert problems == ()
    assert spec is not None
    assert request_fields(spec.routes[route], spec) == fields


def test_only_headers_are_told_apart_by_no_case() -> None:
    assert normal_name("header:X-User-Id") == "header:x-user-id"
    assert normal_name("field:User") == "field:User"
    assert normal_name("query:Page") == "query:Page"


@pytest.mark.parametrize(
    "field", ["none", "header:x", "header:X_1!", "field:user", "field:Data", "query:data"]
)
def test_a_field_that_requests_can_have(field: str) -> None:
    assert wrong_field(field) == ""


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ("header:", '"" is no name of a header'),
        ("header:a:b", '"a:b" is no name of a header'),
        ("header:é", '"é" is no name of a header'),
        ("header:x\n", '"x\\n" is no name of a header'),
        ("field:data", "data is the input itself"),
        ("field:", '"" cannot be a key here: no quotes, backslashes, control characters'),
        ('field:a"', '"a\\"" cannot be a key here: no quotes, backslashes, control characters'),
        ("field:a\\", '"a\\\\" cannot be a key here: no quotes, backslashes, control characters'),
        ("field:a\t", '"a\\t" cannot be a key here: no quotes, backslashes, control characters'),
    ],
)
def test_a_field_that_no_request_can_have(field: str, why: str) -> None:
    assert wrong_field(field) == why
