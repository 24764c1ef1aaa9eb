"""From the start of the process to its first answer."""

from typing import Final

from benchmarks.bench import Bench
from benchmarks.contenders import PENSTOCK
from benchmarks.figures import Spread, interleaved
from benchmarks.report import Bound, Mark, Report, Table
from benchmarks.scenarios.single import single_contenders
from benchmarks.server import Contender, running

LIMIT_S: Final = 1.0


def run(bench: Bench) -> Report:
    """Starts each server of the single model, once unmeasured so that its files are in memory."""

    def first_answer_s(contender: Contender) -> float:
        with running(contender, bench) as server:
            return server.first_answer_s

    contenders = single_contenders(bench)
    for contender in contenders:
        first_answer_s(contender)
    figures = interleaved(bench, contenders, first_answer_s)
    spreads = {name: Spread.of(rounds) for name, rounds in figures.items()}
    return Report(
        title="Start",
        how="Seconds from the start of the command to the first 200 of `POST /predict` (iris SVC, "
        "one row), asked every 5 ms; the files are in the page cache.",
        table=Table(["server", "s"], [[name, spread.text(2)] for name, spread in spreads.items()]),
        marks=[
            Mark("start to the first answer", Bound.AT_MOST, LIMIT_S, spreads[PENSTOCK], " s"),
        ],
        figures=dict(figures),
    )
