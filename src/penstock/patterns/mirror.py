"""Sends a copy of requests to a shadow whose answer is only recorded.

    request ──▶ [mirror 10 %] ──▶ inner            answered
                    └── copy ──▶ queue ──▶ shadow   only recorded

When to use it: a new model is to be tried on real requests before anybody sees its answers.

On inner error: passes it through; the copy goes its own way all the same. What the shadow raises
never reaches the caller; the background's owner is told.

On deadline and cancellation: passes both through. The copy has a deadline of its own, `timeout_s`
from its admission here, whatever the caller's: it goes on when the caller has gone or was late.

Hop: `mirror:copied`, `mirror:dropped` (copies are bounded, and there was no room) or
`mirror:passed` (not among the percentage).
"""

from __future__ import annotations

from functools import partial
from typing import final

from msgspec.structs import replace

from penstock.core.background import BackgroundQueue
from penstock.core.chance import is_among
from penstock.core.clock import Clock
from penstock.core.drive import within
from penstock.core.predictor import Predictor
from penstock.core.values import Hop, InferenceRequest, InferenceResponse, Tensors


def copy_of(request: InferenceRequest, deadline_s: float) -> InferenceRequest:
    """Return what the shadow gets: the same ids, tensors and seed; only its deadline is its own."""
    return replace(request, deadline_s=deadline_s)


def size_bytes(tensors: Tensors) -> int:
    """Return how much memory tensors hold, the text or image of each element of BYTES included."""
    size = 0
    for tensor in tensors.values():
        size += tensor.nbytes
        if tensor.dtype.hasobject:
            size += sum(map(len, tensor.flat))
    return size


@final
class Mirror:
    """Answers as `inner` does, and has `shadow` asked the same in the background.

    Args:
        inner: answers.
        shadow: gets the copies.
        percent: how many of the requests are copied, by their seed.
        timeout_s: how long a copy has, in seconds, waiting included.
        place: where it stands in the spec; salts the choice.
        copies: runs them, as many at once and waiting as may be; it counts what is dropped.
        clock: tells the time and wakes it.
    """

    def __init__(
        self,
        *,
        inner: Predictor,
        shadow: Predictor,
        percent: float,
        timeout_s: float,
        place: str,
        copies: BackgroundQueue,
        clock: Clock,
    ) -> None:
        self._inner = inner
        self._shadow = shadow
        self._percent = percent
        self._timeout_s = timeout_s
        self._place = place
        self._copies = copies
        self._clock = clock
        self._now_s = clock.now_s

    def __repr__(self) -> str:
        return f"mirror: {{shadow: {self._shadow!r}, percent: {self._percent:g}}}"

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        """Answer as the inner predictor does."""
        started_s = self._now_s()
        name = self._offer(request, started_s)
        response = await self._inner(request)
        return response.behind(Hop(name, started_s, self._now_s() - started_s))

    def _offer(self, request: InferenceRequest, now_s: float) -> str:
        if not is_among(self._percent, request.seed, self._place):
            return "mirror:passed"
        if self._copies.turns_away():
            return "mirror:dropped"
        copy = copy_of(request, now_s + self._timeout_s)
        size = size_bytes(copy.tensors)
        ask = partial(self._ask, copy)
        taken = self._copies.offer(ask, deadline_s=copy.deadline_s, size_bytes=size)
        return "mirror:copied" if taken else "mirror:dropped"

    async def _ask(self, copy: InferenceRequest) -> None:
        await within(copy.deadline_s, self._shadow(copy), clock=self._clock, name=self._place)
