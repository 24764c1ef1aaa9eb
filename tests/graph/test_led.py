"""Records of one request in a graph: whatever ways lead to a node, no two have one key."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Mapping
from typing import Any, Final

import pytest

from penstock.core.errors import AnswerNotFinite, FanOutFailed, NotReady, SwitchedOff
from penstock.core.record import Role
from penstock.core.values import MAX_WAY_CHARACTERS, InferenceRequest, InferenceResponse
from penstock.graph.led import Led
from tests.graph.fakes import Fake, Graph, a_model, build, flowers
from tests.support import Recording, Start, a_request, answering, both_ways, failing, scores, settle

MIRRORED: Final = "m: [{mirror: {shadow: rf}}, svc]\n"
OBSERVING: Final = "o: {fan_out: {arms: {x: svc, y: {use: rf, state: observe}}}}\n"
SHADOW: Final = "routes.m[0].mirror.shadow"
OBSERVED: Final = "routes.o.fan_out.arms.y"


def fakes(**changed: Fake) -> dict[str, Fake]:
    return {**flowers(), "ocs": a_model("ocs", 0.25), **changed}


async def asked(graph: Graph, rows: int = 1) -> list[tuple[Role, str]]:
    """Ask route `a`; return the keys of the records, without the id that all share."""
    await graph.builder.route("a").predictor(a_request(*[(5.1, 3.5, 1.4, 0.2)] * rows))
    await settle()
    return [(record.role, record.place) for record in graph.records]


def places(keys: list[tuple[Role, str]]) -> list[str]:
    assert len(set(keys)) == len(keys)
    return sorted(place for _, place in keys)


WAYS: Final[Mapping[str, tuple[str, list[str]]]] = {
    "two arms of a fan-out, a mirror below": (
        f"a: {{fan_out: {{arms: {{p: m, q: m}}}}}}\n{MIRRORED}",
        [f"routes.a.fan_out.arms.{arm}/{SHADOW}" for arm in "pq"],
    ),
    "two arms of a fan-out, an observed arm below": (
        f"a: {{fan_out: {{arms: {{p: o, q: o}}}}}}\n{OBSERVING}",
        [f"routes.a.fan_out.arms.{arm}/{OBSERVED}" for arm in "pq"],
    ),
    "an arm and an observed arm": (
        f"a: {{fan_out: {{arms: {{p: m, q: {{use: m, state: observe}}}}}}}}\n{MIRRORED}",
        [
            f"routes.a.fan_out.arms.p/{SHADOW}",
            "routes.a.fan_out.arms.q",
            f"routes.a.fan_out.arms.q/{SHADOW}",
        ],
    ),
    "one arm beside others": (f"a: {{fan_out: {{arms: {{p: m, q: rf}}}}}}\n{MIRRORED}", [SHADOW]),
    "names of names": (
        "a: {fan_out: {arms: {p: m, q: n}}}\n"
        f"n: [{{timeout: {{timeout_s: 1}}}}, m]\n{MIRRORED}",
        [f"routes.a.fan_out.arms.{arm}/{SHADOW}" for arm in "pq"],
    ),
    "a fan-out within a fan-out": (
        "a: {fan_out: {arms: {p: b, q: b}}}\n"
        f"b: {{fan_out: {{arms: {{r: m, s: m}}}}}}\n{MIRRORED}",
        [
            f"routes.a.fan_out.arms.{outer}/routes.b.fan_out.arms.{inner}/{SHADOW}"
            for outer in "pq"
            for inner in "rs"
        ],
    ),
    "the shadow is what it stands over": (
        f"a: [{{mirror: {{shadow: m}}}}, m]\n{MIRRORED}",
        [
            "routes.a[0].mirror.shadow",
            f"routes.a[0].mirror.shadow/{SHADOW}",
            SHADOW,
        ],
    ),
    "the shadow of another": (
        f"a: [{{mirror: {{shadow: m}}}}, rf]\n{MIRRORED}",
        ["routes.a[0].mirror.shadow", SHADOW],
    ),
    "a shadow that meets it twice by itself": (
        f"a: [{{mirror: {{shadow: {{fan_out: {{arms: {{p: m, q: m}}}}}}}}}}, m]\n{MIRRORED}",
        [
            "routes.a[0].mirror.shadow",
            *(
                f"routes.a[0].mirror.shadow/routes.a[0].mirror.shadow.fan_out.arms.{arm}/{SHADOW}"
                for arm in "pq"
            ),
            SHADOW,
        ],
    ),
    "layers between": (
        f"a: [{{mirror: {{shadow: m}}}}, {{mirror: {{shadow: m}}}}, svc]\n{MIRRORED}",
        [
            "routes.a[0].mirror.shadow",
            f"routes.a[0].mirror.shadow/{SHADOW}",
            "routes.a[1].mirror.shadow",
            SHADOW,
        ],
    ),
    "two branches of a condition, of which a request takes one": (
        "a: {fan_out: {arms: {p: c, q: c}}}\n"
        f"c: {{condition: {{when: [{{column: 0, above: 9, use: m}}], otherwise: m}}}}\n{MIRRORED}",
        [f"routes.a.fan_out.arms.{arm}/{SHADOW}" for arm in "pq"],
    ),
    "one condition": (
        f"a: {{condition: {{when: [{{column: 0, above: 9, use: m}}], otherwise: m}}}}\n{MIRRORED}",
        [SHADOW],
    ),
    "an outlier model that is what predicts": (
        f"a: [{{prediction_log: {{outlier: m}}}}, m]\n{MIRRORED.replace('svc', 'ocs')}",
        [f"routes.a[0].prediction_log.outlier/{SHADOW}", SHADOW],
    ),
}


@pytest.mark.parametrize("case", WAYS)
@both_ways
async def test_no_two_records_have_one_key(case: str, start: Start) -> None:
    routes, expected = WAYS[case]
    keys = await start(asked(build(routes, fakes())))
    assert places(keys) == sorted(expected)


async def test_a_route_that_is_observed_is_met_twice() -> None:
    routes = "a: {fan_out: {arms: {p: b, q: b, r: svc}, policy: any}}\nb: rf"
    graph = build(routes, fakes(), states="{b: observe}")
    found = [f"routes.a.fan_out.arms.{arm}/states.b" for arm in "pq"]
    assert places(await asked(graph)) == found


async def test_a_place_does_not_depend_on_who_else_is_switched_off() -> None:
    routes = f"a: {{fan_out: {{arms: {{p: m, q: {{use: m, state: off}}}}}}}}\n{MIRRORED}"
    found = [f"routes.a.fan_out.arms.p/{SHADOW}"]
    assert places(await asked(build(routes, fakes()))) == found


async def test_who_stands_in_for_an_arm_that_is_not_ready_is_met_as_well() -> None:
    routes = (
        "a: {split: {arms: {p: {weight: 1, use: [{timeout: {timeout_s: 1}}, m]}, "
        f"q: {{weight: 0, use: m}}}}, fallback: q}}}}\n{MIRRORED}"
    )
    graph = build(routes, fakes(svc=a_model("svc", 0.5, 0.5, inner=failing(NotReady("svc")))))
    with pytest.raises(NotReady):
        await asked(graph)
    await settle()
    keys = [(record.role, record.place) for record in graph.records]
    assert places(keys) == [f"routes.a.split.arms.{arm}/{SHADOW}" for arm in "pq"]


async def test_an_outlier_model_that_is_asked_again_has_each_time_recorded() -> None:
    async def two_are_none(request: InferenceRequest, /) -> InferenceResponse:
        rows = request.rows
        if rows > 2:
            raise AnswerNotFinite("ocs", 0)
        return scores(*[(0.25,)] * rows)

    routes = f"a: [{{prediction_log: {{outlier: m}}}}, rf]\n{MIRRORED.replace('svc', 'ocs')}"
    graph = build(routes, fakes(ocs=a_model("ocs", 0.25, inner=two_are_none)))
    again = "routes.a[0].prediction_log.outlier again/"
    await asked(graph, rows=4)
    rows = {record.place: record.request.rows for record in graph.records if record.request}
    assert rows == {SHADOW: 4, again + SHADOW: 3, 2 * again + SHADOW: 2}


async def test_an_outlier_model_that_is_asked_again_within_another_is_so_by_its_place() -> None:
    async def several_are_none(request: InferenceRequest, /) -> InferenceResponse:
        if request.rows > 1:
            raise AnswerNotFinite("ocs", 0)
        return scores((0.25,))

    async def late(request: InferenceRequest, /) -> InferenceResponse:
        await settle()  # meanwhile the outlier model beside it is asked, and asked again
        return await several_are_none(request)

    routes = (
        "a: [{prediction_log: {outlier: b}}, rf]\n"
        f"b: [{{prediction_log: {{outlier: m}}}}, late]\n{MIRRORED.replace('svc', 'ocs')}"
    )
    models = fakes(
        ocs=a_model("ocs", 0.25, inner=several_are_none), late=a_model("late", 0.25, inner=late)
    )
    outer, inner = (f"routes.{route}[0].prediction_log.outlier again/" for route in "ab")
    found = sorted([SHADOW, inner + SHADOW, outer + SHADOW])
    assert places(await asked(build(routes, models), rows=2)) == found


@both_ways
async def test_who_is_led_goes_on_by_its_place(start: Start) -> None:
    inner = Recording(answering(0.5))
    led = Led(inner, place="routes.b.arms.y")
    assert (await start(led(a_request()))).primary.tolist() == [[0.5]]
    assert [request.way for request in inner.requests] == ["routes.b.arms.y/"]
    assert repr(led) == repr(inner)


async def test_nobody_is_led_where_nothing_is_recorded() -> None:
    models = fakes()
    graph = build("a: {fan_out: {arms: {p: b, q: b}}}\nb: svc", models)
    assert await asked(graph) == []
    assert [one.way for one in models["svc"].asked.requests] == ["", ""]


def something(rng: random.Random, below: list[str], depth: int = 2) -> Any:  # noqa: ANN401
    """Return a predictor that may lead to the routes below, whatever sense it makes."""
    if not depth or rng.random() < 0.2:
        return rng.choice([*below, *below, "ocs", "shy", "odd"])
    one, other = (something(rng, below, depth - 1) for _ in range(2))
    onward = rng.choice([*below, "ocs", "shy"])
    state = rng.choice(["on", "observe", "off"])
    arms = {"p": one, "q": {"use": other, "state": state}}
    shares = {"p": {"weight": 1, "use": one}, "q": {"weight": 0, "use": other}}
    return rng.choice(
        [
            [{"mirror": {"shadow": one}}, onward],
            [{"prediction_log": {"outlier": one}}, onward],
            [{"mirror": {"shadow": one}}, {"prediction_log": {"outlier": onward}}, onward],
            {"fan_out": {"arms": arms, "policy": "any", "aggregate": "mean"}},
            {"fan_out": {"arms": arms, "policy": "any", "aggregate": "mean"}},
            {"split": {"arms": shares, "fallback": "q"}},
            {"condition": {"when": [{"column": 0, "above": 9, "use": one}], "otherwise": other}},
        ]
    )


@pytest.mark.parametrize("seed", range(100))
async def test_no_two_records_of_any_spec_have_one_key(seed: int) -> None:
    rng = random.Random(seed)

    async def shy(request: InferenceRequest, /) -> InferenceResponse:
        raise NotReady("shy")

    async def odd(request: InferenceRequest, /) -> InferenceResponse:
        if request.rows > 1:
            raise AnswerNotFinite("odd", 0)
        return scores((0.25,), model="odd")

    models = {
        "ocs": a_model("ocs", 0.25),
        "shy": a_model("shy", 0.25, inner=shy),
        "odd": a_model("odd", 0.25, inner=odd),
    }
    routes: dict[str, Any] = {
        "r0": [{"mirror": {"shadow": "ocs"}}, rng.choice(["ocs", "odd", "shy"])]
    }
    for number in range(1, 5):
        routes[f"r{number}"] = something(rng, list(routes)[-3:])
    arms = {name: something(rng, list(routes)[-3:]) for name in "xyz"}
    routes["a"] = {"fan_out": {"arms": arms, "policy": "any", "aggregate": "mean"}}
    states = {name: "observe" for name in routes if name != "a" and rng.random() < 0.1}
    lines = "\n".join(f"{name}: {json.dumps(one)}" for name, one in routes.items())
    graph = build(lines, models, states=json.dumps(states))
    with contextlib.suppress(NotReady, AnswerNotFinite, SwitchedOff, FanOutFailed):
        await asked(graph, rows=3)
    await settle()
    places([(record.role, record.place) for record in graph.records])


async def test_very_long_ways_are_told_apart_all_the_same() -> None:
    names = [f"{'n' * 60}{number}" for number in range(8)]
    below = [*names[1:], "m"]
    left, right = "l" * 60, "r" * 60
    routes = "".join(
        f"{name}: {{fan_out: {{arms: {{{left}: {one}, {right}: {one}}}}}}}\n"
        for name, one in zip(names, below, strict=True)
    )
    graph = build(f"a: {names[0]}\n{routes}{MIRRORED}", fakes())
    found = places(await asked(graph))
    assert len(found) == 2**8
    assert all(place.endswith(f"/{SHADOW}") for place in found)
    assert max(map(len, found)) <= MAX_WAY_CHARACTERS + len(SHADOW)
