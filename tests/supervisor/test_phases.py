from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from penstock.spec.plan import Plan
from penstock.supervisor.phases import (
    catch_up,
    discard_all,
    flip_all,
    prepare_all,
    prepare_in_turn,
)
from penstock.supervisor.worker import WorkerLost
from tests.supervisor.fakes import FakeWorker, Said

PLAN = Plan(generation=7, path="penstock.yaml", text="")


def workers(count: int) -> dict[int, FakeWorker]:
    return {index: FakeWorker() for index in range(count)}


def asked(these: Mapping[int, FakeWorker]) -> list[list[str]]:
    return [[verb for verb, generation in one.asked if generation == 7] for one in these.values()]


# --- opening -----------------------------------------------------------------------------


@pytest.mark.parametrize("in_turn", [False, True])
@pytest.mark.parametrize("count", [1, 2, 5])
async def test_all_are_ready(in_turn: bool, count: int) -> None:
    these = workers(count)
    outcome = await (prepare_in_turn if in_turn else prepare_all)(these, PLAN)
    assert (outcome.ready, outcome.problems) == (these, ())
    assert asked(these) == [["prepare"]] * count


async def test_all_open_at_once() -> None:
    these = workers(3)
    gate = asyncio.get_running_loop().create_future()
    for one in these.values():
        one.gate = gate
    opening = asyncio.ensure_future(prepare_all(these, PLAN))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asked(these) == [["prepare"]] * 3
    gate.set_result(None)
    assert (await opening).ready == these


async def test_in_turn_one_opens_before_the_others() -> None:
    these = workers(3)
    these[0].gate = asyncio.get_running_loop().create_future()
    opening = asyncio.ensure_future(prepare_in_turn(these, PLAN))
    for _ in range(5):
        await asyncio.sleep(0)
    assert asked(these) == [["prepare"], [], []]
    these[0].gate.set_result(None)
    assert (await opening).ready == these
    assert asked(these) == [["prepare"]] * 3


async def test_what_the_first_cannot_open_the_others_are_not_asked() -> None:
    these = workers(3)
    these[0].problems = ("no such file",)
    outcome = await prepare_in_turn(these, PLAN)
    assert (outcome.ready, outcome.problems) == ({}, ("no such file",))
    assert asked(these) == [["prepare"], [], []]


@pytest.mark.parametrize("in_turn", [False, True])
async def test_one_that_cannot_is_enough_to_refuse(in_turn: bool) -> None:
    these = workers(3)
    these[1].problems = ("no room", "no file")
    these[2].problems = ("no file",)
    outcome = await (prepare_in_turn if in_turn else prepare_all)(these, PLAN)
    assert outcome.problems == ("no room", "no file")
    assert outcome.ready == {0: these[0]}  # to be told to close it again


@pytest.mark.parametrize("in_turn", [False, True])
@pytest.mark.parametrize("dead", [0, 1])
async def test_a_worker_that_dies_meanwhile_fails_nothing(in_turn: bool, dead: int) -> None:
    these = workers(2)
    these[dead].dies_of = "prepare"
    outcome = await (prepare_in_turn if in_turn else prepare_all)(these, PLAN)
    assert (outcome.ready, outcome.problems) == ({1 - dead: these[1 - dead]}, ())


async def test_what_kills_two_in_a_row_is_refused_before_it_kills_more() -> None:
    these = workers(4)
    for one in these.values():
        one.dies_of = "prepare"
    outcome = await prepare_in_turn(these, PLAN)
    assert outcome.problems == (
        "worker 0 died while it opened it: it died of prepare",
        "worker 1 died while it opened it: it died of prepare",
    )
    assert outcome.ready == {}
    assert asked(these) == [["prepare"], ["prepare"], [], []]


@pytest.mark.parametrize("in_turn", [False, True])
async def test_what_kills_the_only_one_is_refused(in_turn: bool) -> None:
    these = workers(1)
    these[0].dies_of = "prepare"
    outcome = await (prepare_in_turn if in_turn else prepare_all)(these, PLAN)
    assert outcome.problems == ("worker 0 died while it opened it: it died of prepare",)


@pytest.mark.parametrize("in_turn", [False, True])
async def test_nobody_is_there(in_turn: bool) -> None:
    outcome = await (prepare_in_turn if in_turn else prepare_all)({}, PLAN)
    assert outcome.problems == ("no worker is alive to open it; see `penstock status`",)


async def test_a_fault_of_a_worker_is_a_problem() -> None:
    these = workers(2)
    these[1].fails_of = "prepare"
    outcome = await prepare_all(these, PLAN)
    assert outcome.problems == ("opening it failed: RuntimeError: no prepare",)


# --- flipping and discarding -------------------------------------------------------------


async def test_all_flip() -> None:
    these = workers(3)
    await prepare_all(these, PLAN)
    assert await flip_all(these, PLAN, Said()) == 3
    assert [one.serves for one in these.values()] == [PLAN] * 3


async def test_those_that_die_or_fail_are_not_counted() -> None:
    these, said = workers(3), Said()
    await prepare_all(these, PLAN)
    these[0].dies_of = "flip"
    these[1].fails_of = "flip"
    assert await flip_all(these, PLAN, said) == 1
    assert said.lines == ["error: worker 1 did not flip to generation 7 [error: no flip]"]


async def test_all_discard_whatever_happens() -> None:
    these, said = workers(3), Said()
    await prepare_all(these, PLAN)
    these[0].dies_of = "discard"
    these[1].fails_of = "discard"
    await discard_all(these, PLAN, said)
    assert asked(these) == [["prepare", "discard"]] * 3
    assert said.lines == ["error: worker 1 did not discard generation 7 [error: no discard]"]


# --- one that comes later ----------------------------------------------------------------


async def test_one_catches_up() -> None:
    one = FakeWorker()
    assert await catch_up(one, PLAN) == ()
    assert one.serves == PLAN


async def test_one_that_cannot_catch_up_closes_what_it_opened() -> None:
    one = FakeWorker()
    one.problems = ("no file",)
    assert await catch_up(one, PLAN) == ("no file",)
    assert one.asked == [("prepare", 7), ("discard", 7)]


async def test_one_that_dies_while_it_catches_up() -> None:
    one = FakeWorker()
    one.dies_of = "flip"
    with pytest.raises(WorkerLost):
        await catch_up(one, PLAN)
