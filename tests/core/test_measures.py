"""What is counted, of whom, and that it cannot grow without bound."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.core import families
from penstock.core.errors import InvalidInput, Overloaded, PenstockError
from penstock.core.families import LATENCY_BOUNDS_S, ROWS_BOUNDS
from penstock.core.measures import (
    MAX_CODES,
    MAX_NAMES,
    Histogram,
    Measure,
    Measures,
    ModelMeasure,
    code_of,
)
from penstock.core.snapshot import OTHER, Reading


class OfAUser(InvalidInput):
    """A user's own kind of error, with a code of its own."""

    code = "anything at all"


class OfAUserTwice(OfAUser):
    """... and one more of the same."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Overloaded("it", 1, "rows"), "overloaded"),
        (OfAUser("no"), "invalid_input"),
        (OfAUserTwice("no"), "invalid_input"),
        (PenstockError("?"), "penstock_error"),
    ],
)
def test_only_codes_of_our_own_are_counted(error: PenstockError, code: str) -> None:
    assert code_of(error) == code


# --- histograms --------------------------------------------------------------------------


def test_a_value_counts_in_the_first_bucket_that_holds_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.5, 99.0):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 2]
    assert histogram.total == 106.0
    assert histogram.taken().counts == (2, 2, 2)


def test_what_was_taken_does_not_change() -> None:
    histogram = Histogram((1.0,))
    taken = histogram.taken()
    histogram.observe(0.5)
    assert (taken.counts, taken.total) == ((0, 0), 0.0)


# --- nodes, routes, models ---------------------------------------------------------------


def test_a_node() -> None:
    node = Measure()
    node.in_flight += 1
    node.ended(0.5)
    node.ended(40.0, "overloaded")
    node.ended(0.5, "overloaded")
    assert sum(node.seconds.counts) == 3
    assert node.seconds.counts[-1] == 1
    assert node.errors == {"overloaded": 2}


def test_codes_are_bounded() -> None:
    node = Measure()
    for i in range(MAX_CODES + 3):
        node.ended(0.1, f"code{i}")
    node.ended(0.1, "code0")
    assert len(node.errors) == MAX_CODES + 1
    assert node.errors[OTHER] == 3
    assert node.errors["code0"] == 2


def test_a_route() -> None:
    measures = Measures()
    route = measures.route("iris")
    route.in_flight = 2
    route.answered(0.5)
    route.answered(40.0)
    route.failed(0.5, 503, "overloaded")
    assert measures.route("iris") is route
    snapshot = measures.snapshot()
    assert snapshot.numbers == {
        families.REQUESTS_IN_FLIGHT.name: {("iris",): 2},
        families.REQUESTS.name: {("iris", "200"): 2, ("iris", "503"): 1},
        families.REQUEST_ERRORS.name: {("iris", "overloaded"): 1},
    }
    taken = snapshot.distributions[families.REQUEST_SECONDS.name]["iris",]
    assert sum(taken.counts) == 3
    assert taken.total == 41.0
    assert len(taken.counts) == len(LATENCY_BOUNDS_S) + 1


def test_a_route_that_nobody_asked_counts_none() -> None:
    measures = Measures()
    measures.route("iris")
    assert measures.snapshot().numbers[families.REQUESTS.name] == {("iris", "200"): 0}


def test_a_model() -> None:
    measures = Measures()
    model = measures.model("svc")
    queues = {"loop": 3, "thread": 4}

    def loop() -> int:
        return queues["loop"]

    def thread() -> int:
        return queues["thread"]

    model.add_queue(loop)
    model.add_queue(thread)
    model.rows.observe(8)
    snapshot = measures.snapshot()
    assert snapshot.numbers == {families.QUEUED_ROWS.name: {("svc",): 7}}
    taken = snapshot.distributions[families.RUN_ROWS.name]["svc",]
    assert taken.counts[ROWS_BOUNDS.index(8.0)] == 1
    model.remove_queue(loop)
    model.remove_queue(loop)
    assert model.queued_rows == 4


def test_a_models_measure_tells_no_two_models_apart() -> None:
    assert repr(ModelMeasure()) == repr(ModelMeasure())


def test_a_nodes_errors_are_counted_by_place() -> None:
    measures = Measures()
    measures.node("routes.iris[0]").ended(0.1, "switched_off")
    measures.node("models.svc").in_flight = 1
    assert measures.snapshot().numbers == {
        families.NODES_IN_FLIGHT.name: {("routes.iris[0]",): 0, ("models.svc",): 1},
        families.NODE_ERRORS.name: {("routes.iris[0]", "switched_off"): 1},
    }


def test_names_are_bounded() -> None:
    measures = Measures()
    nodes = {id(measures.node(f"n{i}")) for i in range(MAX_NAMES + 10)}
    assert len(nodes) == MAX_NAMES + 1
    assert measures.node("one more") is measures.node(OTHER)
    assert measures.node("n0") is not measures.node(OTHER)


def test_what_no_generation_names_is_dropped() -> None:
    measures = Measures()
    kept = measures.node("a"), measures.route("r"), measures.model("m")
    gone = measures.node("b"), measures.route("s"), measures.model("n")
    measures.retain(nodes={"a"}, routes={"r"}, models={"m"})
    assert (measures.node("a"), measures.route("r"), measures.model("m")) == kept
    assert measures.node("b") is not gone[0]
    assert measures.route("s") is not gone[1]
    assert measures.model("n") is not gone[2]


# --- counters of nobody, and what others count -------------------------------------------


def test_counters_of_nobody() -> None:
    measures = Measures()
    measures.count(families.EDGE_ERRORS, "404")
    measures.count(families.EDGE_ERRORS, "404")
    measures.count(families.BACKGROUND_STARTED, by=5)
    assert measures.snapshot().numbers == {
        families.EDGE_ERRORS.name: {("404",): 2},
        families.BACKGROUND_STARTED.name: {(): 5},
    }


@pytest.mark.parametrize(
    ("family", "labels"),
    [(families.WORKERS, ()), (families.EDGE_ERRORS, ()), (families.EDGE_ERRORS, ("404", "500"))],
)
def test_only_counters_are_counted_with_all_their_labels(
    family: families.Family, labels: tuple[str, ...]
) -> None:
    with pytest.raises(AssertionError):
        Measures().count(family, *labels)


class Pool:
    """Counts, as a generation's own things do."""

    def __init__(self, started: int, running: int) -> None:
        self.started = started
        self.running = running

    def __call__(self) -> Iterator[Reading]:
        yield families.BACKGROUND_STARTED, (), self.started
        yield families.BACKGROUND_RUNNING, (), self.running


def test_what_others_count_is_read_when_asked() -> None:
    measures = Measures()
    pool = Pool(1, 1)
    with measures.watching(pool):
        pool.started = 4
        assert measures.snapshot().numbers == {
            families.BACKGROUND_STARTED.name: {(): 4},
            families.BACKGROUND_RUNNING.name: {(): 1},
        }


def test_generations_beside_each_other_add_up_and_nothing_is_lost_at_the_end() -> None:
    measures = Measures()
    name = families.BACKGROUND_STARTED.name
    old, new = Pool(5, 1), Pool(2, 3)
    with measures.watching(new):
        with measures.watching(old):
            assert measures.snapshot().numbers[name] == {(): 7}
            assert measures.snapshot().numbers[families.BACKGROUND_RUNNING.name] == {(): 4}
            old.started = 6  # it goes on while it ends
        assert measures.snapshot().numbers[name] == {(): 8}
        assert measures.snapshot().numbers[families.BACKGROUND_RUNNING.name] == {(): 3}
    assert measures.snapshot().numbers == {name: {(): 8}}


def test_a_snapshot_changes_nothing() -> None:
    measures = Measures()
    measures.count(families.EDGE_ERRORS, "404")
    with measures.watching(Pool(1, 1)):
        assert measures.snapshot() == measures.snapshot()


def test_what_counts_for_all_others_is_never_dropped() -> None:
    measures = Measures()
    for number in range(MAX_NAMES + 5):
        measures.node(f"n{number}").ended(0.1)
    other = measures.node("one more")
    measures.retain(nodes={"n1"}, routes=(), models=())
    other.ended(0.1)
    seconds = measures.snapshot().distributions["penstock_node_seconds"]
    assert sum(seconds[OTHER,].counts) == 6
