"""What is known of a fan_out, of all requests and of one: an arm may choose by the request."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import structs

from penstock.core.clock import Clock
from penstock.core.predictor import Predictor
from penstock.core.values import InferenceRequest
from penstock.graph.arms import describe_fan_out, required_arms
from penstock.graph.node import Node, enough_healthy
from penstock.spec import tree


def fan_out_node(
    target: tree.FanOut,
    nodes: Mapping[str, Node],
    predictor: Predictor,
    *,
    clock: Clock,
    depth: int,
) -> Node:
    """Return the node of a fan_out.

    Args:
        target: its place in the spec.
        nodes: its arms that are called, observed ones included.
        predictor: answers.
        clock: tells the time.
        depth: of the whole.
    """
    on = {name: node for name, node in nodes.items() if target.arms[name].state is tree.State.ON}
    required = required_arms(target.policy, len(on))
    return Node(
        predictor,
        describe_fan_out(target, {name: node.description for name, node in on.items()}),
        enough_healthy({name: node.health for name, node in on.items()}, required, clock),
        {name: node.health for name, node in nodes.items()},
        depth,
    )


def met_arm_by_arm(nodes: Mapping[str, Node], whole: Callable[[Mapping[str, Node]], Node]) -> Node:
    """Return what `whole` makes of the nodes, and makes of them anew for each request they meet."""
    node = whole(nodes)
    if all(one.choose is None for one in nodes.values()):
        return node

    def choose(request: InferenceRequest) -> Node:
        return whole({name: one.met_by(request) for name, one in nodes.items()})

    return structs.replace(node, choose=choose)
