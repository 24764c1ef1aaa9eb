"""Faults in the log: the cause of every 500, and of every arm that a model's error ended.

Callers never see a cause; whoever runs the server has to. A model that fails for each of a thousand
requests a second is said a few times a second, and the rest is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import final

from penstock.core.errors import FanOutFailed, ModelFailed, ServingError
from penstock.core.log import Says
from penstock.core.values import InferenceResponse


@final
class FaultLog:
    """Says faults.

    Args:
        log: takes them.
    """

    def __init__(self, log: Says) -> None:
        self._log = log

    def report(self, what: str, error: BaseException, **fields: object) -> None:
        """Say that something failed, and why; `what` is the same for what is alike."""
        self._log.error(f"{what} failed", **fields, error=error)

    def report_request(self, request_id: str, error: BaseException) -> None:
        """Say that a request failed, and why."""
        self.report("request", error, request_id=request_id)

    def report_models(self, request_id: str, error: ServingError) -> None:
        """Say what a model did, where that is why a request, or one of its arms, failed."""
        for fault in _models_faults(error):
            self.report_request(request_id, fault)

    def report_background(self, error: BaseException) -> None:
        """Say what ended work in the background: a model's fault, or one of ours."""
        for fault in _models_faults(error) if isinstance(error, ServingError) else [error]:
            self.report("work in the background", fault)

    def report_arms(
        self, request_id: str, arms: Mapping[str, InferenceResponse | ServingError]
    ) -> None:
        """Say what the models of failed arms did, although the others have been answered."""
        for outcome in arms.values():
            if isinstance(outcome, ServingError):
                self.report_models(request_id, outcome)
            elif outcome.arms:
                self.report_arms(request_id, outcome.arms)


def _models_faults(error: ServingError) -> Iterator[ModelFailed]:
    if isinstance(error, ModelFailed):
        yield error
    elif isinstance(error, FanOutFailed):
        for cause in error.causes.values():
            yield from _models_faults(cause)
