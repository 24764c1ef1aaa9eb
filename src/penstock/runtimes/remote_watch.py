"""Learning in the background what a remote model takes and gives, and telling of what is new."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeAlias, final

import msgspec
import numpy as np

from penstock.core.clock import Clock
from penstock.core.errors import ServingError, UpstreamFailed
from penstock.core.predictor import Description
from penstock.core.values import Array
from penstock.runtimes.remote_dialect import Dialect

FETCH_TIMEOUT_S: Final = 5.0
"""How long one replica may take to tell about a remote model."""

FIRST_RETRY_S: Final = 0.2
"""The pause after the first try that failed; doubles each time."""

MAX_RETRY_S: Final = 5.0
REFRESH_S: Final = 30.0
"""How often a remote model that is known is asked again."""

_OUR_MISTAKE: Final = "an error of this server's own, which is in its log"

Listener: TypeAlias = Callable[[Description], None]


class Learner(Protocol):
    """Who is to know what the model takes and gives."""

    why_not_ready: str

    def learn(self, dialect: Dialect) -> None:
        """Take note of what the model takes and gives."""


@final
class Watch:
    """Asks a remote model again and again what it takes and gives.

    What is known stays known while the remote cannot be reached. One replica is asked, the same
    each time as long as it tells, so that replicas that differ make no model that changes.

    Args:
        fetch: asks one replica once, by a deadline.
        unknown: what is said of the model before anything is known.
        learner: answers requests; is told first.
        replicas: how many there are.
        clock: tells the time and wakes.
    """

    def __init__(
        self,
        fetch: Callable[[int, float], Awaitable[Dialect]],
        unknown: Description,
        learner: Learner,
        *,
        replicas: int,
        clock: Clock,
    ) -> None:
        self._fetch = fetch
        self._replica = 0
        self._replicas = replicas
        self._description = unknown
        self._learner = learner
        self._clock = clock
        self._listener: Listener | None = None
        self._told = unknown

    def follow(self, listener: Listener | None) -> None:
        """Have `listener`, and nobody else, told on the loop of each new description.

        One that nobody has been told of yet is told on a later turn of the loop.
        """
        self._listener = listener
        if listener is not None and self._told is not self._description:
            asyncio.get_running_loop().call_soon(self._tell)

    async def run(self) -> None:
        """Ask until cancelled."""
        retry_s = FIRST_RETRY_S
        while True:
            if await self._learn():
                retry_s = FIRST_RETRY_S
                await _pause(REFRESH_S, self._clock)
            else:
                await _pause(retry_s, self._clock)
                retry_s = min(2.0 * retry_s, MAX_RETRY_S)

    async def _learn(self) -> bool:
        """Ask the replica that told last; where it fails the next one, once around."""
        for _ in range(self._replicas):
            if await self._learn_from(self._replica):
                self._tell()
                return True
            self._replica = (self._replica + 1) % self._replicas
        return False

    async def _learn_from(self, replica: int) -> bool:
        try:
            dialect = await self._fetch(replica, self._clock.now_s() + FETCH_TIMEOUT_S)
            if not same(dialect.description, self._description):
                self._learner.learn(dialect)
                self._description = dialect.description
        except ServingError as error:
            what = error.what if isinstance(error, UpstreamFailed) else error.message
            self._learner.why_not_ready = what
            return False
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not end the asking
            self._learner.why_not_ready = _OUR_MISTAKE
            _log("learning about a remote model failed", error)
            return False
        return True

    def _tell(self) -> None:
        """Tell of what is new; a listener that fails is told again after the next refresh."""
        if self._listener is None or self._told is self._description:
            return
        before, self._told = self._told, self._description
        try:
            self._listener(self._description)
        except Exception as error:  # noqa: BLE001 - nor may one of the listener's
            self._told = before
            _log("telling of a remote model failed", error)


def same(one: Description, other: Description) -> bool:
    """Tell whether two descriptions say the same."""
    return _same_sample(one.sample, other.sample) and _bare(one) == _bare(other)


def _bare(description: Description) -> Description:
    return msgspec.structs.replace(description, sample=None)


def _same_sample(one: Array | None, other: Array | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.dtype == other.dtype and np.array_equal(one, other)


def _log(what: str, error: Exception) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": what, "exception": error})


async def _pause(seconds: float, clock: Clock) -> None:
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end() -> None:
        if not over.done():
            over.set_result(None)

    timer = clock.call_at(clock.now_s() + seconds, end)
    try:
        await over
    finally:
        timer.cancel()
