"""Puts around predictors what nodes have in common, whatever their pattern."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import final

from msgspec import structs

from penstock.core.background import BackgroundScope, QueueBounds
from penstock.core.clock import Clock
from penstock.core.measures import Measure, Measures
from penstock.core.outliers import OneScore, Outlier
from penstock.core.predictor import Abreast, InlineModel, OpenModel, Predictor
from penstock.core.record import Recorder, Role
from penstock.core.values import InferenceRequest
from penstock.graph.measured import Measured, MeasuredAbreast, Unready
from penstock.graph.node import Choose, Node, Recorded, never_healthy
from penstock.patterns.mirror import Mirror
from penstock.patterns.prediction_log import PredictionLog
from penstock.patterns.switch import Switch
from penstock.runtimes.abreast import abreast_of
from penstock.spec import tree
from penstock.spec.overlay import STATES
from penstock.spec.problems import child


@final
class Wrap:
    """Wraps what a builder makes: in what counts it, records it, or keeps it from being asked.

    Args:
        clock: tells the time and wakes.
        background: where routes that are observed run.
        recorder: is told of what is observed; None where nobody listens.
        measures: what is counted, by place.
        misfits: models that must not be asked, and for each, in a sentence, why.

    Attributes:
        places: where something has been wrapped that is counted.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        background: BackgroundScope,
        recorder: Recorder | None,
        measures: Measures,
        misfits: Mapping[str, str],
    ) -> None:
        self._clock = clock
        self._background = background
        self._recorder = recorder
        self._measures = measures
        self._misfits = misfits
        self.places: set[str] = set()

    def model(self, name: str, model: OpenModel) -> Node:
        """Return an opened model as a node; it says itself which model an error came from."""
        place = _place_of(name)
        if name in self._misfits:
            description = structs.replace(model.description, known=False)
            unready = self.measured(Unready(f"model {name}, which does not fit the spec,"), place)
            return Node(unready, description, never_healthy)
        measured = Measured(model.predict, measure=self._measure(place), clock=self._clock)
        return Node(measured, model.description, model.health, inline=model.inline)

    def measured(self, predictor: Predictor, place: str) -> Predictor:
        """Return a predictor that is counted, and whose place stands in the trail of its errors."""
        return Measured(predictor, measure=self._measure(place), clock=self._clock, place=place)

    def recorded(self, predictor: Predictor, place: str, role: Role = Role.OBSERVE) -> Predictor:
        """Return a predictor that nobody is answered by with its recorder, if anybody listens."""
        if self._recorder is None:
            return predictor
        return Recorded(
            predictor, place=place, role=role, recorder=self._recorder, clock=self._clock
        )

    def mirror(self, layer: tree.Mirror, inner: Node, shadow: Node, timeout_s: float) -> Predictor:
        """Return a mirror; its shadow is counted and recorded by a place of its own."""
        place = child(layer.place, "shadow")
        bounds = QueueBounds(layer.max_in_flight, layer.max_queued)
        return Mirror(
            inner=inner.predictor,
            shadow=self.recorded(self.measured(shadow.predictor, place), place, Role.SHADOW),
            percent=layer.percent,
            timeout_s=timeout_s,
            place=layer.place,
            copies=self._background.queue(layer.place, bounds, self._clock),
            clock=self._clock,
        )

    def prediction_log(
        self,
        layer: tree.PredictionLog,
        inner: Node,
        outlier: Node | None,
        has_room: Callable[[], bool] | None,
    ) -> Predictor:
        """Return a prediction log's layer; its outlier model is counted by a place of its own."""
        return PredictionLog(
            inner=inner.predictor,
            outlier=None if outlier is None else self._outlier(layer, inner, outlier),
            has_room=has_room,
            sample_percent=layer.sample_percent,
            place=layer.place,
            clock=self._clock,
        )

    def _outlier(self, layer: tree.PredictionLog, inner: Node, outlier: Node) -> Outlier:
        place = child(layer.place, "outlier")
        return Outlier(
            predictor=self.measured(OneScore(outlier.predictor), place),
            place=place,
            threshold=layer.outlier_threshold,
            timeout_s=layer.outlier_timeout_s,
            runs_beside=outlier.inline is None,
            on_fault=self._background.tell,
            abreast=self.abreast([inner.inline, outlier.inline]),
        )

    def unready(self, node: Node, place: str) -> Node:
        """Return what stands for a node that must not be asked before more is known of it.

        What is below may come to be known any moment; that must not change what a graph answers
        which was built without knowing it.
        """
        why = f"{node.description.name}, which has not told yet what it answers,"
        predictor = self.measured(Unready(why), place)
        return Node(predictor, node.description, never_healthy, node.arms, node.depth)

    def branch(self, node: Node, place: str) -> Node:
        """Return one of several nodes, counted; or what refuses while not enough is known of it."""
        if not node.description.known:
            return self.unready(node, place)
        return structs.replace(node, predictor=self.measured(node.predictor, place), inline=None)

    def switched(self, node: Node, route: str, state: tree.State) -> Node:
        """Return a route's node behind the switch of its state; one that is on has none."""
        if state is tree.State.ON:
            return node
        place = child(STATES, route)
        observed = state is tree.State.OBSERVE
        switch = Switch(
            inner=self.recorded(node.predictor, place) if observed else node.predictor,
            route=route,
            observed=observed,
            clock=self._clock,
            background=self._background,
        )
        predictor = self.measured(switch, place)
        choose = None if node.choose is None else partial(_never_healthy, node.choose)
        return Node(
            predictor,
            node.description,
            never_healthy,
            node.arms,
            node.depth,
            choose=choose,
            is_recorded=observed,
        )

    def abreast(self, models: Sequence[InlineModel | None]) -> Abreast | None:
        """Return the quick way to ask all of these models, each counted, if there is one."""
        abreast = abreast_of(models, self._clock)
        if abreast is None:
            return None
        measures = [self._measure(_place_of(model.name)) for model in models if model is not None]
        return MeasuredAbreast(abreast, measures=measures, clock=self._clock)

    def _measure(self, place: str) -> Measure:
        self.places.add(place)
        return self._measures.node(place)


def _never_healthy(choose: Choose, request: InferenceRequest) -> Node:
    return structs.replace(choose(request), health=never_healthy)


def _place_of(model: str) -> str:
    return child("models", model)
