"""The fold from the spec's tree to a tree of predictors. Pure: nothing is opened or read here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, assert_never, final

from msgspec import Struct, structs

from penstock.core.background import BackgroundScope
from penstock.core.clock import Clock
from penstock.core.errors import SpecError
from penstock.core.measures import Measures
from penstock.core.predictor import OpenModel, Predictor
from penstock.core.record import Recorder
from penstock.core.values import AnswerKind
from penstock.graph.arms import describe_constant
from penstock.graph.conditions import condition_node
from penstock.graph.fan_outs import build_fan_out
from penstock.graph.led import led_arms, led_beside
from penstock.graph.logged import with_outlier
from penstock.graph.node import Node, always_healthy, any_recorded
from penstock.graph.splits import split_node
from penstock.graph.wrap import Wrap
from penstock.patterns.constant import Constant
from penstock.patterns.threshold import Threshold
from penstock.patterns.timeout import Timeout
from penstock.spec import tree
from penstock.spec.conditions import branches
from penstock.spec.experiments import experiments
from penstock.spec.problems import child
from penstock.spec.walk import Part, arms, references

AVAILABLE: Final = frozenset(
    {
        "fan_out",
        "split",
        "condition",
        "constant",
        "mirror",
        "prediction_log",
        "threshold",
        "timeout",
    }
)
"""The patterns that are built in this version; `check` refuses the others."""

NO_MISFITS: Final[Mapping[str, str]] = {}

MAX_DEPTH: Final = 64
"""How many patterns may stand within each other: each takes of the interpreter's stack."""


def no_log() -> bool:
    """Tell that there is no room for records: there is no log."""
    return False


class Tools(Struct, frozen=True):
    """What nodes are given to work with.

    Attributes:
        clock: tells the time and wakes.
        background: where work runs that no answer waits for.
        recorder: is told of every request's end; None where nobody listens.
        measures: what is counted of each node and model; survives the graph.
        has_log_room: whether the prediction log takes a record now.
        live: False where only samples are predicted: then nobody but who answers is asked.
    """

    clock: Clock
    background: BackgroundScope
    recorder: Recorder | None
    measures: Measures
    has_log_room: Callable[[], bool] = no_log
    live: bool = True


@final
class Builder:
    """Folds expressions into nodes; a route that is used in several places is one node.

    Args:
        spec: the tree; it has passed its check.
        models: the opened models by name.
        tools: what the nodes work with.
        misfits: models that do not fit the spec, which was found out too late to refuse it: for
            each, in a sentence, why. They are not asked; whoever needs them is told `not_ready`.
    """

    def __init__(
        self,
        spec: tree.Spec,
        models: Mapping[str, OpenModel],
        tools: Tools,
        misfits: Mapping[str, str] = NO_MISFITS,
    ) -> None:
        self._spec = spec
        self._models = models
        self._tools = tools
        self._misfits = misfits
        self._wrap = Wrap(
            clock=tools.clock,
            background=tools.background,
            recorder=tools.recorder,
            measures=tools.measures,
            misfits=misfits,
        )
        self._experiments = experiments(spec)
        self._sources = {name: model.description.source for name, model in models.items()}
        self._routes: dict[str, Node] = {}

    @property
    def places(self) -> frozenset[str]:
        """Where something is counted: of nodes that have been built, and `models.NAME`."""
        return frozenset(self._wrap.places)

    def sampling(self) -> Builder:
        """Return a builder of the same routes to predict samples with.

        None is switched off there, nothing is counted, copied or recorded. The sample of a branch
        meets that branch: a condition there does not look at its rows.
        """
        spec = structs.replace(self._spec, states={})
        tools = Tools(self._tools.clock, self._tools.background, None, Measures(), live=False)
        return Builder(spec, self._models, tools, self._misfits)

    def route(self, name: str) -> Node:
        """Return the node of a route.

        Raises:
            SpecError: it asks for a pattern that this version does not have, for arms that cannot
                be answered together, or for too many patterns within each other.
        """
        way = [name]  # not by recursion: one route may lead to another a thousand times over
        while name not in self._routes:
            expression = self._spec.routes[way[-1]]
            ahead = next(filter(self._is_to_be_built, references(expression)), None)
            if ahead is None:
                built, node = way.pop(), self._node(expression)
                state = self._spec.states.get(built, tree.State.ON)
                self._routes[built] = self._wrap.switched(node, built, state)
            elif ahead.name in way:
                raise SpecError((f"{ahead.place}: the routes go in a circle",))
            else:
                way.append(ahead.name)
        return self._routes[name]

    def _is_to_be_built(self, reference: tree.Reference) -> bool:
        return reference.name not in self._models and reference.name not in self._routes

    def _node(self, expression: tree.Expression) -> Node:
        match expression:
            case tree.Reference():
                return self._reference(expression)
            case tree.Pipeline():
                node = self._target(expression.target)
                below: list[Part] = [expression.target]
                for layer in reversed(expression.layers):
                    node = self._layer(layer, node, below)
                    below.append(layer)
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
                return self._split(target)
            case tree.Condition():
                return self._condition(target)
            case tree.SyncAsync():
                raise _not_available(target.place, "sync_async")
            case _:
                assert_never(target)

    def _layer(self, layer: tree.Layer, inner: Node, below: Sequence[Part]) -> Node:
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
                return self._prediction_log(layer, inner, below)
            case tree.Mirror():
                return self._mirror(layer, inner, below)
            case tree.Breaker():
                raise _not_available(layer.place, "breaker")
            case tree.RateLimit():
                raise _not_available(layer.place, "rate_limit")
            case tree.Retry():
                raise _not_available(layer.place, "retry")
            case _:
                assert_never(layer)

    def _around(
        self, inner: Node, predictor: Predictor, place: str, beside: Sequence[Node] = ()
    ) -> Node:
        measured = self._wrap.measured(predictor, place)
        return Node(
            measured,
            inner.description,
            inner.health,
            inner.arms,
            _deeper(place, [inner, *beside]),
            choose=inner.choose,
            is_recorded=any_recorded([inner, *beside]),
        )

    def _reference(self, reference: tree.Reference) -> Node:
        model = self._models.get(reference.name)
        if model is None:
            return self._routes[reference.name]
        return self._wrap.model(reference.name, model)

    def _threshold(self, layer: tree.Threshold, inner: Node) -> Node:
        if not inner.description.known:
            return self._wrap.unready(inner, layer.place)
        labels = inner.description.labels
        if inner.description.kind is not AnswerKind.SCORES or not labels:
            raise SpecError((f"{layer.place}: a threshold needs a classifier that has labels",))
        floor = 0.0 if layer.min is None else layer.min
        thresholds = [layer.classes.get(label, floor) for label in labels]
        threshold = Threshold(inner=inner.predictor, thresholds=thresholds, clock=self._tools.clock)
        return self._around(inner, threshold, layer.place)

    def _beside(self, use: tree.Expression, place: str, below: Sequence[Part]) -> Node:
        return led_beside(self._node(use), use, place, below, self._spec)

    def _mirror(self, layer: tree.Mirror, inner: Node, below: Sequence[Part]) -> Node:
        if not self._tools.live or layer.state is tree.ShadowState.OFF:
            return inner
        shadow = self._beside(layer.shadow, child(layer.place, "shadow"), below)
        mirror = self._wrap.mirror(layer, inner, shadow, self._spec.limits.timeout_s)
        node = self._around(inner, mirror, layer.place, beside=(shadow,))
        return structs.replace(node, is_recorded=True)

    def _prediction_log(
        self, layer: tree.PredictionLog, inner: Node, below: Sequence[Part]
    ) -> Node:
        promises = layer.on_full is tree.OnFull.BLOCK and self._tools.live
        if layer.outlier is None and not promises:
            return inner  # the edge records: nothing is to be done on a request's way
        outlier = None
        if layer.outlier is not None:
            outlier = self._beside(layer.outlier, child(layer.place, "outlier"), below)
        beside = () if outlier is None else (outlier,)
        has_room = self._tools.has_log_room if promises else None
        log = self._wrap.prediction_log(layer, inner, outlier, has_room)
        node = self._around(inner, log, layer.place, beside)
        return node if outlier is None else with_outlier(layer, node, outlier.description)

    def _constant(self, target: tree.Constant) -> Node:
        constant = Constant(answer=target.answer, place=target.place, clock=self._tools.clock)
        return Node(
            self._wrap.measured(constant, target.place), describe_constant(target), always_healthy
        )

    def _split(self, target: tree.Split) -> Node:
        uses = arms(target)
        places = {name: arm.place for name, arm in target.arms.items()}
        nodes = {name: self._node(use) for name, use in uses.items()}
        depth = _deeper(target.place, list(nodes.values()))
        return split_node(
            target,
            led_arms(nodes, uses, places, self._spec),
            self._experiments.get(target.place, ""),
            sources=self._sources,
            wrap=self._wrap,
            clock=self._tools.clock,
            depth=depth,
        )

    def _condition(self, target: tree.Condition) -> Node:
        nodes = {name: self._node(use) for name, use in branches(target).items()}
        depth = _deeper(target.place, list(nodes.values()))
        clock, live = self._tools.clock, self._tools.live
        return condition_node(target, nodes, wrap=self._wrap, clock=clock, depth=depth, live=live)

    def _fan_out(self, target: tree.FanOut) -> Node:
        nodes = {
            name: self._armed(arm)
            for name, arm in target.arms.items()
            if arm.state is not tree.State.OFF
        }
        uses = {name: arm.use for name, arm in target.arms.items()}
        places = {name: arm.place for name, arm in target.arms.items()}
        return build_fan_out(
            target,
            led_arms(nodes, uses, places, self._spec),
            wrap=self._wrap,
            clock=self._tools.clock,
            background=self._tools.background,
            depth=_deeper(target.place, list(nodes.values())),
        )

    def _armed(self, arm: tree.FanOutArm) -> Node:
        node = self._node(arm.use)
        return node if node.description.known else self._wrap.unready(node, arm.place)


def _deeper(place: str, inner: Sequence[Node]) -> int:
    depth = 1 + max(node.depth for node in inner)
    if depth > MAX_DEPTH:
        raise SpecError((f"{place}: more than {MAX_DEPTH} patterns stand within each other here",))
    return depth


def _not_available(place: str, pattern: str) -> SpecError:
    return SpecError((f"{place}: {pattern} is not available in this version",))
