"""What the prediction log keeps of each route, as the spec says it."""

from __future__ import annotations

from typing import Final

from msgspec import structs

from penstock.core.errors import SpecError
from penstock.core.predictor import Description, TensorSpec
from penstock.core.values import InferenceRequest
from penstock.graph.arms import columns_of, has_columns, variants
from penstock.graph.node import Node
from penstock.spec import tree
from penstock.spec.fields import normal_name
from penstock.spec.logged import (
    INPUT,
    OUTPUT,
    log_layer,
    redacted_columns,
    sticky_fields,
)
from penstock.spec.problems import child
from penstock.stores.policy import LogPolicy

UNKNOWN_SCORE: Final = TensorSpec("scores", "float32", (-1, 1))
"""Of an outlier model that has not told yet."""


def policies_of(spec: tree.Spec, generation: int) -> dict[str, LogPolicy]:
    """Return the policies of those routes that are logged, by their names."""
    layers = {route: log_layer(route, spec) for route in spec.routes}
    return {
        route: _policy(route, layer, spec, generation)
        for route, layer in layers.items()
        if layer is not None
    }


def _policy(route: str, layer: tree.PredictionLog, spec: tree.Spec, generation: int) -> LogPolicy:
    keys = sticky_fields(route, spec)
    return LogPolicy(
        route=route,
        generation=generation,
        place=layer.place,
        sample_percent=layer.sample_percent,
        groups=tuple(name for name in map(normal_name, layer.groups) if name not in keys),
        keys=keys,
        keeps_input=INPUT not in layer.redact,
        keeps_output=OUTPUT not in layer.redact,
        columns=redacted_columns(layer),
        blocks=layer.on_full is tree.OnFull.BLOCK,
    )


def with_outlier(layer: tree.PredictionLog, node: Node, outlier: Description) -> Node:
    """Return the node of a layer beside which an outlier model runs, described as such.

    Raises:
        SpecError: that model does not give one score a row.
    """
    score = _score(layer, outlier)

    def scored(met: Node) -> Node:
        return structs.replace(met, description=structs.replace(met.description, outlier=score))

    def choose(request: InferenceRequest) -> Node:
        return scored(node.met_by(request))

    return structs.replace(scored(node), choose=None if node.choose is None else choose)


def _score(layer: tree.PredictionLog, outlier: Description) -> TensorSpec:
    if not outlier.known:
        return UNKNOWN_SCORE
    for one in variants(outlier):
        if not has_columns(one) or columns_of(one) not in (1, None):
            place = child(layer.place, "outlier")
            raise SpecError(
                (f"{place}: one score a row is needed here, and {one.name} gives another answer",)
            )
    return outlier.outputs[0] if outlier.outputs else UNKNOWN_SCORE
