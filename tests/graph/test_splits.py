"""Splits of models by hand: what is known of the whole, whom it asks, what is refused."""

from __future__ import annotations

from typing import Final

import pytest

from penstock.core.errors import InvalidInput, ModelFailed, NoLabels, NotReady, SpecError
from penstock.core.predictor import Description, TensorSpec
from penstock.core.rendezvous import choose, odds_of, seed_key
from penstock.core.trail import arm_of
from penstock.core.values import AnswerKind, FieldValue, InferenceResponse
from penstock.graph.node import Node, nested_health
from penstock.graph.splits import describe_split
from tests.graph.fakes import Fake, a_model, build, unhealthy, unknown
from tests.support import IRIS, START_S, Start, a_request, both_ways, failing, hops

SOON_S: Final = START_S + 30.0
LABELS: Final = ("a", "b", "c")


def models() -> dict[str, Fake]:
    return {
        "svc": a_model("svc", 0.7, 0.2, 0.1, labels=LABELS, sample=IRIS),
        "rf": a_model("rf", 0.1, 0.6, 0.3, labels=LABELS, datatype="float64"),
        "bare": a_model("bare", 0.1, 0.6, 0.3),
        "open": a_model("open", 0.2, 0.2, 0.6, shape=(-1, -1)),
        "pair": a_model("pair", 0.4, 0.6),
        "far": unknown("far", 0.9, 0.05, 0.05),
    }


def built(routes: str, fakes: dict[str, Fake] | None = None, **misfits: str) -> Node:
    return build(routes, models() if fakes is None else fakes, misfits=misfits).builder.route("a")


async def ask(
    node: Node, *, seed: int = 7, labelled: bool = False, **fields: FieldValue
) -> InferenceResponse:
    named = {name.replace("_", ":", 1).replace("_", "-"): value for name, value in fields.items()}
    return await node.predictor(a_request(seed=seed, labelled=labelled, fields=named))


# --- whom it asks ------------------------------------------------------------------------


@both_ways
async def test_all_that_has_weight_goes_to_one_arm(start: Start) -> None:
    fakes = models()
    node = built("a: {split: {arms: {svc: 0, rf: 1}}}", fakes)
    response = await start(ask(node))
    assert (response.model, response.fields) == ("rf", {"mode": "rf.onnx"})
    assert hops(response) == ["split:rf", "model:rf@1"]
    assert fakes["svc"].asked.requests == []
    assert (await start(ask(node, labelled=True))).fields == {"mode": "rf.onnx"}


@both_ways
async def test_the_experiment_is_the_routes_name_unless_it_has_its_own(start: Start) -> None:
    ab = "{split: {arms: {svc: 1, bare: 1}%s}}"
    lines = [f"a: {ab % ', experiment: e'}", f"b: {ab % ''}", f"e: {ab % ''}"]
    graph = build("\n".join(lines), models())
    nodes = [graph.builder.route(route) for route in "abe"]
    met = [[(await start(ask(node, seed=seed))).model for seed in range(40)] for node in nodes]
    assert met[0] == met[2]
    assert met[0] != met[1]


@both_ways
async def test_a_header_is_looked_up_whatever_its_case(start: Start) -> None:
    node = built("a: {split: {sticky: 'header:X-User-Id', arms: {svc: 1, bare: 1}}}")
    met = {
        (await start(ask(node, seed=seed, header_x_user_id="u"))).trail[0].name
        for seed in range(20)
    }
    assert len(met) == 1
    assert not met.pop().endswith("no_key")


@both_ways
async def test_a_field_keeps_its_case(start: Start) -> None:
    node = built("a: {split: {sticky: 'field:User', arms: {svc: 1, bare: 1}}}")
    assert hops(await start(ask(node, field_User="u")))[0].count(":") == 1
    assert hops(await start(ask(node, field_user="u")))[0].endswith(":no_key")


@both_ways
async def test_an_arm_may_be_any_predictor(start: Start) -> None:
    fakes = models()
    routes = """
        a: {split: {arms: {old: 0, new: {weight: 1, use: [{timeout: {timeout_s: 1}}, b]}}}}
        old: svc
        b: {split: {arms: {rf: 0, svc: 1}}}
    """
    node = built("\n".join(line.strip() for line in routes.strip().splitlines()), fakes)
    response = await start(ask(node))
    assert hops(response) == ["split:new", "timeout", "split:svc", "model:svc@1"]
    assert response.fields == {"mode": "svc.onnx"}
    assert node.depth == 4


@both_ways
async def test_each_arm_is_counted_and_told_in_errors(start: Start) -> None:
    fakes = models()
    fakes["rf"].asked._inner = failing(ModelFailed("rf"))
    graph = build("a: {split: {arms: {svc: 0, rf: 1}}}", fakes)
    node = graph.builder.route("a")
    with pytest.raises(ModelFailed) as caught:
        await start(ask(node))
    assert hops(caught.value) == [
        "routes.a.split!model_failed",
        "split:rf",
        "routes.a.split.arms.rf!model_failed",
    ]
    assert arm_of(caught.value.trail) == "rf"
    assert graph.measures.node("routes.a.split.arms.rf").errors == {"model_failed": 1}
    assert graph.measures.node("routes.a.split").errors == {"model_failed": 1}
    assert graph.builder.places >= {"routes.a.split.arms.svc", "models.svc"}


# --- arms that are not ready -------------------------------------------------------------


@both_ways
@pytest.mark.parametrize(
    ("split", "hop"),
    [
        ("arms: {svc: 0, far: 1}", "split:svc:instead_of:far"),
        ("arms: {svc: 0, bare: 0, far: 1}, fallback: bare", "split:bare:instead_of:far"),
        ("arms: {bare: 1, far: 0}", "split:bare"),
    ],
)
async def test_users_of_an_unknown_arm_meet_the_fallback(
    start: Start, split: str, hop: str
) -> None:
    fakes = models()
    node = built(f"a: {{split: {{{split}}}}}", fakes)
    response = await start(ask(node))
    assert hops(response)[0] == hop
    assert fakes["far"].asked.requests == []
    assert await node.health(SOON_S) is True
    assert [await node.arms[name](SOON_S) for name in node.arms] == [
        name != "far" for name in node.arms
    ]


@both_ways
async def test_a_model_that_does_not_fit_is_an_arm_that_is_not_ready(start: Start) -> None:
    node = built("a: {split: {arms: {svc: 0, pair: 1}}}", pair="2 scores, not 3")
    assert hops(await start(ask(node)))[0] == "split:svc:instead_of:pair"
    assert node.description.labels == LABELS


@both_ways
async def test_where_nothing_is_known_nothing_is_answered(start: Start) -> None:
    node = built("a: {split: {arms: {far: 1}}}")
    assert (node.description.name, node.description.known) == ("split", False)
    with pytest.raises(NotReady, match=r"^far, which has not told yet"):
        await start(ask(node))
    assert await node.health(SOON_S) is False


# --- what is known of the whole ----------------------------------------------------------


def test_its_input_takes_what_any_arm_takes() -> None:
    description = built("a: {split: {arms: {svc: 1, rf: 1}}}").description
    assert description.name == "split"
    assert description.kind is AnswerKind.SCORES
    assert (description.version, description.source) == ("", "")
    assert description.inputs == (TensorSpec("svc_input", "float64", (-1, 4)),)
    assert description.labels == LABELS
    assert description.sample is not None
    assert description.sample.dtype == "float64"
    assert description.sample[0].tolist() == list(IRIS)


def test_labels_are_those_of_the_arms_that_have_any() -> None:
    assert built("a: {split: {arms: {bare: 1, svc: 1}}}").description.labels == LABELS


@both_ways
async def test_an_arm_without_labels_says_so_itself(start: Start) -> None:
    node = built("a: {split: {arms: {svc: 0, bare: 1}}}")
    with pytest.raises(NoLabels):
        await start(ask(node, labelled=True))


def test_what_one_arm_does_not_say_is_not_known_of_the_whole() -> None:
    description = built("a: {split: {arms: {svc: 1, open: 1}}}").description
    assert description.outputs[0].shape == (-1, -1)
    assert description.labels == ()
    over = "a: {fan_out: {aggregate: mean, arms: {x: b}}}"
    problems = refused(f"{over}\nb: {{split: {{arms: {{svc: 1, open: 1}}}}}}")
    assert problems == (
        "routes.a.fan_out.arms.x: scores of the same columns are needed here; the branches of split"
        " differ, or do not say what they give",
    )


def test_a_split_of_constants() -> None:
    described = built(
        "a: {split: {arms: {x: {weight: 1, use: {constant: {answer: red}}},"
        " y: {weight: 1, use: {constant: {answer: blue}}}}}}"
    ).description
    assert described.kind is AnswerKind.LABELLED
    assert (described.inputs, described.labels, described.sample) == ((), (), None)


def test_a_split_of_fan_outs_is_healthy_flat() -> None:
    both = "{fan_out: {arms: {s: svc, r: rf}}}"
    node = built(f"a: {{split: {{arms: {{x: {{weight: 1, use: {both}}}}}}}}}")
    assert node.description.kind is AnswerKind.KEYED
    assert tuple(node.description.arms) == node.description.labels == ("s", "r")
    assert list(node.arms) == ["x"]
    assert not nested_health(node.description)


def test_layers_over_a_split_leave_it_one() -> None:
    node = built("a: [{timeout: {timeout_s: 1}}, b]\nb: {split: {arms: {svc: 1, rf: 1}}}")
    assert list(node.arms) == ["svc", "rf"]
    assert not nested_health(node.description)
    off = build("a: {split: {arms: {svc: 1}}}", models(), states="{a: 'off'}").builder.route("a")
    assert off.choose is not None


@pytest.mark.parametrize(("ill", "well"), [("svc", False), ("rf", False), ("bare", True)])
async def test_it_is_healthy_where_all_its_users_arms_are(ill: str, *, well: bool) -> None:
    fakes = models()
    fakes[ill] = a_model(ill, 0.7, 0.2, 0.1, health=unhealthy)
    node = built("a: {split: {arms: {svc: 60, rf: 40, bare: 0}}}", fakes)
    assert await node.health(SOON_S) is well


# --- what one request meets --------------------------------------------------------------


def test_a_request_meets_the_arm_that_would_answer_it() -> None:
    node = built("a: [{timeout: {timeout_s: 1}}, b]\nb: {split: {arms: {svc: 1, rf: 1}}}")
    met = {seed: node.met_by(a_request(seed=seed)).description.name for seed in range(20)}
    assert set(met.values()) == {"svc", "rf"}
    odds = odds_of("b", {"svc": 1, "rf": 1})
    assert met == {seed: choose(odds, seed_key(seed)) for seed in met}


def test_it_is_met_through_a_fan_out() -> None:
    node = built("a: {fan_out: {arms: {x: b}}}\nb: {split: {arms: {svc: 1, rf: 1}}}")
    odds = odds_of("b", {"svc": 1, "rf": 1})
    for seed in range(8):
        met = node.met_by(a_request(seed=seed)).description.arms["x"]
        assert met.name == choose(odds, seed_key(seed))


@pytest.mark.parametrize(
    "use", ["far", "{condition: {when: [{header: {h: x}, use: far}], otherwise: svc}}"]
)
async def test_users_of_an_unknown_arm_are_told_of_the_fallback(use: str) -> None:
    node = built(f"a: {{split: {{arms: {{x: {{weight: 1, use: {use}}}, rf: 0}}, fallback: rf}}}}")
    met = node.met_by(a_request(fields={"header:h": "x"}))
    assert met.description.name == "rf"
    assert await met.health(SOON_S) is True


def test_descriptions_of_no_arm_but_unknown_ones() -> None:
    far = Description("far", AnswerKind.KEYED, known=False)
    described = describe_split({"far": far})
    assert (described.known, described.kind) == (False, AnswerKind.KEYED)


# --- what is refused ---------------------------------------------------------------------


def refused(routes: str) -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        built(routes)
    return caught.value.problems


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ("pair", "2 scores and 3 scores a row"),
        ("{constant: {answer: red}}", "labelled and scores"),
        ("{fan_out: {arms: {x: svc}}}", "keyed and scores"),
        ("{fan_out: {aggregate: label, arms: {x: svc}}}", "best and scores"),
    ],
)
def test_arms_that_answer_otherwise(other: str, difference: str) -> None:
    assert refused(f"a: {{split: {{arms: {{svc: 1, y: {{weight: 1, use: {other}}}}}}}}}") == (
        f"routes.a.split.arms.y: the answers of y and svc do not line up: {difference}",
    )


@both_ways
async def test_a_mistake_of_the_caller_is_the_arms_to_tell(start: Start) -> None:
    fakes = models()
    fakes["rf"].asked._inner = failing(InvalidInput("4 values are needed"))
    node = built("a: {split: {arms: {svc: 0, rf: 1}}}", fakes)
    with pytest.raises(InvalidInput):
        await start(ask(node))
    assert fakes["svc"].asked.requests == []
