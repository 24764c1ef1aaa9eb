"""What a graph counts, and the states of whole routes."""

from __future__ import annotations

from typing import Final

import pytest

from penstock.core.errors import FanOutFailed, InvalidInput, ModelFailed, SwitchedOff
from penstock.core.predictor import OpenModel
from penstock.core.record import Role
from penstock.core.values import AnswerKind, InferenceResponse
from penstock.graph.build import Builder
from penstock.graph.node import Node
from penstock.spec import tree
from tests.graph.fakes import Fake, Graph, a_model, build, flowers, healthy, inline
from tests.support import START_S, Held, Start, a_request, both_ways, failing, hops, settle

SOON_S: Final = START_S + 30.0


async def ask(node: Node, *rows: tuple[float, ...]) -> InferenceResponse:
    return await node.predictor(a_request(*rows))


def counted(graph: Graph) -> dict[str, int]:
    """Return how many requests each place has seen end."""
    return {
        place: count
        for place in sorted(graph.builder.places)
        if (count := sum(graph.measures.node(place).seconds.counts))
    }


def errors(graph: Graph) -> dict[str, dict[str, int]]:
    return {
        place: found
        for place in sorted(graph.builder.places)
        if (found := graph.measures.node(place).errors)
    }


# --- measures ----------------------------------------------------------------------------


@both_ways
async def test_every_node_is_counted_by_its_place(start: Start) -> None:
    routes = """
a: [{timeout: {timeout_s: 1}}, b]
b: {fan_out: {arms: {x: [{threshold: {min: 0.1}}, svc], y: {constant: {answer: [1.0]}}, z: setosa}}}
"""
    graph = build(routes, flowers())
    await start(ask(graph.builder.route("a")))
    await start(ask(graph.builder.route("b")))
    assert counted(graph) == {
        "models.setosa": 2,
        "models.svc": 2,
        "routes.a[0].timeout": 1,
        "routes.b.fan_out": 2,
        "routes.b.fan_out.arms.x.use[0].threshold": 2,
        "routes.b.fan_out.arms.y.use.constant": 2,
    }
    assert errors(graph) == {}
    assert graph.builder.places == set(counted(graph))


@both_ways
async def test_every_node_that_an_error_passes_counts_it(start: Start) -> None:
    fakes = {"svc": a_model("svc", 0.5, inner=failing(ModelFailed("svc")))}
    graph = build("a: [{timeout: {timeout_s: 1}}, {fan_out: {arms: {x: svc}}}]", fakes)
    with pytest.raises(FanOutFailed) as caught:
        await start(ask(graph.builder.route("a")))
    assert errors(graph) == {
        "models.svc": {"model_failed": 1},
        "routes.a[0].timeout": {"fan_out_failed": 1},
        "routes.a[1].fan_out": {"fan_out_failed": 1},
    }
    assert hops(caught.value) == [
        "routes.a[0].timeout!fan_out_failed",
        "routes.a[1].fan_out!fan_out_failed",
        "fan_out",
    ]


@both_ways
async def test_what_is_under_way_is_counted_where_it_is(start: Start) -> None:
    held = Held()
    graph = build("a: [{timeout: {timeout_s: 9}}, m]", {"m": a_model("m", 0.5, inner=held)})
    answer = start(ask(graph.builder.route("a")))
    await settle()
    in_flight = {place: graph.measures.node(place).in_flight for place in graph.builder.places}
    assert in_flight == {"models.m": 1, "routes.a[0].timeout": 1}
    await graph.clock.elapse(9.0)
    assert answer.exception() is not None
    assert errors(graph) == {
        "models.m": {"deadline_exceeded": 1},
        "routes.a[0].timeout": {"deadline_exceeded": 1},
    }


BESIDE: Final = "a: {fan_out: {arms: {x: one, y: two}}}"


@both_ways
async def test_models_that_are_asked_abreast_are_counted_each(start: Start) -> None:
    fakes = {"one": inline("one", 0.25, 0.25), "two": inline("two", 0.5, 0.5)}
    graph = build(BESIDE, fakes)
    response = await start(ask(graph.builder.route("a")))
    assert list(response.arms) == ["x", "y"]
    assert fakes["one"].asked.requests == []  # so they were asked abreast
    assert counted(graph) == {"models.one": 1, "models.two": 1, "routes.a.fan_out": 1}


@both_ways
async def test_models_that_are_asked_singly_after_all_are_counted_once(start: Start) -> None:
    fakes = {"one": inline("one", 0.25, 0.25), "two": inline("two", 0.5, 0.5)}
    graph = build(BESIDE, fakes)
    await start(ask(graph.builder.route("a"), (13.0, 13.0, 13.0, 13.0)))
    assert len(fakes["one"].asked.requests) == 1
    assert counted(graph) == {"models.one": 1, "models.two": 1, "routes.a.fan_out": 1}


async def test_what_is_counted_outlives_a_graph() -> None:
    graph = build("a: svc", flowers())
    await ask(graph.builder.route("a"))
    again = Builder(graph.builder._spec, graph.builder._models, graph.builder._tools)
    await ask(again.route("a"))
    assert counted(graph) == {"models.svc": 2}


# --- the states of routes ----------------------------------------------------------------


def switched(routes: str, states: str, fakes: dict[str, Fake] | None = None) -> Graph:
    return build(routes, flowers() if fakes is None else fakes, states=states)


@both_ways
async def test_a_route_that_is_on_has_no_switch(start: Start) -> None:
    graph = switched("a: svc", "{a: on}")
    assert hops(await start(ask(graph.builder.route("a")))) == ["model:svc@1"]
    assert graph.builder.places == {"models.svc"}


@both_ways
async def test_a_route_that_is_off_is_never_called(start: Start) -> None:
    fakes = flowers()
    graph = switched("a: {fan_out: {arms: {x: svc, y: rf}}}", "{a: off}", fakes)
    node = graph.builder.route("a")
    with pytest.raises(SwitchedOff, match=r"^the route a is switched off$") as caught:
        await start(ask(node))
    await settle()
    assert hops(caught.value) == ["states.a!switched_off"]
    assert all(fake.asked.requests == [] for fake in fakes.values())
    assert graph.records == []
    assert errors(graph) == {"states.a": {"switched_off": 1}}
    assert node.description.kind is AnswerKind.KEYED
    assert list(node.arms) == ["x", "y"]
    assert await node.health(SOON_S) is False


@both_ways
async def test_a_route_that_is_observed_is_called_and_recorded(start: Start) -> None:
    fakes = flowers()
    graph = switched("a: svc", "{a: observe}", fakes)
    with pytest.raises(SwitchedOff):
        await start(ask(graph.builder.route("a")))
    await settle()
    assert len(fakes["svc"].asked.requests) == 1
    (record,) = graph.records
    assert (record.role, record.place) == (Role.OBSERVE, "states.a")
    assert isinstance(record.outcome, InferenceResponse)


async def test_a_route_may_be_observed_where_nobody_records() -> None:
    fakes = flowers()
    graph = build("a: svc", fakes, states="{a: observe}", recording=False)
    with pytest.raises(SwitchedOff):
        await ask(graph.builder.route("a"))
    await settle()
    assert len(fakes["svc"].asked.requests) == 1


@both_ways
async def test_a_switched_route_is_off_wherever_it_is_used(start: Start) -> None:
    routes = "a: [{timeout: {timeout_s: 1}}, b]\nb: svc\nc: {fan_out: {arms: {x: b, y: rf}}}"
    graph = switched(routes, "{b: off}")
    with pytest.raises(SwitchedOff) as caught:
        await start(ask(graph.builder.route("a")))
    assert hops(caught.value) == ["routes.a[0].timeout!switched_off", "states.b!switched_off"]
    response = await start(ask(graph.builder.route("c")))
    assert isinstance(response.arms["x"], SwitchedOff)
    assert isinstance(response.arms["y"], InferenceResponse)
    assert await graph.builder.route("c").health(SOON_S) is True


async def test_a_switched_route_is_not_asked_abreast() -> None:
    fakes = {"one": inline("one", 0.25, 0.25), "two": inline("two", 0.5, 0.5)}
    graph = switched(f"{BESIDE.replace('x: one', 'x: b')}\nb: one", "{b: off}", fakes)
    response = await ask(graph.builder.route("a"))
    assert isinstance(response.arms["x"], SwitchedOff)


@pytest.mark.parametrize("state", list(tree.State))
def test_a_state_changes_nothing_of_how_deep_patterns_stand(state: tree.State) -> None:
    graph = switched("a: b\nb: [{timeout: {timeout_s: 1}}, svc]", f"{{b: {state}}}")
    assert graph.builder.route("a").depth == 2


# --- samples -----------------------------------------------------------------------------


@both_ways
async def test_samples_are_predicted_as_if_all_were_on(start: Start) -> None:
    fakes = flowers()
    graph = switched("a: b\nb: svc\nc: rf", "{b: off, c: observe}", fakes)
    sampling = graph.builder.sampling()
    for route, model in (("a", "svc"), ("b", "svc"), ("c", "rf")):
        assert (await start(ask(sampling.route(route)))).model == model
    await settle()
    assert graph.records == []
    assert counted(graph) == {}
    assert sampling.route("a").health is fakes["svc"].open.health


async def test_a_sample_that_fails_is_not_counted() -> None:
    fakes = {"svc": a_model("svc", 0.5, inner=failing(InvalidInput("no")), health=healthy)}
    graph = build("a: svc", fakes)
    with pytest.raises(InvalidInput):
        await ask(graph.builder.sampling().route("a"))
    assert errors(graph) == {}
    assert isinstance(fakes["svc"].open, OpenModel)
