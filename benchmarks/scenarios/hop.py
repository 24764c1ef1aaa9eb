"""A gateway with one remote predictor: what the hop costs, beside what users take instead."""

from collections.abc import Mapping

from benchmarks.bench import Bench
from benchmarks.constants import SINGLE
from benchmarks.contenders import PENSTOCK
from benchmarks.figures import Spread
from benchmarks.hops import (
    CONNECTIONS,
    FEW_CONNECTIONS,
    Hop,
    gateways,
    hop_notes,
    hop_table,
    measure_hops,
    raw,
)
from benchmarks.nginx import constant_predictors
from benchmarks.report import Bound, Mark, Report

LIMIT_US = 60.0
AIM_US = 30.0


def run(bench: Bench) -> Report:
    """Measures all gateways in front of one backend that answers constants."""
    with constant_predictors(bench, [SINGLE]) as ports:
        figures = measure_hops(bench, gateways(bench, ports))
    return Report(
        title="A remote hop",
        how="`POST /predict` through a gateway on one core to one remote predictor: nginx on the "
        "other core, beside the load, answering the iris SVC's constant. Penstock decodes the "
        "rows, checks them against the remote's metadata, decodes its scores and encodes the "
        "answer; FastAPI and the samples decode and encode too; bare ASGI and nginx pass bytes "
        "through. The hop is the CPU per request less that of a constant of the same shape, "
        "answered by the same process just after. Closed loop over "
        f"{CONNECTIONS} connections; {FEW_CONNECTIONS} for the samples' proxy, a new "
        f"`httpx.AsyncClient()` per request, as over {CONNECTIONS} it finishes too few requests.",
        table=hop_table(figures),
        marks=hop_marks(figures),
        notes=hop_notes(figures),
        figures=raw(figures),
    )


def hop_marks(figures: Mapping[str, list[Hop]]) -> list[Mark]:
    """The CPU of Penstock's hop."""
    us = Spread.of([hop.us for hop in figures[PENSTOCK]])
    return [
        Mark("remote hop, CPU", Bound.AT_MOST, LIMIT_US, us, " us"),
        Mark("remote hop, CPU (the aim)", Bound.AT_MOST, AIM_US, us, " us"),
    ]
