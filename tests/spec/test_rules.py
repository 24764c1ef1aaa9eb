"""What the rules say is told in `golden/form`; here is what they let pass."""

from __future__ import annotations

import pytest
from msgspec import Struct

from penstock.spec.rules import broken_rules
from penstock.spec.tree import Match, Model, Reference, Timeout, When

USE = Reference(name="svc")


@pytest.mark.parametrize(
    "record",
    [
        Model(path="a.onnx"),
        Model(runtime="rules:predict"),
        Model(url="a:9000"),
        Model(urls=("a:9000",), path="a.onnx"),
        Model(path="https://x/a.onnx", sha256="0" * 64),
        Match(exact="a"),
        Match(regex="^a+$"),
        Match(exact="a" * 255),
        Match(exact=1),
        Match(prefix="a" * 256),
        Match(one_of=("a" * 255, 1)),
        Match(between=(1, 2)),
        When(use=USE, header={"a": Match(exact="a")}),
        When(use=USE, column=0, above=1),
        Timeout(timeout_s=1),
    ],
)
def test_right(record: Struct) -> None:
    assert list(broken_rules(record)) == []


@pytest.mark.parametrize(
    ("record", "keys"),
    [
        (Model(), [""]),
        (Model(url="a", urls=("b",)), ["urls"]),
        (Model(path="https://x"), ["path"]),
        (Model(path="http://x"), ["path"]),
        (Match(), [""]),
        (Match(exact=1, above=2), [""]),
        (Match(regex="("), ["regex"]),
        (Match(regex="a{99999999999999999999}"), ["regex"]),
        (Match(exact="a" * 256), ["exact"]),
        (Match(prefix="a" * 257), ["prefix"]),
        (Match(one_of=()), ["one_of"]),
        (Match(one_of=("a" * 256, 1, "b" * 300)), ["one_of", "one_of"]),
        (When(use=USE), [""]),
        (When(use=USE, column=0), ["column"]),
        (When(use=USE, column=0, above=1, below=2), ["column"]),
        (When(use=USE, time=Match(exact="a"), above=1), ["above"]),
    ],
)
def test_wrong(record: Struct, keys: list[str]) -> None:
    assert [key for key, _, _ in broken_rules(record)] == keys
