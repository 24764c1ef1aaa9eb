"""Operates a server under a steady load, and counts what its callers notice of it.

    python -m benchmarks.operations [--count N] [--connections N] [--rate R] [--markdown]

A server with two workers is held at half of the load that it can bear, in open loop, while its file
is reloaded, its weights are changed, bad specs are put in its way, its workers are killed, a route
is switched off and on, and it is told to end; then a server with one worker is reloaded and ended.
The exit status is 1 if a request was lost that must not be, or an answer was wrong.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.__main__ import leave
from benchmarks.attack import Load, Measured, put_under_load
from benchmarks.bench import Bench, Cores, MeasurementFailed, say
from benchmarks.machine import describe
from benchmarks.operations import phases, specs
from benchmarks.operations.kills import kills
from benchmarks.operations.load import steady_load
from benchmarks.operations.report import Section, page
from benchmarks.operations.served import Served, serving
from benchmarks.operations.verdict import Outcome
from benchmarks.server import Call, Contender, Running

SHARE: Final = 0.5
CAPACITY_S: Final = 4.0
COUNT: Final = 20
MAX_COUNT: Final = 59
CONNECTIONS: Final = 32


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for."""

    count: int
    connections: int
    rate: float | None
    only: str | None


@dataclass(slots=True)
class Run:
    """All that is measured of one server."""

    workers: int
    capacity: Measured
    rate: float
    outcomes: list[Outcome] = field(default_factory=list)
    failed: str = ""

    def section(self) -> Section:
        """What is printed of it."""
        return Section(self.workers, self.capacity.rate, self.rate, self.outcomes, self.failed)


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.operations", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--count", type=int, default=COUNT, help=f"of each change ({COUNT})")
    parser.add_argument(
        "--connections", type=int, default=CONNECTIONS, help=f"of the load ({CONNECTIONS})"
    )
    parser.add_argument("--rate", type=float, help="requests/s (half of what wrk measures)")
    parser.add_argument("--only", choices=("1", "2"), help="only the server with so many workers")
    parser.add_argument(
        "--markdown", action="store_true", help="print the machine first, as a page has it"
    )
    return parser.parse_args()


def capacity(bench: Bench, served: Served, call: Call, connections: int) -> Measured:
    """What the server can bear, in closed loop, after a spell to warm up."""
    contender = Contender("served", lambda _: [], call)
    running = Running(contender, served.process.pid, served.port, 0.0)
    put_under_load(bench, running, Load(connections, bench.warm_up_s))
    return put_under_load(bench, running, Load(connections, bench.seconds))


def acts(workers: int, count: int) -> list[Callable[[phases.Scene], Outcome]]:
    """What is done to the server, in order."""
    each: list[Callable[[phases.Scene], Outcome]] = [
        phases.quiet,
        partial(phases.reloads, count=count),
    ]
    if workers > 1:
        each += [
            partial(phases.weight_changes, count=count),
            partial(phases.bad_specs, count=min(count, len(specs.BROKEN))),
            partial(kills, count=count),
            phases.switched,
        ]
    return [*each, phases.terminated]


def operate(bench: Bench, workers: int, asked: Asked) -> Run:
    """Runs one server through everything."""
    weights = specs.in_file(0)
    call, spec = specs.call(weights), specs.spec(weights)
    body = bench.body_file("operations", call.body)
    folder = bench.workspace / f"workers-{workers}"
    with serving(folder, workers, specs.text(spec), call) as served:
        measured = capacity(bench, served, call, asked.connections)
        rate = asked.rate or measured.rate * SHARE
        run = Run(workers, measured, rate)
        say(f"{workers} workers: {measured.rate:.0f} requests/s at most; {rate:.0f} are held")
        with steady_load(served.port, call.path, body, asked.connections, rate) as load:
            scene = phases.Scene(
                served, load, specs.answers_alone(), spec, weights, asked.connections
            )
            try:
                for act in acts(workers, asked.count):
                    do(run, scene, act)
            except MeasurementFailed as failure:
                run.failed = str(failure)
        if run.failed or any(outcome.wrong for outcome in run.outcomes):
            say(served.log())
    return run


def do(run: Run, scene: phases.Scene, act: Callable[[phases.Scene], Outcome]) -> None:
    """Waits until the load is calm, and does one thing to the server."""
    lost, notes = phases.rest(scene)
    outcome = act(scene)
    outcome = replace(outcome, wrong=[*lost, *outcome.wrong], notes=[*notes, *outcome.notes])
    say(f"  {outcome.phase.name}: {'; '.join(outcome.wrong) or 'as it should be'}")
    run.outcomes.append(outcome)


def main() -> None:
    """Operates both servers and prints what was noticed of it."""
    named = arguments()
    if not 1 <= named.count <= MAX_COUNT:
        sys.exit(f"--count is from 1 to {MAX_COUNT}")
    asked = Asked(named.count, named.connections, named.rate, named.only)
    signal.signal(signal.SIGTERM, leave)
    machine = describe()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as workspace:
        cores = Cores.of_this_machine().shared()
        os.sched_setaffinity(0, cores.load)
        bench = Bench(1, CAPACITY_S, 1.0, cores, Path(workspace))
        counts = [int(asked.only)] if asked.only else [2, 1]
        sections, failures = [], []
        for workers in counts:
            try:
                sections.append(operate(bench, workers, asked).section())
            except MeasurementFailed as failure:
                failures.append(f"**Not measured with `--workers {workers}`: {failure}**\n")
    sys.stdout.write(page(sections, machine if named.markdown else None))
    sys.stdout.write("\n".join(["", *failures]))
    sys.exit(bool(failures) or any(section.wrong for section in sections))


if __name__ == "__main__":
    main()
