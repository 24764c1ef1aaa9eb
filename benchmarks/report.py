"""Says what was measured: tables in markdown, and for each mark whether it is met."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from benchmarks.figures import Spread, significant


class Bound(StrEnum):
    """On which side of its limit a figure should be."""

    AT_MOST = "at most"
    AT_LEAST = "at least"
    BELOW = "below"


@dataclass(frozen=True, slots=True)
class Mark:
    """A figure that the design sets, and what was measured against it."""

    what: str
    bound: Bound
    limit: float
    measured: Spread
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the median is on the right side of the limit."""
        match self.bound:
            case Bound.AT_MOST:
                return self.measured.median <= self.limit
            case Bound.AT_LEAST:
                return self.measured.median >= self.limit
            case Bound.BELOW:
                return self.measured.median < self.limit

    @property
    def verdict(self) -> str:
        """Met, or missed and by how much."""
        if self.met:
            return "met"
        missed_by = abs(self.measured.median - self.limit)
        share_percent = 100 * missed_by / self.limit
        return f"**missed by {significant(missed_by)}{self.unit} ({share_percent:.0f} %)**"

    @property
    def limit_text(self) -> str:
        """The limit with its bound and unit."""
        return f"{self.bound} {self.limit:.3g}{self.unit}"

    @property
    def measured_text(self) -> str:
        """What was measured, with its spread and unit."""
        return f"{self.measured.ratio_text()}{self.unit}"

    def line(self) -> str:
        """The mark as an item of a list."""
        return f"- {self.what}: {self.limit_text}; measured {self.measured_text}: {self.verdict}"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a heading for each column; all columns but the first are figures."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The table in markdown."""
        rule = ["---", *("--:" for _ in self.columns[1:])]
        lines = [self.columns, rule, *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@dataclass(frozen=True, slots=True)
class Report:
    """What one scenario showed."""

    title: str
    how: str
    table: Table
    marks: Sequence[Mark] = ()
    notes: Sequence[str] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        """The scenario's section."""
        parts = [f"## {self.title}", self.how, self.table.markdown()]
        if self.marks:
            parts.append("\n".join(mark.line() for mark in self.marks))
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        return "\n\n".join(parts)

    def as_json(self) -> dict[str, Any]:
        """Everything, with the figures of every round."""
        marks = [{**asdict(mark), "met": mark.met} for mark in self.marks]
        table = {
            "columns": list(self.table.columns),
            "rows": [list(row) for row in self.table.rows],
        }
        return {
            "title": self.title,
            "how": self.how,
            "table": table,
            "marks": marks,
            "notes": list(self.notes),
            "figures": dict(self.figures),
        }


def machine_section(machine: Mapping[str, str]) -> str:
    """The machine, to stand beside the figures."""
    return "\n".join(["## The machine", "", *(f"- {key}: {text}" for key, text in machine.items())])


def summary(reports: Sequence[Report]) -> str:
    """Every mark of every scenario in one table."""
    rows = [
        [mark.what, mark.limit_text, mark.measured_text, mark.verdict]
        for report in reports
        for mark in report.marks
    ]
    return "## The marks\n\n" + Table(["mark", "limit", "measured", "verdict"], rows).markdown()
