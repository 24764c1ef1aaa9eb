"""A node of the open graph: a predictor with what is known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeAlias, final

from msgspec import Struct

from penstock.core.clock import Clock
from penstock.core.errors import ServingError
from penstock.core.predictor import Description, Health, OpenModel, Predictor
from penstock.core.record import Record, Recorder, Role
from penstock.core.values import (
    AnswerKind,
    Hop,
    InferenceRequest,
    InferenceResponse,
)

NO_HEALTHS: Mapping[str, Health] = {}


class Node(Struct, frozen=True):
    """A predictor somewhere in the graph.

    Attributes:
        predictor: answers.
        description: what it answers to and with.
        health: whether it could answer now.
        arms: the healths of the first combinator's arms below; empty where there is none.
    """

    predictor: Predictor
    description: Description
    health: Health
    arms: Mapping[str, Health] = NO_HEALTHS


class Route(Struct, frozen=True):
    """A node with a name and its answer to its own sample.

    Attributes:
        name: the route's.
        node: what answers.
        sample_answer: a real prediction of the description's sample; None without a sample.
    """

    name: str
    node: Node
    sample_answer: InferenceResponse | None

    @property
    def description(self) -> Description:
        """What the route answers to and with."""
        return self.node.description


ArmHealths: TypeAlias = dict[str, bool]


async def arm_healths(route: Route, deadline_s: float, clock: Clock) -> ArmHealths:
    """Ask each arm of the route's first combinator, or its one model, whether it could answer.

    Returns by `deadline_s`; what has not answered by then is not healthy.
    """
    name = route.description.name
    asked = route.node.arms or {name: route.node.health}
    answers = await asyncio.gather(
        *(is_healthy(health, deadline_s, clock) for health in asked.values())
    )
    return dict(zip(asked, answers, strict=True))


async def is_healthy(health: Health, deadline_s: float, clock: Clock) -> bool:
    """Ask until `deadline_s`; what is late or raises one of our errors is not healthy."""
    try:
        async with asyncio.timeout(max(0.0, deadline_s - clock.now_s())):
            return await health(deadline_s)
    except (TimeoutError, ServingError):
        return False


def nested_health(kind: AnswerKind) -> bool:
    """Tell whether the arms' healths are answered nested, as the answer itself is."""
    return kind is AnswerKind.KEYED


@final
class Observed:
    """Adds the node's place to the trail of an error that passes it.

    Args:
        inner: the node's predictor.
        place: where it stands in the spec.
        clock: tells the time for the hop.
    """

    __slots__ = ("_clock", "_inner", "_place")

    def __init__(self, inner: Predictor, *, place: str, clock: Clock) -> None:
        self._inner = inner
        self._place = place
        self._clock = clock

    def __repr__(self) -> str:
        return f"{self._place}: {self._inner!r}"

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        """Answer as the inner predictor does."""
        started_s = self._clock.now_s()
        try:
            return await self._inner(request)
        except ServingError as error:
            elapsed_s = self._clock.now_s() - started_s
            error.trail = (Hop(f"{self._place}!{error.code}", started_s, elapsed_s), *error.trail)
            raise


@final
class Recorded:
    """Tells the recorder of every end of an observed arm's, a shadow's or a later request.

    Args:
        inner: the node's predictor.
        place: where it stands in the spec.
        role: which of a request's records this is.
        recorder: takes the records.
        clock: tells the time.
    """

    __slots__ = ("_clock", "_inner", "_place", "_recorder", "_role")

    def __init__(
        self, inner: Predictor, *, place: str, role: Role, recorder: Recorder, clock: Clock
    ) -> None:
        self._inner = inner
        self._place = place
        self._role = role
        self._recorder = recorder
        self._clock = clock

    def __repr__(self) -> str:
        return f"{self._role}: {self._inner!r}"

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        """Answer as the inner predictor does."""
        started_s = self._clock.now_s()
        outcome: InferenceResponse | ServingError | None = None
        try:
            outcome = await self._inner(request)
            return outcome
        except ServingError as error:
            outcome = error
            raise
        finally:
            elapsed_s = self._clock.now_s() - started_s
            record = Record(
                self._role, self._place, request.request_id, request, outcome, elapsed_s
            )
            self._recorder(record)


def model_node(model: OpenModel) -> Node:
    """Return an opened model as a node; it says itself which model an error came from."""
    return Node(model.predict, model.description, model.health)
