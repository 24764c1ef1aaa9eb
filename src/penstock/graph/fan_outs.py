"""A fan_out of the spec as a node: its arms, and what is known of the whole.

An arm may choose by the request; then what is known of the whole is so by the request as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import structs

from penstock.core.background import BackgroundScope
from penstock.core.clock import Clock
from penstock.core.errors import SpecError
from penstock.core.predictor import Abreast, Predictor
from penstock.core.values import InferenceRequest
from penstock.graph.arms import (
    arm_of,
    arm_problems,
    describe_fan_out,
    known_arms,
    policy_text,
    required_arms,
    shared_labels,
)
from penstock.graph.node import Node, any_recorded, enough_healthy
from penstock.graph.wrap import Wrap
from penstock.patterns.fan_out import Arm, FanOut
from penstock.spec import tree


def build_fan_out(
    target: tree.FanOut,
    nodes: Mapping[str, Node],
    *,
    wrap: Wrap,
    clock: Clock,
    background: BackgroundScope,
    depth: int,
) -> Node:
    """Build a fan_out of its arms.

    Args:
        target: its place in the spec.
        nodes: its arms that are called, observed ones included.
        wrap: puts around them what nodes have in common.
        clock: tells the time.
        background: where observed arms run.
        depth: of the whole.

    Raises:
        SpecError: the arms cannot be answered together.
    """
    on = {name: node for name, node in nodes.items() if target.arms[name].state is tree.State.ON}
    described = {name: node.description for name, node in on.items()}
    problems = tuple(arm_problems(target, described))
    if problems:
        raise SpecError(problems)
    fan_out = FanOut(
        arms=[_arm(target, name, node, wrap) for name, node in nodes.items()],
        policy=policy_text(target.policy),
        required=required_arms(target.policy, len(on)),
        aggregate=target.aggregate.value,
        labels=shared_labels(list(known_arms(described).values())),
        place=target.place,
        clock=clock,
        background=background,
        abreast=_abreast(target, on, wrap),
    )
    predictor = wrap.measured(fan_out, target.place)

    def met(nodes: Mapping[str, Node]) -> Node:
        return fan_out_node(target, nodes, predictor, clock=clock, depth=depth)

    return met_arm_by_arm(nodes, met)


def _abreast(target: tree.FanOut, on: Mapping[str, Node], wrap: Wrap) -> Abreast | None:
    """Return the quick way to ask all arms, if there is one; it knows no time-outs of arms."""
    if any(target.arms[name].timeout_s is not None for name in on):
        return None
    return wrap.abreast([node.inline for node in on.values()])


def _arm(target: tree.FanOut, name: str, node: Node, wrap: Wrap) -> Arm:
    arm = target.arms[name]
    observed = arm.state is tree.State.OBSERVE
    predictor = wrap.recorded(node.predictor, arm.place) if observed else node.predictor
    return arm_of(target, name, node.description, predictor)


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
        is_recorded=len(on) < len(nodes) or any_recorded(nodes.values()),
    )


def met_arm_by_arm(nodes: Mapping[str, Node], whole: Callable[[Mapping[str, Node]], Node]) -> Node:
    """Return what `whole` makes of the nodes, and makes of them anew for each request they meet."""
    node = whole(nodes)
    if all(one.choose is None for one in nodes.values()):
        return node

    def choose(request: InferenceRequest) -> Node:
        return whole({name: one.met_by(request) for name, one in nodes.items()})

    return structs.replace(node, choose=choose)
