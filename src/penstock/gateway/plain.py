"""The plain face: `/predict` and its neighbours, for every route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, TypeAlias, final

from msgspec import Struct

from penstock.core.clock import Clock
from penstock.core.errors import (
    InvalidHeader,
    NoSample,
    ServingError,
)
from penstock.core.ids import IdSource, SeedSource
from penstock.core.stop import Stop
from penstock.core.values import NO_FIELDS, Array, FieldValue, InferenceRequest
from penstock.gateway.answers import encode, encode_large
from penstock.gateway.body import ReadingBudget, read_body
from penstock.gateway.decode import LARGE_BYTES, ApartDecoder, BodyDecoder
from penstock.gateway.exchange import Exchange, arm_header
from penstock.gateway.fields import FieldReader
from penstock.gateway.heads import HeadReader
from penstock.gateway.metadata import TOLD, About
from penstock.gateway.paths import PathTable
from penstock.gateway.recording import Recording, RouteEnds
from penstock.gateway.tracing import RequestTracer
from penstock.graph.arms import input_of
from penstock.graph.node import Route
from penstock.graph.open import Graph

JOB_ID: Final = "job_id"
"""The field of an answer that holds the request's id."""

BodyHandler: TypeAlias = Callable[[Exchange, bytes], Awaitable[None]]


class Lane(Struct, frozen=True):
    """A path whose body may be read by the server itself.

    Attributes:
        answer: answers a body that has been read.
        record: records an exchange whose body never came whole, and the error, if there is one.
    """

    answer: BodyHandler
    record: Callable[[Exchange, ServingError | None], None]


class FaceTools:
    """What all routes' endpoints share.

    Args:
        graph: what is open.
        apart: decodes large bodies.
        seeds: makes a seed for each request.
        ids: makes the ids of records.
        tracer: makes spans; None where nothing is traced.
        stop: tells whether it is a stop that has cut an exchange off.
    """

    __slots__ = (
        "apart", "budget", "clock", "faults", "graph", "measures", "new_id", "new_seed", "now_s",
        "stop", "tracer",
    )  # fmt: skip

    def __init__(
        self,
        graph: Graph,
        apart: ApartDecoder,
        seeds: SeedSource,
        ids: IdSource,
        *,
        tracer: RequestTracer | None = None,
        stop: Stop | None = None,
    ) -> None:
        self.faults = graph.faults
        self.graph = graph
        self.apart = apart
        self.budget = ReadingBudget()
        self.clock: Clock = graph.clock
        self.now_s = graph.clock.now_s
        self.new_seed = seeds.new_seed
        self.new_id = ids.new_id
        self.measures = graph.measures
        self.tracer = tracer
        self.stop = stop


@final
class PlainRoute:
    """The endpoints of one route.

    Args:
        route: what answers.
        fields: takes what the route's patterns look at out of a request.
        tools: what all routes' endpoints share.
    """

    def __init__(self, route: Route, fields: FieldReader, tools: FaceTools) -> None:
        limits = tools.graph.limits
        self._head = HeadReader(
            route.name, fields, timeout_s=limits.timeout_s, new_seed=tools.new_seed
        )
        self._about = About(route, self._head.request, tools.clock)
        self._answers_by_arm = bool(route.description.arms)
        self._route = route
        self._name = route.name
        self._predict = route.node.predictor
        self._tools = tools
        self._max_body_bytes = limits.max_body_bytes
        rows = input_of(route.description)
        self._input = rows.name
        self._decoder = BodyDecoder(rows, fields.body_keys, limits.max_rows)
        self._traced = tools.tracer is not None
        self._recorded = route.recorder is not None
        self._is_logged = route.is_logged
        self._ends = RouteEnds(
            route.name,
            tools.clock,
            tools.measures,
            recorder=route.recorder,
            tracer=tools.tracer,
            stop=tools.stop,
        )

    def serve_at(self, table: PathTable, prefix: str) -> None:
        """Put the endpoints into the table, below `prefix`."""
        for method, path, handler in FIXED:
            table.add(method, prefix + path, partial(handler, self))
            table.add_refused(prefix + path, self.record_unread)
        for method, path, told in TOLD:
            table.add(method, prefix + path, partial(told, self._about))
        for method, path, with_id in WITH_ID:
            table.add_with_id(method, prefix + path, partial(with_id, self))
            table.add_refused(prefix + path, self.record_unread)
        if self._answers_by_arm:  # users of fan-outs know two more names for the same
            for path in ("/predict/get/test", "/predict/post/test"):
                table.add("GET", prefix + path, partial(self.predict_sample, labelled=False))

    def lane(self, prefix: str) -> dict[bytes, Lane]:
        """Return the hot paths below `prefix`: their bodies may be read by the server itself."""
        return {
            f"{prefix}{path}".encode(): Lane(
                partial(self.predict_body, labelled=labelled), self.record_unread
            )
            for path, labelled in (("/predict", False), ("/predict/label", True))
        }

    async def predict(
        self,
        exchange: Exchange,
        *,
        labelled: bool,
        shows_id: bool = False,
    ) -> None:
        """`POST /predict`, `POST /predict/label`; the answer may have to show the id."""
        try:
            tools = self._tools
            body = await read_body(exchange, self._max_body_bytes, tools.clock, tools.budget)
        except BaseException as error:  # also where the client has gone
            self.record_unread(exchange, error)
            raise
        await self.predict_body(exchange, body, labelled=labelled, shows_id=shows_id)

    def record_unread(self, exchange: Exchange, error: BaseException | None) -> None:
        """Record an exchange whose body never came whole; None where the client has gone."""
        Recording(self._ends, exchange).end(error)

    async def predict_body(
        self,
        exchange: Exchange,
        body: bytes,
        *,
        labelled: bool,
        shows_id: bool = False,
    ) -> None:
        """Answer a body that has been read; it is at most as large as it may be."""
        tools = self._tools
        with Recording(self._ends, exchange) as record:
            deadline_s = self._head.deadline_s(exchange)
            if not body and b"upgrade" in exchange.headers:
                raise InvalidHeader("upgrade", "followed here: send plain HTTP/1.1 without it")
            if len(body) > LARGE_BYTES:
                rows, fields = await tools.apart.decode(self._decoder, body, deadline_s)
            else:
                rows, fields = self._decoder.decode(body)
            request = self._request(
                record, rows, fields, deadline_s, self._head.seed(exchange), labelled=labelled
            )
            response = await self._predict(request)
            if response.arms:
                tools.faults.report_arms(exchange.request_id, response.arms)
            added = {JOB_ID: exchange.request_id} if shows_id or self._is_logged else NO_FIELDS
            content = encode(response, added)
            if content is None:
                content = await encode_large(response, added)
            record.outcome = response
        await exchange.answer(200, content, *arm_header(response))

    async def predict_by_id(self, exchange: Exchange, request_id: str, *, labelled: bool) -> None:
        """`POST /predict/{id}`, `POST /predict-label/{id}`."""
        exchange.request_id = request_id
        await self.predict(exchange, labelled=labelled, shows_id=True)

    async def predict_sample(
        self,
        exchange: Exchange,
        *,
        labelled: bool,
        shows_id: bool = False,
    ) -> None:
        """`GET /predict/test`, `GET /predict/test/label`; the answer may have to show the id."""
        with Recording(self._ends, exchange) as record:
            head = self._head.request(exchange)
            sample = self._sample(head)
            request = self._request(
                record, sample, NO_FIELDS, head.deadline_s, head.seed, labelled=labelled
            )
            response = await self._predict(request)
            added = {JOB_ID: exchange.request_id} if shows_id or self._is_logged else NO_FIELDS
            content = encode(response, added)
            if content is None:
                content = await encode_large(response, added)
            record.outcome = response
        await exchange.answer(200, content, *arm_header(response))

    def _sample(self, head: InferenceRequest) -> Array:
        sample = self._route.met_by(head).description.sample
        if sample is None:
            raise NoSample(f"route {self._name}")
        return sample

    async def predict_sample_by_id(
        self, exchange: Exchange, request_id: str, *, labelled: bool
    ) -> None:
        """`GET /predict-test/{id}`, `GET /predict-test-label/{id}`."""
        exchange.request_id = request_id
        await self.predict_sample(exchange, labelled=labelled, shows_id=True)

    def _request(
        self,
        record: Recording,
        rows: Array,
        body_fields: Mapping[str, FieldValue],
        deadline_s: float,
        seed: int,
        *,
        labelled: bool,
    ) -> InferenceRequest:
        exchange = record.exchange
        trace = exchange.headers.get(b"traceparent")
        request = record.request = InferenceRequest(
            exchange.request_id,
            self._name,
            {self._input: rows},
            deadline_s,
            seed,
            labelled,
            self._head.fields(exchange, body_fields),
            "" if trace is None and not self._traced else record.traceparent(trace),
            self._tools.new_id() if self._recorded else "",
        )
        return request


FIXED: Final = (
    ("POST", "/predict", partial(PlainRoute.predict, labelled=False)),
    ("POST", "/predict/label", partial(PlainRoute.predict, labelled=True)),
    ("GET", "/predict/test", partial(PlainRoute.predict_sample, labelled=False)),
    ("GET", "/predict/test/label", partial(PlainRoute.predict_sample, labelled=True)),
)

WITH_ID: Final = (
    ("POST", "/predict/", partial(PlainRoute.predict_by_id, labelled=False)),
    ("POST", "/predict-label/", partial(PlainRoute.predict_by_id, labelled=True)),
    ("GET", "/predict-test/", partial(PlainRoute.predict_sample_by_id, labelled=False)),
    ("GET", "/predict-test-label/", partial(PlainRoute.predict_sample_by_id, labelled=True)),
)


def first_words() -> frozenset[str]:
    """Return the first word of every path of this face: at the root, no route may have it."""
    return frozenset(path.split("/")[1] for _, path, _ in (*FIXED, *TOLD, *WITH_ID))
