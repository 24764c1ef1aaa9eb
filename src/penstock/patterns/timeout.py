"""Shortens the deadline of everything below it.

    request ──▶ [timeout 0.5 s] ──▶ inner

When to use it: a route (or a branch of one) must answer sooner than the 30 s that a request has
by default, whatever the caller asks for.

On inner error: passes it through.

On deadline and cancellation: at the shortened deadline what runs below is cancelled and
`DeadlineExceeded` raised; a model that cannot be stopped runs on and keeps its place. The deadline
is never lengthened. Cancellation cancels what runs below.

Hop: `timeout`.
"""

from __future__ import annotations

from typing import final

from penstock.core.clock import Clock
from penstock.core.drive import within
from penstock.core.predictor import Predictor
from penstock.core.values import Hop, InferenceRequest, InferenceResponse


def shortened(now_s: float, deadline_s: float, timeout_s: float) -> float:
    """Return the instant by which the inner predictor must have answered."""
    return min(deadline_s, now_s + timeout_s)


@final
class Timeout:
    """Gives the inner predictor `timeout_s` seconds.

    Args:
        inner: what may take that long.
        timeout_s: seconds, more than 0.
        place: where it stands in the spec, for the error.
        clock: tells the time and wakes it.
    """

    def __init__(self, *, inner: Predictor, timeout_s: float, place: str, clock: Clock) -> None:
        self._inner = inner
        self._timeout_s = timeout_s
        self._place = place
        self._clock = clock

    def __repr__(self) -> str:
        return f"timeout: {{timeout_s: {self._timeout_s:g}}}"

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        """Answer as the inner predictor does, in time.

        Raises:
            DeadlineExceeded: it did not.
        """
        started_s = self._clock.now_s()
        deadline_s = shortened(started_s, request.deadline_s, self._timeout_s)
        response = await within(
            deadline_s, self._inner(request.due(deadline_s)), clock=self._clock, name=self._place
        )
        return response.behind(Hop("timeout", started_s, self._clock.now_s() - started_s))
