"""The fold from the spec's tree to a tree of predictors. Pure: nothing is opened or read here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, assert_never, final

import numpy as np
from msgspec import Struct

from penstock.core.background import BackgroundScope
from penstock.core.clock import Clock
from penstock.core.errors import SpecError
from penstock.core.predictor import Description, Health, OpenModel, Predictor, TensorSpec
from penstock.core.record import Recorder, Role
from penstock.core.rows import ANY_ROWS
from penstock.core.values import AnswerKind
from penstock.graph.node import Node, Observed, Recorded, model_node
from penstock.patterns.constant import Constant
from penstock.patterns.fan_out import DEFAULT_THRESHOLD, Arm, FanOut
from penstock.patterns.threshold import Threshold
from penstock.patterns.timeout import Timeout
from penstock.spec import tree

AVAILABLE: Final = frozenset({"fan_out", "constant", "threshold", "timeout"})
"""The patterns that are built in this version; `check` refuses the others."""


class Tools(Struct, frozen=True):
    """What nodes are given to work with.

    Attributes:
        clock: tells the time and wakes.
        background: where work runs that no answer waits for.
        recorder: is told of every request's end; None where nobody listens.
    """

    clock: Clock
    background: BackgroundScope
    recorder: Recorder | None


@final
class Builder:
    """Folds expressions into nodes; a route that is used in several places is one node.

    Args:
        spec: the tree; it has passed its check.
        models: the opened models by name.
        tools: what the nodes work with.
    """

    def __init__(self, spec: tree.Spec, models: Mapping[str, OpenModel], tools: Tools) -> None:
        self._spec = spec
        self._models = models
        self._tools = tools
        self._routes: dict[str, Node] = {}

    def route(self, name: str) -> Node:
        """Return the node of a route.

        Raises:
            SpecError: it asks for a pattern that this version does not have.
        """
        if name not in self._routes:
            self._routes[name] = self._node(self._spec.routes[name])
        return self._routes[name]

    def _node(self, expression: tree.Expression) -> Node:
        match expression:
            case tree.Reference():
                return self._reference(expression)
            case tree.Pipeline():
                node = self._target(expression.target)
                for layer in reversed(expression.layers):
                    node = self._layer(layer, node)
                return node
            case _:
                return self._target(expression)

    def _target(self, target: tree.Target) -> Node:
        match target:
            case tree.Reference():
                return self._reference(target)
            case tree.FanOut():
                return self._fan_out(target)
            case tree.Constant():
                return self._constant(target)
            case tree.Split():
                raise _not_available(target.place, "split")
            case tree.Condition():
                raise _not_available(target.place, "condition")
            case tree.SyncAsync():
                raise _not_available(target.place, "sync_async")
            case _:
                assert_never(target)

    def _layer(self, layer: tree.Layer, inner: Node) -> Node:
        match layer:
            case tree.Threshold():
                return self._threshold(layer, inner)
            case tree.Timeout():
                timeout = Timeout(
                    inner=inner.predictor,
                    timeout_s=layer.timeout_s,
                    place=layer.place,
                    clock=self._tools.clock,
                )
                return self._around(inner, timeout, layer.place)
            case tree.PredictionLog():
                raise _not_available(layer.place, "prediction_log")
            case tree.Mirror():
                raise _not_available(layer.place, "mirror")
            case tree.Breaker():
                raise _not_available(layer.place, "breaker")
            case tree.RateLimit():
                raise _not_available(layer.place, "rate_limit")
            case tree.Retry():
                raise _not_available(layer.place, "retry")
            case _:
                assert_never(layer)

    def _observed(self, predictor: Predictor, place: str) -> Predictor:
        return Observed(predictor, place=place, clock=self._tools.clock)

    def _around(self, inner: Node, predictor: Predictor, place: str) -> Node:
        observed = self._observed(predictor, place)
        return Node(observed, inner.description, inner.health, inner.arms)

    def _reference(self, reference: tree.Reference) -> Node:
        model = self._models.get(reference.name)
        if model is None:
            return self.route(reference.name)
        return model_node(model)

    def _threshold(self, layer: tree.Threshold, inner: Node) -> Node:
        floor = 0.0 if layer.min is None else layer.min
        thresholds = [layer.classes.get(label, floor) for label in inner.description.labels]
        threshold = Threshold(inner=inner.predictor, thresholds=thresholds, clock=self._tools.clock)
        return self._around(inner, threshold, layer.place)

    def _constant(self, target: tree.Constant) -> Node:
        constant = Constant(answer=target.answer, place=target.place, clock=self._tools.clock)
        return Node(
            self._observed(constant, target.place), _describe_constant(target), _always_healthy
        )

    def _fan_out(self, target: tree.FanOut) -> Node:
        nodes = {
            name: self._node(arm.use)
            for name, arm in target.arms.items()
            if arm.state is not tree.State.OFF
        }
        on = [name for name in nodes if target.arms[name].state is tree.State.ON]
        required = required_arms(target.policy, len(on))
        fan_out = FanOut(
            arms=[self._arm(target, name, node) for name, node in nodes.items()],
            policy=_policy_text(target.policy),
            required=required,
            aggregate=target.aggregate.value,
            labels=_shared_labels([nodes[name] for name in on]),
            place=target.place,
            clock=self._tools.clock,
            background=self._tools.background,
        )
        return Node(
            self._observed(fan_out, target.place),
            _describe_fan_out(target, {name: nodes[name].description for name in on}),
            _enough_healthy([nodes[name].health for name in on], required),
            {name: node.health for name, node in nodes.items()},
        )

    def _arm(self, target: tree.FanOut, name: str, node: Node) -> Arm:
        arm = target.arms[name]
        observed = arm.state is tree.State.OBSERVE
        predictor = node.predictor
        if observed and self._tools.recorder is not None:
            predictor = Recorded(
                predictor,
                place=arm.place,
                role=Role.OBSERVE,
                recorder=self._tools.recorder,
                clock=self._tools.clock,
            )
        return Arm(
            name=name,
            predictor=predictor,
            positive=positive_column(target.positive, node.description),
            threshold=threshold_of(target, arm),
            timeout_s=arm.timeout_s,
            weight=arm.weight,
            observed=observed,
        )


def _not_available(place: str, pattern: str) -> SpecError:
    return SpecError((f"{place}: {pattern} is not available in this version",))


def is_binary(target: tree.FanOut) -> bool:
    """Tell whether a fan-out answers 0 or 1: any threshold makes it so."""
    return target.default_threshold is not None or any(
        arm.threshold is not None for arm in target.arms.values()
    )


def threshold_of(target: tree.FanOut, arm: tree.FanOutArm) -> float | None:
    """Return an arm's threshold; None where the fan-out answers scores."""
    if arm.threshold is not None:
        return arm.threshold
    if not is_binary(target):
        return None
    return DEFAULT_THRESHOLD if target.default_threshold is None else target.default_threshold


def positive_column(positive: int | str, description: Description) -> int:
    """Return the column of an arm's scores that means yes."""
    return positive if isinstance(positive, int) else description.labels.index(positive)


def required_arms(policy: tree.Policy, on: int) -> int:
    """Return how many of the arms that are on must answer."""
    if isinstance(policy, tree.Quorum):
        return policy.arms
    return on if policy == "all" else 1


def _policy_text(policy: tree.Policy) -> str:
    return f"quorum: {policy.arms}" if isinstance(policy, tree.Quorum) else policy


def _shared_labels(nodes: Sequence[Node]) -> tuple[str, ...]:
    labels = {node.description.labels for node in nodes}
    return labels.pop() if len(labels) == 1 else ()


def _describe_constant(target: tree.Constant) -> Description:
    if isinstance(target.answer, str):
        label = TensorSpec("label", "object", (-1,))
        return Description(
            "constant", AnswerKind.LABELLED, outputs=(label,), labels=(target.answer,)
        )
    scores = TensorSpec("scores", "float64", (-1, len(target.answer)))
    return Description("constant", AnswerKind.SCORES, outputs=(scores,))


def _describe_fan_out(target: tree.FanOut, arms: Mapping[str, Description]) -> Description:
    kind = _fan_out_kind(target)
    inputs = widest_input(list(arms.values()))
    sample = next((arm.sample for arm in arms.values() if arm.sample is not None), None)
    if sample is not None and inputs:
        sample = sample.astype(inputs[0].datatype)
    one_answer = kind is AnswerKind.SCORES
    first = next(iter(arms.values()))
    return Description(
        name="fan_out",
        kind=kind,
        inputs=inputs,
        outputs=(TensorSpec("scores", "float64", first.outputs[0].shape),) if one_answer else (),
        labels=first.labels if one_answer else tuple(arms),
        sample=sample,
        arms=arms,
    )


def _fan_out_kind(target: tree.FanOut) -> AnswerKind:
    match target.aggregate:
        case tree.Aggregate.KEYED:
            return AnswerKind.BINARY if is_binary(target) else AnswerKind.KEYED
        case tree.Aggregate.LABEL:
            return AnswerKind.BEST
        case tree.Aggregate.MEAN | tree.Aggregate.VOTE | tree.Aggregate.WEIGHTED:
            return AnswerKind.SCORES
        case _:
            assert_never(target.aggregate)


def widest_input(arms: Sequence[Description]) -> tuple[TensorSpec, ...]:
    """Return the input that all arms can be given: the first's, in the widest datatype of all."""
    inputs = [arm.inputs[0] for arm in arms if arm.inputs]
    if not inputs:
        return ()
    widest = np.result_type(*(one.datatype for one in inputs)).name
    shape = next((one.shape for one in inputs if -1 not in one.shape[1:]), inputs[0].shape)
    return (TensorSpec(inputs[0].name, widest, shape),)


async def _always_healthy(deadline_s: float) -> bool:
    return True


def _enough_healthy(healths: Sequence[Health], required: int) -> Health:
    async def health(deadline_s: float) -> bool:
        answers = [await one(deadline_s) for one in healths]
        return sum(answers) >= required

    return health


def input_of(description: Description) -> TensorSpec:
    """Return what a predictor's rows must be; any rows where it does not say."""
    return description.inputs[0] if description.inputs else ANY_ROWS
