"""`POST /predict` of the iris SVC: Penstock, the bare app, and the samples' design."""

from collections.abc import Mapping
from typing import Final

from benchmarks.attack import Load, Measured, measure
from benchmarks.bench import Bench
from benchmarks.calls import iris_call
from benchmarks.contenders import BARE, PENSTOCK, SAMPLES, bare, penstock, samples
from benchmarks.figures import interleaved, ratio
from benchmarks.models import iris
from benchmarks.report import Bound, Mark, Report
from benchmarks.server import Contender, running
from benchmarks.specs import single_spec
from benchmarks.throughput import cpu_us, load_notes, raw, throughput_table

CONNECTIONS: Final = 64


def single_contenders(bench: Bench) -> list[Contender]:
    """The three servers of the single model."""
    model, call = iris("svc"), iris_call()
    return [
        penstock(single_spec(bench.workspace), call),
        bare(model, call),
        samples(model, call),
    ]


def run(bench: Bench) -> Report:
    """Measures all three at full load."""

    def attacked(contender: Contender) -> Measured:
        with running(contender, bench) as server:
            return measure(bench, server, Load(CONNECTIONS, bench.seconds))

    figures = interleaved(bench, single_contenders(bench), attacked)
    return Report(
        title="A single model",
        how=f"`POST /predict`, iris SVC, one row; closed loop over {CONNECTIONS} connections, "
        "server on one core, load on the other. Ratios are taken round by round.",
        table=throughput_table(figures, BARE, SAMPLES),
        marks=single_marks(figures),
        notes=load_notes(figures),
        figures=raw(figures),
    )


def single_marks(figures: Mapping[str, list[Measured]]) -> list[Mark]:
    """Penstock's CPU per request beside the others'."""
    mine = cpu_us(figures[PENSTOCK])
    to_bare = ratio(mine, cpu_us(figures[BARE]))
    to_samples = ratio(mine, cpu_us(figures[SAMPLES]))
    return [
        Mark("single, CPU per request beside the bare app's", Bound.AT_MOST, 1.0, to_bare, "x"),
        Mark(
            "single, CPU per request beside the samples' design",
            Bound.AT_MOST,
            1 / 12,
            to_samples,
            "x",
        ),
    ]
