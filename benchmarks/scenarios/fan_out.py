"""Three one-versus-rest models: a fan-out in one process, or the samples' proxy and services."""

from collections.abc import Mapping
from typing import Final

from benchmarks.attack import Load, Measured, measure
from benchmarks.bench import Bench
from benchmarks.calls import fan_out_call, iris_call
from benchmarks.contenders import penstock, samples_fan_out
from benchmarks.figures import interleaved, ratio
from benchmarks.report import Bound, Mark, Report
from benchmarks.server import Contender, running
from benchmarks.specs import fan_out_spec, single_spec
from benchmarks.throughput import cpu_us, load_notes, raw, throughput_table

CONNECTIONS: Final = 64
FEW_CONNECTIONS: Final = 4

SINGLE: Final = f"Penstock single, c={CONNECTIONS}"
FAN_OUT: Final = f"Penstock fan-out, c={CONNECTIONS}"
FAN_OUT_FEW: Final = f"Penstock fan-out, c={FEW_CONNECTIONS}"
SAMPLES_FAN_OUT: Final = f"samples' proxy, c={FEW_CONNECTIONS}"


def fan_out_contenders(bench: Bench) -> list[Contender]:
    """The servers that are compared."""
    spec, call = fan_out_spec(bench.workspace), fan_out_call()
    return [
        penstock(single_spec(bench.workspace), iris_call(), name=SINGLE),
        penstock(spec, call, name=FAN_OUT),
        penstock(spec, call, name=FAN_OUT_FEW),
        samples_fan_out(call, name=SAMPLES_FAN_OUT),
    ]


def connections_of(contender: Contender) -> int:
    """Over how many connections a server is asked."""
    return CONNECTIONS if contender.name in {SINGLE, FAN_OUT} else FEW_CONNECTIONS


def run(bench: Bench) -> Report:
    """Measures the fan-out beside the single model, and beside the samples' way."""

    def attacked(contender: Contender) -> Measured:
        with running(contender, bench) as server:
            return measure(bench, server, Load(connections_of(contender), bench.seconds))

    figures = interleaved(bench, fan_out_contenders(bench), attacked)
    return Report(
        title="A fan-out of three",
        how="`POST /predict` of three one-versus-rest iris models, all answers asked for. The "
        "samples' way is a FastAPI proxy with a new `httpx.AsyncClient()` per request and three "
        f"services, all on the server's core; it is asked over {FEW_CONNECTIONS} connections, as "
        f"over {CONNECTIONS} it finishes too few requests to be counted. c: connections.",
        table=throughput_table(figures, SINGLE, SAMPLES_FAN_OUT),
        marks=fan_out_marks(figures),
        notes=load_notes(figures),
        figures=raw(figures),
    )


def fan_out_marks(figures: Mapping[str, list[Measured]]) -> list[Mark]:
    """The fan-out's CPU per request beside the single's."""
    to_single = ratio(cpu_us(figures[FAN_OUT]), cpu_us(figures[SINGLE]))
    what = "fan-out of three, CPU per request beside the single's"
    return [Mark(what, Bound.AT_MOST, 1.7, to_single, "x")]
