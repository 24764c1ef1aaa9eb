"""`/metrics` is what Prometheus reads, in both of its formats."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import pytest
from prometheus_client import REGISTRY, Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_open_metrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from penstock.core import families
from penstock.core.background import BackgroundScope, QueueBounds
from penstock.core.families import FAMILIES, LATENCY_BOUNDS_S, Kind
from penstock.core.log import Log
from penstock.core.measures import Measures
from penstock.core.readings import (
    background_readings,
    log_readings,
    pool_readings,
    process_readings,
)
from penstock.core.snapshot import Snapshot
from penstock.gateway.metrics import exposition, metrics_rows
from tests.core.test_readings import Counts
from tests.support import ManualClock

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
UNUSUAL = 'a"b\\c\nd'


def everything() -> Snapshot:
    """Return a snapshot with every family in it."""
    measures = Measures()
    for route in ("iris", UNUSUAL):
        measures.route(route).answered(0.0004)
        measures.route(route).failed(99.0, 503, "overloaded")
    measures.node("models.svc").ended(0.5, "cancelled")
    measures.model("svc").rows.observe(3)
    for family, labels in (
        (families.EDGE_ERRORS, ("404",)),
        (families.CONNECTIONS_GIVEN_UP, ("head",)),
        (families.SHEDS, ("model:svc", "overloaded")),
        (families.WORKER_RESTARTS, ("0",)),
        (families.PREDICTION_LOG_COMPACTIONS, ("done",)),
    ):
        measures.count(family, *labels)
    background, log = BackgroundScope(), Log(ManualClock())
    background.queue("routes.a[0].mirror", QueueBounds(1, 1), ManualClock())
    with (
        measures.watching(lambda: background_readings(background)),
        measures.watching(lambda: pool_readings("svc", Counts())),
        measures.watching(lambda: process_readings("0", 1.5)),
        measures.watching(lambda: log_readings(log)),
        measures.watching(
            lambda: [
                (families.PREDICTION_RECORDS, ("segments", "written"), 7),
                (families.PREDICTION_RECORDS_LEFT_OUT, (), 1),
                (families.PREDICTION_RECORDS_WAITING, ("segments",), 2),
                (families.PREDICTION_LOG_FAILING, ("segments",), 0),
                (families.PREDICTION_LOG_FAILURES, ("segments",), 1),
                (families.PREDICTION_LOG_BYTES, ("segments",), 900),
            ]
        ),
        measures.watching(
            lambda: [
                (family, ("shipped",) * len(family.labels), 1)
                for family in FAMILIES
                if family.name.startswith("penstock_postgresql_")
            ]
        ),
        measures.watching(
            lambda: [
                (families.GENERATION, (), 3),
                (families.WORKERS, (), 2),
                (families.LAST_RELOAD, (), 1),
            ]
        ),
    ):
        return measures.snapshot()


def text_of(accept: str = "") -> str:
    return exposition(everything(), accept)[0].decode()


Parse = Callable[[str], Iterable[Metric]]
both = pytest.mark.parametrize(
    ("accept", "parse"), [("", parse_text), (OPEN_METRICS, parse_open_metrics)]
)


@both
def test_every_family_is_there_as_declared(accept: str, parse: Parse) -> None:
    told = {metric.name: metric for metric in parse(text_of(accept))}
    assert set(told) == {family.name.removesuffix("_total") for family in FAMILIES}
    for family in FAMILIES:
        metric = told[family.name.removesuffix("_total")]
        assert metric.type == str(family.kind)
        assert metric.documentation == family.meaning
        for sample in metric.samples:
            assert set(sample.labels) - {"le"} == set(family.labels)


@both
def test_values_come_through(accept: str, parse: Parse) -> None:
    told = {
        (sample.name, *map(sample.labels.get, sorted(sample.labels))): sample.value
        for metric in parse(text_of(accept))
        for sample in metric.samples
    }
    assert told["penstock_requests_total", "iris", "200"] == 1
    assert told["penstock_requests_total", UNUSUAL, "503"] == 1
    assert told["penstock_request_errors_total", "overloaded", "iris"] == 1
    assert told["penstock_pool_events_total", "request", "svc"] == 100
    assert told["penstock_process_start_time_seconds", "0"] == 1.5
    assert told["penstock_generation",] == 3
    assert told["penstock_model_run_rows_bucket", "4.0", "svc"] == 1


@both
def test_histograms_are_cumulative_and_end_with_all(accept: str, parse: Parse) -> None:
    found = 0
    for metric in parse(text_of(accept)):
        if metric.type != "histogram":
            continue
        series: dict[tuple[str, ...], dict[str, float]] = {}
        for sample in metric.samples:
            labels = tuple(v for k, v in sample.labels.items() if k != "le")
            name = sample.name.removeprefix(metric.name)
            series.setdefault(labels, {})[sample.labels.get("le", name)] = sample.value
        for one in series.values():
            count, _ = one.pop("_count"), one.pop("_sum")
            assert list(one)[-1] == "+Inf"
            assert list(map(float, one)) == sorted(map(float, one))
            assert list(one.values()) == sorted(one.values())
            assert one["+Inf"] == count > 0
            found += 1
    assert found == 4


def test_latency_buckets_hold_what_they_say() -> None:
    (metric,) = [m for m in parse_text(text_of()) if m.name == "penstock_request_seconds"]
    iris = {
        sample.labels["le"]: sample.value
        for sample in metric.samples
        if sample.labels["route"] == "iris" and "le" in sample.labels
    }
    assert len(iris) == len(LATENCY_BOUNDS_S) + 1
    assert (iris["0.00025"], iris["0.0005"], iris["30.0"], iris["+Inf"]) == (0, 1, 1, 2)


@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
def test_every_line_keeps_the_rules(accept: str) -> None:
    """What `promtool check metrics` looks at: help, type, suffixes, each series once."""
    kinds: dict[str, str] = {}
    helped: set[str] = set()
    seen: set[str] = set()
    for line in text_of(accept).splitlines():
        if line.startswith("# HELP "):
            helped.add(line.split()[2])
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name in helped
            assert name not in kinds
            kinds[name] = kind
        elif line != "# EOF":
            series, _, value = line.rpartition(" ")
            float(value)
            assert series not in seen
            seen.add(series)
            name = re.split(r"[{ ]", series)[0]
            base = name if name in kinds else re.sub(r"_(bucket|sum|count|total)$", "", name)
            assert name.endswith("_total") is (kinds[base] == "counter")
    assert set(kinds.values()) == {str(kind) for kind in Kind}


def test_the_content_types() -> None:
    assert exposition(Snapshot()) == (b"", "text/plain; version=0.0.4; charset=utf-8")
    text, kind = exposition(Snapshot(), "Application/OpenMetrics-Text; version=nonsense")
    assert text == b"# EOF\n"
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert exposition(Snapshot(), "text/html, */*")[1].startswith("text/plain")


def test_the_librarys_own_registry_is_not_used() -> None:
    before = {metric.name for metric in REGISTRY.collect()}
    text_of()
    assert {metric.name for metric in REGISTRY.collect()} == before
    assert not any(name.startswith("penstock") for name in before)


def test_the_reference_lists_every_family() -> None:
    rows = list(metrics_rows())
    assert [name for name, *_ in rows] == [f"`{family.name}`" for family in FAMILIES]
    assert rows[0][1:3] == ("counter", "`route`, `status`")
