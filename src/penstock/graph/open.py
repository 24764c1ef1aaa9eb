"""The life of a graph: lease the models, build the predictors, yield the routes, close it all.

What fails while opening closes what was opened before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, structs

from penstock.core.background import BackgroundScope
from penstock.core.clock import Clock, SystemClock
from penstock.core.errors import ServingError, SpecError
from penstock.core.faults import FaultLog
from penstock.core.log import Log, Says
from penstock.core.measures import Measures
from penstock.core.predictor import Description, OpenModel
from penstock.core.readings import background_readings
from penstock.core.record import Recorder
from penstock.core.values import InferenceRequest, InferenceResponse
from penstock.graph.build import NO_MISFITS, Builder, Tools, no_log
from penstock.graph.logged import policies_of
from penstock.graph.models import Lease, OpenModels, urls_of
from penstock.graph.node import Node, Route
from penstock.spec import tree
from penstock.spec.reach import reached
from penstock.stores.policy import LogPolicy, Policies
from penstock.stores.prediction_log import PredictionLog

DRAIN_S: Final = 5.0
"""How long background work may go on after the graph has been told to close."""

SAMPLE_TIMEOUT_S: Final = 60.0


class Graph(Struct, frozen=True):
    """What is open.

    Attributes:
        routes: by name, in the spec's order.
        lease: of its models.
        default: the route that is also served at the root, if there is one.
        limits: the bounds of what a request may ask for.
        background: where work runs that no answer waits for.
        clock: tells the time.
        faults: says the causes of what failed.
        measures: what is counted.
        places: where it is counted.
        misfits: models that do not fit the spec, and why; they are not asked.
        generation: of the spec; 0 where nobody counts.
    """

    routes: Mapping[str, Route]
    lease: Lease
    default: str | None
    limits: tree.Limits
    background: BackgroundScope
    clock: Clock
    faults: FaultLog
    measures: Measures
    places: frozenset[str]
    misfits: Mapping[str, str] = NO_MISFITS
    generation: int = 0

    @property
    def models(self) -> Mapping[str, OpenModel]:
        """The open models by name."""
        return self.lease.models


CheckModels = Callable[[Mapping[str, Description]], None]


def _unchecked(descriptions: Mapping[str, Description]) -> None:
    """Leave the meaning of the spec unchecked."""


class Shared(Struct, frozen=True):
    """What the graphs of one process have in common, whatever their generation.

    Attributes:
        clock: tells the time.
        log: says what happens.
        faults: says in it the causes of what failed.
        measures: what is counted.
        models: those that are open.
        recorder: takes a record of every request's end, if anybody wants one.
        predictions: takes the records of routes that have a prediction_log, if no recorder does.
    """

    clock: Clock
    log: Says
    faults: FaultLog
    measures: Measures
    models: OpenModels
    recorder: Recorder | None = None
    predictions: PredictionLog | None = None

    def recorder_of(self, policies: Policies) -> Recorder | None:
        """Return what takes the records of a graph but for the primary ones."""
        if self.recorder is None and self.predictions is not None and policies:
            return self.predictions.recorder(policies)
        return self.recorder

    def primary_recorder(self, policy: LogPolicy | None) -> Recorder | None:
        """Return what takes the primary records of a route, by its policy; None: it has no log."""
        if policy is None or self.predictions is None or self.recorder is not None:
            return self.recorder
        return self.predictions.taker(policy)


def shared(
    *,
    clock: Clock | None = None,
    recorder: Recorder | None = None,
    log: Says | None = None,
    predictions: PredictionLog | None = None,
) -> Shared:
    """Return what graphs share: the machine's clock and standard error unless others are given."""
    clock = clock or SystemClock()
    log = log or Log(clock)
    measures = Measures()
    models = OpenModels(clock, measures)
    return Shared(clock, log, FaultLog(log), measures, models, recorder, predictions)


@asynccontextmanager
async def open_graph(
    spec: tree.Spec,
    *,
    folder: Path,
    clock: Clock | None = None,
    recorder: Recorder | None = None,
    check_models: CheckModels = _unchecked,
    shares: Shared | None = None,
    generation: int = 0,
    misfits: Mapping[str, str] = NO_MISFITS,
    again: Lease | None = None,
) -> AsyncIterator[Graph]:
    """Open a spec's models, as far as they are not open yet, and yield its routes.

    Args:
        spec: it has passed its check.
        folder: the spec's; paths are relative to it.
        clock: the machine's unless given.
        recorder: takes a record of every request's end, if anybody wants one.
        shares: what this graph has in common with others; then these have clock and recorder.
        check_models: is shown the opened models' descriptions before anything is built of them;
            raises `SpecError` where they do not fit the spec.
        generation: of the spec.
        misfits: models that turned out not to fit, and why: they are not asked.
        again: the lease of a graph of the same spec, whose very models this one is to have.

    Raises:
        ModelFileError: a model cannot be opened.
        SpecError: the spec asks for what this version does not have, or a route fails on its own
            sample.
    """
    shares = shares or shared(clock=clock, recorder=recorder)
    clock = shares.clock
    background = BackgroundScope(on_fault=shares.faults.report_background)
    async with AsyncExitStack() as stack:
        lease = await stack.enter_async_context(shares.models.leased(spec, folder, again))
        models = lease.models
        fitting = {name: model for name, model in models.items() if name not in misfits}
        descriptions = {name: model.description for name, model in fitting.items()}
        await asyncio.to_thread(check_models, descriptions)
        stack.enter_context(shares.measures.watching(partial(background_readings, background)))
        stack.push_async_callback(_drained, background, shares.log)
        policies = policies_of(spec, generation)
        recorder = shares.recorder_of(policies)
        has_room = no_log if shares.predictions is None else shares.predictions.has_room
        tools = Tools(clock, background, recorder, shares.measures, has_room)
        builder = Builder(spec, models, tools, misfits)
        sampling = builder.sampling()
        routes: dict[str, Route] = {}
        for name in spec.routes:
            node, sampled = builder.route(name), sampling.route(name)
            route = await _route(spec, node, sampled, name, clock)
            listens = shares.primary_recorder(policies.get(name))
            routes[name] = structs.replace(route, recorder=listens, is_logged=name in policies)
            await asyncio.sleep(0)  # of thousands of routes it takes its time: others have a turn
        yield Graph(
            routes,
            lease,
            spec.default,
            spec.limits,
            background,
            clock,
            shares.faults,
            shares.measures,
            builder.places,
            misfits,
            generation,
        )


async def _drained(background: BackgroundScope, log: Says) -> None:
    """Let background work end, and say what was given up."""
    if given_up := await background.close(DRAIN_S):
        log.warning("background work was given up", requests=given_up, after_s=DRAIN_S)


async def _route(spec: tree.Spec, node: Node, sampled: Node, name: str, clock: Clock) -> Route:
    description = structs.replace(node.description, name=name)
    named = Node(
        node.predictor, description, node.health, node.arms or _own(node), choose=node.choose
    )
    if any(urls_of(spec.models[model]) for model in models_behind(spec, name)):
        return Route(name, named, None, sampled.predictor)
    answer = await _sample_answer(name, sampled, clock)
    if node.choose is not None:  # another request may meet another branch
        return Route(name, named, None, sampled.predictor)
    return Route(name, named, answer)


def _own(node: Node) -> dict[str, Any]:
    return {node.description.name: node.health}


async def _sample_answer(name: str, node: Node, clock: Clock) -> InferenceResponse | None:
    head = InferenceRequest("sample", name, {}, clock.now_s() + SAMPLE_TIMEOUT_S, seed=0)
    sample = node.met_by(head).description.sample
    if sample is None:
        return None
    try:
        return await node.predictor(structs.replace(head, tensors={"sample": sample}))
    except ServingError as error:
        raise SpecError((f"routes.{name}: fails on its own sample: {error.message}",)) from error


def models_behind(spec: tree.Spec, route: str) -> Iterator[str]:
    """Yield the models that a route leads to, through whatever other routes."""
    return (name for name in reached(spec, route) if name in spec.models)
