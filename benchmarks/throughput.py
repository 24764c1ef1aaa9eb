"""Shows what servers did under load, side by side."""

import statistics
from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

from benchmarks.attack import Measured
from benchmarks.figures import Spread, ratio
from benchmarks.report import Table

FULL_PERCENT: Final = 95.0


def cpu_us(rounds: list[Measured]) -> list[float]:
    """The CPU per request of each round."""
    return [measured.cpu_us for measured in rounds]


def rates(rounds: list[Measured]) -> list[float]:
    """The throughput of each round."""
    return [measured.rate for measured in rounds]


def throughput_table(figures: Mapping[str, list[Measured]], *baselines: str) -> Table:
    """What every server did, and its ratios to the baselines."""
    columns = ["server", "CPU us/request", "requests/s", "p50 ms", "p99 ms"]
    for baseline in baselines:
        columns += [f"CPU x {baseline}", f"throughput x {baseline}"]
    rows = []
    for name, rounds in figures.items():
        row = [
            name,
            Spread.of(cpu_us(rounds)).text(1),
            Spread.of(rates(rounds)).text(),
            Spread.of([measured.p50_ms for measured in rounds]).text(1),
            Spread.of([measured.p99_ms for measured in rounds]).text(1),
        ]
        for baseline in baselines:
            row.append(ratio(cpu_us(rounds), cpu_us(figures[baseline])).ratio_text())
            row.append(ratio(rates(rounds), rates(figures[baseline])).ratio_text())
        rows.append(row)
    return Table(columns, rows)


def load_notes(figures: Mapping[str, list[Measured]], *, on_all_cores: bool = False) -> list[str]:
    """What a reader should know: failed answers, threads that left their core, a full generator."""
    notes = []
    for name, rounds in figures.items():
        if failed := sum(measured.failed for measured in rounds):
            asked = sum(measured.requests for measured in rounds)
            notes.append(f"{name}: **{failed} of {asked} requests failed**.")
        if outside := max(measured.threads_outside for measured in rounds):
            notes.append(f"{name}: up to {outside} threads may run outside the server's core.")
        busy_percent = statistics.median(measured.load_busy_percent for measured in rounds)
        if busy_percent > FULL_PERCENT and not on_all_cores:
            notes.append(
                f"{name}: the load's core was {busy_percent:.0f} % busy, so the rate may be that "
                "core's limit and not the server's; CPU a request is the server's own."
            )
    return notes


def raw(figures: Mapping[str, list[Measured]]) -> dict[str, object]:
    """The figures of every round."""
    return {name: [asdict(measured) for measured in rounds] for name, rounds in figures.items()}
