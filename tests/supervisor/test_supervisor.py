from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from penstock.core.errors import ChangeRefused, SpecError
from penstock.core.families import REQUESTS
from penstock.core.snapshot import Snapshot
from penstock.spec.read import Source
from penstock.supervisor.crew import Alone
from penstock.supervisor.disk import ANSWER_S
from penstock.supervisor.draft import PlanSource
from penstock.supervisor.overlay import Event
from penstock.supervisor.reports import REFRESH_S
from penstock.supervisor.state import NoState, open_state
from penstock.supervisor.succession import WRITE_FIRST_S
from penstock.supervisor.supervisor import MAX_WAITING, Supervisor
from penstock.supervisor.watch import POLL_S
from tests.supervisor.fakes import (
    SPEC,
    WEIGHT,
    FakeCrew,
    FakeWorker,
    Said,
    plans_of_file,
    plans_of_text,
)
from tests.support import ManualClock, nothing_loose, settle
from tests.waiting import until

COUNTER = REQUESTS.name


class Server:
    """A supervisor of fake workers."""

    def __init__(self, folder: Path, plans: PlanSource | None = None, workers: int = 2) -> None:
        self.path = folder / "penstock.yaml"
        self.path.write_text(SPEC)
        self.clock = ManualClock()
        self.said = Said()
        self.workers = [FakeWorker(pid) for pid in range(workers)]
        self.crew = FakeCrew(*self.workers)
        self.state = open_state(folder / "state")
        self.supervisor = Supervisor(
            plans or plans_of_file(self.path),
            self.crew,
            self.state,
            clock=self.clock,
            log=self.said,
        )

    @property
    def generations(self) -> list[int]:
        return [one.generation for one in self.workers]

    async def look(self) -> None:
        """Let the file be looked at once, and what follows from it end."""
        watch = self.supervisor._watch
        assert watch is not None
        looks = watch._looks
        await self.clock.elapse(POLL_S)
        await until(lambda: watch._looks > looks)
        itself = 1 + (len(self.workers) > 1)  # what looks, and what asks for reports
        await until(lambda: len(self.supervisor._tasks) == itself)
        await settle()


Serving = Callable[..., Awaitable[Server]]


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Serving]:
    servers: list[Server] = []

    async def start(plans: PlanSource | None = None, workers: int = 2) -> Server:
        servers.append(Server(tmp_path, plans, workers))
        await servers[-1].supervisor.start()
        return servers[-1]

    async with nothing_loose():
        yield start
        for server in servers:
            await server.supervisor.stop()
            server.state.close()


# --- its life ----------------------------------------------------------------------------


async def test_it_starts_its_crew_has_it_open_the_file_and_serve(serving: Serving) -> None:
    server = await serving()
    assert server.crew.started == 1
    assert server.generations == [1, 1]
    assert server.crew.leader is server.supervisor
    assert server.supervisor.current().text == SPEC


async def test_a_start_that_fails_leaves_nobody(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.path.write_text("nope")
    with pytest.raises(SpecError):
        await server.supervisor.start()
    assert server.crew.stopped == 1
    assert server.supervisor._tasks == set()


async def test_stopping_ends_the_crew_and_refuses_what_is_under_way(serving: Serving) -> None:
    server = await serving()
    server.workers[0].gate = asyncio.get_running_loop().create_future()
    setting = asyncio.ensure_future(server.supervisor.switch("spare", "off", "anna"))
    await until(lambda: ("prepare", 2) in server.workers[0].asked)
    await server.supervisor.stop()
    with pytest.raises(ChangeRefused, match="the server stops"):
        await setting
    assert server.crew.stopped == 1
    assert server.generations == [1, 1]


async def test_a_start_that_is_given_up_leaves_nobody(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.workers[0].gate = asyncio.get_running_loop().create_future()
    async with nothing_loose():
        starting = asyncio.ensure_future(server.supervisor.start())
        await until(lambda: ("prepare", 1) in server.workers[0].asked)
        server.supervisor.reload_soon("penstock", "SIGHUP")
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        server.supervisor.reload_soon("penstock", "SIGHUP")  # nobody is there to do it
    assert server.crew.stopped == 1
    assert server.supervisor._tasks == set()
    server.state.close()


async def test_a_reload_that_is_asked_for_during_the_start_comes_after_it(
    tmp_path: Path,
) -> None:
    server = Server(tmp_path)
    gate = server.workers[0].gate = asyncio.get_running_loop().create_future()
    starting = asyncio.ensure_future(server.supervisor.start())
    await until(lambda: ("prepare", 1) in server.workers[0].asked)
    server.supervisor.reload_soon("penstock", "SIGHUP")
    await settle()
    assert ("prepare", 2) not in server.workers[0].asked
    gate.set_result(None)
    await starting
    await until(lambda: server.said.lines)
    assert server.said.lines == ["info: reloaded (SIGHUP): generation 2, by 2 of 2 workers"]
    await server.supervisor.stop()
    server.state.close()


async def test_stopping_makes_a_change_that_is_being_written_down(serving: Serving) -> None:
    server = await serving()
    begun, goes_on = threading.Event(), threading.Event()
    keep = server.state.append

    def keeping(events: Sequence[Event]) -> None:
        begun.set()
        goes_on.wait()
        keep(events)

    server.state.append = keeping  # type: ignore[method-assign]
    setting = asyncio.ensure_future(server.supervisor.switch("spare", "off", "anna"))
    await until(begun.is_set)
    stopping = asyncio.ensure_future(server.supervisor.stop())
    await settle()
    assert server.crew.stopped == 0
    goes_on.set()
    assert (await setting).workers == 2
    await stopping
    assert server.crew.stopped == 1
    assert server.generations == [2, 2]
    assert server.state.events[-1].generation == 2


async def test_a_disk_that_takes_long_to_write_a_change_does_not_hold_up_the_workers_end(
    serving: Serving,
) -> None:
    server = await serving()
    begun, goes_on = threading.Event(), threading.Event()
    keep = server.state.append

    def keeping(events: Sequence[Event]) -> None:
        begun.set()
        goes_on.wait()
        keep(events)

    server.state.append = keeping  # type: ignore[method-assign]
    setting = asyncio.ensure_future(server.supervisor.switch("spare", "off", "anna"))
    await until(begun.is_set)
    stopping = server.supervisor.stop()
    await server.clock.elapse(WRITE_FIRST_S)
    assert server.crew.stopped == 1
    assert not stopping.done()
    goes_on.set()
    assert (await setting).generation == 2
    await stopping


async def test_nothing_is_changed_any_more_once_it_stops(serving: Serving) -> None:
    server = await serving()
    server.supervisor.stop()  # begins it
    await settle()
    with pytest.raises(ChangeRefused, match="the server stops"):
        await server.supervisor.switch("spare", "off", "anna")
    await server.supervisor.stop()
    await server.supervisor.stop()
    assert server.crew.stopped == 1
    assert server.generations == [1, 1]


async def test_one_worker_in_this_process(tmp_path: Path) -> None:
    worker, clock = FakeWorker(), ManualClock()
    crew = Alone(clock)
    crew.worker = worker
    (before,) = crew.members()
    supervisor = Supervisor(plans_of_text(), crew, NoState("none"), clock=clock, log=Said())
    await supervisor.start()
    assert worker.generation == 1
    assert crew.reporting() == crew.workers() == {0: worker}
    (member,) = (await supervisor.status()).workers
    assert (before.phase, member.phase, member.index) == ("opening", "serving", 0)
    assert (crew.size, clock.timers) == (1, 0)
    crew.give_up(0, "no way")
    await supervisor.stop()
    assert crew.members()[0].phase == "down"


# --- changes -----------------------------------------------------------------------------


async def test_a_route_is_switched(serving: Serving) -> None:
    server = await serving()
    changed = await server.supervisor.switch("spare", "off", "anna")
    assert (changed.generation, changed.workers) == (2, 2)
    assert server.workers[1].serves is not None
    assert server.workers[1].serves.changes == {"states.spare": "off"}


async def test_changes_are_made_one_after_the_other(serving: Serving) -> None:
    server = await serving()
    weights = [str(number) for number in range(1, 9)]
    changes = [
        server.supervisor.set([("iris/svc", "weight", weight)], "anna") for weight in weights
    ]
    changed = await asyncio.gather(*changes)
    assert sorted(one.generation for one in changed) == list(range(2, 10))
    verbs = [verb for verb, _ in server.workers[0].asked]
    assert verbs == ["prepare", "flip"] * 9
    assert [event.generation for event in server.state.events] == list(range(1, 10))


async def test_who_leaves_does_not_stop_the_change(serving: Serving) -> None:
    server = await serving()
    gate = server.workers[0].gate = asyncio.get_running_loop().create_future()
    setting = asyncio.ensure_future(server.supervisor.switch("spare", "off", "anna"))
    await until(lambda: ("prepare", 2) in server.workers[0].asked)
    setting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await setting
    gate.set_result(None)
    await until(lambda: server.generations == [2, 2])


async def test_who_leaves_before_a_refusal_leaves_nothing(serving: Serving) -> None:
    server = await serving()
    gate = server.workers[0].gate = asyncio.get_running_loop().create_future()
    server.workers[0].problems = ("no room",)
    setting = asyncio.ensure_future(server.supervisor.switch("spare", "off", "anna"))
    await until(lambda: ("prepare", 2) in server.workers[0].asked)
    setting.cancel()
    gate.set_result(None)
    await until(lambda: not server.supervisor._waiting)


async def test_only_so_many_changes_wait(serving: Serving) -> None:
    server = await serving()
    gate = server.workers[0].gate = asyncio.get_running_loop().create_future()
    changes = [
        asyncio.ensure_future(server.supervisor.switch("spare", state, "anna"))
        for state in ("on", "off") * (MAX_WAITING // 2)
    ]
    await asyncio.sleep(0)
    with pytest.raises(ChangeRefused, match="16 changes wait already; try again later"):
        await server.supervisor.switch("spare", "off", "anna")
    gate.set_result(None)
    assert [one.generation for one in await asyncio.gather(*changes)] == list(range(2, 18))
    await server.supervisor.switch("spare", "observe", "anna")


async def test_a_reload_is_refused_with_all_reasons(serving: Serving) -> None:
    server = await serving()
    server.path.write_text(SPEC.replace("weight: 60", "weight: sixty").replace("rf: rf", "rf: fr"))
    with pytest.raises(SpecError) as raised:
        await server.supervisor.reload("anna")
    assert len(raised.value.problems) == 2
    refused = (await server.supervisor.status()).refused
    assert refused is not None
    assert (refused.who, refused.cause) == ("anna", "reload")
    assert refused.problems == raised.value.problems
    server.path.write_text(SPEC)
    await server.supervisor.reload("anna")
    assert (await server.supervisor.status()).refused is None


async def test_a_reload_for_a_signal(serving: Serving) -> None:
    server = await serving()
    server.supervisor.reload_soon("penstock", "SIGHUP")
    await until(lambda: server.generations == [2, 2])
    await until(lambda: server.said.lines)
    assert server.said.lines == ["info: reloaded (SIGHUP): generation 2, by 2 of 2 workers"]


async def test_a_reload_for_a_signal_that_is_refused(serving: Serving) -> None:
    server = await serving()
    server.path.write_text("nope")
    server.supervisor.reload_soon("penstock", "SIGHUP")
    await until(lambda: server.said.lines)
    (line,) = server.said.lines
    assert line.startswith("error: not reloaded (SIGHUP): generation 1 goes on serving [problems: ")
    assert server.generations == [1, 1]


async def test_a_signal_that_finds_too_much_waiting_does_not_silence_those_after_it(
    serving: Serving,
) -> None:
    server = await serving()
    gate = server.workers[0].gate = asyncio.get_running_loop().create_future()
    changes = [asyncio.ensure_future(server.supervisor.reload("anna")) for _ in range(MAX_WAITING)]
    await until(lambda: server.supervisor._waiting == MAX_WAITING)
    server.supervisor.reload_soon("penstock", "SIGHUP")
    await until(lambda: server.said.has("not reloaded (SIGHUP)", "16 changes wait already"))
    refused = (await server.supervisor.status()).refused
    assert refused is not None
    assert (refused.cause, refused.problems) == (
        "SIGHUP",
        ("16 changes wait already; try again later",),
    )
    gate.set_result(None)
    await asyncio.gather(*changes)
    assert server.generations == [1 + MAX_WAITING] * 2
    server.supervisor.reload_soon("penstock", "SIGHUP")
    await until(lambda: server.generations == [2 + MAX_WAITING] * 2)


# --- the file ----------------------------------------------------------------------------


async def test_a_file_that_changes_is_served(serving: Serving) -> None:
    server = await serving()
    await server.look()
    server.path.write_text(SPEC.replace("60", "70") + "\n")
    await server.look()
    assert server.generations == [1, 1]
    await server.look()
    await until(lambda: server.generations == [2, 2])
    assert server.supervisor.current().text == SPEC.replace("60", "70") + "\n"


async def test_a_file_that_is_touched_is_not_reloaded(serving: Serving) -> None:
    server = await serving()
    server.path.touch()
    for _ in range(3):
        await server.look()
    assert server.generations == [1, 1]
    assert server.said.lines == []


async def test_a_bad_file_is_told_once_and_a_good_one_after_it_is_served(
    serving: Serving,
) -> None:
    server = await serving()
    server.path.write_text("models: {")
    for _ in range(4):
        await server.look()
    assert len(server.said.lines) == 1
    assert server.said.has("not reloaded (the file changed): generation 1 goes on serving")
    server.path.write_text(SPEC + "# mended\n")
    for _ in range(2):
        await server.look()
    await until(lambda: server.generations == [2, 2])


async def test_a_file_that_is_refused_for_a_passing_reason_is_tried_again(
    serving: Serving,
) -> None:
    server = await serving()
    server.workers[1].problems = ("no room",)
    server.path.write_text(SPEC + "# changed\n")
    for _ in range(2):
        await server.look()
    told = [
        "error: not reloaded (the file changed): generation 1 goes on serving [problems: no room]"
    ]
    assert server.said.lines == told
    for _ in range(8):  # it is tried again meanwhile
        await server.look()
    assert server.workers[0].asked.count(("prepare", 2)) == 3
    assert server.said.lines == told  # and not told again
    server.workers[1].problems = ("no time",)
    for _ in range(10):
        await server.look()
    assert server.said.has("problems: no time")
    server.workers[1].problems = ()
    for _ in range(20):
        await server.look()
    assert server.generations == [2, 2]
    assert (await server.supervisor.status()).refused is None
    for _ in range(4):
        await server.look()
    assert server.generations == [2, 2]


async def test_a_file_that_kills_who_opens_it_is_not_tried_again(serving: Serving) -> None:
    server = await serving()
    for worker in server.workers:
        worker.dies_of = "prepare"
    server.path.write_text(SPEC + "# changed\n")
    for _ in range(12):
        await server.look()
    assert [one.asked.count(("prepare", 2)) for one in server.workers] == [1, 1]
    assert server.said.has("worker 0 died while it opened it")


async def test_a_fault_does_not_end_the_watching(serving: Serving) -> None:
    read = plans_of_text().read
    broken = False

    def reading() -> object:
        if broken:
            raise RuntimeError("a fault of ours")
        return read()

    server = await serving()
    plans = server.supervisor._succession._plans
    server.supervisor._succession._plans = PlanSource(
        reading,  # type: ignore[arg-type]
        plans.reserved,
        plans.available,
        watched=plans.watched,
    )
    broken = True
    server.path.touch()
    for _ in range(2):
        await server.look()
    await until(lambda: server.said.lines)
    assert server.said.has("not reloaded (the file changed): something went wrong", "of ours")
    broken = False
    server.path.write_text(SPEC + "\n")
    for _ in range(3):
        await server.look()


# --- questions ---------------------------------------------------------------------------


async def test_status(serving: Serving) -> None:
    server = await serving()
    await server.supervisor.set([("iris/svc", "weight", "5")], "anna")
    status = await server.supervisor.status()
    assert (status.generation, status.path) == (2, str(server.path))
    assert (status.state, status.no_state) == (server.state.folder, "")
    assert [one.index for one in status.workers] == [0, 1]
    (active,) = status.active
    assert (active.path, active.value, active.base, active.who) == (WEIGHT, 5.0, 60, "anna")
    assert active.time == "2025-06-15T15:06:40.000Z"


async def test_history(serving: Serving) -> None:
    server = await serving()
    for state in ("off", "on", "off"):
        await server.supervisor.switch("spare", state, "anna")
    found = [event.generation for event in await server.supervisor.history()]
    assert found == [1, 2, 3, 4]
    for limit, kept in ((2, [3, 4]), (0, []), (9, found), (-1, [])):
        assert [one.generation for one in await server.supervisor.history(limit)] == kept


async def test_reports_of_all_and_of_those_that_ended(serving: Serving) -> None:
    server = await serving()
    reports = await server.supervisor.reports()
    assert [one.report.pid for one in reports.workers] == [0, 1]
    server.supervisor.departed(0)
    server.crew.there.pop(0)
    reports = await server.supervisor.reports()
    assert [one.report.pid for one in reports.workers] == [1]


async def test_what_a_worker_says_as_it_ends_is_kept(serving: Serving) -> None:
    server = await serving()
    await server.supervisor.reports()
    last = await server.workers[0].report()
    server.supervisor.reported(
        0, msgspec.structs.replace(last, measures=Snapshot({COUNTER: {("iris", "200"): 7.0}}))
    )
    server.supervisor.departed(0)
    server.crew.there.pop(0)
    departed = (await server.supervisor.reports()).departed
    assert departed.numbers[COUNTER] == {("iris", "200"): 7.0}


async def test_several_workers_are_asked_unasked(serving: Serving) -> None:
    """What one has counted would be lost when it is killed."""
    server = await serving(plans_of_text())
    for count in (1, 2, 3):
        await server.clock.elapse(REFRESH_S)
        assert server.workers[0].asked.count(("report", 1)) == count


async def test_what_a_worker_asks_is_answered(serving: Serving) -> None:
    server = await serving()
    answer = await server.supervisor.answer(
        "switch", {"target": "spare", "state": "off", "who": "admin 10.0.0.7"}
    )
    assert answer["ok"].generation == 2
    assert server.state.events[-1].who == "admin 10.0.0.7"
    assert "refused" in await server.supervisor.answer("switch", {"target": "spare"})


# --- disks that hang, signals that storm --------------------------------------------------


async def test_a_file_whose_reading_hangs_holds_up_neither_changes_nor_the_end(
    serving: Serving, tmp_path: Path
) -> None:
    goes_on, begun = threading.Event(), threading.Event()
    usual = plans_of_text()

    def read() -> Source:
        if begun.is_set():
            goes_on.wait()
        begun.set()
        return usual.read()

    server = await serving(PlanSource(read, usual.reserved, usual.available))
    reloading = asyncio.ensure_future(server.supervisor.reload("anna"))
    await until(lambda: server.clock.timers)
    await server.clock.elapse(ANSWER_S)
    with pytest.raises(
        ChangeRefused, match="the file could not be read: the disk has not answered within 10 s"
    ):
        await reloading
    changed = await server.supervisor.switch("spare", "off", "anna")
    assert changed.generation == 2
    goes_on.set()


async def test_while_a_reading_hangs_further_reloads_are_refused_at_once(
    serving: Serving,
) -> None:
    goes_on, reads = threading.Event(), [0]
    usual = plans_of_text()

    def read() -> Source:
        reads[0] += 1
        if reads[0] > 1:
            goes_on.wait()
        return usual.read()

    server = await serving(PlanSource(read, usual.reserved, usual.available))
    reloading = asyncio.ensure_future(server.supervisor.reload("anna"))
    await until(lambda: server.supervisor._succession._disk._asking)
    await server.clock.elapse(ANSWER_S)
    with pytest.raises(ChangeRefused):
        await reloading
    for _ in range(5):
        with pytest.raises(ChangeRefused, match="has not answered what it was asked before"):
            await server.supervisor.reload("anna")
    assert reads == [2]
    goes_on.set()


async def test_a_file_whose_reading_fails_of_a_fault_is_told(serving: Serving) -> None:
    usual = plans_of_text()
    sources = iter([usual.read()])
    server = await serving(
        PlanSource(lambda: next(sources, None) or 1 / 0, usual.reserved, usual.available)  # type: ignore[arg-type, return-value]
    )
    with pytest.raises(ZeroDivisionError):
        await server.supervisor.reload("anna")
    assert server.generations == [1, 1]


async def test_a_storm_of_signals_asks_for_one_reload_more(serving: Serving) -> None:
    server = await serving()
    gate = server.workers[0].gate = asyncio.get_running_loop().create_future()
    server.supervisor.reload_soon("penstock", "SIGHUP")
    await until(lambda: ("prepare", 2) in server.workers[0].asked)
    for _ in range(100):
        server.supervisor.reload_soon("penstock", "SIGHUP")
    gate.set_result(None)
    await until(lambda: server.generations == [3, 3])
    await until(lambda: not server.supervisor._waiting)
    assert server.generations == [3, 3]
