"""One primary record for each exchange with a route, whatever its end."""

from __future__ import annotations

from typing import final

from penstock.core.clock import Clock
from penstock.core.errors import ServingError
from penstock.core.record import Record, Recorder, Role
from penstock.core.values import InferenceRequest, InferenceResponse
from penstock.gateway.body import ClientGone
from penstock.gateway.exchange import Exchange
from penstock.gateway.status import InternalError


@final
class Recording:
    """Records an exchange when it is left: its request, if it could be read, and its outcome.

    The outcome stays None where the client has gone.

    Args:
        recorder: takes the record; None where nobody listens.
        clock: tells the time.
        route: the route's name.
        exchange: whose end is recorded.
    """

    __slots__ = ("_clock", "_exchange", "_recorder", "_route", "outcome", "request")

    def __init__(
        self, recorder: Recorder | None, clock: Clock, route: str, exchange: Exchange
    ) -> None:
        self._recorder = recorder
        self._clock = clock
        self._route = route
        self._exchange = exchange
        self.request: InferenceRequest | None = None
        self.outcome: InferenceResponse | ServingError | None = None

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.end(error)

    def end(self, error: BaseException | None) -> None:
        """Record the exchange now; `error` is what ended it, if anything did."""
        if isinstance(error, ServingError):
            self.outcome = error
        elif isinstance(error, Exception) and not isinstance(error, ClientGone):
            self.outcome = InternalError()
        if self._recorder is None:
            return
        elapsed_s = self._clock.now_s() - self._exchange.started_s
        request_id = self._exchange.request_id
        record = Record(
            Role.PRIMARY, self._route, request_id, self.request, self.outcome, elapsed_s
        )
        self._recorder(record)
