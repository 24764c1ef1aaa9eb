"""Graphs of remote models that have not told yet what they take and give, or do not fit."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Final

import pytest

from penstock.core.background import BackgroundScope
from penstock.core.errors import FanOutFailed, NoLabels, NotReady, ServingError, SpecError
from penstock.core.measures import Measures
from penstock.core.predictor import TensorSpec
from penstock.core.rows import ANY_ROWS
from penstock.core.values import AnswerKind, InferenceResponse
from penstock.graph.arms import input_of
from penstock.graph.build import Builder, Tools
from penstock.graph.node import Node
from penstock.spec import tree
from tests.graph.fakes import Fake, a_model, build, opened, unknown
from tests.support import (
    IRIS,
    START_S,
    ManualClock,
    Start,
    a_request,
    both_ways,
    failing,
    settle,
)

SOON_S: Final = START_S + 30.0


def models() -> dict[str, Fake]:
    return {
        "svc": a_model("svc", 0.7, 0.2, 0.1, labels=("a", "b", "c"), sample=IRIS),
        "rf": a_model("rf", 0.1, 0.6, 0.3, labels=("a", "b", "c")),
        "far": unknown("far", 0.9, 0.05, 0.05),
        "farther": unknown("farther", 0.9, 0.05, 0.05),
    }


def built(routes: str, fakes: dict[str, Fake] | None = None, **misfits: str) -> Node:
    return build(routes, models() if fakes is None else fakes, misfits=misfits).builder.route("a")


async def ask(node: Node, *, labelled: bool = False) -> InferenceResponse:
    return await node.predictor(a_request(labelled=labelled))


def codes(response: InferenceResponse) -> dict[str, str]:
    return {
        name: arm.code if isinstance(arm, ServingError) else "answered"
        for name, arm in response.arms.items()
    }


# --- routes and layers -------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("route", ["far", "b", "[{timeout: {timeout_s: 1}}, far]"])
async def test_a_route_over_an_unknown_model_asks_it(start: Start, route: str) -> None:
    fakes = models()
    fakes["far"].asked._inner = failing(NotReady("far, which refuses connections,"))
    node = built(f"a: {route}\nb: far", fakes)
    assert node.description.known is False
    assert input_of(node.description) is ANY_ROWS
    with pytest.raises(NotReady, match="which refuses connections"):
        await start(ask(node))
    assert len(fakes["far"].asked.requests) == 1


@both_ways
async def test_nothing_unknown_is_answered_without_its_threshold(start: Start) -> None:
    fakes = models()
    node = built("a: [{timeout: {timeout_s: 1}}, {threshold: {min: 0.9}}, far]", fakes)
    assert node.description.known is False
    for labelled in (False, True):
        with pytest.raises(NotReady, match=r"^far, which has not told yet what it answers"):
            await start(ask(node, labelled=labelled))
    assert fakes["far"].asked.requests == []
    assert await node.health(SOON_S) is False


# --- fan-outs ----------------------------------------------------------------------------


@both_ways
async def test_an_unknown_arm_is_an_entry_of_the_answer(start: Start) -> None:
    fakes = models()
    node = built("a: {fan_out: {arms: {x: far, y: svc, z: {use: farther, state: off}}}}", fakes)
    response = await start(ask(node))
    assert codes(response) == {"x": "not_ready", "y": "answered"}
    assert fakes["far"].asked.requests == []
    assert node.description.known is True
    assert node.description.inputs == (TensorSpec("svc_input", "float32", (-1, 4)),)
    assert node.description.labels == tuple(node.description.arms) == ("x", "y")
    assert node.description.sample is not None
    assert await node.health(SOON_S) is True
    assert [await health(SOON_S) for health in node.arms.values()] == [False, True]


@both_ways
async def test_a_policy_counts_an_unknown_arm(start: Start) -> None:
    node = built("a: {fan_out: {arms: {x: far, y: svc}, policy: all}}")
    with pytest.raises(FanOutFailed, match=r"failed: x \(not_ready\)$"):
        await start(ask(node))
    assert await node.health(SOON_S) is False


@both_ways
@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ("", AnswerKind.KEYED),
        ("default_threshold: 0.5", AnswerKind.BINARY),
        ("aggregate: label", AnswerKind.BEST),
        ("aggregate: mean", AnswerKind.SCORES),
        ("aggregate: vote", AnswerKind.SCORES),
        ("aggregate: weighted", AnswerKind.SCORES),
    ],
)
async def test_of_unknown_arms_alone_the_kind_is_known(
    start: Start, keys: str, kind: AnswerKind
) -> None:
    fakes = models()
    node = built(f"a: {{fan_out: {{arms: {{x: far, y: farther}}, {keys}}}}}", fakes)
    assert node.description.kind is kind
    assert node.description.known is False
    assert node.description.inputs == node.description.outputs == ()
    assert list(node.description.arms) == ["x", "y"]
    assert node.description.labels == (() if kind is AnswerKind.SCORES else ("x", "y"))
    for labelled in (False, True):
        with pytest.raises(NotReady):
            await start(ask(node, labelled=labelled))
    assert fakes["far"].asked.requests == []
    assert await node.health(SOON_S) is False


@both_ways
@pytest.mark.parametrize("aggregate", ["mean", "vote", "weighted"])
async def test_what_is_combined_is_of_the_known_arms(start: Start, aggregate: str) -> None:
    node = built(f"a: {{fan_out: {{arms: {{x: far, y: svc}}, aggregate: {aggregate}}}}}")
    assert node.description.known is True
    assert node.description.outputs == (TensorSpec("scores", "float64", (-1, 3)),)
    assert node.description.labels == ("a", "b", "c")
    response = await start(ask(node))
    assert response.primary.argmax(axis=1).tolist() == [0]
    assert codes(response) == {"x": "not_ready", "y": "answered"}
    assert (await start(ask(node, labelled=True))).primary.tolist() == ["a"]


async def test_a_positive_class_is_asked_of_the_known_arms() -> None:
    node = built("a: {fan_out: {arms: {x: far, y: svc}, positive: b}}")
    assert (await ask(node, labelled=True)).outputs["proba"].tolist() == pytest.approx([0.2])


async def test_an_observed_arm_may_be_unknown() -> None:
    fakes = models()
    graph = build("a: {fan_out: {arms: {x: {use: far, state: observe}, y: svc}}}", fakes)
    assert codes(await ask(graph.builder.route("a"))) == {"y": "answered"}
    await settle()
    (record,) = graph.records
    assert isinstance(record.outcome, NotReady)


@both_ways
async def test_a_fan_out_of_nothing_known_is_an_unknown_arm_itself(start: Start) -> None:
    node = built("a: {fan_out: {arms: {x: {fan_out: {arms: {z: far}}}, y: svc}}}")
    response = await start(ask(node))
    assert codes(response) == {"x": "not_ready", "y": "answered"}
    error = response.arms["x"]
    assert isinstance(error, NotReady)
    assert str(error) == "fan_out, which has not told yet what it answers, is not ready"


def test_arms_that_are_known_must_still_fit() -> None:
    with pytest.raises(SpecError, match="needs arms with the same columns: y 3, z 1"):
        built(
            "a: {fan_out: {arms: {x: far, y: svc, z: one}, aggregate: mean}}",
            {**models(), "one": a_model("one", 0.5)},
        )


# --- misfits -----------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("route", ["svc", "[{threshold: {min: 0.5}}, svc]"])
async def test_a_model_that_does_not_fit_is_not_ready(start: Start, route: str) -> None:
    fakes = models()
    node = built(f"a: {route}", fakes, svc="it takes rows of 5 values")
    with pytest.raises(NotReady):
        await start(ask(node))
    assert fakes["svc"].asked.requests == []
    assert node.description.known is False
    assert await node.health(SOON_S) is False


@both_ways
async def test_the_others_of_a_fan_out_are_answered_without_a_misfit(start: Start) -> None:
    graph = build("a: {fan_out: {arms: {x: rf, y: svc}}}", models(), misfits={"rf": "no"})
    for builder in (graph.builder, graph.builder.sampling()):
        assert codes(await start(ask(builder.route("a")))) == {"x": "not_ready", "y": "answered"}


# --- every combination -------------------------------------------------------------------

LAYERS: Final = (
    (),
    (tree.Timeout(timeout_s=1.0),),
    (tree.Threshold(min=0.5),),
    (tree.Timeout(timeout_s=1.0), tree.Threshold(classes={"a": 0.9})),
)


def targets() -> list[tree.Target]:
    names = ("svc", "far", "farther")
    simple = [tree.Reference(name=name, place=name) for name in names]
    inner: list[tree.Target] = [
        tree.FanOut(arms={"i": tree.FanOutArm(use=reference)}, aggregate=aggregate)
        for reference in simple[:2]
        for aggregate in tree.Aggregate
    ]
    found: list[tree.Target] = [*simple]
    for first, second in itertools.product([*simple, *inner], simple):
        for aggregate, state, threshold in itertools.product(
            tree.Aggregate, tree.State, (None, 0.5)
        ):
            arms = {
                "x": tree.FanOutArm(use=first, place="x"),
                "y": tree.FanOutArm(use=second, state=state, threshold=threshold, place="y"),
            }
            found.append(tree.FanOut(arms=arms, aggregate=aggregate, positive="b", place="f"))
    return found


async def test_whatever_is_unknown_never_answers_and_the_rest_does() -> None:
    """Every pair of targets under every setting and layer, of models that answer already."""
    fakes = models()
    tools = Tools(ManualClock(), BackgroundScope(), None, Measures())
    found: Counter[str] = Counter()
    for target in targets():
        for layers in LAYERS:
            spec = tree.Spec(models={}, routes={"a": tree.Pipeline(layers=layers, target=target)})
            try:
                node = Builder(spec, opened(fakes), tools).route("a")
            except SpecError:
                found["refused"] += 1
                continue
            guarded = isinstance(target, tree.FanOut) or any(
                isinstance(layer, tree.Threshold) for layer in layers
            )
            for labelled in (False, True):
                found[await end_of(node, labelled=labelled, guarded=guarded)] += 1
    await settle()
    assert set(found) == {"refused", "answered", "not_ready", "no_labels"}


async def end_of(node: Node, *, labelled: bool, guarded: bool) -> str:
    try:
        response = await ask(node, labelled=labelled)
    except NotReady:
        assert not node.description.known
        return "not_ready"
    except NoLabels:
        return "no_labels"
    assert node.description.known or not guarded
    assert labelled or response.kind is node.description.kind
    return "answered"
