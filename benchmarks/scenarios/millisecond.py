"""Busy batching: a memory-bound model of milliseconds, against the samples' shape."""

from collections.abc import Mapping
from typing import Final

from benchmarks.attack import Load, Measured, measure
from benchmarks.bench import Bench
from benchmarks.calls import small_call
from benchmarks.contenders import BARE, PENSTOCK, SAMPLES_SHAPE, bare, penstock, samples_shape
from benchmarks.figures import interleaved, ratio
from benchmarks.models import make_millisecond_model
from benchmarks.report import Bound, Mark, Report
from benchmarks.server import Contender, running
from benchmarks.specs import model_spec
from benchmarks.throughput import load_notes, rates, raw, throughput_table

CONNECTIONS: Final = 32


def millisecond_contenders(bench: Bench) -> list[Contender]:
    """Penstock, the samples' shape, and the bare app, which runs the model inline."""
    model = make_millisecond_model(bench.workspace)
    call = small_call(model)
    return [
        penstock(model_spec(bench.workspace, model), call),
        samples_shape(model, call),
        bare(model, call),
    ]


def run(bench: Bench) -> Report:
    """Measures all three at full load."""

    def attacked(contender: Contender) -> Measured:
        with running(contender, bench) as server:
            return measure(bench, server, Load(CONNECTIONS, bench.seconds))

    figures = interleaved(bench, millisecond_contenders(bench), attacked)
    return Report(
        title="A memory-bound model of milliseconds",
        how="`POST /predict` of a dense network of two layers of 2048 x 2048, one row of 16 "
        f"numbers; closed loop over {CONNECTIONS} connections, server on one core, load on the "
        "other. The samples' shape is their run script's: four workers, each with the default "
        "thread pool and the model runtime's default threads.",
        table=throughput_table(figures, SAMPLES_SHAPE, BARE),
        marks=millisecond_marks(figures),
        notes=load_notes(figures),
        figures=raw(figures),
    )


def millisecond_marks(figures: Mapping[str, list[Measured]]) -> list[Mark]:
    """Penstock's throughput beside that of the samples' shape."""
    faster = ratio(rates(figures[PENSTOCK]), rates(figures[SAMPLES_SHAPE]))
    what = "millisecond model, throughput beside the samples' shape's"
    return [Mark(what, Bound.AT_LEAST, 6.0, faster, "x")]
