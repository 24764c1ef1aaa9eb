"""A node of the open graph: a predictor with what is known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, final

from msgspec import Struct, structs

from penstock.core.clock import Clock
from penstock.core.drive import Call, together
from penstock.core.errors import DeadlineExceeded, ServingError
from penstock.core.predictor import Description, Health, InlineModel, Predictor
from penstock.core.record import Record, Recorder, Role
from penstock.core.values import AnswerKind, InferenceRequest, InferenceResponse
from penstock.patterns.fan_out import arm_deadline_s

NO_HEALTHS: Mapping[str, Health] = {}


class Node(Struct, frozen=True):
    """A predictor somewhere in the graph.

    Attributes:
        predictor: answers.
        description: what it answers to and with.
        health: whether it could answer now.
        arms: the healths of the first combinator's arms below, or in a route of its one model.
        depth: how many predictors stand within each other here.
        inline: of a model that runs on the loop: how to run it together with others.
        choose: of what chooses by the request, here or below: what is known of it for one.
        is_recorded: here or below is somebody who is recorded and answers nobody.
    """

    predictor: Predictor
    description: Description
    health: Health
    arms: Mapping[str, Health] = NO_HEALTHS
    depth: int = 1
    inline: InlineModel | None = None
    choose: Choose | None = None
    is_recorded: bool = False

    def met_by(self, request: InferenceRequest) -> Node:
        """Return this node as a request meets it: described by the branch that it would take.

        Raises:
            InvalidInput: its rows do not go one way.
        """
        return self if self.choose is None else self.choose(request)


Choose: TypeAlias = Callable[[InferenceRequest], Node]
"""Returns what a request meets: its description and health, by the decision of the request path."""


class Route(Struct, frozen=True):
    """A node with a name and its answer to its own sample.

    Attributes:
        name: the route's.
        node: what answers.
        sample_answer: a real prediction of the description's sample; None without a sample.
        sampler: predicts the sample when somebody asks for it: a remote model is behind the route,
            which may not answer now, or it chooses by the request; None elsewhere.
        recorder: is told of every request's end; None where the route is not recorded.
        is_logged: it has a prediction log: its answers show the id that their records are found by.
    """

    name: str
    node: Node
    sample_answer: InferenceResponse | None
    sampler: Predictor | None = None
    recorder: Recorder | None = None
    is_logged: bool = False

    @property
    def description(self) -> Description:
        """What the route answers to and with."""
        return self.node.description

    def met_by(self, request: InferenceRequest) -> Route:
        """Return this route as a request meets it.

        Raises:
            InvalidInput: its rows do not go one way.
        """
        if self.node.choose is None:
            return self
        node = self.node.choose(request)
        description = structs.replace(node.description, name=self.name)
        return structs.replace(self, node=structs.replace(node, description=description))


ArmHealths: TypeAlias = dict[str, bool]


async def arm_healths(route: Route, deadline_s: float, clock: Clock) -> ArmHealths:
    """Ask each arm of the route's first combinator, or its one model, whether it could answer.

    Returns by `deadline_s`; what has not answered by then is not healthy.
    """
    return await healths_of(route.node.arms, deadline_s, clock)


async def is_healthy(health: Health, deadline_s: float, clock: Clock) -> bool:
    """Ask until `deadline_s`; what is late or raises one of our errors is not healthy."""
    (answer,) = (await healths_of({"": health}, deadline_s, clock)).values()
    return answer


async def healths_of(healths: Mapping[str, Health], deadline_s: float, clock: Clock) -> ArmHealths:
    """Ask all side by side until `deadline_s`, each in a Task: a user's health may need one."""
    calls = [Call(name, _in_a_task(ask, deadline_s), deadline_s) for name, ask in healths.items()]
    answers = await together(calls, clock=clock)
    for answer in answers:
        if isinstance(answer, Exception) and not isinstance(answer, ServingError):
            raise answer
    return {
        name: not isinstance(answer, ServingError) and bool(answer)
        for name, answer in zip(healths, answers, strict=True)
    }


async def _in_a_task(health: Health, deadline_s: float) -> bool:
    return await asyncio.ensure_future(health(deadline_s))


def nested_health(description: Description) -> bool:
    """Tell whether the arms' healths are answered nested, as the answer itself is.

    The branches of what chooses are no keys of the answer, whatever they answer.
    """
    return description.kind is AnswerKind.KEYED and not description.branches


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
        except asyncio.CancelledError:
            if self._clock.now_s() >= request.deadline_s:  # it was late
                outcome = DeadlineExceeded(self._place)
            raise
        finally:
            elapsed_s = self._clock.now_s() - started_s
            place = f"{request.way}{self._place}"
            record = Record(self._role, place, request.request_id, request, outcome, elapsed_s)
            self._recorder(record)


def any_recorded(nodes: Iterable[Node]) -> bool:
    """Tell whether anybody is recorded at one of these nodes or below."""
    return any(node.is_recorded for node in nodes)


def enough_healthy(healths: Mapping[str, Health], required: int, clock: Clock) -> Health:
    """Return the health of a whole that answers as long as so many of its arms could."""

    async def health(deadline_s: float) -> bool:
        arms_deadline_s = arm_deadline_s(clock.now_s(), deadline_s, None)
        answers = await healths_of(healths, arms_deadline_s, clock)
        return sum(answers.values()) >= required

    return health


async def always_healthy(deadline_s: float) -> bool:
    """Tell that it could answer: nothing can keep it from that."""
    return True


async def never_healthy(deadline_s: float) -> bool:
    """Tell that it could not answer."""
    return False
