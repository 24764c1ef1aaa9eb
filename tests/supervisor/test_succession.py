from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from penstock.core.errors import ChangeRefused, SpecError
from penstock.spec.nodes import Plain
from penstock.spec.read import Source
from penstock.supervisor.disk import ANSWER_S
from penstock.supervisor.draft import PlanSource
from penstock.supervisor.journal import CannotKeep
from penstock.supervisor.overlay import MAX_ENTRIES, Change, Entry, Event, Overlay
from penstock.supervisor.state import NoState, State, StateDirectory, open_state
from penstock.supervisor.succession import FINISH_S, Succession
from tests.supervisor.fakes import SPEC, WEIGHT, FakeCrew, FakeWorker, Said, plans_of_file
from tests.support import ManualClock, settle
from tests.waiting import until

START_TIME = "2025-06-15T15:06:40.000Z"


class Server:
    """A succession over fake workers, a real file and a real state directory."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        self.path = folder / "penstock.yaml"
        if not self.path.exists():
            self.path.write_text(SPEC)
        self.state: State = open_state(folder / "state")
        self.said = Said()
        self.clock = ManualClock()
        self.workers = [FakeWorker(pid) for pid in range(workers)]
        self.crew = FakeCrew(*self.workers)
        self.plans: PlanSource = plans_of_file(self.path)
        self.succession = self.succeeding(self.state)

    def succeeding(self, state: State) -> Succession:
        return Succession(self.plans, self.crew, state, clock=self.clock, log=self.said)

    def write(self, old: str, new: str) -> None:
        text = self.path.read_text()
        assert old in text
        self.path.write_text(text.replace(old, new))

    @property
    def served(self) -> list[tuple[int, object]]:
        """The generation of each worker, and the weight that is set in it."""
        return [
            (one.generation, None if one.serves is None else one.serves.changes.get(WEIGHT))
            for one in self.workers
        ]

    @property
    def kinds(self) -> list[tuple[str, int]]:
        return [(event.kind, event.generation) for event in self.state.events]

    def nothing_open(self) -> bool:
        return all(not one.opened for one in self.workers)


@contextmanager
def serving(folder: Path, workers: int = 2) -> Iterator[Server]:
    server = Server(folder, workers)
    try:
        yield server
    finally:
        server.state.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as server:
        yield server


SVC_5 = [("iris/svc", "weight", "5")]


# --- the first ---------------------------------------------------------------------------


async def test_the_first_generation(server: Server) -> None:
    await server.succession.begin()
    assert server.served == [(1, None), (1, None)]
    assert server.workers[0].serves is not None
    assert server.workers[0].serves.text == SPEC
    (event,) = server.state.events
    assert event == Event(
        kind="generation",
        time=START_TIME,
        who="penstock",
        generation=1,
        cause="start",
        digest=server.succession.current().digest,
    )
    assert server.said.lines == []


async def test_a_file_with_mistakes_is_not_started(server: Server) -> None:
    server.write("weight: 60", "weight: sixty")
    with pytest.raises(SpecError, match="sixty"):
        await server.succession.begin()
    assert server.state.events == []


async def test_models_that_cannot_be_opened_are_not_started(server: Server) -> None:
    server.workers[1].problems = ("no such file", "no room")
    with pytest.raises(SpecError) as raised:
        await server.succession.begin()
    assert raised.value.problems == ("no such file", "no room")
    assert server.state.events == []


async def test_a_worker_that_dies_at_the_start_ends_it(server: Server) -> None:
    server.workers[1].dies_of = "prepare"
    with pytest.raises(SpecError, match="a worker died while it opened the models"):
        await server.succession.begin()


async def test_a_disk_that_hangs_at_the_start_ends_it(server: Server) -> None:
    goes_on = threading.Event()
    read = server.plans.read

    def hanging() -> Source:
        goes_on.wait()
        return read()

    server.plans = msgspec.structs.replace(server.plans, read=hanging)
    beginning = asyncio.ensure_future(server.succeeding(server.state).begin())
    await until(lambda: server.clock.timers)
    await server.clock.elapse(ANSWER_S)
    with pytest.raises(SpecError, match="the file could not be read: the disk has not answered"):
        await beginning
    goes_on.set()


async def test_a_disk_that_is_full_at_the_start_is_told(server: Server) -> None:
    class Full:
        """A state directory on a full disk."""

        folder, refusal, cut, events = "/full", "", "", ()

        def append(self, events: object) -> None:
            raise CannotKeep("/full/overlay.jsonl", OSError(28, "No space left on device"))

    succession = server.succeeding(Full())  # type: ignore[arg-type]  # a fake
    await succession.begin()
    assert server.served == [(1, None), (1, None)]
    what = "/full/overlay.jsonl cannot be written: No space left on device"
    assert server.said.lines == [f"warning: nothing can be set in this server: {what}"]
    with pytest.raises(ChangeRefused, match="No space left"):
        await succession.set(SVC_5, "anna")


async def test_without_a_state_directory_it_is_told_once(server: Server) -> None:
    succession = server.succeeding(NoState("there is none"))
    await succession.begin()
    await succession.reload("anna", "reload")
    assert server.said.lines == ["warning: nothing can be set in this server: there is none"]
    with pytest.raises(ChangeRefused) as raised:
        await succession.set(SVC_5, "anna")
    assert raised.value.problems == ("nothing can be set in this server: there is none",)
    assert server.served == [(2, None), (2, None)]
    assert [event.generation for event in succession.state.events] == [1, 2]


# --- setting -----------------------------------------------------------------------------


async def test_a_value_is_set_in_all_workers(server: Server) -> None:
    await server.succession.begin()
    changed = await server.succession.set(SVC_5, "anna")
    assert server.served == [(2, 5.0), (2, 5.0)]
    assert (changed.generation, changed.workers, changed.of) == (2, 2, 2)
    assert changed.changes == (Change(path=WEIGHT, old=60, new=5.0, base=60),)
    event = server.state.events[-1]
    assert (event.kind, event.who, event.generation) == ("set", "anna", 2)
    assert event.changes == changed.changes
    assert server.nothing_open()


async def test_several_values_are_one_generation(server: Server) -> None:
    await server.succession.begin()
    changed = await server.succession.set([*SVC_5, ("iris/rf", "weight", "95")], "anna")
    assert changed.generation == 2
    assert len(changed.changes) == 2
    assert server.kinds == [("generation", 1), ("set", 2)]


async def test_what_is_so_already_is_no_generation(server: Server) -> None:
    await server.succession.begin()
    changed = await server.succession.set([("iris/svc", "weight", "60")], "anna")
    assert (changed.generation, changed.changes, changed.already) == (1, (), True)
    assert server.kinds == [("generation", 1)]


async def test_setting_back_takes_the_entry_away(server: Server) -> None:
    await server.succession.begin()
    await server.succession.set(SVC_5, "anna")
    await server.succession.set([("iris/svc", "weight", "60")], "anna")
    assert server.served == [(3, None), (3, None)]
    assert server.succession.current().overlay == Overlay()


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (("iriss/svc", "weight", "5"), "there is no route"),
        (("iris/svc", "weightx", "5"), "cannot be set"),
        (("iris/svc", "weight", "-5"), "weight"),
    ],
)
async def test_what_cannot_be_set(server: Server, asked: tuple[str, str, str], why: str) -> None:
    await server.succession.begin()
    with pytest.raises(SpecError, match=why):
        await server.succession.set([asked], "anna")
    assert server.served == [(1, None), (1, None)]
    assert server.kinds == [("generation", 1)]


async def test_what_would_not_pass_the_check_is_not_opened(server: Server) -> None:
    await server.succession.begin()
    off = [("iris/svc", "state", "off"), ("iris/rf", "state", "off")]
    with pytest.raises(SpecError):
        await server.succession.set(off, "anna")
    assert all(("prepare", 2) not in one.asked for one in server.workers)


async def test_what_a_worker_cannot_open_is_taken_back_in_all(server: Server) -> None:
    await server.succession.begin()
    server.workers[1].problems = ("no room",)
    with pytest.raises(ChangeRefused) as raised:
        await server.succession.set(SVC_5, "anna")
    assert raised.value.problems == ("no room",)
    assert server.served == [(1, None), (1, None)]
    assert server.nothing_open()
    assert server.kinds == [("generation", 1)]
    server.workers[1].problems = ()
    assert (await server.succession.set(SVC_5, "anna")).generation == 2


async def test_a_change_that_cannot_be_kept_is_taken_back_in_all(server: Server) -> None:
    await server.succession.begin()
    assert isinstance(server.state, StateDirectory)
    keep = server.state.append

    def full(events: object) -> None:
        raise CannotKeep("overlay.jsonl", OSError(28, "No space left on device"))

    server.state.append = full  # type: ignore[method-assign]
    with pytest.raises(ChangeRefused) as raised:
        await server.succession.set(SVC_5, "anna")
    assert raised.value.problems == (
        "overlay.jsonl cannot be written: No space left on device; nothing has been changed",
    )
    with pytest.raises(ChangeRefused, match="No space left"):
        await server.succession.reload("anna", "reload")
    assert server.served == [(1, None), (1, None)]
    assert server.nothing_open()
    server.state.append = keep  # type: ignore[method-assign]
    await server.succession.set(SVC_5, "anna")
    assert server.served == [(2, 5.0), (2, 5.0)]


async def test_a_fault_while_a_change_is_kept_takes_it_back_in_all(server: Server) -> None:
    await server.succession.begin()

    def broken(events: object) -> None:
        raise RuntimeError("a fault of ours")

    server.state.append = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="a fault of ours"):
        await server.succession.set(SVC_5, "anna")
    assert server.nothing_open()
    assert server.served == [(1, None), (1, None)]


async def test_a_change_that_is_being_kept_is_made_although_it_is_cancelled(
    server: Server,
) -> None:
    await server.succession.begin()
    keeping, keep = Keeping(server.state.append), server.state.append
    server.state.append = keeping  # type: ignore[method-assign]
    setting = asyncio.ensure_future(server.succession.set(SVC_5, "anna"))
    await until(keeping.begun.is_set)
    setting.cancel()
    await settle()
    assert not setting.done()
    keeping.goes_on.set()
    assert (await setting).generation == 2
    assert server.served == [(2, 5.0), (2, 5.0)]
    assert server.kinds[-1] == ("set", 2)
    server.state.append = keep  # type: ignore[method-assign]


async def test_a_disk_that_hangs_while_a_change_is_kept_does_not_hold_up_the_end(
    server: Server,
) -> None:
    await server.succession.begin()
    keeping, keep = Keeping(server.state.append), server.state.append
    server.state.append = keeping  # type: ignore[method-assign]
    setting = asyncio.ensure_future(server.succession.set(SVC_5, "anna"))
    await until(keeping.begun.is_set)
    setting.cancel()
    await server.clock.elapse(FINISH_S)
    with pytest.raises(asyncio.CancelledError):
        await setting
    await until(server.nothing_open)
    keeping.goes_on.set()
    server.state.append = keep  # type: ignore[method-assign]


class Keeping:
    """A log whose disk hangs until it is told to go on."""

    def __init__(self, append: Callable[[tuple[Event, ...]], None]) -> None:
        self._append = append
        self.begun = threading.Event()
        self.goes_on = threading.Event()

    def __call__(self, events: Sequence[Event]) -> None:
        self.begun.set()
        self.goes_on.wait()
        self._append(tuple(events))


async def test_it_is_in_the_log_before_any_worker_flips(server: Server) -> None:
    await server.succession.begin()
    keep = server.state.append
    flipped: list[bool] = []

    def watching(events: tuple[Event, ...]) -> None:
        flipped.extend(("flip", 2) in one.asked for one in server.workers)
        keep(events)

    server.state.append = watching  # type: ignore[assignment]
    await server.succession.set(SVC_5, "anna")
    assert flipped == [False, False]


async def test_the_overlay_is_bounded(server: Server) -> None:
    await server.succession.begin()
    draft = server.succession.current()
    entry = Entry(value=1, base=None, who="anna", time="t")
    full: dict[str, Entry] = {f"states.{number}": entry for number in range(MAX_ENTRIES)}
    server.succession.draft = type(draft)(
        plan=draft.plan, source=draft.source, spec=draft.spec, overlay=Overlay(full)
    )
    with pytest.raises(ChangeRefused, match="1000 values are set; write them into the file"):
        await server.succession.set(SVC_5, "anna")


# --- the file ----------------------------------------------------------------------------


async def test_a_reload_serves_what_the_file_says_now(server: Server) -> None:
    await server.succession.begin()
    server.write("weight: 60", "weight: 70")
    changed = await server.succession.reload("anna", "SIGHUP")
    assert server.served == [(2, None), (2, None)]
    assert (changed.generation, changed.changes, changed.already) == (2, (), False)
    assert all(one.serves and "weight: 70" in one.serves.text for one in server.workers)
    assert (server.state.events[-1].cause, server.state.events[-1].who) == ("SIGHUP", "anna")


async def test_a_reload_that_is_asked_for_is_made_although_the_file_is_the_same(
    server: Server,
) -> None:
    await server.succession.begin()
    assert (await server.succession.reload("anna", "reload")).generation == 2
    assert (await server.succession.reload("anna", "seen", if_other=True)).already
    assert server.served == [(2, None), (2, None)]


@pytest.mark.parametrize("mistake", ["weight: sixty", "weight: [", "weight: 60, weightx: 3"])
async def test_a_bad_file_leaves_what_is_served(server: Server, mistake: str) -> None:
    await server.succession.begin()
    await server.succession.set(SVC_5, "anna")
    server.write("weight: 60", mistake)
    with pytest.raises(SpecError):
        await server.succession.reload("anna", "reload")
    assert server.served == [(2, 5.0), (2, 5.0)]
    server.path.write_text(SPEC)
    await server.succession.reload("anna", "reload")
    assert server.served == [(3, 5.0), (3, 5.0)]


async def test_a_missing_file_leaves_what_is_served(server: Server) -> None:
    await server.succession.begin()
    server.path.unlink()
    with pytest.raises(SpecError, match="cannot be read"):
        await server.succession.reload("anna", "reload")
    await server.succession.set(SVC_5, "anna")  # of what was read
    assert server.served == [(2, 5.0), (2, 5.0)]


async def test_a_bad_file_does_not_keep_anybody_from_setting(server: Server) -> None:
    await server.succession.begin()
    server.write("weight: 60", "weight: sixty")
    await server.succession.set(SVC_5, "anna")
    assert server.served == [(2, 5.0), (2, 5.0)]


async def test_what_was_set_is_dropped_when_the_file_changes_there(server: Server) -> None:
    await server.succession.begin()
    await server.succession.set([*SVC_5, ("iris/rf", "state", "observe")], "anna")
    server.write("weight: 60", "weight: 70")
    changed = await server.succession.reload("ben", "reload")
    assert server.served == [(3, None), (3, None)]
    (sentence,) = changed.warnings
    assert sentence.startswith(f"{WEIGHT} is 70 in the file now, and was 60 when anna set it to 5")
    assert server.said.lines == [f"warning: {sentence}"]
    assert server.kinds[-2:] == [("dropped", 3), ("generation", 3)]
    assert list(server.succession.current().overlay.values) == ["routes.iris.fan_out.arms.rf.state"]


# --- over restarts -----------------------------------------------------------------------


async def test_what_was_set_is_in_effect_after_a_restart(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        await server.succession.begin()
        await server.succession.set(SVC_5, "anna")
    with serving(tmp_path, workers=3) as server:
        await server.succession.begin()
        assert server.served == [(3, 5.0)] * 3
        assert server.kinds == [("generation", 1), ("set", 2), ("generation", 3)]


async def test_generations_count_on_although_nothing_was_set(tmp_path: Path) -> None:
    for generation in (1, 2, 3):
        with serving(tmp_path, workers=1) as server:
            await server.succession.begin()
            assert server.served == [(generation, None)]


async def test_what_was_dropped_is_gone_for_good(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        await server.succession.begin()
        await server.succession.set(SVC_5, "anna")
        server.write("weight: 60", "weight: 70")
    with serving(tmp_path) as server:
        await server.succession.begin()
        assert server.said.has("warning", "is 70 in the file now")
        server.write("weight: 70", "weight: 60")
        await server.succession.reload("anna", "reload")
        assert server.served == [(4, None), (4, None)]
    with serving(tmp_path) as server:
        await server.succession.begin()
        assert server.served == [(5, None), (5, None)]


async def test_a_torn_line_of_the_log_is_told(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        await server.succession.begin()
        await server.succession.set(SVC_5, "anna")
    log = tmp_path / "state" / "overlay.jsonl"
    log.write_bytes(log.read_bytes()[:-10])
    with serving(tmp_path) as server:
        await server.succession.begin()
        assert server.said.has("warning", "the last line (2) is torn and has been cut off")
        assert server.served == [(2, None), (2, None)]


@pytest.mark.parametrize("value", [0.1, 1e5, 5])
async def test_numbers_survive_a_restart(tmp_path: Path, value: Plain) -> None:
    with serving(tmp_path) as server:
        await server.succession.begin()
        await server.succession.set([("iris/svc", "weight", str(value))], "anna")
    with serving(tmp_path) as server:
        await server.succession.begin()
        assert server.served == [(3, value), (3, value)]


# --- workers that come and go ------------------------------------------------------------


async def test_a_worker_that_dies_meanwhile_does_not_fail_the_change(server: Server) -> None:
    await server.succession.begin()
    server.workers[0].dies_of = "prepare"
    changed = await server.succession.set(SVC_5, "anna")
    assert (changed.workers, changed.of) == (1, 2)
    server.workers[0].dies_of, server.workers[1].dies_of = "", "flip"
    changed = await server.succession.set([("iris/svc", "weight", "6")], "anna")
    assert (changed.workers, changed.of) == (1, 2)


async def test_a_replacement_that_joins_meanwhile_is_brought_along(server: Server) -> None:
    """It has opened what was served when it came, and was not there when all prepared."""
    await server.succession.begin()
    replacement = FakeWorker(9)
    gate = server.workers[0].gate = asyncio.get_running_loop().create_future()
    setting = asyncio.ensure_future(server.succession.set(SVC_5, "anna"))
    await until(lambda: ("prepare", 2) in server.workers[0].asked)
    server.crew.there[1] = replacement
    gate.set_result(None)
    changed = await setting
    assert (changed.workers, changed.of) == (2, 2)
    assert replacement.asked == [("prepare", 2), ("flip", 2)]
    assert ("flip", 2) not in server.workers[1].asked  # it has gone


async def test_a_replacement_that_cannot_be_brought_along_is_given_up(server: Server) -> None:
    await server.succession.begin()
    cannot, dies = FakeWorker(8), FakeWorker(9)
    cannot.problems = ("no room",)
    dies.dies_of = "prepare"
    gate = server.workers[0].gate = asyncio.get_running_loop().create_future()
    setting = asyncio.ensure_future(server.succession.set(SVC_5, "anna"))
    await until(lambda: ("prepare", 2) in server.workers[0].asked)
    server.crew.there.update({1: cannot, 2: dies})
    gate.set_result(None)
    changed = await setting
    assert changed.workers == 1
    assert server.crew.given_up == [(1, "cannot open generation 2")]
