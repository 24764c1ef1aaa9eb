"""A mirror in a graph: its shadow is built, counted and recorded, and nobody sees it."""

from __future__ import annotations

import pytest

from penstock.core.errors import ModelFailed, NotReady
from penstock.core.record import Role
from tests.graph.fakes import Fake, a_model, build, flowers, unhealthy, unknown
from tests.support import (
    START_S,
    ManualClock,
    Start,
    a_request,
    answering,
    both_ways,
    failing,
    hops,
    nothing_loose,
    settle,
    slow,
)

MIRRORED = "a: [{mirror: {shadow: rf, max_in_flight: 2, max_queued: 1}}, svc]"
SHADOW = "routes.a[0].mirror.shadow"


@both_ways
async def test_the_shadows_answer_is_recorded_and_counted_by_its_place(start: Start) -> None:
    fakes = flowers()
    graph = build(MIRRORED, fakes)
    async with nothing_loose():
        answer = await start(graph.builder.route("a").predictor(a_request()))
    assert hops(answer) == ["mirror:copied", "model:svc@1"]
    (record,) = graph.records
    assert (record.role, record.place, record.request_id) == (Role.SHADOW, SHADOW, "a-request")
    assert hops(record.outcome) == ["model:rf@1"]  # type: ignore[arg-type]
    assert record.request is not None
    assert record.request.tensors is fakes["svc"].asked.requests[0].tensors
    for place in (SHADOW, "routes.a[0].mirror", "models.rf", "models.svc"):
        assert sum(graph.measures.node(place).seconds.counts) == 1
        assert place in graph.builder.places


async def test_it_is_described_and_healthy_as_what_it_stands_over() -> None:
    fakes = {**flowers(), "rf": a_model("rf", 0.5, health=unhealthy)}
    node = build(MIRRORED, fakes).builder.route("a")
    assert node.description is fakes["svc"].open.description
    assert node.health is fakes["svc"].open.health
    assert node.depth == 2


async def test_its_bounds_are_those_of_the_spec() -> None:
    clock = ManualClock()
    late = a_model("rf", 0.5, inner=slow(answering(0.5), clock=clock, seconds=5.0))
    graph = build(MIRRORED, {**flowers(), "rf": late}, clock=clock)
    node = graph.builder.route("a")
    for _ in range(5):
        await node.predictor(a_request())
        await settle()
    copies = graph.background.queues["routes.a[0].mirror"]
    assert (copies.running, copies.waiting, copies.dropped["full"]) == (2, 1, 2)
    await clock.elapse(10.0)
    assert (copies.begun, len(graph.records)) == (3, 3)


async def test_a_copy_has_the_time_of_a_request_whatever_the_caller_asked_for() -> None:
    fakes = flowers()
    await build(MIRRORED, fakes).builder.route("a").predictor(a_request(deadline_s=START_S + 0.5))
    await settle()
    assert fakes["svc"].asked.requests[0].deadline_s == START_S + 0.5
    assert fakes["rf"].asked.requests[0].deadline_s == START_S + 30.0


async def test_nothing_is_copied_while_samples_are_predicted() -> None:
    fakes = flowers()
    graph = build(MIRRORED, fakes)
    answer = await graph.builder.sampling().route("a").predictor(a_request())
    await settle()
    assert hops(answer) == ["model:svc@1"]
    assert fakes["rf"].asked.requests == []
    assert graph.background.queues == {}


@pytest.mark.parametrize(
    ("shadow", "error"),
    [
        (a_model("rf", 0.5, inner=failing(ModelFailed("rf"))), ModelFailed),
        (a_model("rf", 0.5, inner=failing(NotReady("rf"))), NotReady),
    ],
)
async def test_a_shadow_that_fails_is_recorded_so(shadow: Fake, error: type) -> None:
    graph = build(MIRRORED, {**flowers(), "rf": shadow})
    await graph.builder.route("a").predictor(a_request())
    await settle()
    assert [type(record.outcome) for record in graph.records] == [error]


async def test_a_shadow_of_which_nothing_is_known_yet_is_asked_as_soon_as_it_answers() -> None:
    fakes = {**flowers(), "rf": unknown("rf", 0.5)}
    graph = build(MIRRORED, fakes)
    node = graph.builder.route("a")
    assert node.description.known
    await node.predictor(a_request())
    await settle()
    assert len(fakes["rf"].asked.requests) == 1


async def test_a_shadow_may_be_any_predictor() -> None:
    routes = "a: [{mirror: {shadow: [{timeout: {timeout_s: 1}}, b]}}, svc]\nb: rf"
    fakes = flowers()
    await build(routes, fakes).builder.route("a").predictor(a_request())
    await settle()
    assert fakes["rf"].asked.requests[0].deadline_s == START_S + 1.0


async def test_a_shadow_that_is_off_is_left_alone() -> None:
    fakes = flowers()
    routes = MIRRORED.replace("shadow: rf", "shadow: rf, state: off")
    answer = await build(routes, fakes).builder.route("a").predictor(a_request())
    await settle()
    assert hops(answer) == ["model:svc@1"]
    assert fakes["rf"].asked.requests == []


async def test_what_a_route_below_chooses_it_still_chooses() -> None:
    below = "{condition: {when: [{header: {x: a}, use: rf}], otherwise: svc}}"
    node = build(f"a: [{{mirror: {{shadow: rf}}}}, {below}]", flowers()).builder.route("a")
    assert node.met_by(a_request(fields={"header:x": "a"})).description.name == "rf"
    assert node.met_by(a_request()).description.name == "svc"


async def test_nobody_listens() -> None:
    graph = build(MIRRORED, flowers(), recording=False)
    await graph.builder.route("a").predictor(a_request())
    await settle()
    assert graph.background.queues["routes.a[0].mirror"].begun == 1
