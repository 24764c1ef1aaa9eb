from __future__ import annotations

import re
from typing import Final

import pytest

from penstock.core import errors
from penstock.core.errors import (
    AnswerNotFinite,
    BodyTooLarge,
    BodyTooSlow,
    BreakerOpen,
    ChangeRefused,
    DeadlineExceeded,
    FanOutFailed,
    FanOutTimedOut,
    InvalidHeader,
    InvalidInput,
    InvalidRequestId,
    LogUnavailable,
    MalformedBody,
    MethodNotAllowed,
    ModelFailed,
    ModelFileError,
    NoLabels,
    NoSample,
    NotReady,
    Overloaded,
    PenstockError,
    RequestError,
    ServingError,
    SpecError,
    SwitchedOff,
    Unauthorized,
    Unavailable,
    UnknownRoute,
    UnsupportedContent,
    UpstreamFailed,
    UpstreamShed,
)

MESSAGES: Final = {
    MalformedBody("the body is not JSON: trailing characters"): (
        "the body is not JSON: trailing characters"
    ),
    InvalidInput("$.data has no rows", "$.data"): "$.data has no rows",
    AnswerNotFinite("svc", 3): (
        "model svc answers NaN or infinity for row 3: its values are outside what the model can "
        "compute"
    ),
    InvalidRequestId("the path"): (
        "the id in the path is malformed: use 1 to 128 letters, digits, '-', '_' or '.' (and not "
        "one of the words label, test, get, post in a path)"
    ),
    InvalidHeader("x-timeout-ms", "a number of milliseconds"): (
        "the header x-timeout-ms is not a number of milliseconds"
    ),
    BodyTooLarge(10_000, "rows"): "the body is over the limit of 10000 rows",
    BodyTooSlow(2.5): "the body did not arrive within 2.5 s",
    UnsupportedContent("text/csv is not read here"): "text/csv is not read here",
    UnknownRoute("/iriss"): "nothing is served at '/iriss'",
    UnknownRoute("/iriss", ["iris", "fixed"]): (
        "nothing is served at '/iriss'; routes: /iris/, /fixed/"
    ),
    MethodNotAllowed("PUT", "/predict", ("POST", "GET")): "'/predict' answers POST, GET, not PUT",
    NoSample("svc"): ("svc has no sample: give its model a `sample:` in the spec (or --sample)"),
    NoLabels("svc"): "svc has no labels: give its model `labels:` in the spec (or --labels)",
    NoLabels("svc", "ask for scores"): "svc has no labels: ask for scores",
    ChangeRefused(("one", "two")): "one\ntwo",
    Unauthorized(): "this needs the server's admin token: send it as `Authorization: Bearer TOKEN`",
    NotReady("the gateway"): "the gateway is not ready",
    SwitchedOff("route iris"): "route iris is switched off",
    Overloaded(
        "the queue", 20, "rows"
    ): "no room in the queue: at most 20 rows wait; try again later",
    BreakerOpen("routes.iris[0]"): "the circuit breaker at routes.iris[0] is open",
    LogUnavailable("routes.iris[0].prediction_log"): (
        "the prediction log at routes.iris[0].prediction_log takes no records now, and blocks what "
        "it cannot record"
    ),
    UpstreamFailed("svc", "no answer"): "the remote model svc failed: no answer",
    UpstreamShed("svc", "its queue is full"): "the remote model svc is too busy: its queue is full",
    DeadlineExceeded("svc"): "the deadline passed at svc",
    ModelFailed("svc"): "model svc raised an error",
    ModelFailed("svc", "gave 2 rows for 3"): "model svc gave 2 rows for 3",
    FanOutFailed("all", 1, {"a": DeadlineExceeded("a"), "b": ModelFailed("b")}): (
        "1 of 3 arms answered, the policy asks for all; failed: a (deadline_exceeded), "
        "b (model_failed)"
    ),
    FanOutTimedOut("quorum: 2", 1, {"b": DeadlineExceeded("b")}): (
        "1 of 2 arms answered, the policy asks for quorum: 2; failed: b (deadline_exceeded)"
    ),
    ModelFileError("svc", "models/svc.onnx", "there is no such file"): (
        "model svc: models/svc.onnx: there is no such file"
    ),
    SpecError(("line 1: no", "line 2: no")): "line 1: no\nline 2: no",
}

ABSTRACT: Final = {PenstockError, ServingError, RequestError, Unavailable}


def all_errors(root: type[PenstockError] = PenstockError) -> list[type[PenstockError]]:
    """Return the core's errors; other rooms may have a few of their own."""
    below = [cls for child in root.__subclasses__() for cls in all_errors(child)]
    return [root, *below] if root.__module__ == errors.__name__ else below


def drawn_tree() -> dict[str, str | None]:
    """Return each class of the docstring's drawing with its parent."""
    parents = dict[str, str | None]()
    above = list[tuple[int, str]]()
    for indent, name in re.findall(r"^( {4,})([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE):
        above = [(depth, parent) for depth, parent in above if depth < len(indent)]
        parents[name] = above[-1][1] if above else None
        above.append((len(indent), name))
    return parents


# --- the tree ----------------------------------------------------------------------------


def test_the_tree_is_as_drawn() -> None:
    real = {cls.__name__: cls.__base__ for cls in all_errors()}
    parents = {name: None if base is Exception else base for name, base in real.items()}

    assert drawn_tree() == {
        name: None if base is None else base.__name__ for name, base in parents.items()
    }


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [cls.code for cls in all_errors()]

    assert len(set(codes)) == len(codes)
    for cls in all_errors():
        assert "code" in cls.__dict__
        assert cls.code == re.sub(r"(?<!^)([A-Z])", r"_\1", cls.__name__).lower()


def test_every_error_has_its_message_tested_here() -> None:
    assert {type(error) for error in MESSAGES} == set(all_errors()) - ABSTRACT


def test_only_these_can_succeed_later() -> None:
    retryable = {cls for cls in all_errors(ServingError) if getattr(cls, "retryable", False)}

    assert retryable == {
        Unavailable,
        NotReady,
        SwitchedOff,
        Overloaded,
        BreakerOpen,
        LogUnavailable,
        UpstreamFailed,
        UpstreamShed,
        DeadlineExceeded,
        FanOutTimedOut,
    }


# --- single errors -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "message"), MESSAGES.items(), ids=lambda value: type(value).__name__
)
def test_an_error_says_what_happened(error: PenstockError, message: str) -> None:
    assert error.message == message
    assert str(error) == message


@pytest.mark.parametrize("error", [e for e in MESSAGES if isinstance(e, ServingError)], ids=str)
def test_an_error_of_serving_begins_without_a_trail(error: ServingError) -> None:
    assert error.trail == ()


def test_a_request_error_names_its_place_where_it_has_one() -> None:
    assert InvalidInput("no", "$.data[1]").path == "$.data[1]"
    assert InvalidInput("no").path is None
    assert AnswerNotFinite("svc", 3).path == "$.data[3]"


def test_an_unavailable_error_says_when_to_come_back() -> None:
    assert NotReady("the gateway").retry_after_s == 1


def test_errors_keep_what_they_were_made_of() -> None:
    causes = {"b": ModelFailed("b"), "a": DeadlineExceeded("a")}
    file_error = ModelFileError("svc", "svc.onnx", "no such file")

    assert list(FanOutFailed("all", 0, causes).causes) == ["b", "a"]
    assert SpecError(("one", "two")).problems == ("one", "two")
    assert (file_error.model, file_error.path, file_error.what) == (
        "svc",
        "svc.onnx",
        "no such file",
    )
    assert MethodNotAllowed("PUT", "/", ("GET",)).allowed == ("GET",)
    assert (BodyTooLarge(5, "bytes").limit, BodyTooLarge(5, "bytes").unit) == (5, "bytes")
    assert AnswerNotFinite("svc", 3).row == 3
    assert ModelFailed("svc").model == "svc"
