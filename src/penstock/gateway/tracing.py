"""Traces by OpenTelemetry, of those who ask for them: a span a request, a child span a hop.

Off unless the environment says where spans go (`OTEL_EXPORTER_OTLP_ENDPOINT`,
`OTEL_TRACES_EXPORTER`); the packages come with the extra `penstock[tracing]`. What is sampled is
OpenTelemetry's business (`OTEL_TRACES_SAMPLER`), and so is how spans are sent: from a thread of its
own, out of a bounded queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, final

from msgspec import Struct

import penstock
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError, ServingError
from penstock.core.measures import CLIENT_GONE, CLIENT_GONE_STATUS, code_of
from penstock.core.values import Hop, InferenceResponse
from penstock.gateway.exchange import Exchange
from penstock.gateway.status import status_of

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

MAX_HOPS: Final = 128
"""Child spans of one request; what comes beyond in its trail has none."""

_US_PER_S: Final = 1_000_000
_NS_PER_US: Final = 1000
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class TracingUnavailable(PenstockError):
    """Traces are asked for, and cannot be made."""

    code = "tracing_unavailable"


class ServerSpan(Struct, frozen=True):
    """One request's span.

    Attributes:
        span: OpenTelemetry's `Span`.
        traceparent: names it to who is asked next.
    """

    span: Any
    traceparent: str


@final
class RequestTracer:
    """Makes spans of requests.

    Args:
        provider: OpenTelemetry's; it is shut down when this is closed.
        clock: tells the time.
    """

    def __init__(self, provider: TracerProvider, clock: Clock) -> None:
        from opentelemetry import trace

        self._trace = trace
        self._provider = provider
        self._tracer = provider.get_tracer("penstock", penstock.__version__)
        self._clock = clock

    def begin(self, route: str, exchange: Exchange, parent: str) -> ServerSpan:
        """Begin the span of an exchange when it came in; `parent` is a valid traceparent or ''."""
        span = self._tracer.start_span(
            f"{exchange.method} {route}",
            context=self._remote(parent),
            kind=self._trace.SpanKind.SERVER,
            attributes={
                "http.request.method": exchange.method,
                "url.path": exchange.path,
                "penstock.route": route,
                "penstock.request_id": exchange.request_id,
            },
            start_time=self._wall_ns(exchange.started_s),
        )
        known = span.get_span_context()
        return ServerSpan(
            span, f"00-{known.trace_id:032x}-{known.span_id:016x}-{known.trace_flags:02x}"
        )

    def end(
        self,
        begun: ServerSpan,
        exchange: Exchange,
        outcome: InferenceResponse | ServingError | None,
        elapsed_s: float,
    ) -> None:
        """End the span of an exchange, with a child for every hop of its trail."""
        span = begun.span
        if span.is_recording():
            status, code = _ended(outcome)
            span.set_attribute("http.response.status_code", status)
            if code:
                self._mark(span, code)
            context = self._trace.set_span_in_context(span, self._empty())
            for hop in () if outcome is None else outcome.trail[:MAX_HOPS]:
                self._child(context, hop)
        span.end(self._wall_ns(exchange.started_s + elapsed_s))

    def close(self) -> None:
        """Send what has not been sent yet; may take seconds, so call it in a thread."""
        self._provider.shutdown()

    def _child(self, context: Context, hop: Hop) -> None:
        name, _, code = hop.name.partition("!")
        child = self._tracer.start_span(
            name, context=context, start_time=self._wall_ns(hop.started_s)
        )
        if code:
            self._mark(child, code)
        child.end(self._wall_ns(hop.started_s + hop.elapsed_s))

    def _mark(self, span: Span, code: str) -> None:
        span.set_attribute("error.type", code)
        span.set_status(self._trace.StatusCode.ERROR, code)

    def _remote(self, parent: str) -> Context:
        if not parent:
            return self._empty()
        _, trace_id, span_id, flags, *_ = parent.split("-")
        caller = self._trace.SpanContext(
            int(trace_id, 16),
            int(span_id, 16),
            is_remote=True,
            trace_flags=self._trace.TraceFlags(int(flags, 16)),
        )
        spanned = self._trace.NonRecordingSpan(caller)
        return self._trace.set_span_in_context(spanned, self._empty())

    def _empty(self) -> Context:
        from opentelemetry.context import Context

        return Context()

    def _wall_ns(self, instant_s: float) -> int:
        """Return when an instant of the monotonic clock was, since the epoch."""
        ahead_s = self._clock.wall_s() - self._clock.now_s()
        return round((instant_s + ahead_s) * _US_PER_S) * _NS_PER_US  # a float has no more digits


def _ended(outcome: InferenceResponse | ServingError | None) -> tuple[int, str]:
    if outcome is None:
        return CLIENT_GONE_STATUS, CLIENT_GONE
    if isinstance(outcome, ServingError):
        return status_of(outcome), code_of(outcome)
    return 200, ""


def tracer_for(environment: Mapping[str, str], clock: Clock) -> RequestTracer | None:
    """Return what makes spans, or None where the environment asks for none.

    Args:
        environment: OpenTelemetry's names; its own packages read the process's for the rest.
        clock: tells the time.

    Raises:
        TracingUnavailable: they are asked for, and the extra is not installed, or the exporter is
            not known.
    """
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    asked = exporter or any(environment.get(name) for name in _ENDPOINTS)
    disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if not asked or disabled or exporter == "none":
        return None
    try:
        return RequestTracer(_provider(exporter or "otlp", environment), clock)
    except ImportError as error:
        raise TracingUnavailable(
            f"traces are asked for by the environment, and {error.name} is not installed: "
            "pip install 'penstock[tracing]', or set OTEL_TRACES_EXPORTER=none"
        ) from error


def _provider(exporter: str, environment: Mapping[str, str]) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exports = _exporter(exporter)
    name = environment.get("OTEL_SERVICE_NAME") or "penstock"
    resource = Resource.create({"service.name": name, "service.version": penstock.__version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exports))
    return provider


def _exporter(name: str) -> Any:  # noqa: ANN401 - the exporter's package may not be installed
    if name == "otlp":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()
    if name == "console":
        import sys

        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)
    raise TracingUnavailable(
        f"OTEL_TRACES_EXPORTER is {name!r}: Penstock knows otlp (over HTTP), console and none"
    )
