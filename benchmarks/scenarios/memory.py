"""How much memory a server holds after it has been under load."""

from dataclasses import asdict
from typing import Final

from benchmarks.attack import Load, measure
from benchmarks.bench import Bench
from benchmarks.figures import Spread, interleaved
from benchmarks.process_tree import Memory
from benchmarks.report import Report, Table
from benchmarks.scenarios.single import CONNECTIONS, single_contenders
from benchmarks.server import Contender, running

BYTES_PER_MB: Final = 1e6


def run(bench: Bench) -> Report:
    """Reads the memory of the servers of the single model."""

    def held(contender: Contender) -> Memory:
        with running(contender, bench) as server:
            return measure(bench, server, Load(CONNECTIONS, bench.seconds)).memory

    figures = interleaved(bench, single_contenders(bench), held)
    rows = [
        [
            name,
            Spread.of([memory.rss_bytes / BYTES_PER_MB for memory in rounds]).text(),
            Spread.of([memory.pss_bytes / BYTES_PER_MB for memory in rounds]).text(),
        ]
        for name, rounds in figures.items()
    ]
    return Report(
        title="Memory",
        how="Resident memory of the whole process tree after the load of the single model, each "
        "process counted in full (RSS), and with shared pages shared out (PSS).",
        table=Table(["server", "RSS MB", "PSS MB"], rows),
        figures={name: [asdict(memory) for memory in rounds] for name, rounds in figures.items()},
    )
