"""Every fault on every arm, what has to come of it, and what does."""

import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.faults.asking import (
    ABREAST,
    RIGHT,
    Answer,
    Caller,
    Healths,
    ask_all,
    ask_health,
    counted,
)
from benchmarks.faults.fleet import Arm, Fleet

DEADLINE_MS: Final = 500.0
"""What callers give; partial answers have to be there by then."""

HEALTH_MS: Final = 1000.0
"""What the gateway gives an arm's health."""

MARGIN_MS: Final = 100.0
"""For the caller's own ten threads and the machine's two cores."""

SLACK: Final = 10
"""Descriptors that may be there more than before, beside the connections to the arms."""

KEPT: Final = 3 * ABREAST + SLACK
"""Connections to arms that may be kept: one of each arm for each request under way, and probes."""

SETTLE_S: Final = 3.0
RECOVERY_S: Final = 15.0
FAILED: Final = "upstream_failed"
LATE: Final = "deadline_exceeded"
SHED: Final = "upstream_shed"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to an arm, and what has to be said of it.

    `does` is a name of `servers/faulty.py`, or one of `nothing`, `kill`, `freeze`; `health` is None
    where both words would be right.
    """

    title: str
    does: str
    code: str
    health: str | None


FAULTS: Final = (
    Fault("healthy", "nothing", RIGHT, "ok"),
    Fault("killed (SIGKILL)", "kill", FAILED, "ng"),
    Fault("frozen (SIGSTOP)", "freeze", LATE, "ng"),
    Fault("takes requests and never answers", "silent", LATE, "ng"),
    Fault("garbage bytes", "garbage", FAILED, "ng"),
    Fault("half an answer, then closes", "half-then-close", FAILED, "ng"),
    Fault("half an answer, then silence", "half-then-silence", LATE, "ng"),
    Fault("500", "failing", FAILED, "ng"),
    Fault("503 with Retry-After", "shedding", SHED, "ng"),
    Fault("byte by byte, one each 50 ms", "byte-by-byte", LATE, "ng"),
    Fault("closes after each answer, unsaid", "closing-after-answers", RIGHT, "ok"),
    Fault("closes when a kept connection is used", "closing-on-reuse", RIGHT, "ok"),
    Fault("closes whenever asked", "closing-always", FAILED, "ng"),
    Fault("a second answer that nobody asked for", "answering-twice", RIGHT, "ok"),
    Fault("200 with a web page", "not-json", FAILED, None),
    Fault("200 with too few scores", "other-shape", FAILED, None),
    Fault("a redirect", "redirecting", FAILED, "ng"),
    Fault("a head of 200 kB", "endless-head", FAILED, "ng"),
)


@dataclass(frozen=True, slots=True)
class Spell:
    """One fault on one arm."""

    arm: str
    answers: Sequence[Answer]
    healths: Healths
    recovered_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """One fault on each arm in turn, and the gateway before and after it."""

    fault: Fault
    spells: Sequence[Spell]
    descriptors: tuple[int, int]
    connections: tuple[int, int]

    @property
    def answers(self) -> list[Answer]:
        """What all requests were answered."""
        return [answer for spell in self.spells for answer in spell.answers]

    @property
    def slowest_ms(self) -> float:
        """The slowest answer."""
        return max(answer.took_ms for answer in self.answers)

    def bad(self) -> list[str]:
        """What the faulty arm's entry said, request by request."""
        return [
            answer.arms.get(spell.arm, next(iter(answer.arms.values()), "nothing"))
            for spell in self.spells
            for answer in spell.answers
        ]

    def good(self) -> list[str]:
        """What the other arms' entries said."""
        return [
            state
            for spell in self.spells
            for answer in spell.answers
            for arm, state in answer.arms.items()
            if arm != spell.arm
        ]

    def healths(self) -> list[str]:
        """What `/health/all` said of the faulty arm."""
        return [spell.healths.arms.get(spell.arm, "nothing") for spell in self.spells]

    def wrong(self) -> list[str]:
        """What should have been otherwise."""
        found = [*self.wrong_answers(), *self.wrong_healths()]
        before, after = (
            descriptors - connections
            for descriptors, connections in zip(self.descriptors, self.connections, strict=True)
        )
        if after > before + SLACK:
            found.append(
                f"{after - before} descriptors more than before, connections to arms aside"
            )
        if self.connections[1] > KEPT:
            found.append(f"{self.connections[1]} connections to arms are kept, more than {KEPT}")
        return found

    def wrong_answers(self) -> list[str]:
        """What is wrong with the predictions."""
        found = []
        statuses = [str(answer.status) for answer in self.answers]
        if set(statuses) != {"200"}:
            found.append(f"statuses {counted(statuses)}")
        if set(self.bad()) != {self.fault.code}:
            found.append(f"the arm's entry: {counted(self.bad())}, not {self.fault.code}")
        if set(self.good()) != {RIGHT}:
            found.append(f"the other arms' entries: {counted(self.good())}")
        if self.slowest_ms > DEADLINE_MS + MARGIN_MS:
            found.append(f"the slowest answer after {self.slowest_ms:.0f} ms")
        return found

    def wrong_healths(self) -> list[str]:
        """What is wrong with `/health/all`."""
        found = []
        for spell in self.spells:
            if spell.healths.status != 200:
                found.append(f"/health/all answered {spell.healths.status}")
            if spell.healths.took_ms > HEALTH_MS + MARGIN_MS:
                found.append(f"/health/all took {spell.healths.took_ms:.0f} ms")
            if self.fault.health not in (None, spell.healths.arms.get(spell.arm)):
                found.append(f"/health/all: {spell.arm} is {spell.healths.arms.get(spell.arm)}")
            others = {word for arm, word in spell.healths.arms.items() if arm != spell.arm}
            if others != {"ok"}:
                found.append(f"/health/all of the other arms: {spell.healths.arms}")
            if spell.recovered_s > RECOVERY_S:
                found.append(f"{spell.arm} was not answered by again within {RECOVERY_S:.0f} s")
        return found


def begin(fault: Fault, arm: Arm) -> None:
    """Has the arm fail."""
    match fault.does:
        case "nothing":
            pass
        case "kill":
            arm.kill()
        case "freeze":
            arm.signal(signal.SIGSTOP)
        case _:
            arm.misbehave(fault.does)


def mend(fault: Fault, arm: Arm) -> None:
    """Has the arm serve again."""
    match fault.does:
        case "nothing":
            pass
        case "freeze":
            arm.signal(signal.SIGCONT)
        case _:
            arm.end()
            arm.serve()


def recovery_s(fleet: Fleet) -> float:
    """How long it takes until all arms are answered by again; at most a little over the bound."""
    began_s = time.monotonic()
    caller = Caller(fleet.port, DEADLINE_MS)
    while (passed_s := time.monotonic() - began_s) <= RECOVERY_S:
        answer = caller.ask()
        if answer.arms and set(answer.arms.values()) == {RIGHT}:
            break
        time.sleep(0.02)
    caller.connection.close()
    return passed_s


def settled(fleet: Fleet, before: Mapping[str, int]) -> dict[str, int]:
    """The gateway's descriptors and connections, once no more than before or after a while."""
    end_s = time.monotonic() + SETTLE_S
    while True:
        now = {"descriptors": fleet.descriptors(), "connections": fleet.connections()}
        if all(now[key] <= before[key] for key in now) or time.monotonic() > end_s:
            return now
        time.sleep(0.05)


def run(fleet: Fleet, fault: Fault, requests: int) -> Row:
    """Tries one fault on each arm in turn."""
    before = {"descriptors": fleet.descriptors(), "connections": fleet.connections()}
    spells = []
    for arm in fleet.arms.values():
        begin(fault, arm)
        answers = ask_all(fleet.port, DEADLINE_MS, requests)
        healths = ask_health(fleet.port)
        mend(fault, arm)
        spells.append(Spell(arm.name, answers, healths, recovery_s(fleet)))
    after = settled(fleet, before)
    return Row(
        fault,
        spells,
        (before["descriptors"], after["descriptors"]),
        (before["connections"], after["connections"]),
    )
