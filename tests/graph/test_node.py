from __future__ import annotations

import asyncio

import pytest
from msgspec import structs

from penstock.core.errors import DeadlineExceeded, ModelFailed, NotReady, ServingError
from penstock.core.predictor import Health
from penstock.core.record import Record, Role
from penstock.core.values import AnswerKind
from penstock.graph.node import (
    Node,
    Recorded,
    Route,
    always_healthy,
    arm_healths,
    enough_healthy,
    healths_of,
    is_healthy,
    nested_health,
    never_healthy,
)
from tests.graph.fakes import a_model, healthy, unhealthy
from tests.support import (
    START_S,
    Held,
    ManualClock,
    Start,
    a_request,
    answering,
    both_ways,
    echo,
    failing,
    nothing_loose,
    settle,
    slow,
)

# --- health ------------------------------------------------------------------------------


def after_s(clock: ManualClock, seconds: float, ended: list[str]) -> Health:
    """Return a health that is good after `seconds`, in a way that needs a Task."""

    async def health(deadline_s: float) -> bool:
        try:
            async with asyncio.timeout(None):
                await slow(echo, clock=clock, seconds=seconds)(a_request())
        finally:
            ended.append(f"{seconds:g}")
        return True

    return health


def raising(error: Exception) -> Health:
    async def health(deadline_s: float) -> bool:
        raise error

    return health


@both_ways
async def test_health_is_asked_of_all_at_once_until_the_deadline(start: Start) -> None:
    clock, ended = ManualClock(), list[str]()
    healths = {
        "good": healthy,
        "bad": unhealthy,
        "slow": after_s(clock, 1.0, ended),
        "late": after_s(clock, 9.0, ended),
        "closed": raising(NotReady("it")),
    }
    async with nothing_loose():
        asking = start(healths_of(healths, START_S + 2.0, clock))
        await clock.elapse(1.999)
        assert not asking.done()
        await clock.elapse(0.001)
        assert await asking == {
            "good": True,
            "bad": False,
            "slow": True,
            "late": False,
            "closed": False,
        }
    assert ended == ["1", "9"]


async def test_nobody_is_asked_after_the_deadline() -> None:
    clock = ManualClock()
    assert await healths_of({"good": healthy}, START_S, clock) == {"good": False}
    assert await healths_of({}, START_S, clock) == {}


async def test_a_fault_of_a_health_is_no_health() -> None:
    with pytest.raises(ZeroDivisionError):
        await is_healthy(raising(ZeroDivisionError()), START_S + 1.0, ManualClock())


async def test_one_is_asked_alone() -> None:
    clock = ManualClock()
    assert await is_healthy(healthy, START_S + 1.0, clock) is True
    assert await is_healthy(unhealthy, START_S + 1.0, clock) is False


async def test_a_route_is_as_healthy_as_its_arms() -> None:
    model = a_model("m", 0.5).open
    arms = {"x": healthy, "y": unhealthy}
    route = Route("r", Node(model.predict, model.description, healthy, arms), None)
    assert await arm_healths(route, START_S + 1.0, ManualClock()) == {"x": True, "y": False}
    assert route.description is model.description


@pytest.mark.parametrize("kind", AnswerKind)
def test_health_is_nested_as_the_answer_is(kind: AnswerKind) -> None:
    model = a_model("m", 0.5).open
    description = structs.replace(model.description, kind=kind)
    assert nested_health(description) is (kind is AnswerKind.KEYED)
    assert nested_health(structs.replace(description, branches={"a": description})) is False


async def test_some_are_always_healthy_and_some_never() -> None:
    assert await always_healthy(START_S) is True
    assert await never_healthy(START_S) is False


@pytest.mark.parametrize(("required", "good"), [(1, True), (2, True), (3, False)])
async def test_a_whole_is_healthy_while_enough_of_its_arms_are(
    required: int, *, good: bool
) -> None:
    healths = {"x": healthy, "y": healthy, "z": unhealthy}
    health = enough_healthy(healths, required, ManualClock())
    assert await health(START_S + 1.0) is good


# --- Recorded ----------------------------------------------------------------------------


def recorded(inner: object, clock: ManualClock) -> tuple[Recorded, list[Record]]:
    records: list[Record] = []
    made = Recorded(
        inner,  # type: ignore[arg-type]
        place="routes.a.arms.x",
        role=Role.SHADOW,
        recorder=records.append,
        clock=clock,
    )
    return made, records


@both_ways
async def test_an_answer_is_recorded(start: Start) -> None:
    clock = ManualClock()
    recording, records = recorded(slow(answering(0.5), clock=clock, seconds=0.5), clock)
    request = a_request(request_id="mine")
    asking = start(recording(request))
    await clock.elapse(0.5)
    response = await asking
    (record,) = records
    assert record == Record(Role.SHADOW, "routes.a.arms.x", "mine", request, response, 0.5)
    assert repr(recording).startswith("shadow: <function")


async def test_the_way_stands_in_front_of_the_place() -> None:
    recording, records = recorded(answering(0.5), ManualClock())
    request = a_request().by("routes.b.arms.y")
    await recording(request)
    assert [record.place for record in records] == ["routes.b.arms.y/routes.a.arms.x"]
    assert records[0].request is request


@both_ways
@pytest.mark.parametrize("error", [ModelFailed("m"), DeadlineExceeded("m")])
async def test_an_error_is_recorded_and_raised(start: Start, error: ServingError) -> None:
    recording, records = recorded(failing(error), ManualClock())
    with pytest.raises(ServingError) as caught:
        await start(recording(a_request()))
    assert caught.value is error
    assert [record.outcome for record in records] == [error]


async def test_a_fault_is_recorded_as_no_answer() -> None:
    recording, records = recorded(failing(ZeroDivisionError()), ManualClock())
    with pytest.raises(ZeroDivisionError):
        await recording(a_request())
    assert [record.outcome for record in records] == [None]


@both_ways
async def test_who_goes_away_is_recorded_as_gone(start: Start) -> None:
    held = Held()
    recording, records = recorded(held, ManualClock())
    asking = start(recording(a_request()))
    await settle()
    asking.cancel()
    await settle()
    assert asking.cancelled()
    assert held.cancelled == 1
    assert [record.outcome for record in records] == [None]


@both_ways
async def test_who_is_cancelled_at_the_deadline_is_recorded_as_late(start: Start) -> None:
    clock = ManualClock()
    recording, records = recorded(Held(), clock)
    asking = start(recording(a_request(deadline_s=START_S + 2.0)))
    await clock.elapse(2.0)
    asking.cancel()
    await settle()
    (record,) = records
    assert isinstance(record.outcome, DeadlineExceeded)
    assert str(record.outcome) == "the deadline passed at routes.a.arms.x"
    assert record.elapsed_s == 2.0
