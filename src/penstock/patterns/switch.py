"""Refuses every request to a route that an operator has switched off.

    request ──▶ [switch: off]       503 switched_off
    request ──▶ [switch: observe]   503 switched_off, and in the background ──▶ inner

When to use it: a whole route must not be answered now. `off`: nothing below is called. `observe`:
what is below is called in the background and recorded, as before a route is opened to its callers.
A route that is on has no switch.

On inner error: nothing of it reaches the caller; the background's owner is told.

On deadline and cancellation: the refusal waits for nothing. What is observed goes on until the
request's deadline, also when the caller has gone, and is cancelled then.

Hop: none. Who is refused finds the switch's place in the trail of the error.
"""

from __future__ import annotations

from functools import partial
from typing import final

from penstock.core.background import BackgroundScope
from penstock.core.clock import Clock
from penstock.core.drive import within
from penstock.core.errors import SwitchedOff
from penstock.core.predictor import Predictor
from penstock.core.values import InferenceRequest, InferenceResponse


def refusal(route: str, *, observed: bool) -> SwitchedOff:
    """Return what a caller of a route is told."""
    return SwitchedOff(
        f"the route {route}, which is observed only," if observed else f"the route {route}"
    )


@final
class Switch:
    """Refuses every request; has it answered in the background where it is to be observed.

    Args:
        inner: what is switched off.
        route: its name, for the error.
        observed: ask the inner predictor all the same, for the record.
        clock: tells the time and wakes it.
        background: where observed requests run; it counts what does not fit.
    """

    def __init__(
        self,
        *,
        inner: Predictor,
        route: str,
        observed: bool,
        clock: Clock,
        background: BackgroundScope,
    ) -> None:
        self._inner = inner
        self._route = route
        self._observed = observed
        self._clock = clock
        self._background = background

    def __repr__(self) -> str:
        return f"switch: {'observe' if self._observed else 'off'}"

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        """Refuse.

        Raises:
            SwitchedOff: always.
        """
        if self._observed:
            self._background.start(partial(self._observe, request))
        raise refusal(self._route, observed=self._observed)

    async def _observe(self, request: InferenceRequest) -> None:
        await within(request.deadline_s, self._inner(request), clock=self._clock, name=self._route)
