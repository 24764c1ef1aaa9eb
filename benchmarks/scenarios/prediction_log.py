"""What the prediction log costs: alone and with an outlier score, in process and under load."""

import sys
from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.attack import Load, Measured, measure
from benchmarks.bench import Bench, load_process, read_result
from benchmarks.calls import iris_call
from benchmarks.contenders import BARE, PENSTOCK, bare, penstock
from benchmarks.figures import Spread, interleaved, ratio
from benchmarks.models import iris
from benchmarks.report import Bound, Mark, Report, Table
from benchmarks.server import Contender, running
from benchmarks.specs import logged_spec, single_spec
from benchmarks.throughput import cpu_us, load_notes, raw, throughput_table

CONNECTIONS: Final = 64
SPELLS_PER_SECOND_ASKED: Final = 2
TIMEOUT_FACTOR: Final = 5
LOG_US: Final = 3.0
SCORED_RATIO: Final = 1.7

LOGGED: Final = f"{PENSTOCK}, logged"
SCORED: Final = f"{PENSTOCK}, logged and scored"

TITLES: Final = {
    "single": "one model",
    "logged": "one model, logged",
    "scored": "one model, logged and scored by another",
}

Figures = Mapping[str, Sequence[float]]


def run(bench: Bench) -> Report:
    """Measures in process the log's price: a record, its writing, and the id in the answer."""
    specs = [
        single_spec(bench.workspace),
        logged_spec(bench.workspace),
        logged_spec(bench.workspace, scored=True),
    ]
    spells = round(SPELLS_PER_SECOND_ASKED * bench.seconds)
    command = [sys.executable, "-m", "benchmarks.logged", *map(str, specs)]
    command += [str(bench.workspace / "records"), str(bench.rounds), str(spells)]
    with load_process(command, bench.cores.server) as process:
        figures: Figures = read_result(process, TIMEOUT_FACTOR * bench.rounds * bench.seconds)
    return Report(
        title="The prediction log alone",
        how="In process, without a server, as the data plane is measured: 64 requests under way at "
        "once, up to the answer's text. CPU of all threads: a spell ends when its records are in "
        "their segment.",
        table=log_table(figures),
        marks=[
            Mark(
                "prediction log alone, a request's record and id",
                Bound.AT_MOST,
                LOG_US,
                Spread.of(beside_single(figures, "logged")),
                " us",
            )
        ],
        figures=dict(figures),
    )


def beside_single(figures: Figures, name: str) -> list[float]:
    """What is left of a request's CPU time without that of the same model unlogged."""
    pairs = zip(figures[name], figures["single"], strict=True)
    return [whole - single for whole, single in pairs]


def log_table(figures: Figures) -> Table:
    """The whole request, and what the log adds."""
    rows = [
        [title, Spread.of(figures[name]).text(2), Spread.of(beside_single(figures, name)).text(2)]
        for name, title in TITLES.items()
    ]
    return Table(["a request through", "CPU us", "beside the model unlogged"], rows)


def contenders(bench: Bench) -> list[Contender]:
    """The bare app, and Penstock with and without the log."""
    call = iris_call()
    options = ("--log-dir", str(bench.workspace / "records"))
    logged, scored = logged_spec(bench.workspace), logged_spec(bench.workspace, scored=True)
    return [
        bare(iris("svc"), call),
        penstock(single_spec(bench.workspace), call),
        penstock(logged, call, name=LOGGED, options=options),
        penstock(scored, call, name=SCORED, options=options),
    ]


def run_under_load(bench: Bench) -> Report:
    """Measures servers at full load."""

    def attacked(contender: Contender) -> Measured:
        with running(contender, bench) as server:
            return measure(bench, server, Load(CONNECTIONS, bench.seconds))

    figures = interleaved(bench, contenders(bench), attacked)
    to_bare = ratio(cpu_us(figures[SCORED]), cpu_us(figures[BARE]))
    what = "logged and scored, CPU per request beside the bare app's"
    return Report(
        title="A route that is logged",
        how=f"`POST /predict`, iris SVC, one row, with the one-class SVM as outlier model; closed "
        f"loop over {CONNECTIONS} connections, server on one core, load on the other.",
        table=throughput_table(figures, BARE, PENSTOCK),
        marks=[Mark(what, Bound.AT_MOST, SCORED_RATIO, to_bare, "x")],
        notes=load_notes(figures),
        figures=raw(figures),
    )
