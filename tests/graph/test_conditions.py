"""Conditions in a graph: whom a request meets, and what it is told of it beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pytest
from msgspec import structs

from penstock.core.criteria import Hours, Matching, OneOf, Prefix, Within
from penstock.core.errors import DeadlineExceeded, InvalidInput, ModelFailed, NotReady, SpecError
from penstock.core.predictor import TensorSpec
from penstock.core.regex import Regex
from penstock.core.values import (
    NO_FIELDS,
    AnswerKind,
    FieldValue,
    InferenceRequest,
    InferenceResponse,
)
from penstock.graph.arms import input_of
from penstock.graph.build import AVAILABLE
from penstock.graph.conditions import rules_of
from penstock.graph.node import Node, Route
from penstock.patterns.condition import Column, Fields, Rule
from penstock.spec import tree
from tests.graph.fakes import Fake, Graph, a_model, a_spec, build, unhealthy, unknown
from tests.support import (
    IRIS,
    START_S,
    Held,
    ManualClock,
    Start,
    a_request,
    both_ways,
    failing,
    hops,
)

SOON_S: Final = START_S + 30.0
CLASSES: Final = ("a", "b", "c")
BY_HEADER: Final = "{condition: {when: [{header: {X: rf, y: m}, use: rf}], otherwise: svc}}"
TO_RF: Final = {"header:x": "rf", "header:y": "m"}


def models() -> dict[str, Fake]:
    return {
        "svc": a_model("svc", 0.7, 0.2, 0.1, labels=CLASSES, sample=IRIS),
        "rf": a_model("rf", 0.1, 0.6, 0.3, labels=CLASSES, sample=(1.0, 1.0, 1.0, 1.0)),
        "wide": a_model("wide", 0.9, 0.1, labels=("no", "yes"), width=5, datatype="float64"),
        "whole": a_model("whole", 0.1, 0.2, 0.7, datatype="int64", labels=CLASSES),
        "bare": a_model("bare", 0.9, 0.1),
        "image": a_model("image", 0.5, 0.5, shape=(-1, 2)),
        "far": unknown("far", 0.9, 0.05, 0.05),
        "farther": unknown("farther", 0.9, 0.05, 0.05),
    }


def graph(routes: str, fakes: dict[str, Fake] | None = None, states: str = "{}") -> Graph:
    return build(routes, models() if fakes is None else fakes, states=states)


def built(routes: str, fakes: dict[str, Fake] | None = None, states: str = "{}") -> Node:
    return graph(routes, fakes, states).builder.route("a")


async def ask(
    node: Node, *, fields: Mapping[str, FieldValue] = NO_FIELDS, labelled: bool = False
) -> InferenceResponse:
    return await node.predictor(a_request(fields=fields, labelled=labelled))


# --- rules -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            "header: {X-Age: 30, y: {one_of: [a, 1, 2.5]}}",
            Fields(
                {
                    "header:x-age": OneOf(numbers=frozenset({30})),
                    "header:y": OneOf(frozenset({"a"}), frozenset({1, 2.5})),
                }
            ),
        ),
        ("query: {Size: {prefix: x}}", Fields({"query:Size": Prefix("x")})),
        ("query: {s: {regex: a+}}", Fields({"query:s": Matching(Regex("a+"))})),
        ("field: {age: {above: 30}}", Fields({"field:age": Within(low=30.0)})),
        ("field: {age: {below: 30}}", Fields({"field:age": Within(high=30.0)})),
        (
            "field: {age: {between: [18, 30]}}",
            Fields({"field:age": Within(low=18.0, high=30.0, ends=True)}),
        ),
        ("column: 2, between: [1, 2]", Column(2, Within(low=1.0, high=2.0, ends=True))),
        ("column: 0, above: 1", Column(0, Within(low=1.0))),
        ("column: 0, below: 1", Column(0, Within(high=1.0))),
        ("time: {between: [22:00, 06:30]}", Hours(79200, 23400)),
    ],
)
def test_rules(rule: str, expected: Rule) -> None:
    route = f"a: {{condition: {{when: [{{{rule}, use: svc}}], otherwise: rf}}}}"
    target = a_spec(route, ["svc", "rf"]).routes["a"]
    assert isinstance(target, tree.Condition)
    assert rules_of(target) == (expected,)


# --- who is asked ------------------------------------------------------------------------


@both_ways
async def test_the_branch_of_the_first_rule_is_asked(start: Start) -> None:
    fakes = models()
    node = built(f"a: {BY_HEADER}", fakes)
    assert hops(await start(ask(node, fields=TO_RF)))[0] == "condition:when[0]"
    assert hops(await start(ask(node, fields={"header:x": "rf"})))[0] == "condition:otherwise"
    assert [len(fakes[name].asked.requests) for name in ("rf", "svc")] == [1, 1]


@both_ways
async def test_a_branch_may_be_a_constant_or_a_pipeline(start: Start) -> None:
    node = built(
        "a: {condition: {when: [{column: 0, above: 30, use: {constant: {answer: huge}}},"
        " {column: 0, above: 20, use: [{threshold: {min: 0.9}}, rf]}], otherwise: svc}}"
    )
    answers = [
        await start(node.predictor(a_request((first, 0, 0, 0), labelled=True)))
        for first in (31.0, 21.0, 1.0)
    ]
    assert [answer.primary.tolist() for answer in answers] == [["huge"], [None], ["a"]]


@both_ways
async def test_the_time_of_day_is_the_graphs_clocks(start: Start) -> None:
    clock = ManualClock(wall_s=86400.0 * 20000)
    route = "a: {condition: {when: [{time: {between: [22:00, 06:00]}, use: rf}], otherwise: svc}}"
    node = build(route, models(), clock=clock).builder.route("a")
    assert hops(await start(ask(node)))[0] == "condition:when[0]"
    assert node.met_by(a_request()).description.name == "rf"
    clock.advance(6 * 3600.0)
    request = a_request(deadline_s=clock.now_s() + 1.0)
    assert hops(await start(node.predictor(request)))[0] == "condition:otherwise"
    assert node.met_by(request).description.name == "svc"


@both_ways
async def test_a_branch_has_a_time_out_of_its_own(start: Start) -> None:
    fakes, clock = models(), ManualClock()
    fakes["rf"] = a_model("rf", 0.1, 0.6, 0.3, inner=Held())
    route = "{condition: {when: [{header: {x: rf}, use: rf, timeout_s: 2}], otherwise: svc}}"
    node = build(f"a: {route}", fakes, clock=clock).builder.route("a")
    answer = start(ask(node, fields={"header:x": "rf"}))
    await clock.elapse(2.0)
    with pytest.raises(DeadlineExceeded, match=r"routes\.a\.condition\.when\[0\]$"):
        await answer


@both_ways
async def test_each_branch_is_counted_and_named_in_the_trail_of_an_error(start: Start) -> None:
    fakes = models()
    fakes["rf"].asked._inner = failing(ModelFailed("rf"))
    made = graph(f"a: {BY_HEADER}", fakes)
    node = made.builder.route("a")
    with pytest.raises(ModelFailed) as raised:
        await start(ask(node, fields=TO_RF))
    await start(ask(node))
    place = "routes.a.condition"
    assert hops(raised.value) == [
        f"{place}!model_failed",
        "condition:when[0]",
        f"{place}.when[0]!model_failed",
    ]
    assert {place, f"{place}.when[0]", f"{place}.otherwise"} <= made.builder.places
    counted = {at: made.measures.node(at).seconds for at in made.builder.places}
    assert sum(counted[f"{place}.otherwise"].counts) == 1


# --- what is known of it -----------------------------------------------------------------


def test_requests_are_described_the_branch_that_they_would_take() -> None:
    node = built(
        "a: {condition: {when: [{query: {q: wide}, use: wide},"
        " {query: {q: many}, use: {fan_out: {arms: {x: svc, y: rf}}}}], otherwise: svc}}"
    )
    kinds = {
        q: (met := node.met_by(a_request(fields={"query:q": q})).description).name
        + f" {met.kind} {','.join(met.labels)}"
        for q in ("wide", "many", "none")
    }
    assert kinds == {
        "wide": "wide scores no,yes",
        "many": "fan_out keyed x,y",
        "none": "svc scores a,b,c",
    }


def test_what_is_chosen_within_what_is_chosen() -> None:
    node = built(
        "a: {condition: {when: [{query: {q: b}, use: b}], otherwise: wide}}\n"
        f"b: {BY_HEADER}"
    )
    met = [
        node.met_by(a_request(fields=fields)).description.name
        for fields in ({}, {"query:q": "b"}, {"query:q": "b", **TO_RF})
    ]
    assert met == ["wide", "svc", "rf"]


def test_layers_and_fan_outs_pass_the_choice_on() -> None:
    node = built(
        "a: [{timeout: {timeout_s: 1}}, b]\nb: {fan_out: {arms: {x: c, y: wide}}}\n"
        f"c: {BY_HEADER}"
    )
    for fields, name in (({}, "svc"), (TO_RF, "rf")):
        met = node.met_by(a_request(fields=fields))
        assert met.description.kind is AnswerKind.KEYED
        assert met.description.arms["x"].name == name
        assert list(met.arms) == ["x", "y"]
    assert built("a: {fan_out: {arms: {x: svc}}}").choose is None
    assert built("a: [{timeout: {timeout_s: 1}}, svc]").choose is None


@pytest.mark.parametrize("state", ["off", "observe"])
async def test_a_route_that_is_not_on_is_described_and_not_healthy(state: str) -> None:
    node = built(f"a: {BY_HEADER}", states=f"{{a: {state}}}")
    met = node.met_by(a_request(fields=TO_RF))
    assert met.description.name == "rf"
    assert await met.health(SOON_S) is False


async def test_health_is_the_branchs() -> None:
    fakes = models()
    fakes["rf"] = a_model("rf", 0.1, 0.6, 0.3, health=unhealthy)
    node = built(f"a: {BY_HEADER}", fakes)
    assert await node.met_by(a_request()).health(SOON_S) is True
    assert await node.met_by(a_request(fields=TO_RF)).health(SOON_S) is False
    assert await node.health(SOON_S) is False
    assert {name: await health(SOON_S) for name, health in node.arms.items()} == {
        "when[0]": False,
        "otherwise": True,
    }


def test_a_route_keeps_its_name() -> None:
    node = built(f"a: {BY_HEADER}")
    route = Route("a", node, None)
    assert route.met_by(a_request(fields=TO_RF)).description.name == "a"
    assert route.met_by(a_request(fields=TO_RF)).description.sample is not None
    plain = Route("b", built("a: svc"), None)
    assert plain.met_by(a_request()) is plain


async def test_the_sample_of_a_branch_is_predicted_by_that_branch() -> None:
    route = "{condition: {when: [{column: 0, above: 0, use: rf}, %s], otherwise: svc}}"
    made = graph(f"a: {route % '{header: {x: wide}, use: wide}'}")
    serving, sampling = made.builder.route("a"), made.builder.sampling().route("a")
    for node, hop in ((serving, "when[0]"), (sampling, "otherwise")):
        assert hops(await node.predictor(a_request(IRIS)))[0] == f"condition:{hop}"
        assert node.met_by(a_head()).description.name == "svc"
    row = (1.0, 2.0, 3.0, 4.0, 5.0)
    answer = await sampling.predictor(a_request(row, fields={"header:x": "wide"}))
    assert hops(answer)[0] == "condition:when[1]"


def a_head() -> InferenceRequest:
    return structs.replace(a_request(), tensors={})


def test_rows_that_part_meet_no_branch() -> None:
    node = built("a: {condition: {when: [{column: 0, above: 1, use: rf}], otherwise: svc}}")
    with pytest.raises(InvalidInput, match="different ways"):
        node.met_by(a_request((0.0,), (2.0,)))


# --- what all requests can count on ------------------------------------------------------


def between(first: str, second: str) -> str:
    return f"a: {{condition: {{when: [{{query: {{q: x}}, use: {first}}}], otherwise: {second}}}}}"


@pytest.mark.parametrize(
    ("first", "second", "rows"),
    [
        ("svc", "rf", TensorSpec("svc_input", "float32", (-1, 4))),
        ("svc", "wide", TensorSpec("svc_input", "float64", (-1, -1))),
        ("whole", "svc", TensorSpec("whole_input", "float64", (-1, 4))),
        ("{constant: {answer: a}}", "svc", TensorSpec("svc_input", "float32", (-1, 4))),
        ("svc", "far", TensorSpec("svc_input", "float32", (-1, 4))),
    ],
)
def test_rows_are_read_as_all_branches_can_take_them(
    first: str, second: str, rows: TensorSpec
) -> None:
    node = built(between(first, second))
    assert input_of(node.description) == rows


def test_constants_alone_take_any_rows() -> None:
    node = built(between("{constant: {answer: a}}", "{constant: {answer: b}}"))
    assert node.description.inputs == ()
    assert node.description.kind is AnswerKind.LABELLED


@both_ways
async def test_a_row_that_the_branch_does_not_take_is_the_branchs_to_refuse(start: Start) -> None:
    fakes = models()
    node = built(between("wide", "svc"), fakes)
    await start(node.predictor(a_request((1.0, 2.0, 3.0, 4.0, 5.0), fields={"query:q": "x"})))
    assert fakes["wide"].asked.requests[0].tensors["data"].shape == (1, 5)


def test_branches_that_take_other_tensors_are_refused() -> None:
    fakes = models()
    image = a_model("image", 0.5, 0.5)
    inputs = (TensorSpec("pixels", "float32", (-1, 8, 8)),)
    description = structs.replace(image.open.description, inputs=inputs)
    fakes["image"] = Fake(image.asked, structs.replace(image.open, description=description))
    with pytest.raises(SpecError) as raised:
        built(between("image", "svc"), fakes)
    assert raised.value.problems == (
        "routes.a.condition.otherwise: otherwise takes tensors of 2 axes, when[0] of 3",
    )


@pytest.mark.parametrize(
    ("first", "second", "kind", "columns", "labels"),
    [
        ("svc", "rf", AnswerKind.SCORES, 3, CLASSES),
        ("svc", "wide", AnswerKind.SCORES, -1, ()),
        ("wide", "bare", AnswerKind.SCORES, 2, ("no", "yes")),
        ("svc", "{constant: {answer: [1, 0, 0]}}", AnswerKind.SCORES, 3, CLASSES),
        ("svc", "{constant: {answer: a}}", AnswerKind.LABELLED, None, ()),
        ("{constant: {answer: a}}", "svc", AnswerKind.SCORES, None, ()),
        ("svc", "{fan_out: {arms: {x: rf}}}", AnswerKind.KEYED, None, ()),
        ("svc", "far", AnswerKind.SCORES, 3, CLASSES),
        (
            "{fan_out: {arms: {x: rf}}}",
            "{fan_out: {arms: {x: rf}}}",
            AnswerKind.KEYED,
            None,
            ("x",),
        ),
    ],
)
def test_what_all_branches_answer(
    first: str, second: str, kind: AnswerKind, columns: int | None, labels: tuple[str, ...]
) -> None:
    description = built(between(first, second)).description
    assert (description.kind, description.labels) == (kind, labels)
    shapes = [output.shape for output in description.outputs]
    assert shapes == ([] if columns is None else [(-1, columns)])


def test_the_sample_is_that_of_otherwise_where_it_has_one() -> None:
    for route, first in ((between("rf", "svc"), IRIS[0]), (between("rf", "wide"), 1.0)):
        sample = built(route).description.sample
        assert sample is not None
        assert sample[0, 0] == pytest.approx(first)
    assert built(between("bare", "wide")).description.sample is None


@pytest.mark.parametrize(
    ("keys", "first", "second", "why"),
    [
        ("aggregate: mean", "svc", "wide", "the branches of condition differ"),
        ("aggregate: mean", "svc", "{constant: {answer: a}}", "needed here, and constant has none"),
        ("default_threshold: 1", "{constant: {answer: a}}", "svc", "constant has none"),
        ("positive: 2", "svc", "wide", "column 2 is to be positive, and wide has 2"),
        ("positive: a", "svc", "wide", "wide has no class 'a'"),
        ("positive: 'no'", "swapped", "wide", "'no' is to be positive, and the branches of"),
        ("positive: 'no'", "wide", "{constant: {answer: a}}", "'no' is to be positive, and the"),
    ],
)
def test_a_fan_out_looks_at_every_branch(keys: str, first: str, second: str, why: str) -> None:
    fakes = models()
    fakes["swapped"] = a_model("swapped", 0.9, 0.1, labels=("yes", "no"))
    condition = between(first, second).removeprefix("a: ")
    with pytest.raises(SpecError) as raised:
        built(f"a: {{fan_out: {{{keys}, arms: {{x: b}}}}}}\nb: {condition}", fakes)
    (problem,) = raised.value.problems
    assert problem.startswith("routes.a.fan_out.arms.x: ")
    assert why in problem


@pytest.mark.parametrize(
    ("keys", "first", "second"),
    [
        ("positive: 1", "svc", "wide"),
        ("positive: b", "svc", "rf"),
        ("positive: 'no'", "{constant: {answer: a}}", "{constant: {answer: b}}"),
        ("aggregate: mean", "svc", "{constant: {answer: [1, 0, 0]}}"),
        ("positive: 2", "svc", "far"),
    ],
)
def test_a_fan_out_of_branches_that_are_right(keys: str, first: str, second: str) -> None:
    condition = between(first, second).removeprefix("a: ")
    node = built(f"a: {{fan_out: {{{keys}, arms: {{x: b}}}}}}\nb: {condition}")
    assert node.choose is not None


def test_a_route_of_many_ways_is_looked_at_once() -> None:
    """Each route leads to the next one by two ways, so that there are 2 to the 40 to its end."""
    onward = [
        f"r{index}: {{condition: {{when: [{{query: {{q: x}}, use: r{index + 1}}}],"
        f" otherwise: r{index + 1}}}}}"
        for index in range(40)
    ]
    routes = "\n".join(["a: {fan_out: {arms: {x: r0}, aggregate: mean}}", *onward, "r40: svc"])
    assert built(routes).description.kind is AnswerKind.SCORES


# --- branches that are not known yet -----------------------------------------------------


@both_ways
@pytest.mark.parametrize("use", ["far", "b", "[{timeout: {timeout_s: 1}}, far]"])
async def test_only_requests_of_an_unknown_branch_are_not_ready(start: Start, use: str) -> None:
    fakes = models()
    node = built(f"{between(use, 'svc')}\nb: far", fakes)
    assert node.description.known is True
    assert (await start(ask(node))).model == "svc"
    with pytest.raises(NotReady, match="far, which has not told yet") as raised:
        await start(ask(node, fields={"query:q": "x"}))
    assert "condition:when[0]" in hops(raised.value)
    assert fakes["far"].asked.requests == []
    met = node.met_by(a_request(fields={"query:q": "x"}))
    assert met.description.known is False
    assert await met.health(SOON_S) is False
    assert node.met_by(a_request()).description.known is True


async def test_nothing_is_known_of_unknown_branches() -> None:
    node = built(between("far", "farther"))
    assert node.description.known is False
    assert node.description.inputs == ()
    with pytest.raises(NotReady, match="farther"):
        await ask(node)


def test_it_is_available() -> None:
    assert "condition" in AVAILABLE
