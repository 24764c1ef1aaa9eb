"""Every error has a status, and the right one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import penstock
from penstock.core import errors
from penstock.gateway.status import STATUS, InternalError, status_of


def all_kinds() -> set[type[errors.ServingError]]:
    for module in pkgutil.walk_packages(penstock.__path__, "penstock."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return {kind for kind in _below(errors.ServingError) if kind.__module__.startswith("penstock.")}


def _below(kind: type[errors.ServingError]) -> Iterator[type[errors.ServingError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _below(child)


def test_every_error_of_ours_is_in_the_table_and_nothing_else_is() -> None:
    assert set(STATUS) == all_kinds()


def test_codes_are_told_apart() -> None:
    codes = [kind.code for kind in all_kinds()]
    assert len(set(codes)) == len(codes)


def test_a_fault_of_the_caller_is_4xx_and_ours_5xx() -> None:
    for kind, status in STATUS.items():
        assert status // 100 == (4 if issubclass(kind, errors.RequestError) else 5), kind


def test_what_is_unavailable_says_so() -> None:
    for kind, status in STATUS.items():
        if issubclass(kind, errors.Unavailable) and kind is not errors.UpstreamFailed:
            assert status == 503


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.MalformedBody("x"), 400),
        (errors.InvalidRequestId("the path"), 400),
        (errors.UnknownRoute("/"), 404),
        (errors.MethodNotAllowed("GET", "/", ("POST",)), 405),
        (errors.BodyTooLarge(1, "bytes"), 413),
        (errors.UnsupportedContent("x"), 415),
        (errors.InvalidInput("x"), 422),
        (errors.Overloaded("x", 1, "rows"), 503),
        (errors.UpstreamFailed("m", "x"), 502),
        (errors.DeadlineExceeded("x"), 504),
        (errors.FanOutFailed("all", 0, {}), 502),
        (errors.FanOutTimedOut("all", 0, {}), 504),
        (InternalError(), 500),
    ],
)
def test_as_the_design_says(error: errors.ServingError, status: int) -> None:
    assert status_of(error) == status


def test_a_user_s_own_kind_is_answered_as_its_parent() -> None:
    class NoSuchFlower(errors.InvalidInput):
        pass

    class Odd(errors.ServingError):
        pass

    assert status_of(NoSuchFlower("x")) == 422
    assert status_of(Odd("x")) == 500
