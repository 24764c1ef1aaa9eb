from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, get_args

import numpy as np
import pytest

from penstock.core.background import BackgroundScope
from penstock.core.errors import (
    DeadlineExceeded,
    FanOutFailed,
    ModelFailed,
    NoLabels,
    ServingError,
    SpecError,
)
from penstock.core.measures import Measures
from penstock.core.predictor import Health, TensorSpec
from penstock.core.record import Role
from penstock.core.rows import ANY_ROWS
from penstock.core.values import NO_FIELDS, AnswerKind, FieldValue, InferenceResponse
from penstock.graph.arms import input_of
from penstock.graph.build import AVAILABLE, MAX_DEPTH, Builder, Tools
from penstock.graph.node import Node
from penstock.spec import tree
from tests.graph.fakes import (
    Fake,
    a_model,
    build,
    flowers,
    healthy,
    opened,
    unhealthy,
)
from tests.support import (
    IRIS,
    START_S,
    ManualClock,
    Start,
    a_request,
    after,
    answering,
    both_ways,
    echo,
    failing,
    hops,
    nothing_loose,
    settle,
    slow,
)

SOON_S: Final = START_S + 30.0


def refused(routes: str, fakes: dict[str, Fake] | None = None) -> tuple[str, ...]:
    """Return why the first route cannot be built."""
    graph = build(routes, flowers() if fakes is None else fakes)
    with pytest.raises(SpecError) as caught:
        graph.builder.route("a")
    return caught.value.problems


def built(routes: str, fakes: dict[str, Fake] | None = None) -> Node:
    return build(routes, flowers() if fakes is None else fakes).builder.route("a")


async def ask(
    node: Node, *, labelled: bool = False, fields: Mapping[str, FieldValue] = NO_FIELDS
) -> InferenceResponse:
    return await node.predictor(a_request(labelled=labelled, fields=fields))


# --- references and routes ---------------------------------------------------------------


@both_ways
async def test_a_route_of_a_model_is_the_model(start: Start) -> None:
    fakes = flowers()
    node = built("a: svc", fakes)
    response = await start(ask(node))
    assert response.model == "svc"
    assert hops(response) == ["model:svc@1"]
    assert node.description is fakes["svc"].open.description
    assert node.arms == {}
    assert len(fakes["svc"].asked.requests) == 1


def test_a_route_that_is_used_in_two_places_is_one_node() -> None:
    graph = build(
        "a: {fan_out: {arms: {x: b, y: b}}}\nb: [{timeout: {timeout_s: 1}}, svc]", flowers()
    )
    b = graph.builder.route("b")
    assert graph.builder.route("b") is b
    assert graph.builder.route("a").arms == {"x": b.health, "y": b.health}
    again = build("b: c\na: b\nc: [{timeout: {timeout_s: 1}}, svc]", flowers()).builder
    assert again.route("a") is again.route("b") is again.route("c")


def chain(length: int, link: str = "{}") -> str:
    links = [f"r{i}: {link.format(f'r{i + 1}')}" for i in range(length)]
    return "\n".join(["a: r0", *links, f"r{length}: svc"])


@pytest.mark.parametrize("backwards", [False, True])
def test_routes_may_lead_to_one_another_a_thousand_times_over(*, backwards: bool) -> None:
    routes = chain(2000)
    if backwards:
        routes = "\n".join(reversed(routes.splitlines()))
    node = built(routes)
    assert node.description.name == "svc"


LAYER: Final = "[{{timeout: {{timeout_s: 1}}}}, {}]"
FAN_OUT: Final = "{{fan_out: {{arms: {{x: {}}}}}}}"
MEAN: Final = "{{fan_out: {{arms: {{x: {}}}, aggregate: mean}}}}"


@both_ways
@pytest.mark.parametrize("link", [LAYER, FAN_OUT, MEAN])
async def test_as_many_patterns_as_may_stand_within_each_other_answer(
    start: Start, link: str
) -> None:
    graph = build(chain(MAX_DEPTH - 1, link), flowers())
    node = graph.builder.route("a")
    assert node.depth == MAX_DEPTH
    response = await start(ask(node))
    assert len(response.trail) == MAX_DEPTH
    assert await node.health(SOON_S) is True


@both_ways
@pytest.mark.parametrize("link", [LAYER, FAN_OUT, MEAN])
async def test_as_many_patterns_as_may_stand_within_each_other_fail(
    start: Start, link: str
) -> None:
    fakes = {"svc": a_model("svc", 0.5, 0.5, inner=failing(ModelFailed("svc")))}
    node = built(chain(MAX_DEPTH - 1, link), fakes)
    with pytest.raises(ServingError) as caught:
        await start(ask(node))
    assert len(caught.value.trail) >= MAX_DEPTH - 1


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("link", [LAYER, FAN_OUT])
def test_more_patterns_within_each_other_are_refused(link: str, *, backwards: bool) -> None:
    for length in (MAX_DEPTH, 3 * MAX_DEPTH):
        routes = chain(length, link)
        if backwards:
            routes = "\n".join(reversed(routes.splitlines()))
        (problem,) = refused(routes)
        place, sentence = problem.split(": ")
        assert place.startswith(f"routes.r{length - MAX_DEPTH}")
        assert sentence == "more than 64 patterns stand within each other here"


def test_routes_in_a_circle_are_refused_even_unchecked() -> None:
    assert refused("a: b\nb: {fan_out: {arms: {x: c}}}\nc: b") == (
        "routes.c: the routes go in a circle",
    )


# --- layers ------------------------------------------------------------------------------


@both_ways
async def test_layers_stand_in_the_files_order(start: Start) -> None:
    node = built("a: [{timeout: {timeout_s: 2}}, {threshold: {min: 0.5}}, svc]")
    response = await start(ask(node))
    assert hops(response) == ["timeout", "threshold:passed", "model:svc@1"]
    assert node.description.name == "svc"
    assert repr(node.predictor) == "routes.a[0].timeout: timeout: {timeout_s: 2}"


@both_ways
async def test_a_timeout_is_the_specs(start: Start) -> None:
    fakes = flowers()
    graph = build("a: [{timeout: {timeout_s: 2}}, svc]", fakes)
    held = slow(answering(0.5, 0.3, 0.2), clock=graph.clock, seconds=3.0)
    fakes["svc"].asked._inner = held
    waiting = start(ask(graph.builder.route("a")))
    await graph.clock.elapse(2.0)
    with pytest.raises(DeadlineExceeded, match=r"at routes\.a\[0\]\.timeout$") as caught:
        await waiting
    assert hops(caught.value) == ["routes.a[0].timeout!deadline_exceeded"]


@pytest.mark.parametrize(
    ("layer", "label"),
    [
        ("{min: 0.7}", "setosa"),
        ("{min: 0.71}", None),
        ("{classes: {setosa: 0.8}}", None),
        ("{classes: {setosa: 0.7}}", "setosa"),
        ("{classes: {virginica: 0.8}}", "setosa"),
        ("{min: 0.9, classes: {setosa: 0.7}}", "setosa"),
    ],
)
async def test_thresholds_go_by_class(layer: str, label: str | None) -> None:
    fakes = {"svc": a_model("svc", 0.703125, 0.2, 0.1, labels=("setosa", "b", "virginica"))}
    node = built(f"a: [{{threshold: {layer}}}, svc]", fakes)
    assert (await ask(node, labelled=True)).primary.tolist() == [label]


@pytest.mark.parametrize("target", ["setosa", "{constant: {answer: setosa}}"])
def test_a_threshold_needs_labels(target: str) -> None:
    assert refused(f"a: [{{threshold: {{min: 0.5}}}}, {target}]") == (
        "routes.a[0].threshold: a threshold needs a classifier that has labels",
    )


# --- constants ---------------------------------------------------------------------------


@both_ways
async def test_a_constant_of_scores(start: Start) -> None:
    node = built("a: {constant: {answer: [0.25, 0.75]}}")
    response = await start(ask(node))
    assert response.primary.tolist() == [[0.25, 0.75]]
    assert node.description.kind is AnswerKind.SCORES
    assert node.description.outputs == (TensorSpec("scores", "float64", (-1, 2)),)
    assert node.description.labels == ()
    assert input_of(node.description) is ANY_ROWS
    assert await node.health(SOON_S) is True
    with pytest.raises(NoLabels, match=r"^the constant at routes\.a\.constant has no labels") as e:
        await start(ask(node, labelled=True))
    assert hops(e.value) == ["routes.a.constant!no_labels"]


async def test_a_constant_label() -> None:
    node = built("a: {constant: {answer: setosa}}")
    for labelled in (False, True):
        response = await ask(node, labelled=labelled)
        assert response.kind is AnswerKind.LABELLED
        assert response.primary.tolist() == ["setosa"]
    assert node.description.kind is AnswerKind.LABELLED
    assert node.description.labels == ("setosa",)


# --- fan-outs: states --------------------------------------------------------------------

THREE: Final = (
    "a: {fan_out: {arms: {setosa: setosa, versicolor: {use: versicolor, state: %s},"
    " virginica: virginica}}}"
)


def asked(fakes: dict[str, Fake]) -> dict[str, int]:
    return {name: len(fake.asked.requests) for name, fake in fakes.items() if fake.asked.requests}


@both_ways
async def test_arms_that_are_on_are_asked(start: Start) -> None:
    fakes = flowers()
    node = built(THREE % "on", fakes)
    response = await start(ask(node))
    assert response.kind is node.description.kind is AnswerKind.KEYED
    assert list(response.arms) == ["setosa", "versicolor", "virginica"]
    assert asked(fakes) == {"setosa": 1, "versicolor": 1, "virginica": 1}
    assert list(node.description.arms) == list(node.arms) == list(response.arms)
    assert node.description.labels == ("setosa", "versicolor", "virginica")


@both_ways
async def test_an_arm_that_is_off_is_never_asked(start: Start) -> None:
    fakes = flowers()
    fakes["versicolor"] = a_model("versicolor", 0.5, 0.5, health=unhealthy)
    node = built(THREE % "off", fakes)
    assert list((await start(ask(node))).arms) == ["setosa", "virginica"]
    assert asked(fakes) == {"setosa": 1, "virginica": 1}
    assert list(node.arms) == list(node.description.arms) == ["setosa", "virginica"]
    assert await node.health(SOON_S) is True


def test_what_only_an_arm_that_is_off_uses_may_be_anything() -> None:
    routes = "a: {fan_out: {arms: {x: svc, y: {use: {fan_out: {arms: {z: svc}}}, state: off}}}}"
    assert list(built(routes).description.arms) == ["x"]


@both_ways
async def test_an_observed_arm_is_asked_and_recorded_and_never_answered(start: Start) -> None:
    fakes = flowers()
    graph = build(THREE % "observe", fakes)
    node = graph.builder.route("a")
    async with nothing_loose():
        request = a_request(request_id="mine")
        response = await start(node.predictor(request))
        assert list(response.arms) == ["setosa", "virginica"]
        await settle()
    assert asked(fakes) == {"setosa": 1, "versicolor": 1, "virginica": 1}
    assert list(node.description.arms) == ["setosa", "virginica"]
    assert list(node.arms) == ["setosa", "versicolor", "virginica"]
    (record,) = graph.records
    assert record.role is Role.OBSERVE
    assert record.place == "routes.a.fan_out.arms.versicolor"
    assert record.request_id == "mine"
    assert record.request is not None
    assert record.request.tensors is request.tensors
    assert isinstance(record.outcome, InferenceResponse)
    assert record.outcome.model == "versicolor"


@both_ways
async def test_an_observed_arms_failure_reaches_the_record_only(start: Start) -> None:
    fakes = flowers()
    error = ModelFailed("versicolor")
    fakes["versicolor"] = a_model("versicolor", 0.5, 0.5, inner=failing(error), health=unhealthy)
    graph = build(THREE % "observe", fakes)
    node = graph.builder.route("a")
    assert list((await start(ask(node))).arms) == ["setosa", "virginica"]
    await settle()
    (record,) = graph.records
    assert record.outcome is error
    assert await node.health(SOON_S) is True


@both_ways
async def test_an_observed_arm_that_is_late_is_recorded_as_late(start: Start) -> None:
    fakes = flowers()
    graph = build(
        THREE.replace("state: %s", "state: observe, timeout_s: 2"),
        fakes,
    )
    held = slow(echo, clock=graph.clock, seconds=3.0)
    fakes["versicolor"].asked._inner = held
    await start(ask(graph.builder.route("a")))
    await graph.clock.elapse(2.0)
    (record,) = graph.records
    assert isinstance(record.outcome, DeadlineExceeded)
    assert record.elapsed_s == 2.0


async def test_observed_arms_run_where_nobody_records_too() -> None:
    fakes = flowers()
    graph = build(THREE % "observe", fakes, recording=False)
    await ask(graph.builder.route("a"))
    await settle()
    assert asked(fakes)["versicolor"] == 1
    assert graph.records == []


# --- fan-outs: answers -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", None),
        ("default_threshold: 0.3", {"setosa": 1, "versicolor": 1, "virginica": 0}),
        ("default_threshold: 0.3, positive: 1", {"setosa": 0, "versicolor": 1, "virginica": 1}),
    ],
)
async def test_thresholds_make_the_answer_binary(
    keys: str, expected: dict[str, int] | None
) -> None:
    routes = f"a: {{fan_out: {{arms: {{setosa, versicolor, virginica}}, {keys}}}}}".replace(
        "{setosa, versicolor, virginica}",
        "{setosa: setosa, versicolor: versicolor, virginica: virginica}",
    )
    node = built(routes)
    response = await ask(node)
    if expected is None:
        assert response.kind is node.description.kind is AnswerKind.KEYED
        return
    assert response.kind is node.description.kind is AnswerKind.BINARY
    assert {name: arm.primary[0] for name, arm in answered(response).items()} == expected


def answered(response: InferenceResponse) -> dict[str, InferenceResponse]:
    return {name: arm for name, arm in response.arms.items() if isinstance(arm, InferenceResponse)}


async def test_one_threshold_gives_the_others_the_default_of_095() -> None:
    fakes = {
        "x": a_model("x", 0.5, 0.5),
        "y": a_model("y", 0.953125, 0.5),
        "z": a_model("z", 0.9375, 0.5),
    }
    node = built("a: {fan_out: {arms: {x: {use: x, threshold: 0.5}, y: y, z: z}}}", fakes)
    response = await ask(node)
    assert {name: arm.primary[0] for name, arm in answered(response).items()} == {
        "x": 1,
        "y": 1,
        "z": 0,
    }


@pytest.mark.parametrize(("positive", "best"), [("no", 0.8), ("yes", 0.9), ("1", 0.9), ("0", 0.8)])
async def test_positive_is_a_column_or_a_class_of_each_arm(positive: str, best: float) -> None:
    fakes = {
        "x": a_model("x", 0.1, 0.9, labels=("no", "yes")),
        "y": a_model("y", 0.8, 0.2, labels=("no", "yes")),
        "turned": a_model("turned", 0.3, 0.7, labels=("yes", "no")),
    }
    arms = "x: x, y: y" if positive.isdigit() else "x: x, y: y, turned: turned"
    node = built(f"a: {{fan_out: {{arms: {{{arms}}}, positive: {positive}}}}}", fakes)
    response = await ask(node, labelled=True)
    assert response.kind is AnswerKind.BEST
    assert response.outputs["proba"][0] == pytest.approx(best)


@pytest.mark.parametrize(
    ("policy", "failures", "meets"),
    [
        ("any", 2, True),
        ("any", 3, False),
        ("all", 0, True),
        ("all", 1, False),
        ("{quorum: 2}", 1, True),
        ("{quorum: 2}", 2, False),
    ],
)
async def test_a_policy_is_met_or_not(policy: str, failures: int, *, meets: bool) -> None:
    names = ("setosa", "versicolor", "virginica")
    fakes = {
        name: a_model(
            name,
            0.5,
            0.5,
            inner=failing(ModelFailed(name)) if i < failures else None,
            health=unhealthy if i < failures else healthy,
        )
        for i, name in enumerate(names)
    }
    node = built((THREE % "on").removesuffix("}}") + f", policy: {policy}}}}}", fakes)
    assert await node.health(SOON_S) is meets
    if meets:
        assert len((await ask(node)).arms) == 3
        return
    with pytest.raises(FanOutFailed) as caught:
        await ask(node)
    words = policy.strip("{}")
    assert f"the policy asks for {words}; failed:" in str(caught.value)


@pytest.mark.parametrize(
    ("aggregate", "scores"),
    [
        ("mean", [[0.4, 0.4, 0.2]]),
        ("vote", [[0.5, 0.5, 0.0]]),
        ("weighted", [[0.55, 0.3, 0.15]]),
    ],
)
async def test_arms_become_one_answer(aggregate: str, scores: list[list[float]]) -> None:
    arms = "svc: {use: svc, weight: 3}, rf: rf"
    node = built(f"a: {{fan_out: {{arms: {{{arms}}}, aggregate: {aggregate}}}}}")
    response = await ask(node)
    assert response.kind is node.description.kind is AnswerKind.SCORES
    np.testing.assert_allclose(response.primary, scores, rtol=1e-6)
    assert node.description.outputs == (TensorSpec("scores", "float64", (-1, 3)),)
    assert node.description.labels == ("setosa", "versicolor", "virginica")
    best = response.primary.argmax(axis=1)
    labelled = (await ask(node, labelled=True)).primary
    assert labelled.tolist() == [node.description.labels[best[0]]]


async def test_the_best_arm_is_an_aggregate_too() -> None:
    node = built("a: {fan_out: {arms: {x: setosa, y: virginica}, aggregate: label}}")
    response = await ask(node)
    assert response.kind is node.description.kind is AnswerKind.BEST
    assert response.primary.tolist() == ["x"]


async def test_arms_have_time_outs_of_their_own() -> None:
    fakes = flowers()
    graph = build("a: {fan_out: {arms: {x: {use: svc, timeout_s: 2}, y: rf}}}", fakes)
    await ask(graph.builder.route("a"))
    assert fakes["svc"].asked.requests[0].deadline_s == START_S + 2.0
    assert fakes["rf"].asked.requests[0].deadline_s > START_S + 29.0


async def test_fan_outs_within_fan_outs() -> None:
    node = built("a: {fan_out: {arms: {x: {fan_out: {arms: {y: svc, z: rf}}}, w: setosa}}}")
    response = await ask(node)
    inner = response.arms["x"]
    assert isinstance(inner, InferenceResponse)
    assert inner.kind is AnswerKind.KEYED
    assert list(inner.arms) == ["y", "z"]
    assert list(node.arms) == ["x", "w"]
    assert node.description.arms["x"].kind is AnswerKind.KEYED
    assert hops(response) == ["fan_out", "fan_out", "model:svc@1", "model:rf@1", "model:setosa@1"]


# --- fan-outs: health --------------------------------------------------------------------


def telling(clock: ManualClock, seconds: float, *, error: Exception | None = None) -> Health:
    """Return a health that is good, or raises `error`, `seconds` later."""

    async def health(deadline_s: float) -> bool:
        await after(clock, seconds)
        if error is not None:
            raise error
        return True

    return health


@pytest.mark.parametrize(("policy", "good"), [("any", True), ("{quorum: 2}", False)])
async def test_a_late_arm_within_does_not_take_the_others_word(policy: str, *, good: bool) -> None:
    clock = ManualClock()
    healths = {
        "x": telling(clock, 0.5),
        "bad": telling(clock, 0.5, error=ModelFailed("bad")),
        "late": telling(clock, 9.0),
    }
    fakes = {name: a_model(name, 0.5, health=health) for name, health in healths.items()}
    arms = "{x: x, bad: bad, late: late}"
    inner = f"b: {{fan_out: {{arms: {arms}, policy: {policy}}}}}"
    graph = build(f"a: {{fan_out: {{arms: {{b: b}}}}}}\n{inner}", fakes, clock=clock)
    for name in ("a", "b"):
        health = graph.builder.route(name).health
        asking = asyncio.ensure_future(health(clock.now_s() + 2.0))
        await clock.elapse(1.999)  # a little earlier than its own deadline
        assert asking.done()
        assert asking.result() is good


# --- descriptions ------------------------------------------------------------------------


def test_a_fan_out_takes_what_all_its_arms_can_be_given() -> None:
    fakes = {
        "f4": a_model("f4", 0.5, datatype="float32"),
        "i8": a_model("i8", 0.5, datatype="int64", sample=(1, 2, 3, 4)),
        "any": a_model("any", 0.5, datatype="float32", width=-1, sample=IRIS),
    }
    node = built("a: {fan_out: {arms: {any: any, f4: f4, off: {use: i8, state: off}}}}", fakes)
    (rows,) = node.description.inputs
    assert rows == TensorSpec("any_input", "float32", (-1, 4))
    node = built("a: {fan_out: {arms: {any: any, f4: f4, i8: i8}}}", fakes)
    (rows,) = node.description.inputs
    assert rows == TensorSpec("any_input", "float64", (-1, 4))
    assert input_of(node.description) is rows
    assert node.description.sample is not None
    assert node.description.sample.tolist() == [list(IRIS)]  # 5.1, not 5.099999904632568


# --- what is not there -------------------------------------------------------------------

UNBUILT: Final = {
    tree.SyncAsync: "{sync_async: {now: svc, later: rf}}",
    tree.Breaker: "[{breaker: {max_in_flight: 1}}, svc]",
    tree.RateLimit: "[{rate_limit: {rate: 1}}, svc]",
    tree.Retry: "[{retry: }, svc]",
}
BUILT: Final = {
    tree.Reference: "svc",
    tree.FanOut: "{fan_out: {arms: {x: svc}}}",
    tree.Condition: "{condition: {when: [{header: {x: a}, use: svc}], otherwise: svc}}",
    tree.Split: "{split: {arms: {svc: 1}}}",
    tree.Constant: "{constant: {answer: setosa}}",
    tree.Mirror: "[{mirror: {shadow: rf}}, svc]",
    tree.PredictionLog: "[{prediction_log: }, svc]",
    tree.Threshold: "[{threshold: {min: 0.5}}, svc]",
    tree.Timeout: "[{timeout: {timeout_s: 1}}, svc]",
}
PATTERNS: Final = (*get_args(tree.Target), *get_args(tree.Layer))


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.__name__)
def test_every_pattern_is_available_or_says_that_it_is_not(pattern: type[tree.Node]) -> None:
    tag = pattern.__struct_config__.tag
    if pattern in BUILT:
        assert tag in AVAILABLE or pattern is tree.Reference
        built(f"a: {BUILT[pattern]}")
        return
    assert tag not in AVAILABLE
    (problem,) = refused(f"a: {UNBUILT[pattern]}")
    place, sentence = problem.split(": ")
    assert place.startswith("routes.a")
    assert place.endswith(f".{tag}")
    assert sentence == f"{tag} is not available in this version"


def test_nothing_is_available_that_is_no_pattern() -> None:
    assert {pattern.__struct_config__.tag for pattern in PATTERNS} >= AVAILABLE


# --- every combination -------------------------------------------------------------------


def leaves() -> dict[str, Fake]:
    return {
        "svc": a_model("svc", 0.7, 0.2, 0.1, labels=("a", "b", "c")),
        "two": a_model("two", 0.9, 0.1),
        "one": a_model("one", 0.9, datatype="int64"),
        "open": a_model("open", 0.4, 0.6, shape=(-1, -1)),
        "named": a_model("named", 0.4, 0.6, shape=(-1, -1), labels=("a", "b")),
    }


def reference(name: str) -> tree.Reference:
    return tree.Reference(name=name, place=name)


def fan_outs(first: tree.Expression, second: tree.Expression) -> Iterator[tree.FanOut]:
    one = tree.FanOutArm(use=first, place="x")
    positives: tuple[int | str, ...] = (0, 1, "b")
    for aggregate, positive, state, threshold in itertools.product(
        tree.Aggregate, positives, tree.State, (None, 0.5)
    ):
        other = tree.FanOutArm(use=second, state=state, threshold=threshold, place="y")
        yield tree.FanOut(
            arms={"x": one, "y": other},
            aggregate=aggregate,
            positive=positive,
            place="fan_out",
        )


def targets() -> Iterator[tree.Target]:
    simple: list[tree.Target] = [reference(name) for name in leaves()]
    simple += [tree.Constant(answer="a"), tree.Constant(answer=(0.25, 0.75))]
    yield from simple
    inner = [
        tree.FanOut(arms={"i": tree.FanOutArm(use=reference("svc"))}, aggregate=aggregate)
        for aggregate in (tree.Aggregate.KEYED, tree.Aggregate.LABEL, tree.Aggregate.MEAN)
    ]
    splits = [a_split(one, other) for one, other in itertools.product([*simple, *inner], simple)]
    yield from splits
    for first, second in itertools.product([*simple, *inner], simple):
        yield from fan_outs(first, second)
    few: list[tree.Target] = [reference("svc"), reference("one"), tree.Constant(answer="a")]
    few.append(inner[0])
    for first, second in itertools.permutations(few, 2):
        condition = a_condition(first, second)
        yield condition
        yield from fan_outs(condition, reference("svc"))
        yield a_split(condition, reference("svc"))
        yield a_condition(a_split(first, second), second)
    for split in splits:
        yield from fan_outs(split, reference("svc"))


def a_condition(first: tree.Expression, second: tree.Expression) -> tree.Condition:
    rule = tree.When(use=first, header={"x": tree.Match(exact="a")}, place="when[0]")
    return tree.Condition(when=(rule,), otherwise=second, place="condition")


def a_split(one: tree.Expression, other: tree.Expression) -> tree.Split:
    """Return a split in which the answer is the second one's."""
    arms = {
        "x": tree.SplitArm(weight=0, use=one, place="x"),
        "y": tree.SplitArm(weight=1, use=other, place="y"),
    }
    return tree.Split(arms=arms, place="split")


LAYERS: Final = (
    (),
    (tree.Timeout(timeout_s=1.0),),
    (tree.Threshold(min=0.5),),
    (tree.Timeout(timeout_s=1.0), tree.Threshold(classes={"a": 0.9})),
    (tree.Threshold(min=0.5), tree.Timeout(timeout_s=1.0)),
    (tree.Mirror(shadow=reference("two")), tree.Threshold(min=0.5)),
    (tree.PredictionLog(), tree.Timeout(timeout_s=1.0)),
    (tree.PredictionLog(outlier=reference("one")),),
)


async def test_whatever_can_be_built_answers_or_says_why_not() -> None:
    """Every pair of targets under every setting and layer: no error but ours, ever."""
    models, clock = opened(leaves()), ManualClock()
    tools = Tools(clock, BackgroundScope(), None, Measures())
    found: Counter[str] = Counter()
    for target in targets():
        for layers in LAYERS[::2] if isinstance(target, tree.FanOut) else LAYERS:
            route = tree.Pipeline(layers=layers, target=target)
            spec = tree.Spec(models={}, routes={"a": route})
            try:
                node = Builder(spec, models, tools).route("a")
            except SpecError:
                found["refused"] += 1
                continue
            for fields in ({}, {"header:x": "a"})[: 2 if node.choose else 1]:
                met = node.met_by(a_request(fields=fields)).description
                answer = await ask(node, fields=fields)
                assert answer.kind is met.kind
                assert not met.arms or set(answer.arms) == set(met.arms)
                try:
                    found[(await ask(node, labelled=True, fields=fields)).kind] += 1
                except NoLabels:
                    found["unlabelled"] += 1
            await settle()  # shadows
    assert set(found) == {"refused", "unlabelled", AnswerKind.LABELLED, AnswerKind.BEST}
