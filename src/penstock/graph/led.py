"""Tells the records of a node apart that one request meets several times.

    request ──▶ fan_out ──┬──▶ a: iris ──┐
                          └──▶ b: iris ──┴──▶ iris, one node: mirror ──▶ shadow

A route is one node, however many use it. Where several of those that one request may ask lead to
one route, and somebody is recorded below, each of them adds its place to the request's way, which
stands in front of the places of records (`node.Recorded`).
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, final

from msgspec import structs

from penstock.core.predictor import Predictor
from penstock.core.values import InferenceRequest, InferenceResponse
from penstock.graph.node import Node
from penstock.spec import tree
from penstock.spec.reach import meeting
from penstock.spec.walk import Part


@final
class Led:
    """Adds a place to the way of each request.

    Args:
        inner: the node's predictor.
        place: where in the spec it is that leads there.
    """

    __slots__ = ("_inner", "_place")

    def __init__(self, inner: Predictor, *, place: str) -> None:
        self._inner = inner
        self._place = place

    def __repr__(self) -> str:
        return repr(self._inner)

    def __call__(self, request: InferenceRequest, /) -> Coroutine[Any, Any, InferenceResponse]:
        """Answer as the inner predictor does."""
        return self._inner(request.by(self._place))


def led_arms(
    nodes: Mapping[str, Node],
    uses: Mapping[str, tree.Expression],
    places: Mapping[str, str],
    spec: tree.Spec,
) -> Mapping[str, Node]:
    """Return the nodes of arms of which a request may meet several.

    Args:
        nodes: of those arms that are built.
        uses: what each arm asks, also of those that are off: what is switched must not change the
            places of others' records.
        places: of the arms.
        spec: whose arms they are.
    """
    if not any(node.is_recorded for node in nodes.values()):
        return nodes
    together = meeting({name: (use,) for name, use in uses.items()}, spec)
    return {
        name: _led(node, places[name]) if name in together else node for name, node in nodes.items()
    }


def led_beside(
    node: Node, use: tree.Expression, place: str, below: Sequence[Part], spec: tree.Spec
) -> Node:
    """Return the node of what a layer asks beside what stands below it.

    Args:
        node: what it asks.
        use: the same as the spec has it.
        place: where that stands.
        below: all that stands below the layer.
        spec: whose layer it is.
    """
    if node.is_recorded and meeting({"": below, place: (use,)}, spec):
        return _led(node, place)
    return node


def _led(node: Node, place: str) -> Node:
    if not node.is_recorded:
        return node
    return structs.replace(node, predictor=Led(node.predictor, place=place))
