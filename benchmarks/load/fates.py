"""What becomes of each request of a load, phase by phase."""

from array import array
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from benchmarks.load.asyncio_load import MS_PER_S, percentile

MAX_FAILURES: Final = 10_000
"""Failures of a phase that are kept one by one; more are only counted."""

MAX_ANSWERS: Final = 1_000
"""Different answers of a phase that are told apart; more are counted as one."""

OTHER: Final = "(more)"


class Fate(StrEnum):
    """How a request ended that was not answered."""

    REFUSED = "refused"
    UNCONNECTED = "not connected"
    RESET = "reset unanswered"
    CUT = "cut mid-answer"
    LATE = "timed out"
    GARBLED = "not HTTP"
    UNSENT = "never sent"


@dataclass(slots=True)
class Seen:
    """One answer, and between which instants it was given; on the monotonic clock."""

    count: int
    first_sent_s: float
    last_sent_s: float
    first_ended_s: float
    last_ended_s: float

    def again(self, sent_s: float, ended_s: float) -> None:
        """Counts the answer once more."""
        self.count += 1
        self.first_sent_s = min(self.first_sent_s, sent_s)
        self.last_sent_s = max(self.last_sent_s, sent_s)
        self.first_ended_s = min(self.first_ended_s, ended_s)
        self.last_ended_s = max(self.last_ended_s, ended_s)


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that got no answer, and over which connection it went."""

    fate: Fate
    sent_s: float
    ended_s: float
    local_port: int
    reused: bool


@dataclass(slots=True)
class PhaseTally:
    """What became of the requests that were due in one phase."""

    name: str
    started_s: float
    due: int = 0
    under_way: int = 0
    latencies_ms: "array[float]" = field(default_factory=lambda: array("d"))
    late_ms: "array[float]" = field(default_factory=lambda: array("d"))
    answers: dict[str, Seen] = field(default_factory=dict)
    fates: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    idle_closes: int = 0
    ended_s: float = 0.0

    def answered(self, answer: str, due_s: float, sent_s: float, ended_s: float) -> None:
        """Books an answer: its latency counts from when the request was due."""
        self.under_way -= 1
        self.latencies_ms.append((ended_s - due_s) * MS_PER_S)
        seen = self.answers.get(answer)
        if seen is None and len(self.answers) >= MAX_ANSWERS:
            answer = OTHER
            seen = self.answers.get(OTHER)
        if seen is None:
            self.answers[answer] = Seen(1, sent_s, sent_s, ended_s, ended_s)
        else:
            seen.again(sent_s, ended_s)

    def failed(self, failure: Failure) -> None:
        """Books a request without an answer."""
        self.under_way -= 1
        self.fates[failure.fate] = self.fates.get(failure.fate, 0) + 1
        if len(self.failures) < MAX_FAILURES:
            self.failures.append(failure)

    def result(self) -> dict[str, Any]:
        """The phase as it is handed to whoever asked for it."""
        latencies_ms, late_ms = sorted(self.latencies_ms), sorted(self.late_ms)
        return {
            "name": self.name,
            "seconds": self.ended_s - self.started_s,
            "due": self.due,
            "p50_ms": percentile(latencies_ms, 50),
            "p99_ms": percentile(latencies_ms, 99),
            "max_ms": percentile(latencies_ms, 100),
            "generator_late_p99_ms": percentile(late_ms, 99),
            "idle_closes": self.idle_closes,
            "fates": self.fates,
            "answers": {
                answer: [
                    *(seen.count, seen.first_sent_s, seen.last_sent_s),
                    *(seen.first_ended_s, seen.last_ended_s),
                ]
                for answer, seen in self.answers.items()
            },
            "failures": [
                [one.fate, one.sent_s, one.ended_s, one.local_port, one.reused]
                for one in self.failures
            ],
        }
