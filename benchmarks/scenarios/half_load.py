"""Latency at half load: the same connections, paced to half of what each server can do."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from benchmarks.attack import MS_PER_S, Load, Measured, measure, put_under_load
from benchmarks.bench import Bench
from benchmarks.figures import Spread, interleaved
from benchmarks.report import Report, Table
from benchmarks.scenarios.single import CONNECTIONS, single_contenders
from benchmarks.server import Contender, running

SHARE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Paced:
    """A server at full load, and then at half of it."""

    full: Measured
    half: Measured


def run(bench: Bench) -> Report:
    """Measures the servers of the single model at half load."""

    def paced(contender: Contender) -> Paced:
        with running(contender, bench) as server:
            full = measure(bench, server, Load(CONNECTIONS, bench.seconds))
            load = Load(CONNECTIONS, bench.seconds, think_time_ms(full, CONNECTIONS, SHARE))
            return Paced(full, put_under_load(bench, server, load))

    figures = interleaved(bench, single_contenders(bench), paced)
    return Report(
        title="Latency at half load",
        how=f"`POST /predict`, iris SVC, one row, {CONNECTIONS} connections that think between "
        "requests, exponentially, for as long as brings them to about half of the rate that the "
        "server reached just before. The generator's timers have a resolution of a millisecond.",
        table=half_load_table(figures),
        figures={name: [asdict(paced) for paced in rounds] for name, rounds in figures.items()},
    )


def think_time_ms(full: Measured, connections: int, share: float) -> float:
    """The mean think time at which all connections together send a share of the full rate.

    A connection's turn is its think time and the answer's; the latter is short at such a load, and
    taken as one answer alone on the core.
    """
    turn_ms = connections / (full.rate * share) * MS_PER_S
    return turn_ms - full.cpu_us / MS_PER_S


def half_load_table(figures: Mapping[str, list[Paced]]) -> Table:
    """The latencies at half load."""
    rows = []
    for name, rounds in figures.items():
        share_percent = [100 * paced.half.rate / paced.full.rate for paced in rounds]
        rows.append(
            [
                name,
                Spread.of([paced.half.rate for paced in rounds]).text(),
                Spread.of(share_percent).text(),
                Spread.of([paced.half.p50_ms for paced in rounds]).text(2),
                Spread.of([paced.half.p99_ms for paced in rounds]).text(2),
                Spread.of([paced.half.cpu_us for paced in rounds]).text(1),
            ]
        )
    columns = ["server", "requests/s", "% of full load", "p50 ms", "p99 ms", "CPU us/request"]
    return Table(columns, rows)
