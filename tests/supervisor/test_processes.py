from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from penstock.spec.plan import Plan
from penstock.supervisor.backoff import FIRST_S, WINDOW_S
from penstock.supervisor.processes import KILL_AFTER_S, CannotStart
from penstock.supervisor.worker import CALL_TIMEOUT_S, WorkerLost
from tests.supervisor.crews import DRAIN_S, RealCrew, command, plan
from tests.support import nothing_loose, settle
from tests.waiting import until

Serving = Callable[..., Awaitable[RealCrew]]


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    made: list[RealCrew] = []

    async def start(count: int = 2, run: Sequence[str] = ()) -> RealCrew:
        made.append(RealCrew(count, run or command()))
        await made[-1].start()
        return made[-1]

    async with nothing_loose():
        yield start
        for one in made:
            await one.stop()
        await settle()


async def replaced(crew: RealCrew, index: int, pid: int) -> None:
    """Return once another process than `pid` serves at that index, and no other with it."""
    seat, homing = crew.crew._seats[index], crew.crew._homing
    await until(lambda: seat.serving and crew.pid(index) != pid)
    await until(lambda: seat.keeper is None and not homing.locked())


# --- starting ----------------------------------------------------------------------------


async def test_each_serves_its_own_socket(serving: Serving) -> None:
    crew = await serving(3)
    for index in range(3):
        assert await crew.ask(index) == (index, crew.pid(index), 1)
    assert crew.phases() == ["serving"] * 3
    assert list(crew.crew.workers()) == [0, 1, 2]
    assert crew.crew.size == 3
    assert crew.said.lines == []


async def test_a_program_that_is_not_there_ends_the_start() -> None:
    crew = RealCrew(2, ["/no/such/program"])
    with pytest.raises(CannotStart, match="worker 0 cannot be started: No such file or directory"):
        await crew.crew.start()
    await crew.stop()


async def test_a_worker_that_ends_before_it_listens_is_replaced() -> None:
    crew = RealCrew(2, command())
    await crew.crew.start()
    old = crew.pid(0)
    os.kill(old, signal.SIGKILL)
    await until(lambda: not crew.pid(0))
    await crew.crew.serve(crew.leader)
    await replaced(crew, 0, old)
    assert (await crew.ask(0))[0] == 0
    await crew.stop()


# --- dying -------------------------------------------------------------------------------


async def test_who_dies_is_replaced_and_serves_what_is_served_now(serving: Serving) -> None:
    crew = await serving()
    old = crew.pid(1)
    crew.leader.plan = plan("more", 5)
    os.kill(old, signal.SIGKILL)
    await replaced(crew, 1, old)

    assert await crew.ask(1) == (1, crew.pid(1), 5)
    assert crew.leader.gone == [1]
    assert crew.crew.members()[1].restarts == 1
    assert crew.said.lines == [
        f"warning: worker 1 (pid {old}) was killed by SIGKILL; started again as pid {crew.pid(1)}"
    ]


async def test_a_sibling_accepts_while_one_is_down(serving: Serving) -> None:
    crew = await serving(3)
    await die_twice(crew, 0)
    await until(lambda: crew.crew._seats[0].keeper is not None)
    assert crew.phases() == ["down", "serving", "serving"]
    for _ in range(3):
        assert await crew.ask(0) == (1, crew.pid(1), 1)
    assert list(crew.crew.workers()) == [1, 2]

    await crew.clock.elapse(FIRST_S)
    await replaced(crew, 0, 0)
    for _ in range(10):
        assert await crew.ask(0) == (0, crew.pid(0), 1)


async def test_when_the_sibling_dies_as_well_another_accepts(serving: Serving) -> None:
    crew = await serving(3)
    await die_twice(crew, 0)
    await until(lambda: crew.crew._seats[0].keeper is crew.crew._seats[1])
    await die_twice(crew, 1)
    await until(lambda: crew.crew._seats[0].keeper is crew.crew._seats[2])
    await until(lambda: crew.crew._seats[1].keeper is crew.crew._seats[2])
    assert (await crew.ask(0))[0] == (await crew.ask(1))[0] == 2


async def test_when_all_are_down_the_first_that_is_back_accepts_for_all(
    serving: Serving,
) -> None:
    crew = await serving(2)
    await die_twice(crew, 0)
    await crew.clock.elapse(FIRST_S / 2)
    await die_twice(crew, 1)
    await until(lambda: crew.phases() == ["down", "down"])
    waiting = asyncio.ensure_future(crew.ask(1))  # the kernel keeps it
    await crew.clock.elapse(FIRST_S / 2)
    await replaced(crew, 0, 0)
    assert (await waiting)[0] == 0


async def test_a_sibling_that_is_frozen_is_passed_over(serving: Serving) -> None:
    crew = await serving(3)
    frozen = crew.pid(1)
    os.kill(frozen, signal.SIGSTOP)
    os.kill(crew.pid(0), signal.SIGKILL)
    await until(lambda: crew.crew._homing.locked() and crew.clock.timers)
    await until(lambda: crew.phases()[0] == "serving")  # that has not been waited for
    await crew.clock.elapse(CALL_TIMEOUT_S)
    await replaced(crew, 1, frozen)
    await replaced(crew, 0, 0)
    assert crew.said.has(f"worker 1 (pid {frozen}) did not answer adopt within 10 s and was killed")


async def test_a_keeper_that_is_frozen_is_replaced(serving: Serving) -> None:
    crew = await serving(2)
    await die_twice(crew, 0)
    await until(lambda: crew.crew._seats[0].keeper is crew.crew._seats[1])
    frozen = crew.pid(1)
    os.kill(frozen, signal.SIGSTOP)
    await crew.clock.elapse(FIRST_S)
    await until(lambda: crew.crew._seats[0].serving and crew.crew._homing.locked())
    await until(lambda: crew.clock.timers)
    await crew.clock.elapse(CALL_TIMEOUT_S)
    await replaced(crew, 1, frozen)
    assert crew.said.has(f"(pid {frozen}) did not answer release within 10 s and was killed")
    assert (await crew.ask(0))[0] == 0


async def die_twice(crew: RealCrew, index: int) -> None:
    """Have a worker die twice in a row: it is down until the clock goes on."""
    first = crew.pid(index)
    os.kill(first, signal.SIGKILL)
    await replaced(crew, index, first)
    os.kill(crew.pid(index), signal.SIGKILL)
    await until(lambda: crew.said.has(f"worker {index} ", "next start in 0.5 s"))
    assert crew.phases()[index] == "down"


async def test_who_keeps_dying_is_started_ever_later(serving: Serving) -> None:
    crew = await serving()
    old = crew.pid(0)
    os.kill(old, signal.SIGKILL)
    await replaced(crew, 0, old)
    for pause_s in (0.5, 1.0, 2.0):
        old = crew.pid(0)
        os.kill(old, signal.SIGKILL)
        await until(lambda: crew.said.has(f"pid {old})", f"next start in {pause_s:g} s"))  # noqa: B023
        await crew.clock.elapse(pause_s - 0.01)
        assert crew.phases()[0] == "down"
        await crew.clock.elapse(0.01)
        await replaced(crew, 0, old)

    starts = [line for line in crew.said.lines if "next start in" in line]
    assert [re.sub(r"pid \d+", "pid N", line) for line in starts] == [
        "error: worker 0 (pid N) was killed by SIGKILL; it keeps dying (2 times in 60 s); "
        "next start in 0.5 s",
        "error: worker 0 (pid N) was killed by SIGKILL; it keeps dying (3 times in 60 s); "
        "next start in 1 s",
        "error: worker 0 (pid N) was killed by SIGKILL; it keeps dying (4 times in 60 s); "
        "next start in 2 s",
    ]
    assert crew.crew.members()[0].restarts == 4


async def test_who_cannot_be_started_is_tried_ever_later(serving: Serving, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\nexec "$@"\n')
    program.chmod(0o700)
    crew = await serving(2, [str(program), *command()])
    program.rename(tmp_path / "gone")
    old = crew.pid(0)
    os.kill(old, signal.SIGKILL)
    await until(lambda: crew.said.lines)
    assert crew.said.lines == [
        f"error: worker 0 (pid {old}) was killed by SIGKILL cannot be started: No such file or "
        "directory; it keeps dying (2 times in 60 s); next start in 0.5 s"
    ]
    await crew.clock.elapse(FIRST_S)
    await until(lambda: len(crew.said.lines) == 2)
    (tmp_path / "gone").rename(program)
    await crew.clock.elapse(2 * FIRST_S)
    await replaced(crew, 0, old)


async def test_a_replacement_that_cannot_open_what_is_served_is_tried_again(
    serving: Serving,
) -> None:
    crew = await serving()
    crew.leader.plan = plan("refuse", 2)
    old = crew.pid(0)
    os.kill(old, signal.SIGKILL)
    await until(lambda: crew.said.has("it keeps dying (2 times in 60 s)"))
    assert crew.said.has("cannot open generation 2 (no room; no file) and was killed")
    assert list(crew.crew.workers()) == [1]
    crew.leader.plan = plan("", 3)
    await crew.clock.elapse(FIRST_S)
    await replaced(crew, 0, old)
    assert await crew.ask(0) == (0, crew.pid(0), 3)


async def test_a_replacement_that_dies_of_what_is_served_is_tried_again(
    serving: Serving,
) -> None:
    crew = await serving()
    crew.leader.plan = plan("die", 2)
    old = crew.pid(0)
    os.kill(old, signal.SIGKILL)
    await until(lambda: crew.said.has("exited with status 3; it keeps dying (2 times in 60 s)"))
    crew.leader.plan = plan("", 3)
    await crew.clock.elapse(FIRST_S)
    await replaced(crew, 0, old)
    assert await crew.ask(0) == (0, crew.pid(0), 3)


async def test_what_changes_while_a_replacement_opens_it_is_opened_as_well(
    serving: Serving,
) -> None:
    crew = await serving()
    old = crew.pid(0)
    asked: list[int] = []

    def changing() -> object:
        asked.append(1)
        return plan("", min(len(asked), 4))

    crew.leader.current = changing  # type: ignore[method-assign, assignment]
    os.kill(old, signal.SIGKILL)
    await replaced(crew, 0, old)
    assert await crew.ask(0) == (0, crew.pid(0), 4)


@pytest.mark.parametrize("text", ["die", "segfault"])
async def test_what_kills_whoever_opens_it(serving: Serving, text: str) -> None:
    crew = await serving()
    with pytest.raises(WorkerLost):
        await crew.crew.workers()[0].prepare(plan(text, 2))
    old = crew.crew._seats[0].process
    assert old is not None
    await replaced(crew, 0, old.pid)
    how = "exited with status 3" if text == "die" else "was killed by SIGSEGV"
    await until(lambda: crew.said.has(how))


async def test_who_does_not_answer_is_replaced(serving: Serving) -> None:
    crew = await serving()
    old = crew.pid(0)
    worker = crew.crew.workers()[0]
    await worker.prepare(plan("deaf", 2))
    flipping = asyncio.ensure_future(worker.flip(2))
    await worker.report()  # it is deaf by now
    await crew.clock.elapse(CALL_TIMEOUT_S)
    with pytest.raises(WorkerLost):
        await flipping
    await replaced(crew, 0, old)
    assert crew.said.has(f"worker 0 (pid {old}) did not answer flip within 10 s and was killed")


async def test_who_is_given_up_is_replaced(serving: Serving) -> None:
    crew = await serving()
    old = crew.pid(1)
    crew.crew.give_up(1, "cannot open generation 9")
    await replaced(crew, 1, old)
    assert crew.said.has(f"worker 1 (pid {old}) cannot open generation 9 and was killed")


async def test_who_hangs_up_is_replaced(serving: Serving) -> None:
    crew = RealCrew(1, command("hanging up"))
    await crew.crew.start()
    await crew.crew.serve(crew.leader)  # it cannot be told to listen
    assert crew.phases() == ["opening"]
    await until(lambda: crew.clock.timers)
    await crew.clock.elapse(1.0)
    await until(lambda: crew.said.has("could not be spoken to", "and was killed"))
    await crew.stop()


async def test_a_fault_while_one_is_replaced_is_told_and_it_is_tried_again(
    serving: Serving,
) -> None:
    crew = await serving()
    crew.leader.fails = 2
    old = crew.pid(0)
    os.kill(old, signal.SIGKILL)
    what = "error: worker 0 could not be replaced: something went wrong here"
    for times in (1, 2):
        await until(lambda: len(crew.said.lines) == times)  # noqa: B023
        assert crew.said.lines[-1] == f"{what} [error: a fault of the leader]"
        await until(lambda: crew.clock.timers)
        await crew.clock.elapse(FIRST_S)
    await until(lambda: crew.said.has("next start in"))
    await crew.clock.elapse(WINDOW_S)
    await replaced(crew, 0, old)
    assert await crew.ask(0) == (0, crew.pid(0), 1)


async def test_a_replacement_that_a_fault_keeps_from_joining_is_ended(serving: Serving) -> None:
    crew = await serving()
    current, failing = crew.leader.current, [1]

    def broken() -> Plan:
        if failing.pop() if failing else 0:
            raise RuntimeError("a fault of the leader")
        return current()

    crew.leader.current = broken  # type: ignore[method-assign]
    old = crew.pid(0)
    os.kill(old, signal.SIGKILL)
    await until(lambda: crew.said.has("could not be replaced"))
    await crew.clock.elapse(FIRST_S)
    await until(lambda: crew.said.has("could not be brought up and was killed"))
    await crew.clock.elapse(WINDOW_S)
    await replaced(crew, 0, old)


# --- what they ask -----------------------------------------------------------------------


async def test_what_a_worker_asks_the_leader_answers(serving: Serving) -> None:
    crew = await serving()
    seat = crew.crew._seats[0]
    assert await crew.crew._answer(seat, "status", {"a": 1}) == "status"
    assert crew.leader.asked == [("status", {"a": 1})]


async def test_nothing_is_answered_before_anything_is_served() -> None:
    crew = RealCrew(1, command())
    with pytest.raises(RuntimeError, match="nothing is served yet"):
        await crew.crew._answer(crew.crew._seats[0], "status", {})
    crew.crew.give_up(0, "there is none")
    assert crew.crew.members()[0].pid == 0
    await crew.stop()


async def test_who_was_told_to_end_by_somebody_else_leaves_its_socket(
    serving: Serving,
) -> None:
    crew = await serving(2, command("leaving for long"))
    old = crew.pid(0)
    os.kill(old, signal.SIGTERM)
    await until(lambda: crew.phases()[0] == "leaving")
    await until(lambda: crew.crew._seats[0].keeper is not None)
    assert list(crew.crew.workers()) == [1]
    assert crew.pid(0) == old
    assert (await crew.crew.reporting()[0].report()).pid == old  # it still counts
    assert list(crew.crew.reporting()) == [0, 1]
    crew.crew._seats[0].process.worker._lost("is slow to answer")  # type: ignore[union-attr]
    assert crew.pid(0) == old  # its requests come first
    await crew.clock.elapse(DRAIN_S + KILL_AFTER_S)
    await replaced(crew, 0, old)
    assert crew.said.has("did not end in time and was killed")
    assert crew.leader.asked == []
    await crew.crew._see_off(crew.crew._seats[0])
    await crew.crew._see_off(crew.crew._seats[0])  # it says so twice


async def test_who_ends_says_last_what_it_has_counted(serving: Serving) -> None:
    crew = await serving(2, command("leaving"))
    old = crew.pid(1)
    os.kill(old, signal.SIGTERM)
    await replaced(crew, 1, old)
    assert crew.leader.gone == [1]
    last = crew.leader.last[1]
    assert (last.pid, last.measures.numbers["penstock_requests_total"]) == (
        old,
        {("iris", "200"): 5.0},
    )
    with pytest.raises(msgspec.ValidationError):
        await crew.crew._answer(crew.crew._seats[0], "last", "so and so")


# --- what is said of all of them ---------------------------------------------------------


async def test_one_announces_what_all_serve(capfd: pytest.CaptureFixture[str]) -> None:
    crew = RealCrew(3, command())
    await crew.start()
    os.kill(crew.pid(0), signal.SIGKILL)
    await replaced(crew, 0, crew.pid(0))
    await crew.stop()
    assert capfd.readouterr().out == "announced by 0\n"


async def test_another_announces_it_when_the_first_dies_before(
    capfd: pytest.CaptureFixture[str],
) -> None:
    crew = RealCrew(2, command("mute first"))
    await crew.start()
    assert capfd.readouterr().out == "announced by 1\n"
    await crew.stop()


async def test_a_replacement_announces_it_when_all_die_before(
    capfd: pytest.CaptureFixture[str],
) -> None:
    crew = RealCrew(1, command())
    await crew.crew.start()
    os.kill(crew.pid(0), signal.SIGKILL)
    await until(lambda: not crew.pid(0))
    await crew.crew.serve(crew.leader)
    await replaced(crew, 0, 0)
    await until(lambda: crew.crew._announced)
    await crew.stop()
    assert capfd.readouterr().out == "announced by 0\n"


# --- the end -----------------------------------------------------------------------------


async def test_all_end_when_they_are_told_to() -> None:
    crew = RealCrew(3, command())
    await crew.start()
    pids = [crew.pid(index) for index in range(3)]
    await crew.crew.stop()
    assert crew.phases() == ["down"] * 3
    assert [one.pid for one in crew.crew.members()] == [0, 0, 0]
    assert crew.said.lines == []
    assert not any(map(is_there, pids))
    await crew.stop()


async def test_who_does_not_end_in_time_is_killed() -> None:
    crew = RealCrew(2, command("stubborn"))
    await crew.start()
    pids = [crew.pid(index) for index in range(2)]
    stopping = asyncio.ensure_future(crew.crew.stop())
    await until(lambda: crew.clock.timers)
    await crew.clock.elapse(DRAIN_S + KILL_AFTER_S - 0.1)
    assert all(map(is_there, pids))
    await crew.clock.elapse(0.1)
    await stopping
    assert not any(map(is_there, pids))
    assert crew.said.lines == [
        f"warning: worker {index} (pid {pid}) did not end: killed" for index, pid in enumerate(pids)
    ]
    await crew.stop()


async def test_an_end_while_one_is_being_replaced(serving: Serving) -> None:
    crew = await serving()
    await die_twice(crew, 0)
    await crew.crew.stop()
    assert crew.phases() == ["down", "down"]


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
