"""The one table from error class to HTTP status."""

from __future__ import annotations

from typing import Final

from penstock.core import errors


class InternalError(errors.ServingError):
    """A fault of ours; its cause is in the log."""

    code = "internal_error"

    def __init__(self) -> None:
        super().__init__("something went wrong here; the log has the cause under this request id")


class Stopping(errors.Unavailable):
    """The server stops, and has cut the request off. Whether the work was done is not known."""

    code = "stopping"

    def __init__(self) -> None:
        super().__init__("the server stops: there was no time left to answer; ask again")


STATUS: Final[dict[type[errors.ServingError], int]] = {
    errors.RequestError: 400,
    errors.MalformedBody: 400,
    errors.InvalidRequestId: 400,
    errors.InvalidHeader: 400,
    errors.Unauthorized: 401,
    errors.UnknownRoute: 404,
    errors.NoSample: 404,
    errors.NoLabels: 404,
    errors.MethodNotAllowed: 405,
    errors.BodyTooSlow: 408,
    errors.ChangeRefused: 409,
    errors.BodyTooLarge: 413,
    errors.UnsupportedContent: 415,
    errors.InvalidInput: 422,
    errors.AnswerNotFinite: 422,
    errors.ServingError: 500,
    InternalError: 500,
    errors.ModelFailed: 500,
    errors.UpstreamFailed: 502,
    errors.FanOutFailed: 502,
    errors.Unavailable: 503,
    errors.NotReady: 503,
    errors.SwitchedOff: 503,
    errors.Overloaded: 503,
    errors.BreakerOpen: 503,
    errors.LogUnavailable: 503,
    errors.UpstreamShed: 503,
    Stopping: 503,
    errors.DeadlineExceeded: 504,
    errors.FanOutTimedOut: 504,
}


def status_of(error: errors.ServingError) -> int:
    """Return the HTTP status that an error is answered with.

    A user's callable may raise its own kind of `InvalidInput`: that is answered as its parent is.
    """
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
