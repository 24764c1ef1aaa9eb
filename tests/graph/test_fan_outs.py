"""What is known of a fan_out where an arm chooses by the request; the rest: `test_build.py`."""

from __future__ import annotations

from typing import Final

from msgspec import structs

from penstock.graph.fan_outs import fan_out_node, met_arm_by_arm
from penstock.graph.node import Node, always_healthy, never_healthy
from penstock.spec import tree
from tests.graph.fakes import a_model
from tests.support import START_S, ManualClock, a_request, echo

SOON_S: Final = START_S + 30.0
USE: Final = tree.Reference(name="any")
TARGET: Final = tree.FanOut(
    arms={
        "first": tree.FanOutArm(use=USE),
        "second": tree.FanOutArm(use=USE, state=tree.State.OBSERVE),
    }
)


def a_node(name: str, *, healthy: bool = True) -> Node:
    description = a_model(name, 0.9, 0.1).open.description
    return Node(echo, description, always_healthy if healthy else never_healthy)


def a_whole(nodes: dict[str, Node]) -> Node:
    def whole(given: object) -> Node:
        assert isinstance(given, dict)
        return fan_out_node(TARGET, given, echo, clock=ManualClock(), depth=3)

    return met_arm_by_arm(nodes, whole)


async def test_what_is_observed_is_shown_and_not_answered() -> None:
    node = a_whole({"first": a_node("a"), "second": a_node("b", healthy=False)})
    assert list(node.description.arms) == ["first"]
    assert list(node.arms) == ["first", "second"]
    assert await node.health(SOON_S) is True
    assert (node.depth, node.choose) == (3, None)


async def test_each_arm_is_what_the_request_meets() -> None:
    plain, met = a_node("plain"), a_node("met", healthy=False)
    arm = structs.replace(plain, choose=lambda request: met if request.labelled else plain)
    node = a_whole({"first": arm, "second": a_node("b")})
    assert node.description.arms["first"].name == "plain"
    assert node.met_by(a_request()).description.arms["first"].name == "plain"
    chosen = node.met_by(a_request(labelled=True))
    assert chosen.description.arms["first"].name == "met"
    assert await chosen.health(SOON_S) is False
    assert chosen.predictor is node.predictor
