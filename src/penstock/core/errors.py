"""Every error Penstock raises on purpose, in one small tree, without HTTP in it.

    PenstockError
      SpecError               the spec's author made mistakes; carries all of them
      ModelFileError          a model file is missing, wrong or unreadable (at open)
      ServingError            raised while serving; has a trail
        RequestError          the caller must change the request
          MalformedBody         not parseable
          InvalidInput          parseable but wrong: width, type, range
          AnswerNotFinite       the model's answer to these values is NaN or infinite
          InvalidRequestId      an id with characters that would end up in logs
          InvalidHeader         a header with a value that is not understood
          BodyTooLarge          more bytes or rows than the limit
          BodyTooSlow           the body did not arrive in time
          UnsupportedContent    content type or encoding we do not read
          UnknownRoute          no such path
          MethodNotAllowed      the path exists, the method does not
          NoSample              asked to predict a sample that the spec does not give
          NoLabels              asked for a label of a model that has none
          Unauthorized          an operators' endpoint was asked without its token
          ChangeRefused         an operator's change cannot be made; carries all reasons
        Unavailable           try again later
          NotReady              still opening, or closed
          SwitchedOff           an operator switched it off
          Overloaded            a bounded queue is full
          BreakerOpen           a circuit breaker refuses
          LogUnavailable        what must be recorded cannot be
          UpstreamFailed        a remote predictor did not answer properly
          UpstreamShed          a remote predictor is too busy, and said so
        DeadlineExceeded      the answer would come too late
        ModelFailed           the model raised; the cause is kept, never shown to the caller
        FanOutFailed          the policy of a fan-out is not met; causes in the arms' order
          FanOutTimedOut        ... and every arm that failed was late

Each class builds its message from its fields, has a stable snake_case `code`, and says by
`retryable` whether the same request can succeed later. The gateway owns the one table from
class to status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from penstock.core.values import Hop


_GIVE_LABELS: Final = "give its model `labels:` in the spec (or --labels)"


class PenstockError(Exception):
    """The root of the tree.

    Args:
        message: one sentence: what is wrong, where, what to do about it.
    """

    code: ClassVar[str] = "penstock_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class SpecError(PenstockError):
    """The spec has mistakes. `problems` is all of them, each already worded with its line."""

    code = "spec_error"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ModelFileError(PenstockError):
    """A model cannot be opened; ends the start with this one sentence."""

    code = "model_file_error"

    def __init__(self, model: str, path: str, what: str) -> None:
        super().__init__(f"model {model}: {path}: {what}")
        self.model = model
        self.path = path
        self.what = what


class ServingError(PenstockError):
    """Something ended a request without an answer; carries the trail so far."""

    code: ClassVar[str] = "serving_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.trail: tuple[Hop, ...] = ()


class RequestError(ServingError):
    """The caller must change the request. `path` is the place in the body, where there is one."""

    code = "request_error"

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path


class MalformedBody(RequestError):
    """The body cannot be parsed at all, or names a key twice."""

    code = "malformed_body"


class InvalidInput(RequestError):
    """The body is parseable, but a value has the wrong width, type or range."""

    code = "invalid_input"


class AnswerNotFinite(RequestError):
    """The model answers NaN or infinity for these values: they are outside what it can compute."""

    code = "answer_not_finite"

    def __init__(self, model: str, row: int) -> None:
        super().__init__(
            f"model {model} answers NaN or infinity for row {row}: its values are outside what "
            "the model can compute",
            path=f"$.data[{row}]",
        )
        self.row = row


class InvalidRequestId(RequestError):
    """An id may have letters, digits, `-`, `_` and `.`, at most 128 of them."""

    code = "invalid_request_id"

    def __init__(self, where: str) -> None:
        super().__init__(
            f"the id in {where} is malformed: use 1 to 128 letters, digits, '-', '_' or '.'"
            " (and not one of the words label, test, get, post in a path)"
        )


class InvalidHeader(RequestError):
    """A header that is read here has a value that is not understood."""

    code = "invalid_header"

    def __init__(self, header: str, expected: str) -> None:
        super().__init__(f"the header {header} is not {expected}")


class BodyTooLarge(RequestError):
    """More bytes (decompressed bytes count) or rows than the limit."""

    code = "body_too_large"

    def __init__(self, limit: int, unit: str) -> None:
        super().__init__(f"the body is over the limit of {limit} {unit}")
        self.limit = limit
        self.unit = unit


class BodyTooSlow(RequestError):
    """The client stopped sending its body."""

    code = "body_too_slow"

    def __init__(self, waited_s: float) -> None:
        super().__init__(f"the body did not arrive within {waited_s:g} s")


class UnsupportedContent(RequestError):
    """A content type or content encoding that is not read here."""

    code = "unsupported_content"


class UnknownRoute(RequestError):
    """No route or endpoint answers at this path."""

    code = "unknown_route"

    def __init__(self, path: str, routes: Sequence[str] = ()) -> None:
        known = ", ".join(f"/{route}/" for route in routes)
        super().__init__(f"nothing is served at {path!r}" + (f"; routes: {known}" if known else ""))


class MethodNotAllowed(RequestError):
    """The path is served, by other methods."""

    code = "method_not_allowed"

    def __init__(self, method: str, path: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{path!r} answers {', '.join(allowed)}, not {method}")
        self.allowed = allowed


class NoSample(RequestError):
    """The model's own sample was asked for, and the spec gives none."""

    code = "no_sample"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"{model} has no sample: give its model a `sample:` in the spec (or --sample)"
        )


class NoLabels(RequestError):
    """A label was asked for, and nothing names the classes."""

    code = "no_labels"

    def __init__(self, what: str, advice: str = _GIVE_LABELS) -> None:
        super().__init__(f"{what} has no labels: {advice}")


class Unauthorized(RequestError):
    """An operators' endpoint was asked without the admin token, or with another one."""

    code = "unauthorized"

    def __init__(self) -> None:
        super().__init__(
            "this needs the server's admin token: send it as `Authorization: Bearer TOKEN`"
        )


class ChangeRefused(RequestError):
    """An operator's change cannot be made; what was served before still is."""

    code = "change_refused"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Unavailable(ServingError):
    """Not now; the same request may succeed later."""

    code = "unavailable"
    retryable = True
    retry_after_s: int = 1


class NotReady(Unavailable):
    """Not open yet, or closed already."""

    code = "not_ready"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not ready")


class SwitchedOff(Unavailable):
    """An operator switched this off."""

    code = "switched_off"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is switched off")


class Overloaded(Unavailable):
    """A bounded queue is full; the request was shed."""

    code = "overloaded"

    def __init__(self, what: str, limit: int, unit: str) -> None:
        super().__init__(f"no room in {what}: at most {limit} {unit} wait; try again later")


class BreakerOpen(Unavailable):
    """A circuit breaker refuses."""

    code = "breaker_open"

    def __init__(self, place: str) -> None:
        super().__init__(f"the circuit breaker at {place} is open")


class LogUnavailable(Unavailable):
    """The prediction log takes no more, and nothing is to be answered that is not recorded."""

    code = "log_unavailable"

    def __init__(self, place: str) -> None:
        super().__init__(
            f"the prediction log at {place} takes no records now, and blocks what it cannot record"
        )


class UpstreamFailed(Unavailable):
    """A remote predictor did not answer, or not properly."""

    code = "upstream_failed"

    def __init__(self, model: str, what: str) -> None:
        super().__init__(f"the remote model {model} failed: {what}")
        self.what = what


class UpstreamShed(Unavailable):
    """A remote predictor refused the request because it has too many; it is not asked again."""

    code = "upstream_shed"

    def __init__(self, model: str, what: str, retry_after_s: int = 1) -> None:
        super().__init__(f"the remote model {model} is too busy: {what}")
        self.retry_after_s = retry_after_s


class DeadlineExceeded(ServingError):
    """The deadline passed. Whether the work was done is not known."""

    code = "deadline_exceeded"
    retryable = True

    def __init__(self, where: str) -> None:
        super().__init__(f"the deadline passed at {where}")


class ModelFailed(ServingError):
    """The model itself raised. The cause is chained for our logs and never shown to the caller."""

    code = "model_failed"

    def __init__(self, model: str, what: str = "raised an error") -> None:
        super().__init__(f"model {model} {what}")
        self.model = model


class FanOutFailed(ServingError):
    """Too few arms answered for the policy. `causes` are the failed arms', in their order."""

    code = "fan_out_failed"

    def __init__(self, policy: str, answered: int, causes: Mapping[str, ServingError]) -> None:
        failed = ", ".join(f"{arm} ({cause.code})" for arm, cause in causes.items())
        total = answered + len(causes)
        super().__init__(
            f"{answered} of {total} arms answered, the policy asks for {policy}; failed: {failed}"
        )
        self.causes = causes


class FanOutTimedOut(FanOutFailed):
    """The policy is not met, and every arm that failed was late."""

    code = "fan_out_timed_out"
    retryable = True
