"""What is printed of a server that was operated under load."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.operations.verdict import Outcome
from benchmarks.report import Table, machine_section

COLUMNS = (
    *("phase", "seconds", "requests", "200", "other statuses", "without an answer"),
    *("p50 ms", "p99 ms", "max ms", "verdict"),
)


@dataclass(frozen=True, slots=True)
class Section:
    """One server's phases."""

    workers: int
    capacity: float
    rate: float
    outcomes: Sequence[Outcome]
    failed: str

    @property
    def wrong(self) -> bool:
        """Whether any phase lost what it must not."""
        return bool(self.failed) or any(outcome.wrong for outcome in self.outcomes)

    def markdown(self) -> str:
        """The section's text."""
        title = f"## `--workers {self.workers}` under a steady load"
        how = (
            f"{self.capacity:,.0f} requests/s in closed loop at most, beside the load on the same "
            f"cores; {self.rate:,.0f}/s are offered in open loop, over connections that carry one "
            "request at a time, about a thousand in all. Latencies count from when a request was "
            "due. No request is sent twice."
        )
        rows = [row(outcome) for outcome in self.outcomes]
        parts = [title, how, Table(COLUMNS, rows).markdown(), self.notes()]
        if self.failed:
            parts.append(f"**Ended early: {self.failed}.**")
        if said := {key: text for one in self.outcomes for key, text in one.said.items()}:
            reasons = [[what, f"`{text}`"] for what, text in said.items()]
            parts.append(Table(["a bad spec", "what `penstock reload` says"], reasons).markdown())
        return "\n\n".join(filter(None, parts))

    def notes(self) -> str:
        """What is wrong, how long changes took, and what else a reader should know."""
        lines = []
        for outcome in self.outcomes:
            name = outcome.phase.name
            lines += [f"- **{name}: {one}.**" for one in outcome.wrong]
            lines += [f"- {name}: {note}." for note in outcome.notes]
            lines += [f"- {name}: {sentence}." for sentence in times(outcome)]
        late_ms = max((one.phase.generator_late_p99_ms for one in self.outcomes), default=0.0)
        lines.append(
            f"- The generator itself was less than {late_ms:.0f} ms late for 99 % of its requests."
        )
        return "\n".join(lines)


def times(outcome: Outcome) -> list[str]:
    """How long the changes of a phase took."""
    sentences = []
    if taken := sorted(outcome.changes_ms):
        sentences.append(
            f"asked for until it was in all workers, the command's own start included: "
            f"{taken[len(taken) // 2]:.0f} ms (median), {taken[-1]:.0f} ms at most"
        )
    if overlaps := sorted(outcome.side_by_side_ms):
        sentences.append(
            "from the first answer of a new generation to the last of the one before: "
            f"{overlaps[len(overlaps) // 2]:.1f} ms (median), {overlaps[-1]:.1f} ms at most"
        )
    return sentences


def row(outcome: Outcome) -> list[str]:
    """A phase as a row of the table."""
    phase = outcome.phase
    others = ", ".join(f"{seen.count:,} x {text}" for text, seen in phase.refusals.items())
    lost = ", ".join(f"{count:,} {fate}" for fate, count in phase.fates.items())
    return [
        *(phase.name, f"{phase.seconds:.0f}", f"{phase.due:,}", f"{phase.ok:,}"),
        *(others or "0", lost or "0"),
        *(f"{value:.1f}" for value in (phase.p50_ms, phase.p99_ms, phase.max_ms)),
        "**lost**" if outcome.wrong else "as it should be",
    ]


def page(sections: Sequence[Section], machine: Mapping[str, str] | None) -> str:
    """The whole text."""
    parts = [machine_section(machine)] if machine else []
    return "\n\n".join([*parts, *(section.markdown() for section in sections)]) + "\n"
