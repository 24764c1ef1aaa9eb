"""A fan-out of three remote arms, beside what users take instead."""

from benchmarks.bench import Bench
from benchmarks.hops import (
    CONNECTIONS,
    FEW_CONNECTIONS,
    gateways,
    hop_notes,
    hop_table,
    measure_hops,
    raw,
)
from benchmarks.models import ARMS
from benchmarks.nginx import constant_predictors
from benchmarks.report import Report


def run(bench: Bench) -> Report:
    """Measures all gateways in front of three backends that answer constants."""
    with constant_predictors(bench, ARMS) as ports:
        figures = measure_hops(bench, gateways(bench, ports))
    return Report(
        title="A fan-out of three remote arms",
        how="`POST /predict` through a gateway on one core to three remote predictors, asked at "
        "once, all answers given by name: nginx on the other core, beside the load, answering the "
        "one-versus-rest models' constants on three ports. nginx as a gateway has no fan-out: its "
        "mirror is the nearest thing, which asks all three, waits for them, and answers the first. "
        "The hops are the CPU per request less that of a constant of the same shape, answered by "
        f"the same process just after. Closed loop over {CONNECTIONS} connections; "
        f"{FEW_CONNECTIONS} for the samples' proxy, which asks over a new `httpx.AsyncClient()` "
        "per request.",
        table=hop_table(figures),
        notes=hop_notes(figures),
        figures=raw(figures),
    )
