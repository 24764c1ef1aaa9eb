"""A prediction log in a graph: its fields, its outlier model, its refusal."""

from __future__ import annotations

import pytest
from msgspec import structs

from penstock.core.errors import LogUnavailable, SpecError
from penstock.core.predictor import TensorSpec
from penstock.graph.build import Builder, no_log
from tests.graph.fakes import Fake, a_model, a_spec, build, flowers, inline, opened, unknown
from tests.support import IRIS, Start, a_request, both_ways, hops

SCORED = "a: [{prediction_log: {outlier: ocs, outlier_threshold: 0.3}}, svc]"
BLOCKING = "a: [{prediction_log: {on_full: block}}, svc]"


def scored(**changed: Fake) -> dict[str, Fake]:
    return {**flowers(), "ocs": a_model("ocs", 0.25, sample=IRIS), **changed}


@both_ways
async def test_the_outlier_model_is_counted_by_a_place_of_its_own(start: Start) -> None:
    graph = build(SCORED, scored())
    node = graph.builder.route("a")
    answer = await start(node.predictor(a_request(request_id="r1")))
    assert answer.fields == {"is_outlier": True, "outlier_score": 0.25}
    assert hops(answer) == ["prediction_log:outlier", "model:svc@1", "model:ocs@1"]
    for place in ("routes.a[0].prediction_log", "routes.a[0].prediction_log.outlier", "models.ocs"):
        assert sum(graph.measures.node(place).seconds.counts) == 1
    assert node.depth == 2


@both_ways
async def test_two_models_on_the_loop_are_asked_in_one_run(start: Start) -> None:
    fakes = {"svc": inline("svc", 0.75, 0.25), "ocs": inline("ocs", 0.25)}
    graph = build(SCORED, fakes)
    answer = await start(graph.builder.route("a").predictor(a_request()))
    assert (answer.fields["is_outlier"], answer.fields["outlier_score"]) == (True, 0.25)
    assert answer.primary.tolist() == [[0.75, 0.25]]
    assert fakes["svc"].asked.requests == fakes["ocs"].asked.requests == []
    for place in ("models.svc", "models.ocs"):
        assert sum(graph.measures.node(place).seconds.counts) == 1


@both_ways
async def test_one_that_fails_has_both_asked_by_themselves(start: Start) -> None:
    fakes = {"svc": inline("svc", 0.75, 0.25), "ocs": inline("ocs", 0.25)}
    graph = build(SCORED, fakes)
    answer = await start(graph.builder.route("a").predictor(a_request((13.0,) * 4)))
    assert answer.fields["outlier_score"] == 0.25
    assert len(fakes["svc"].asked.requests) == len(fakes["ocs"].asked.requests) == 1


def test_it_is_described_as_what_it_stands_over_with_the_score() -> None:
    fakes = scored()
    node = build(SCORED, fakes).builder.route("a")
    score = TensorSpec("scores", "float32", (-1, 1))
    assert node.description == structs.replace(fakes["svc"].open.description, outlier=score)
    assert node.health is fakes["svc"].open.health


@both_ways
async def test_one_that_only_records_is_not_on_a_requests_way(start: Start) -> None:
    graph = build("a: [{prediction_log: }, svc]\nb: svc", flowers())
    logged, bare = graph.builder.route("a"), graph.builder.route("b")
    assert logged.description is bare.description
    assert hops(await start(logged.predictor(a_request()))) == ["model:svc@1"]
    assert graph.builder.places == {"models.svc"}


@pytest.mark.parametrize(
    "outlier", [a_model("ocs", 0.5, 0.5), a_model("ocs", 0.5, shape=(-1, -1, 3))]
)
def test_an_outlier_model_gives_one_score_a_row(outlier: Fake) -> None:
    with pytest.raises(SpecError, match=r"outlier: one score a row is needed here, and ocs gives"):
        build(SCORED, scored(ocs=outlier)).builder.route("a")


async def test_over_what_chooses_it_is_described_as_the_branch_with_the_score() -> None:
    chosen = "{condition: {when: [{header: {x: rf}, use: rf}], otherwise: svc}}"
    route = f"a: [{{prediction_log: {{outlier: ocs}}}}, {chosen}]"
    node = build(route, scored()).builder.route("a")
    for header, model in (("rf", "rf"), ("other", "svc")):
        met = node.met_by(a_request(fields={"header:x": header}))
        assert met.description.name == model
        assert met.description.outlier is not None


def test_a_choosing_outlier_model_gives_one_score_whichever_it_is() -> None:
    wide = {"wide": a_model("wide", 0.5, 0.5, sample=IRIS)}
    either = "{condition: {when: [{header: {x: a}, use: ocs}], otherwise: wide}}"
    route = f"a: [{{prediction_log: {{outlier: {either}}}}}, svc]"
    with pytest.raises(SpecError, match="one score a row is needed here, and wide gives"):
        build(route, scored(**wide)).builder.route("a")


def test_how_many_it_gives_may_not_be_known_yet() -> None:
    for outlier in (a_model("ocs", 0.5, shape=(-1, -1)), unknown("ocs", 0.5)):
        node = build(SCORED, scored(ocs=outlier)).builder.route("a")
        assert node.description.outlier is not None


async def test_one_that_turns_out_to_give_several_is_no_score_and_counted() -> None:
    wide = a_model("ocs", 0.5, 0.25, shape=(-1, -1))
    graph = build(SCORED, scored(ocs=wide))
    answer = await graph.builder.route("a").predictor(a_request())
    assert (answer.fields["is_outlier"], answer.fields["outlier_score"]) == (None, None)
    assert hops(answer)[0] == "prediction_log:unscored"
    measure = graph.measures.node("routes.a[0].prediction_log.outlier")
    assert measure.errors == {"model_failed": 1}


async def test_where_nothing_may_go_unrecorded_there_must_be_room() -> None:
    graph = build(BLOCKING, flowers())
    with pytest.raises(LogUnavailable) as caught:  # there is no log at all
        await graph.builder.route("a").predictor(a_request())
    assert hops(caught.value) == ["routes.a[0].prediction_log!log_unavailable"]
    assert not no_log()


@pytest.mark.parametrize("on_full", ["block", "drop"])
async def test_the_log_tells_whether_there_is_room(on_full: str) -> None:
    fakes, asked = flowers(), list[bool]()

    def has_room() -> bool:
        asked.append(True)
        return True

    graph = build(BLOCKING, fakes)
    tools = structs.replace(graph.builder._tools, has_log_room=has_room)
    spec = a_spec(BLOCKING.replace("block", on_full), list(fakes))
    builder = Builder(spec, opened(fakes), tools)
    await builder.route("a").predictor(a_request())
    assert asked == [True] * (on_full == "block")
    await builder.sampling().route("a").predictor(a_request())  # samples are not recorded
    assert asked == [True] * (on_full == "block")
