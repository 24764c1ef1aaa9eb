"""Whether a phase lost what it must not, and whether every answer was right."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from benchmarks.load.fates import Failure, Fate, Seen
from benchmarks.operations.load import OK, Phase
from benchmarks.operations.specs import ROWS, Scores

TOLERANCE: Final = 1e-5
"""Batches change an ensemble's last digits; the answers of two steps differ by far more."""


SHOWN_STRAYS: Final = 5


@dataclass(frozen=True, slots=True)
class Step:
    """What is right to answer from one change to the next.

    The change was asked for at `began_s` and had been made everywhere at `ended_s`.
    """

    name: str
    scores: Scores
    began_s: float = float("-inf")
    ended_s: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A phase with what was found wrong in it."""

    phase: Phase
    wrong: Sequence[str] = ()
    notes: Sequence[str] = ()
    changes_ms: Sequence[float] = ()
    side_by_side_ms: Sequence[float] = ()
    said: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Findings:
    """What is wrong, and for how long two generations answered side by side."""

    wrong: list[str] = field(default_factory=list)
    side_by_side_ms: list[float] = field(default_factory=list)


def together(first: Seen | None, second: Seen) -> Seen:
    """Two answers that mean the same, as one."""
    if first is None:
        return second
    return Seen(
        first.count + second.count,
        min(first.first_sent_s, second.first_sent_s),
        max(first.last_sent_s, second.last_sent_s),
        min(first.first_ended_s, second.first_ended_s),
        max(first.last_ended_s, second.last_ended_s),
    )


def alike(one: Scores, other: Scores) -> bool:
    """Whether two answers are the same but for their last digits."""
    pairs = zip(one, other, strict=False)
    return len(one) == len(other) and all(abs(a - b) < TOLERANCE for a, b in pairs)


def step_of(answer: str, steps: Sequence[Step]) -> int | None:
    """Which step's answer this is: that of every row."""
    try:
        rows = [tuple(map(float, row)) for row in json.loads(answer)["prediction"]]
    except (ValueError, TypeError, KeyError):
        return None
    if len(rows) != ROWS:
        return None
    return next(
        (n for n, step in enumerate(steps) if all(alike(row, step.scores) for row in rows)), None
    )


def by_step(phase: Phase, steps: Sequence[Step]) -> tuple[dict[int, Seen], list[str]]:
    """When each step's answer was given; and the answers that are no step's."""
    seen: dict[int, Seen] = {}
    strange = []
    for answer, times in phase.answers.items():
        if not answer.startswith(OK):
            continue
        number = step_of(answer, steps)
        if number is None:
            strange.append(f"{times.count} answers that no generation gives: {answer[:120]}")
        else:
            seen[number] = together(seen.get(number), times)
    return seen, strange


def right_answers(phase: Phase, steps: Sequence[Step]) -> Findings:
    """Checks every answer of 200 against the steps.

    None but a step's answer; none of a step before it was asked for; none of the one before for a
    request that was sent after the change had been made everywhere.
    """
    for before, after in pairwise(steps):
        assert not alike(before.scores, after.scores), "a change that no answer shows"
    seen, strange = by_step(phase, steps)
    found = Findings(wrong=strange)
    for number, step in enumerate(steps):
        if number not in seen:
            if number > 0:
                found.wrong.append(f"{step.name} was never answered by")
            continue
        if seen[number].first_ended_s < step.began_s:
            found.wrong.append(f"{step.name} was answered by before it was asked for")
        following = steps[number + 1] if number + 1 < len(steps) else None
        if following and seen[number].last_sent_s > following.ended_s:
            late_ms = (seen[number].last_sent_s - following.ended_s) * 1e3
            found.wrong.append(f"{following.name}: an old answer {late_ms:.1f} ms after its return")
        if following and number + 1 in seen:
            overlap_s = seen[number].last_ended_s - seen[number + 1].first_ended_s
            found.side_by_side_ms.append(max(0.0, overlap_s * 1e3))
    return found


def nothing_lost(phase: Phase) -> list[str]:
    """Every request has to be answered with 200."""
    wrong = [f"{count} x {fate}" for fate, count in phase.fates.items()]
    return wrong + [f"{seen.count} x {text}" for text, seen in phase.refusals.items()]


def counted(sentences: Sequence[str]) -> list[str]:
    """The same sentences, each once with its number."""
    return [f"{sentences.count(one)} x {one}" for one in dict.fromkeys(sentences)]


@dataclass(frozen=True, slots=True)
class Kill:
    """A worker that was killed: when, and from which ports its callers were connected."""

    pid: int
    killed_s: float
    peers: frozenset[int]
    replaced_s: float


def attributed(failure: Failure, kills: Sequence[Kill]) -> Kill | None:
    """The kill that a failed request fell victim to: its connection was the killed worker's."""
    if failure.fate not in (Fate.RESET, Fate.CUT):
        return None
    return next(
        (
            kill
            for kill in kills
            if failure.local_port in kill.peers
            and failure.ended_s >= kill.killed_s
            and failure.sent_s <= kill.replaced_s
        ),
        None,
    )


def stray(failure: Failure, kills: Sequence[Kill]) -> str:
    """A failure that no kill explains, in a sentence."""
    before = [kill for kill in kills if kill.killed_s <= failure.ended_s]
    since_s = failure.ended_s - before[-1].killed_s if before else float("nan")
    waited_ms = (failure.ended_s - failure.sent_s) * 1e3
    connection = "kept" if failure.reused else "fresh"
    return (
        f"a request {failure.fate} after {waited_ms:.0f} ms, {since_s:.2f} s after kill "
        f"{len(before)}, on a {connection} connection that was no killed worker's"
    )


def kills_only(
    phase: Phase, kills: Sequence[Kill]
) -> tuple[list[str], Mapping[Kill, Sequence[Failure]]]:
    """Only what was on a killed worker's connections may be lost, and that at most once each.

    Returns:
        What is wrong, and what each kill's victims are.
    """
    lost: dict[Kill, list[Failure]] = {kill: [] for kill in kills}
    wrong = [f"{seen.count} x {text}" for text, seen in phase.refusals.items()]
    strays = []
    for failure in phase.failures:
        kill = attributed(failure, kills)
        if kill is None:
            strays.append(failure)
        else:
            lost[kill].append(failure)
    wrong += counted([str(failure.fate) for failure in strays])
    wrong += [stray(failure, kills) for failure in strays[:SHOWN_STRAYS]]
    wrong += [
        f"{len(victims)} requests lost with {len(kill.peers)} connections"
        for kill, victims in lost.items()
        if len(victims) > len(kill.peers)
    ]
    if sum(phase.fates.values()) > len(phase.failures):
        wrong.append("more failures than were kept one by one")
    return wrong, lost


def after_the_end(phase: Phase, told_s: float, connections: int) -> tuple[list[str], list[str]]:
    """What was sent before SIGTERM has to be answered, and nothing may be cut; then refusals.

    No kept connection may be closed under a request. The caller has no other server to turn to and
    keeps connecting: the connections that it makes as the server stops listening may be reset, so
    each of them once.

    Returns:
        What is wrong, and notes on the requests that were sent after the signal.
    """
    wrong = [f"{seen.count} x {text}" for text, seen in phase.refusals.items()]
    before = [one for one in phase.failures if one.sent_s < told_s]
    wrong += counted([f"{one.fate}, sent before SIGTERM" for one in before])
    later = [one for one in phase.failures if one.sent_s >= told_s]
    allowed = (Fate.REFUSED, Fate.RESET, Fate.UNCONNECTED)
    odd = [f"{one.fate}, sent after SIGTERM" for one in later if one.fate not in allowed]
    wrong += counted(odd)
    closed = [one for one in later if one.fate is Fate.RESET]
    kept = sum(one.reused for one in closed)
    if kept:
        wrong.append(f"{kept} x {Fate.RESET} on a kept connection, sent after SIGTERM")
    if len(closed) - kept > connections:
        wrong.append(f"{len(closed) - kept} connections reset that had just been made")
    if not closed:
        return wrong, []
    waited_ms = sorted((one.ended_s - one.sent_s) * 1e3 for one in closed)
    note = (
        f"{len(closed) - kept} of the connections that were made after SIGTERM were reset before "
        f"their first answer, as the server stopped listening; their callers had waited "
        f"{waited_ms[0]:.0f} to {waited_ms[-1]:.0f} ms"
    )
    return wrong, [note]
