"""How each node is drawn is told in `golden/every-pattern`."""

from __future__ import annotations

import pytest

from penstock.core.errors import SpecError
from penstock.spec.explain import MOST_FOLLOWED, Way, explain
from penstock.spec.tree import (
    Condition,
    FanOut,
    FanOutArm,
    Match,
    Model,
    Pipeline,
    Reference,
    Spec,
    Split,
    SplitArm,
    State,
    Timeout,
    When,
)

SPEC = Spec(
    models={"svc": Model(path="models/svc.onnx"), "lost": Model()},
    routes={
        "a": Reference(name="svc"),
        "b": Pipeline(layers=(Timeout(timeout_s=1234567.5),), target=Reference(name="lost")),
    },
    default="b",
)


def test_every_route() -> None:
    assert explain(SPEC) == (
        "a\n└─ svc (svc.onnx)\nb (default)\n└─ timeout  timeout_s 1234567.5\n   └─ lost (nowhere)"
    )


def test_one_route() -> None:
    assert explain(SPEC, "a") == "a\n└─ svc (svc.onnx)"


def test_no_such_route() -> None:
    with pytest.raises(SpecError, match='there is no route "c"'):
        explain(SPEC, "c")


def test_the_state_of_a_route() -> None:
    spec = Spec(
        models=SPEC.models, routes=SPEC.routes, default="a", states={"a": State.OFF, "b": State.ON}
    )
    assert explain(spec).splitlines()[0] == "a (default)  state off"
    assert explain(spec).splitlines()[2] == "b"


# --- the way of one request --------------------------------------------------------------

WHEN = When(use=Reference(name="a"), header={"x": Match(exact="1")}, timeout_s=2.0)
CHOSEN = Spec(
    models=SPEC.models,
    routes={
        **SPEC.routes,
        "c": Condition(when=(WHEN,), otherwise=Reference(name="b")),
        "d": Condition(when=(WHEN,), otherwise=Reference(name="c")),
    },
    states={"a": State.OFF},
)
SPLIT = Spec(
    models=SPEC.models,
    routes={
        "s": Split(
            arms={
                "a": SplitArm(weight=60, use=Reference(name="svc")),
                "b": SplitArm(weight=40, use=Reference(name="lost")),
            }
        )
    },
    default="s",
)


def test_a_condition_shows_the_branch_that_is_taken() -> None:
    text = explain(CHOSEN, "c", decide=lambda _: Way(("it matches",), ("when[0]",)))
    assert text == (
        "c\n└─ condition\n   ├─ it matches\n   └─ when[0]  timeout_s 2\n"
        "      └─ a (route)  state off\n         └─ svc (svc.onnx)"
    )


def test_routes_are_followed_and_each_once() -> None:
    text = explain(CHOSEN, "d", decide=lambda _: Way((), ("otherwise",)))
    assert text.splitlines() == [
        "d",
        "└─ condition",
        "   └─ otherwise",
        "      └─ c (route)",
        "         └─ condition",
        "            └─ otherwise",
        "               └─ b (route)",
        "                  └─ timeout  timeout_s 1234567.5",
        "                     └─ lost (nowhere)",
    ]
    circle = Spec(models={}, routes={"a": Reference(name="b"), "b": Reference(name="a")})
    text = explain(circle, "a", decide=lambda _: Way((), ()))
    assert text == "a\n└─ b (route)\n   └─ a (route)"


def test_a_route_that_two_arms_lead_to_is_drawn_below_both() -> None:
    arms = {name: FanOutArm(use=Reference(name="a")) for name in "xy"}
    spec = Spec(models=SPEC.models, routes={**SPEC.routes, "f": FanOut(arms=arms)})
    text = explain(spec, "f", decide=lambda _: Way((), ()))
    assert text.splitlines()[1:] == [
        "└─ fan_out",
        "   ├─ x",
        "   │  └─ a (route)",
        "   │     └─ svc (svc.onnx)",
        "   └─ y",
        "      └─ a (route)",
        "         └─ svc (svc.onnx)",
    ]


def test_routes_that_lead_to_the_next_by_two_ways_are_followed_some_of_the_way() -> None:
    """There are 2 to the 40 ways to the end."""
    routes = {
        f"r{index}": FanOut(
            arms={name: FanOutArm(use=Reference(name=f"r{index + 1}")) for name in "xy"}
        )
        for index in range(40)
    }
    text = explain(Spec(models={}, routes=routes), "r0", decide=lambda _: Way((), ()))
    assert text.count("└─ fan_out") == MOST_FOLLOWED


def test_a_route_that_refuses_the_request_says_so_in_place_of_its_way() -> None:
    text = explain(
        CHOSEN, "c", decide=lambda _: Way((), ()), refused=lambda route: f"{route} refuses it"
    )
    assert text == "c\n└─ c refuses it"
    text = explain(CHOSEN, "a", decide=lambda _: Way((), ()), refused=lambda _: "")
    assert text == "a  state off\n└─ svc (svc.onnx)"


def test_a_split_shows_the_arm_that_is_taken_or_all_that_may_be() -> None:
    text = explain(SPLIT, "s", decide=lambda _: Way(("drawn",), ("b",)))
    assert text == "s (default)\n└─ split\n   ├─ drawn\n   └─ b: lost (nowhere)  weight 40"
    text = explain(SPLIT, "s", decide=lambda _: Way((), ("a", "b")))
    assert text.splitlines()[-2:] == [
        "   ├─ a: svc (svc.onnx)  weight 60",
        "   └─ b: lost (nowhere)  weight 40",
    ]


def test_a_request_that_is_refused_takes_no_branch() -> None:
    text = explain(CHOSEN, "c", decide=lambda _: Way(("it is refused",), ()))
    assert text == "c\n└─ condition\n   └─ it is refused"


def test_a_long_way_of_routes_is_followed_some_of_the_way() -> None:
    routes = {f"r{index}": Reference(name=f"r{index + 1}") for index in range(500)}
    text = explain(Spec(models={}, routes=routes), "r0", decide=lambda _: Way((), ()))
    assert len(text.splitlines()) == MOST_FOLLOWED + 1
