"""Two workers against one, with every core theirs and the load's."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.attack import Load, Measured, measure
from benchmarks.bench import Bench
from benchmarks.calls import iris_call, small_call
from benchmarks.contenders import penstock
from benchmarks.figures import Spread, interleaved, ratio
from benchmarks.models import make_compute_model, make_millisecond_model
from benchmarks.report import Report, Table
from benchmarks.server import Call, Contender, running
from benchmarks.specs import model_spec, single_spec
from benchmarks.throughput import cpu_us, load_notes, rates, raw

WORKERS: Final = (1, 2)


@dataclass(frozen=True, slots=True)
class Work:
    """A model that is served by one worker, and by two."""

    title: str
    spec: Path
    call: Call
    connections: int

    def name(self, workers: int) -> str:
        """What a server of it is called in the report."""
        return f"{self.title}, {workers} worker{'s' if workers > 1 else ''}"


def works(bench: Bench) -> list[Work]:
    """A model of microseconds, and two of milliseconds: a batch of the second gains nothing."""
    memory_bound = make_millisecond_model(bench.workspace)
    compute_bound = make_compute_model(bench.workspace)
    specs = [model_spec(bench.workspace, model) for model in (memory_bound, compute_bound)]
    return [
        Work("iris SVC", single_spec(bench.workspace), iris_call(), 64),
        Work("memory-bound", specs[0], small_call(memory_bound), 32),
        Work("compute-bound", specs[1], small_call(compute_bound), 32),
    ]


def run(bench: Bench) -> Report:
    """Measures each model with one worker and with two."""
    bench = bench.on_all_cores()
    todo = works(bench)
    connections = {work.name(count): work.connections for work in todo for count in WORKERS}

    def attacked(contender: Contender) -> Measured:
        with running(contender, bench) as server:
            return measure(bench, server, Load(connections[contender.name], bench.seconds))

    figures = interleaved(bench, [one for work in todo for one in contenders(work)], attacked)
    return Report(
        title="Two workers against one",
        how="`penstock serve --workers 2` against one worker, `POST /predict`, one row, closed "
        f"loop. All {len(bench.cores.every)} cores are the server's **and the load's**: with two "
        "workers the generator competes with them, so a ratio of cores is out of reach, most of "
        "all where a request costs little. Memory-bound: two dense layers of 2048 x 2048, batched "
        "by what waits. Compute-bound: convolutions, whose batches gain nothing.",
        table=workers_table(todo, figures),
        notes=load_notes(figures, on_all_cores=True),
        figures=raw(figures),
    )


def contenders(work: Work) -> list[Contender]:
    """The same spec, by one worker and by two."""
    return [
        penstock(work.spec, work.call, name=work.name(count), options=("--workers", str(count)))
        for count in WORKERS
    ]


def workers_table(todo: list[Work], figures: Mapping[str, list[Measured]]) -> Table:
    """What every server did, and what the second worker brought."""
    columns = [
        *("server", "requests/s", "x one worker", "p50 ms", "p99 ms"),
        *("p99 x one worker", "CPU us/request", "RSS MB"),
    ]
    rows = []
    for work in todo:
        one = figures[work.name(1)]
        for count in WORKERS:
            rounds = figures[work.name(count)]
            p99_ms = [measured.p99_ms for measured in rounds]
            one_p99_ms = [measured.p99_ms for measured in one]
            rows.append(
                [
                    work.name(count),
                    Spread.of(rates(rounds)).text(),
                    ratio(rates(rounds), rates(one)).ratio_text(),
                    Spread.of([measured.p50_ms for measured in rounds]).text(2),
                    Spread.of(p99_ms).text(1),
                    ratio(p99_ms, one_p99_ms).ratio_text(),
                    Spread.of(cpu_us(rounds)).text(1),
                    Spread.of([one.memory.rss_bytes / 1e6 for one in rounds]).text(),
                ]
            )
    return Table(columns, rows)
