"""A route with a mirror beside the same route without: what the caller notices of the shadow."""

import json
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from benchmarks.attack import Load, Measured, measure, put_under_load
from benchmarks.bench import Bench, MeasurementFailed, say
from benchmarks.calls import iris_call
from benchmarks.contenders import penstock
from benchmarks.figures import Spread
from benchmarks.nginx import backend
from benchmarks.pairs import SEED, paired_difference, paired_ratio
from benchmarks.process_tree import tree
from benchmarks.report import Bound, Mark, Report, Table
from benchmarks.scenarios.half_load import think_time_ms
from benchmarks.server import Running, ask, running
from benchmarks.specs import HASTY_S, shadow_spec
from benchmarks.throughput import cpu_us, load_notes, rates, raw

CONNECTIONS: Final = 32
LEAST_PAIRS: Final = 20
BEHIND: Final = ("svc", "rf")
"""What the two remote shadows would answer as."""
SHARE: Final = 0.25

DISTURBED_PERCENT: Final = 5.0
"""A round in which others had more of the server's core than this is repeated."""
KNOWN_WITHIN_S: Final = 30.0
POLL_S: Final = 0.05

ALONE: Final = "without a mirror"
FROZEN: Final = "shadow: remote, frozen"
HASTY: Final = f"shadow: remote, frozen, given up after {HASTY_S} s"
ROUTES: Final[Mapping[str, str]] = {
    ALONE: "alone",
    FROZEN: "with-patient",
    HASTY: "with-hasty",
    "shadow: in this process, inline": "with-inline",
    "shadow: in this process, in a thread": "with-thread",
}

RATIO_LIMIT: Final = 1.10
CPU_LIMIT_US: Final = 40.0

Figures = Mapping[str, list[Measured]]


def run(bench: Bench) -> Report:
    """Measures all routes of one server in turn, in an order by chance, round after round."""
    pairs = max(bench.rounds, LEAST_PAIRS)
    with backend(bench, BEHIND) as (backend_pid, ports):
        spec = shadow_spec(bench.workspace, *ports.values())
        with running(penstock(spec, iris_call()), bench) as server:
            wait_until_known(server, "patient")
            wait_until_known(server, "hasty")
            with frozen(backend_pid):
                figures = measure_routes(bench, server, pairs)
                became = copies(server)
    return Report(
        title="A shadow beside the primary",
        how="`POST /predict`, iris SVC, one row, every request copied; all routes in one server, "
        "which has one core. The remote shadows have told what they take, and are then stopped by "
        "SIGSTOP: the kernel accepts connections and nobody answers. With the defaults a copy has "
        "30 s, so that in most spells all room is taken and copies are dropped; given up after "
        f"{HASTY_S} s, copies keep ending and the pool keeps finding its replica out, and each "
        "copy that is refused by it costs a call. The shadows in this process run the iris "
        "forest on the primary's core. "
        f"{CONNECTIONS} connections think between requests, exponentially, for as long as brings "
        f"them to about {100 * SHARE:g} % of the rate that the route without a mirror reached just "
        "before. The generator's timers have a resolution of a millisecond, so requests come in "
        "bursts, and latencies are those of a burst's queue, which grows as the CPU does. "
        f"{pairs} rounds, the order of the routes within each by chance; a round in which other "
        f"processes had over {DISTURBED_PERCENT:g} % of the server's core is repeated; ratios and "
        "differences are the medians of the pairs within the rounds, with their 95 % interval by "
        "resampling.",
        table=shadow_table(figures),
        marks=shadow_marks(figures),
        notes=[*load_notes(figures), *became],
        figures=raw(figures),
    )


def measure_routes(bench: Bench, server: Running, pairs: int) -> Figures:
    """One spell of each route a round, at a rate that leaves the server's core mostly idle."""
    routes = {name: asked_at(server, route) for name, route in ROUTES.items()}
    full = measure(bench, routes[ALONE], Load(CONNECTIONS, bench.seconds))
    load = Load(CONNECTIONS, bench.seconds, think_time_ms(full, CONNECTIONS, SHARE))
    for route in routes.values():
        put_under_load(bench, route, replace(load, seconds=bench.warm_up_s))
    figures: dict[str, list[Measured]] = {name: [] for name in ROUTES}
    dice = random.Random(SEED)
    for number in range(1, pairs + pairs // 2 + 1):
        order = dice.sample(list(ROUTES), len(ROUTES))
        spells = {name: put_under_load(bench, routes[name], load) for name in order}
        others_percent = max(spell.others_busy_percent for spell in spells.values())
        say(f"  round {number}: others had {others_percent:.0f} % of the server's core at most")
        if others_percent <= DISTURBED_PERCENT:
            for name, spell in spells.items():
                figures[name].append(spell)
        if len(figures[ALONE]) == pairs:
            return figures
    message = "something else uses the server's core: too many rounds were disturbed"
    raise MeasurementFailed(message)


def asked_at(server: Running, route: str) -> Running:
    """The same server, asked at another of its routes."""
    call = replace(server.contender.call, path=f"/{route}/predict")
    return replace(server, contender=replace(server.contender, call=call))


def wait_until_known(server: Running, model: str) -> None:
    """Waits until the server has learned what a remote model takes: then it is asked.

    Raises:
        MeasurementFailed: it has not within its time.
    """
    end_s = time.monotonic() + KNOWN_WITHIN_S
    while time.monotonic() < end_s:
        if served(server)["models"][model]["known"]:
            return
        time.sleep(POLL_S)
    message = f"the server does not know {model} after {KNOWN_WITHIN_S:.0f} s"
    raise MeasurementFailed(message)


def served(server: Running) -> dict[str, Any]:
    """What the server's one worker says it serves."""
    _, answer = ask(server.port, "GET", "/health/detail")
    said: dict[str, Any] = json.loads(answer)["workers"][0]
    return said


def copies(server: Running) -> list[str]:
    """What became of the copies for each shadow."""
    notes = []
    for place, one in served(server)["shadows"].items():
        dropped = [f"{count:,} {reason}" for reason, count in one["dropped"].items() if count]
        notes.append(
            f"{place}: {one['asked']:,} copies asked the shadow; dropped: "
            f"{', '.join(dropped) or 'none'}."
        )
    return notes


def shadow_table(figures: Figures) -> Table:
    """What each route did, beside the one without a mirror."""
    columns = [
        *("route", "requests/s", "p50 ms", "p95 ms", "CPU us/request"),
        *("p50 x without", "p95 x without", "CPU us more"),
    ]
    alone = figures[ALONE]
    rows = []
    for name, rounds in figures.items():
        row = [
            name,
            Spread.of(rates(rounds)).text(),
            Spread.of(p50_ms(rounds)).text(2),
            Spread.of(p95_ms(rounds)).text(2),
            Spread.of(cpu_us(rounds)).text(1),
        ]
        if name == ALONE:
            row += ["-", "-", "-"]
        else:
            row += [
                paired_ratio(p50_ms(rounds), p50_ms(alone)).text(3),
                paired_ratio(p95_ms(rounds), p95_ms(alone)).text(3),
                paired_difference(cpu_us(rounds), cpu_us(alone)).text(1),
            ]
        rows.append(row)
    return Table(columns, rows)


def shadow_marks(figures: Figures) -> list[Mark]:
    """What a frozen shadow may change for the caller, at the upper end of what is known."""
    rounds, alone = figures[FROZEN], figures[ALONE]
    p50 = paired_ratio(p50_ms(rounds), p50_ms(alone)).high
    p95 = paired_ratio(p95_ms(rounds), p95_ms(alone)).high
    cpu = paired_difference(cpu_us(rounds), cpu_us(alone)).high
    what = "frozen remote shadow, upper 95 % end: the primary's"
    return [
        Mark(f"{what} p50", Bound.AT_MOST, RATIO_LIMIT, Spread.of([p50]), "x"),
        Mark(f"{what} p95", Bound.AT_MOST, RATIO_LIMIT, Spread.of([p95]), "x"),
        Mark(f"{what} CPU more", Bound.AT_MOST, CPU_LIMIT_US, Spread.of([cpu]), " us"),
    ]


def p50_ms(rounds: list[Measured]) -> list[float]:
    """The median latency of each round."""
    return [measured.p50_ms for measured in rounds]


def p95_ms(rounds: list[Measured]) -> list[float]:
    """The 95th percentile of each round."""
    return [measured.p95_ms for measured in rounds]


@contextmanager
def frozen(root: int) -> Iterator[None]:
    """Stops a process and its children for the block, so that they take nothing and keep all."""
    stopped = [stat.pid for stat in tree(root)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
