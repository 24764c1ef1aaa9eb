"""`/metrics`: what all workers count, as Prometheus or OpenMetrics text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final, assert_never, final

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.openmetrics import exposition as open_metrics
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from penstock.core.families import FAMILIES, Family, Kind
from penstock.core.snapshot import Distribution, Labels, Snapshot

_OPEN_METRICS: Final = "application/openmetrics-text"


@final
class _Shown(Collector):
    """A snapshot in the form that the Prometheus library asks for."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        """Yield every family that has been counted, in the order of their declaration."""
        for family in FAMILIES:
            metric = _metric(family, self._snapshot)
            if metric.samples:
                yield metric


def exposition(snapshot: Snapshot, accept: str = "") -> tuple[bytes, str]:
    """Return a snapshot as text, and its content type.

    Args:
        snapshot: of all workers together.
        accept: the header of that name: OpenMetrics where it names that, else Prometheus' own text.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Shown(snapshot))
    if _OPEN_METRICS in accept.lower():
        text: bytes = open_metrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        return text, open_metrics.CONTENT_TYPE_LATEST
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


def _metric(family: Family, snapshot: Snapshot) -> Metric:
    numbers = snapshot.numbers.get(family.name, {})
    match family.kind:
        case Kind.COUNTER:
            counter = CounterMetricFamily(family.name, family.meaning, labels=family.labels)
            for labels, value in numbers.items():
                counter.add_metric(labels, value)
            return counter
        case Kind.GAUGE:
            gauge = GaugeMetricFamily(family.name, family.meaning, labels=family.labels)
            for labels, value in numbers.items():
                gauge.add_metric(labels, value)
            return gauge
        case Kind.HISTOGRAM:
            return _histogram(family, snapshot.distributions.get(family.name, {}))
        case _:
            assert_never(family.kind)


def _histogram(family: Family, series: Mapping[Labels, Distribution]) -> Metric:
    histogram = HistogramMetricFamily(family.name, family.meaning, labels=family.labels)
    bounds = [*map(floatToGoString, family.bounds), "+Inf"]
    for labels, distribution in series.items():
        cumulated = accumulate(distribution.counts)
        buckets = list(zip(bounds, cumulated, strict=True))
        histogram.add_metric(labels, buckets, distribution.total)
    return histogram


def metrics_rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield what the reference says of each family: name, kind, labels, meaning."""
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        yield f"`{family.name}`", str(family.kind), labels, family.meaning
