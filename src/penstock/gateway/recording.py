"""Each exchange with a route is counted, recorded and traced once, whatever its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import final

from penstock.core.clock import Clock
from penstock.core.errors import FanOutFailed, ServingError
from penstock.core.families import SHEDS
from penstock.core.measures import (
    CLIENT_GONE,
    CLIENT_GONE_STATUS,
    SHED_CODES,
    Measures,
    code_of,
)
from penstock.core.record import Record, Recorder, Role
from penstock.core.stop import Stop
from penstock.core.values import InferenceRequest, InferenceResponse
from penstock.gateway.body import ClientGone
from penstock.gateway.exchange import Exchange
from penstock.gateway.headers import traceparent
from penstock.gateway.status import InternalError, Stopping, status_of
from penstock.gateway.tracing import RequestTracer, ServerSpan


@final
class RouteEnds:
    """Who is told when an exchange with one route ends.

    Args:
        route: its name.
        clock: tells the time.
        measures: where it is counted.
        recorder: takes a record of it; None where nobody listens.
        tracer: makes a span of it; None where nothing is traced.
        stop: tells whether it is a stop that has cut an exchange off; None where nothing is.
    """

    __slots__ = ("clock", "measure", "measures", "now_s", "recorder", "route", "stop", "tracer")

    def __init__(
        self,
        route: str,
        clock: Clock,
        measures: Measures,
        *,
        recorder: Recorder | None = None,
        tracer: RequestTracer | None = None,
        stop: Stop | None = None,
    ) -> None:
        self.route = route
        self.clock = clock
        self.now_s = clock.now_s
        self.measures = measures
        self.measure = measures.route(route)
        self.recorder = recorder
        self.tracer = tracer
        self.stop = stop

    def is_cut_off(self, error: BaseException | None) -> bool:
        """Tell whether what ended an exchange is the stop of the server."""
        return (
            isinstance(error, asyncio.CancelledError) and self.stop is not None and self.stop.cuts
        )


@final
class Recording:
    """Tells of an exchange when it is left: its request, if it could be read, and its outcome.

    The outcome stays None where the client has gone.

    Args:
        ends: who is told.
        exchange: whose end it is.
    """

    __slots__ = ("_ends", "_span", "exchange", "outcome", "request")

    def __init__(self, ends: RouteEnds, exchange: Exchange) -> None:
        self._ends = ends
        self.exchange = exchange
        self._span: ServerSpan | None = None
        self.request: InferenceRequest | None = None
        self.outcome: InferenceResponse | ServingError | None = None

    def __enter__(self) -> Recording:
        self._ends.measure.in_flight += 1
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._ends.measure.in_flight -= 1
        self.end(error)

    def traceparent(self, given: bytes | None) -> str:
        """Return what remote predictors are to be told of the trace; `given` is the caller's."""
        tracer = self._ends.tracer
        parent = "" if given is None else traceparent(given)
        if tracer is None:
            return parent
        self._span = tracer.begin(self._ends.route, self.exchange, parent)
        return self._span.traceparent

    def end(self, error: BaseException | None) -> None:
        """Tell of the exchange now; `error` is what ended it, if anything did."""
        ends = self._ends
        elapsed_s = ends.now_s() - self.exchange.started_s
        outcome = self.outcome
        if error is None and isinstance(outcome, InferenceResponse):
            ends.measure.answered(elapsed_s)
            if outcome.arms:
                _count_shed_arms(ends.measures, outcome.arms)
        else:
            self._failed(error, elapsed_s)
        if ends.recorder is not None:
            self._record(ends.recorder, elapsed_s)
        if ends.tracer is not None:
            self._trace(ends.tracer, elapsed_s)

    def _failed(self, error: BaseException | None, elapsed_s: float) -> None:
        self.exchange.counted = True
        if isinstance(error, ServingError):
            self.outcome = error
        elif isinstance(error, Exception) and not isinstance(error, ClientGone):
            self.outcome = InternalError()
        elif self._ends.is_cut_off(error):
            self.outcome = Stopping()
        measure = self._ends.measure
        if isinstance(self.outcome, ServingError):
            measure.failed(elapsed_s, status_of(self.outcome), code_of(self.outcome))
            _count_shed(self._ends.measures, self.outcome)
        else:
            measure.failed(elapsed_s, CLIENT_GONE_STATUS, CLIENT_GONE)

    def _record(self, recorder: Recorder, elapsed_s: float) -> None:
        request_id = self.exchange.request_id
        route = self._ends.route
        record = Record(Role.PRIMARY, route, request_id, self.request, self.outcome, elapsed_s)
        recorder(record)

    def _trace(self, tracer: RequestTracer, elapsed_s: float) -> None:
        if self._span is None:  # it ended before there was a request
            self.traceparent(self.exchange.headers.get(b"traceparent"))
        assert self._span is not None
        tracer.end(self._span, self.exchange, self.outcome, elapsed_s)


def _count_shed_arms(
    measures: Measures, arms: Mapping[str, InferenceResponse | ServingError]
) -> None:
    for arm in arms.values():
        if isinstance(arm, ServingError):
            _count_shed(measures, arm)
        elif arm.arms:
            _count_shed_arms(measures, arm.arms)


def _count_shed(measures: Measures, error: ServingError) -> None:
    """Count an error that refused on purpose, where it did: at the last hop it went through."""
    if isinstance(error, FanOutFailed):
        for cause in error.causes.values():
            _count_shed(measures, cause)
    code = code_of(error)
    if code in SHED_CODES:
        hop = error.trail[-1].name if error.trail else ""
        place, _, _ = hop.partition("!")
        name, _, _ = place.partition("@")  # a model's version would be another series each time
        measures.count(SHEDS, name or "gateway", code)
