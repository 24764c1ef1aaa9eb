"""Snapshots travel, and add up to what one process would have counted."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core import families
from penstock.core.families import FAMILIES, ROWS_BOUNDS, Kind
from penstock.core.measures import Measures
from penstock.core.snapshot import (
    MAX_SERIES,
    OTHER,
    Distribution,
    Labels,
    Snapshot,
    add_number,
    as_snapshot,
    merged,
    without_gauges,
)


def numbers(family: families.Family, **values: float) -> Snapshot:
    """Return a snapshot of one family of one label."""
    return Snapshot({family.name: {(label,): value for label, value in values.items()}})


def test_it_travels_as_messagepack() -> None:
    measures = Measures()
    measures.route("iris").failed(0.25, 503, "overloaded")
    measures.model("svc").rows.observe(3)
    snapshot = measures.snapshot()
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(snapshot))
    assert as_snapshot(plain) == snapshot


@pytest.mark.parametrize("plain", [None, 7, {"numbers": 3}, {"numbers": {"a": {"b": "c"}}}])
def test_what_is_no_snapshot_is_refused(plain: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        as_snapshot(plain)


def test_nothing_is_merged_to_nothing() -> None:
    assert merged([]) == merged([Snapshot(), Snapshot()]) == Snapshot()


def test_counters_are_summed() -> None:
    one = Snapshot({families.EDGE_ERRORS.name: {("404",): 2, ("400",): 1}})
    two = Snapshot({families.EDGE_ERRORS.name: {("404",): 3}})
    assert merged([one, two]).numbers == {families.EDGE_ERRORS.name: {("404",): 5, ("400",): 1}}


def test_gauges_are_joined_as_they_say() -> None:
    queued = families.QUEUED_ROWS
    rss = families.RESIDENT_BYTES
    assert merged([numbers(queued, svc=2), numbers(queued, svc=3)]) == numbers(queued, svc=5)
    assert merged([numbers(rss, a=9), numbers(rss, a=3, b=1)]) == numbers(rss, a=9, b=1)


def test_histograms_are_summed_bucket_by_bucket() -> None:
    name = families.RUN_ROWS.name
    zeros = (0,) * (len(ROWS_BOUNDS) - 1)
    one = Snapshot({}, {name: {("svc",): Distribution((1, 2, *zeros), 5.0)}})
    two = Snapshot({}, {name: {("svc",): Distribution((0, 4, *zeros), 8.0)}})
    other = Snapshot({}, {name: {("rf",): Distribution((1, 0, *zeros), 1.0)}})
    assert merged([one, two, other]).distributions == {
        name: {
            ("svc",): Distribution((1, 6, *zeros), 13.0),
            ("rf",): Distribution((1, 0, *zeros), 1.0),
        }
    }


def test_what_no_family_declares_is_left_out() -> None:
    assert merged([Snapshot({"penstock_of_tomorrow": {(): 1}})]) == Snapshot()


def test_of_a_process_that_ended_only_what_never_goes_down_stays() -> None:
    measures = Measures()
    route = measures.route("iris")
    route.in_flight = 3
    route.answered(0.5)
    kept = without_gauges(measures.snapshot())
    assert kept.numbers == {families.REQUESTS.name: {("iris", "200"): 1}}
    assert kept.distributions == measures.snapshot().distributions


@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=9)))
def test_merged_counts_are_those_of_one_process(shares: list[list[tuple[str, int]]]) -> None:
    """However the requests are shared out among workers, and however often they are replaced."""
    whole = Measures()
    departed = Snapshot()
    for share in shares:
        worker = Measures()
        for code, rows in share:
            for measures in (whole, worker):
                measures.node("n").ended(rows / 8, code)
                measures.model("m").rows.observe(rows)
        departed = merged([departed, without_gauges(worker.snapshot())])
    expected = without_gauges(whole.snapshot())
    told = {name: series for name, series in expected.numbers.items() if series}
    assert departed.numbers == told
    if any(shares):
        assert departed.distributions.keys() >= {families.NODE_SECONDS.name}
    for name, series in departed.distributions.items():
        assert series == expected.distributions[name]


def test_of_too_many_series_the_rest_is_counted_together() -> None:
    series: dict[Labels, float] = {}
    for i in range(MAX_SERIES + 5):
        add_number(series, families.SHEDS, (f"place{i}", "overloaded"), 1)
    add_number(series, families.SHEDS, ("place0", "overloaded"), 1)
    assert len(series) == MAX_SERIES + 1
    assert series[OTHER, OTHER] == 5
    assert series["place0", "overloaded"] == 2


def test_merging_many_processes_stays_bounded_too() -> None:
    name = families.RUN_ROWS.name
    empty = (0,) * (len(ROWS_BOUNDS) + 1)
    many = [
        Snapshot({}, {name: {(f"m{start + i}",): Distribution(empty, 1.0) for i in range(600)}})
        for start in range(0, MAX_SERIES + 600, 600)
    ]
    series = merged(many).distributions[name]
    assert len(series) == MAX_SERIES + 1
    assert series[OTHER,].total == sum(len(one.distributions[name]) for one in many) - MAX_SERIES


def test_every_kind_is_either_a_number_or_a_distribution() -> None:
    assert {family.kind for family in FAMILIES} == set(Kind)
