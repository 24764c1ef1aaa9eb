from __future__ import annotations

import pytest

from penstock.core.background import BackgroundScope
from penstock.core.errors import NotReady, SwitchedOff
from penstock.core.measures import Measures
from penstock.core.record import Record, Role
from penstock.graph.node import never_healthy
from penstock.graph.wrap import Wrap
from penstock.spec.tree import State
from tests.graph.fakes import a_model, unknown
from tests.support import ManualClock, Start, a_request, both_ways, echo, hops


def a_wrap(measures: Measures, records: list[Record] | None = None, **misfits: str) -> Wrap:
    recorder = None if records is None else records.append
    return Wrap(
        clock=ManualClock(),
        background=BackgroundScope(),
        recorder=recorder,
        measures=measures,
        misfits=misfits,
    )


@both_ways
async def test_a_model_is_counted_under_its_name(start: Start) -> None:
    measures, model = Measures(), a_model("m", 0.5).open
    wrap = a_wrap(measures)
    node = wrap.model("m", model)
    assert hops(await start(node.predictor(a_request()))) == ["model:m@1"]
    assert node.description is model.description
    assert node.health is model.health
    assert (node.arms, node.depth, node.inline) == ({}, 1, model.inline)
    assert sum(measures.node("models.m").seconds.counts) == 1
    assert wrap.places == {"models.m"}


@both_ways
async def test_a_model_that_does_not_fit_is_never_asked(start: Start) -> None:
    measures, fake = Measures(), a_model("m", 0.5)
    node = a_wrap(measures, m="it takes rows of 5 values, not of 4").model("m", fake.open)
    why = r"^model m, which does not fit the spec, is not ready$"
    with pytest.raises(NotReady, match=why) as caught:
        await start(node.predictor(a_request()))
    assert hops(caught.value) == ["models.m!not_ready"]
    assert fake.asked.requests == []
    assert node.description.known is False
    assert node.health is never_healthy
    assert node.inline is None
    assert measures.node("models.m").errors == {"not_ready": 1}


@both_ways
async def test_what_stands_for_an_unknown_node_never_asks_it(start: Start) -> None:
    measures, fake = Measures(), unknown("far", 0.5)
    wrap = a_wrap(measures)
    inner = wrap.model("far", fake.open)
    node = wrap.unready(inner, "routes.a.arms.x")
    with pytest.raises(NotReady, match=r"^far, which has not told yet what it answers, is not"):
        await start(node.predictor(a_request()))
    assert fake.asked.requests == []
    assert node.description is inner.description
    assert node.health is never_healthy
    assert measures.node("routes.a.arms.x").errors == {"not_ready": 1}
    assert wrap.places == {"models.far", "routes.a.arms.x"}


@both_ways
async def test_a_branch_is_counted_as_such(start: Start) -> None:
    measures, fake = Measures(), a_model("m", 0.5)
    wrap = a_wrap(measures)
    inner = wrap.model("m", fake.open)
    node = wrap.branch(inner, "routes.a.arms.x")
    assert hops(await start(node.predictor(a_request()))) == ["model:m@1"]
    assert (node.description, node.health) == (inner.description, inner.health)
    assert node.inline is None
    assert sum(measures.node("routes.a.arms.x").seconds.counts) == 1
    assert wrap.places == {"models.m", "routes.a.arms.x"}


@both_ways
async def test_a_branch_that_is_not_known_is_not_asked(start: Start) -> None:
    measures, fake = Measures(), unknown("far", 0.5)
    wrap = a_wrap(measures)
    node = wrap.branch(wrap.model("far", fake.open), "routes.a.arms.x")
    with pytest.raises(NotReady):
        await start(node.predictor(a_request()))
    assert fake.asked.requests == []
    assert node.health is never_healthy
    assert measures.node("routes.a.arms.x").errors == {"not_ready": 1}


async def test_what_is_observed_is_recorded_if_anybody_listens() -> None:
    records: list[Record] = []
    await a_wrap(Measures(), records).recorded(echo, "states.a")(a_request())
    assert [(record.role, record.place) for record in records] == [(Role.OBSERVE, "states.a")]
    assert a_wrap(Measures()).recorded(echo, "states.a") is echo


@both_ways
async def test_a_route_that_is_not_on_is_behind_a_switch(start: Start) -> None:
    measures, fake = Measures(), a_model("m", 0.5)
    wrap = a_wrap(measures)
    node = wrap.model("m", fake.open)
    assert wrap.switched(node, "a.b", State.ON) is node
    switched = wrap.switched(node, "a.b", State.OFF)
    with pytest.raises(SwitchedOff) as caught:
        await start(switched.predictor(a_request()))
    assert hops(caught.value) == ['states."a.b"!switched_off']
    assert switched.description is node.description
    assert switched.health is never_healthy
    assert wrap.places == {"models.m", 'states."a.b"'}


def test_models_that_do_not_run_on_the_loop_are_not_asked_abreast() -> None:
    wrap = a_wrap(Measures())
    assert wrap.abreast([None, None]) is None
    assert wrap.places == set()
