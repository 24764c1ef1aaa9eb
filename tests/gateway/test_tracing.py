"""A span a request, a child a hop: what OpenTelemetry is told, and when it is left alone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import pytest

from penstock.core.errors import DeadlineExceeded, InvalidInput, ServingError
from penstock.core.measures import Measures
from penstock.core.record import Record
from penstock.core.values import Hop, InferenceResponse
from penstock.gateway.exchange import Exchange, Headers
from penstock.gateway.recording import Recording, RouteEnds
from penstock.gateway.tracing import MAX_HOPS, RequestTracer, TracingUnavailable, tracer_for
from tests.gateway.asking import Message
from tests.support import START_S, ManualClock, scores

pytest.importorskip("opentelemetry.sdk", reason="the extra penstock[tracing] is not installed")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler
from opentelemetry.trace import SpanKind, StatusCode

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
WALL_NS = 1_750_000_000 * 10**9


class Traced:
    """Exchanges with a route whose spans are kept."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.clock = ManualClock()
        self.kept = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.kept))
        self.tracer = RequestTracer(provider, self.clock)
        self.records: list[Record] = []
        self.ends = RouteEnds(
            "iris", self.clock, Measures(), recorder=self.records.append, tracer=self.tracer
        )

    def recording(self, *, parent: str = "") -> Recording:
        async def receive() -> Message:
            raise AssertionError

        async def respond(status: int, headers: Headers, content: bytes, *, ends: bool) -> None:
            raise AssertionError

        head = {b"traceparent": parent.encode()} if parent else {}
        return Recording(
            self.ends,
            Exchange("POST", "/iris/predict", b"", head, receive, respond, "an-id", START_S),
        )

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.kept.get_finished_spans()}

    def span(self) -> ReadableSpan:
        """Return the one span of the request."""
        return self.spans()["POST iris"]


@pytest.fixture
def traced() -> Iterator[Traced]:
    traced = Traced()
    yield traced
    traced.tracer.close()


def answered_behind(*hops: Hop) -> InferenceResponse:
    response = scores([1.0])
    for hop in reversed(hops):
        response = response.behind(hop)
    return response


def is_sampled(flags: str) -> bool:
    return int(flags, 16) & 1 == 1


# --- the request's span ------------------------------------------------------------------


def test_a_request_is_a_span(traced: Traced) -> None:
    with traced.recording() as record:
        record.traceparent(None)
        traced.clock.advance(0.5)
        record.outcome = scores([1.0])
    span = traced.span()
    assert span.kind is SpanKind.SERVER
    assert span.parent is None
    assert (span.start_time, span.end_time) == (WALL_NS, WALL_NS + 5 * 10**8)
    assert span.attributes == {
        "http.request.method": "POST",
        "url.path": "/iris/predict",
        "penstock.route": "iris",
        "penstock.request_id": "an-id",
        "http.response.status_code": 200,
    }
    assert span.status.status_code is StatusCode.UNSET
    assert len(traced.records) == 1


def test_remotes_are_told_of_the_requests_own_span(traced: Traced) -> None:
    with traced.recording(parent=f"00-{TRACE}-{SPAN}-01") as record:
        told = record.traceparent(f"00-{TRACE}-{SPAN}-01".encode())
        record.outcome = scores([1.0])
    span = traced.span()
    assert span.context is not None
    assert told[:-2] == f"00-{TRACE}-{span.context.span_id:016x}-"
    assert is_sampled(told[-2:])
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == SPAN
    assert span.parent.is_remote


def test_without_a_valid_parent_a_trace_begins(traced: Traced) -> None:
    with traced.recording() as record:
        told = record.traceparent(b"nonsense")
        record.outcome = scores([1.0])
    version, trace_id, span_id, flags = told.split("-")
    assert version == "00"
    assert is_sampled(flags)
    assert int(trace_id, 16)
    assert int(span_id, 16)
    assert traced.span().parent is None


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidInput("no"), 422, "invalid_input"),
        (DeadlineExceeded("it"), 504, "deadline_exceeded"),
        (RuntimeError("ours"), 500, "internal_error"),
        (asyncio.CancelledError(), 499, "client_gone"),
        (None, 499, "client_gone"),
    ],
)
def test_an_error_is_marked(
    traced: Traced, error: BaseException | None, status: int, code: str
) -> None:
    traced.recording(parent=f"00-{TRACE}-{SPAN}-01").end(error)
    span = traced.span()
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == status
    assert span.attributes["error.type"] == code
    assert span.status.status_code is StatusCode.ERROR
    assert span.parent is not None  # also of a request that could not be read


# --- the hops ----------------------------------------------------------------------------


def test_every_hop_is_a_child(traced: Traced) -> None:
    with traced.recording() as record:
        record.traceparent(None)
        record.outcome = answered_behind(Hop("timeout", START_S + 0.25, 0.5))
    spans = traced.spans()
    request = traced.span()
    assert set(spans) == {"POST iris", "timeout", "model:fake@1"}
    child = spans["timeout"]
    assert child.parent == request.context
    assert child.start_time == WALL_NS + 25 * 10**7
    assert child.end_time == WALL_NS + 75 * 10**7


def test_a_failed_hop_is_marked(traced: Traced) -> None:
    error: ServingError = DeadlineExceeded("it")
    error.trail = (Hop("routes.iris!deadline_exceeded", START_S, 0.5),)
    traced.recording().end(error)
    child = traced.spans()["routes.iris"]
    assert child.attributes == {"error.type": "deadline_exceeded"}
    assert child.status.status_code is StatusCode.ERROR


def test_hops_are_bounded(traced: Traced) -> None:
    with traced.recording() as record:
        record.traceparent(None)
        record.outcome = answered_behind(*[Hop("h", START_S, 0.0)] * (MAX_HOPS + 5))
    assert len(traced.kept.get_finished_spans()) == MAX_HOPS + 1


def test_what_is_not_sampled_has_no_spans_and_tells_remotes_so() -> None:
    traced = Traced(ParentBased(ALWAYS_OFF))
    with traced.recording() as record:
        told = record.traceparent(None)
        record.outcome = scores([1.0])
    assert not is_sampled(told[-2:])
    assert traced.kept.get_finished_spans() == ()
    traced.tracer.close()


# --- whether at all ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"},
        {"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "TRUE"},
        {"OTEL_SERVICE_NAME": "penstock"},
    ],
)
def test_nothing_is_traced_unless_asked_for(environment: dict[str, str]) -> None:
    assert tracer_for(environment, ManualClock()) is None


def test_spans_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"OTEL_TRACES_EXPORTER": "console", "OTEL_SERVICE_NAME": "irises"}
    clock = ManualClock()
    tracer = tracer_for(environment, clock)
    assert tracer is not None
    traced = Traced()
    traced.ends = RouteEnds("iris", clock, Measures(), tracer=tracer)
    traced.recording().end(None)
    tracer.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert '"name": "POST iris"' in err
    assert '"service.name": "irises"' in err


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces"},
        {"OTEL_TRACES_EXPORTER": "otlp"},
    ],
)
def test_without_the_extra_it_says_what_to_install(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)
    with pytest.raises(TracingUnavailable, match=r"pip install 'penstock\[tracing\]'"):
        tracer_for(environment, ManualClock())


def test_an_exporter_that_is_not_known() -> None:
    with pytest.raises(TracingUnavailable, match="'zipkin': Penstock knows otlp"):
        tracer_for({"OTEL_TRACES_EXPORTER": "zipkin"}, ManualClock())
