"""What is counted of requests while they pass: plain numbers, read when somebody asks.

A counter is an attribute, a histogram a list: to count costs a tenth of a microsecond. `gateway`
hands them to the Prometheus library at scrape time. They belong to the process, not to a graph, so
that a reload resets nothing. Everything is counted on the event loop's thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias, TypeVar, final

from penstock.core import families
from penstock.core.errors import PenstockError
from penstock.core.families import LATENCY_BOUNDS_S, ROWS_BOUNDS, Family, Kind
from penstock.core.snapshot import (
    OTHER,
    Distribution,
    Labels,
    Reading,
    Snapshot,
    add_number,
)

MAX_NAMES: Final = 1000
"""Nodes, routes and models that are counted each by itself; further ones together as `other`."""

MAX_CODES: Final = 64
"""Error codes counted of one node or route; further ones are counted as `other`."""

CLIENT_GONE: Final = "client_gone"
"""Counted as the code of a request whose client went before it was answered."""

CLIENT_GONE_STATUS: Final = 499
"""... and as its status, as other servers' logs have it; nobody is answered so."""

SHED_CODES: Final = frozenset(
    {"overloaded", "breaker_open", "log_unavailable", "upstream_shed", "switched_off"}
)
"""Codes of errors that refuse on purpose what might have been answered."""

Read: TypeAlias = Callable[[], Iterable[Reading]]
"""Reads what something else counts."""

M = TypeVar("M")


def code_of(error: PenstockError) -> str:
    """Return the error's code; of a class that a user has derived, its nearest parent's of ours."""
    return next(
        kind.code
        for kind in type(error).__mro__
        if issubclass(kind, PenstockError) and kind.__module__.startswith("penstock.")
    )


@final
class Histogram:
    """How many values fell at or below each bound.

    Args:
        bounds: ascending upper bounds.

    Attributes:
        counts: by bucket, not cumulated; the last one holds what is above all bounds.
        total: the sum of all values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def taken(self) -> Distribution:
        """Return the values so far."""
        return Distribution(tuple(self.counts), self.total)


@final
class Measure:
    """What is counted of one node.

    Attributes:
        in_flight: how many requests are within it now.
        seconds: how long those took that have ended, whatever their end.
        errors: how many ended without an answer, by the error's code.
    """

    __slots__ = ("errors", "in_flight", "seconds")

    def __init__(self) -> None:
        self.in_flight = 0
        self.seconds = Histogram(LATENCY_BOUNDS_S)
        self.errors: dict[str, int] = {}

    def ended(self, elapsed_s: float, code: str = "") -> None:
        """Count the end of a request; `code` is of the error that ended it, if one did."""
        self.seconds.observe(elapsed_s)
        if code:
            _count_code(self.errors, code)


@final
class RouteMeasure:
    """What is counted of one route's predictions.

    Attributes:
        in_flight: how many are under way whose bodies have been read.
        seconds: how long those took that have ended, whatever their end.
        answers: how many ended, by the status of the answer.
        errors: how many ended without an answer, by the error's code.
    """

    __slots__ = ("answers", "errors", "in_flight", "seconds")

    def __init__(self) -> None:
        self.in_flight = 0
        self.seconds = Histogram(LATENCY_BOUNDS_S)
        self.answers: dict[int, int] = {200: 0}
        self.errors: dict[str, int] = {}

    def answered(self, elapsed_s: float) -> None:
        """Count a prediction that was answered."""
        seconds = self.seconds  # every request comes by: nothing is called that need not be
        seconds.counts[bisect_left(LATENCY_BOUNDS_S, elapsed_s)] += 1
        seconds.total += elapsed_s
        self.answers[200] += 1

    def failed(self, elapsed_s: float, status: int, code: str) -> None:
        """Count a prediction that ended in an error."""
        self.seconds.observe(elapsed_s)
        self.answers[status] = self.answers.get(status, 0) + 1
        _count_code(self.errors, code)


@final
class ModelMeasure:
    """What is counted of one model's runs.

    Attributes:
        rows: how many were run together.
    """

    __slots__ = ("_queues", "rows")

    def __init__(self) -> None:
        self.rows = Histogram(ROWS_BOUNDS)
        self._queues: list[Callable[[], int]] = []

    def __repr__(self) -> str:
        return "ModelMeasure()"  # it tells no two models apart: see `graph/models.py`

    @property
    def queued_rows(self) -> int:
        """How many rows wait for a run now."""
        return sum(rows() for rows in self._queues)

    def add_queue(self, rows: Callable[[], int]) -> None:
        """Count in a queue; `rows` tells how many wait in it."""
        self._queues.append(rows)

    def remove_queue(self, rows: Callable[[], int]) -> None:
        """Count a queue out again, if it is counted."""
        if rows in self._queues:
            self._queues.remove(rows)


@final
class Measures:
    """Everything that one process counts."""

    def __init__(self) -> None:
        self._nodes: dict[str, Measure] = {}
        self._routes: dict[str, RouteMeasure] = {}
        self._models: dict[str, ModelMeasure] = {}
        self._counts: dict[str, dict[Labels, float]] = {}
        self._readers: dict[object, Read] = {}

    def node(self, place: str) -> Measure:
        """Return what is counted of the node at a place in the spec, or of `models.NAME`."""
        return _kept(self._nodes, place, Measure)

    def route(self, name: str) -> RouteMeasure:
        """Return what is counted of a route."""
        return _kept(self._routes, name, RouteMeasure)

    def model(self, name: str) -> ModelMeasure:
        """Return what is counted of a model's runs."""
        return _kept(self._models, name, ModelMeasure)

    def count(self, family: Family, *labels: str, by: float = 1) -> None:
        """Add to one of the counters that are nobody's own."""
        assert family.kind is Kind.COUNTER
        assert len(labels) == len(family.labels)
        add_number(self._counts.setdefault(family.name, {}), family, labels, by)

    @contextmanager
    def watching(self, read: Read) -> Iterator[None]:
        """Have `read` asked at each snapshot, until this is left.

        Several may be watched at once, an old generation's beside the new one's: counters add up,
        gauges as their family says. What has been counted stays counted when it is left.
        """
        key = object()
        self._readers[key] = read
        try:
            yield
        finally:
            del self._readers[key]
            for family, labels, value in read():
                if family.kind is Kind.COUNTER:
                    self.count(family, *labels, by=value)

    def retain(
        self, *, nodes: Collection[str], routes: Collection[str], models: Collection[str]
    ) -> None:
        """Drop what no generation names any more. What is in flight there is no longer counted."""
        self._nodes = _named(self._nodes, nodes)
        self._routes = _named(self._routes, routes)
        self._models = _named(self._models, models)

    def snapshot(self) -> Snapshot:
        """Return what has been counted so far."""
        numbers = {name: dict(series) for name, series in self._counts.items()}
        for family, labels, value in self._readings():
            add_number(numbers.setdefault(family.name, {}), family, labels, value)
        distributions = {
            families.REQUEST_SECONDS: {n: one.seconds for n, one in self._routes.items()},
            families.NODE_SECONDS: {place: one.seconds for place, one in self._nodes.items()},
            families.RUN_ROWS: {name: one.rows for name, one in self._models.items()},
        }
        return Snapshot(
            numbers,
            {
                family.name: {(name,): histogram.taken() for name, histogram in named.items()}
                for family, named in distributions.items()
            },
        )

    def _readings(self) -> Iterator[Reading]:
        for name, route in self._routes.items():
            yield families.REQUESTS_IN_FLIGHT, (name,), route.in_flight
            for status, count in route.answers.items():
                yield families.REQUESTS, (name, str(status)), count
            for code, count in route.errors.items():
                yield families.REQUEST_ERRORS, (name, code), count
        for place, node in self._nodes.items():
            yield families.NODES_IN_FLIGHT, (place,), node.in_flight
            for code, count in node.errors.items():
                yield families.NODE_ERRORS, (place, code), count
        for name, model in self._models.items():
            yield families.QUEUED_ROWS, (name,), model.queued_rows
        for read in self._readers.values():
            yield from read()


def _kept(known: dict[str, M], name: str, new: Callable[[], M]) -> M:
    """Return what is known by the name, or a new one; of too many, the one for all others."""
    if name not in known and len(known) >= MAX_NAMES:
        name = OTHER
    one = known.get(name)
    if one is None:
        one = known[name] = new()
    return one


def _named(known: dict[str, M], names: Collection[str]) -> dict[str, M]:
    return {name: one for name, one in known.items() if name in names or name == OTHER}


def _count_code(errors: dict[str, int], code: str) -> None:
    if code not in errors and len(errors) >= MAX_CODES:
        code = OTHER
    errors[code] = errors.get(code, 0) + 1
