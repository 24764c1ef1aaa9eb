"""Faults on standard error: the cause of every 500, and of every arm that a model's error ended.

Callers never see a cause; whoever runs the server has to. A model that fails for each of a thousand
requests a second is said a few times a second, and the rest is counted.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Final, final

from penstock.core.clock import Clock
from penstock.core.errors import FanOutFailed, ModelFailed, ServingError
from penstock.core.values import InferenceResponse

MOST_A_SECOND: Final = 5


@final
class FaultLog:
    """Says faults, at most five a second.

    Args:
        clock: tells the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._now_s = clock.now_s
        self._since_s = float("-inf")
        self._said = 0
        self._unsaid = 0

    def report(self, what: str, error: BaseException) -> None:
        """Say that something failed, and why."""
        if self._now_s() - self._since_s >= 1.0:
            if self._unsaid:
                _say(f"{self._unsaid} more faults were not shown")
            self._since_s, self._said, self._unsaid = self._now_s(), 0, 0
        if self._said >= MOST_A_SECOND:
            self._unsaid += 1
            return
        self._said += 1
        _say(f"{what} failed:\n" + "".join(traceback.format_exception(error)))

    def report_models(self, request_id: str, error: ServingError) -> None:
        """Say what a model did, where that is why a request, or one of its arms, failed."""
        for fault in _models_faults(error):
            self.report(f"request {request_id}", fault)

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


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody may be reading it any more
        print(text.rstrip(), file=sys.stderr, flush=True)  # noqa: T201 - this is the log
