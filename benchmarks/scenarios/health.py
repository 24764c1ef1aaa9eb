"""How long `GET /health` takes while the server is busy: with a slow model, with huge bodies."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks.attack import Load, generator_command
from benchmarks.bench import Bench, load_process, read_result
from benchmarks.calls import large_call, small_call
from benchmarks.contenders import PENSTOCK, bare, penstock, samples, samples_shape
from benchmarks.figures import Spread, interleaved
from benchmarks.models import make_millisecond_model, make_wide_model
from benchmarks.report import Bound, Mark, Report, Table
from benchmarks.server import Contender, Running, running
from benchmarks.specs import model_spec

CONNECTIONS: Final = 32
PROBES_PER_S: Final = 200
LIMIT_MS: Final = 20.0
LEAD_S: Final = 1.0
LOAD_NICENESS: Final = 5

LoadCommand = Callable[[Bench, Running], list[str]]


@dataclass(frozen=True, slots=True)
class Probed:
    """How `/health` answered, and what the load got meanwhile."""

    probes: int
    failed: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    late_p99_ms: float
    load: Mapping[str, Any]


def module_command(module: str, *arguments: object) -> list[str]:
    """The command of one of our load modules."""
    return [sys.executable, "-m", f"benchmarks.load.{module}", *map(str, arguments)]


def load_seconds(bench: Bench) -> float:
    """How long the load must run to be there before the first probe and after the last."""
    return bench.seconds + 2 * LEAD_S


def attack_command(bench: Bench, server: Running) -> list[str]:
    """Many connections, one row each."""
    return generator_command(bench, server, Load(CONNECTIONS, load_seconds(bench)))


def post_command(bench: Bench, server: Running) -> list[str]:
    """One client that posts one large body after the other."""
    call = server.contender.call
    body = bench.body_file("large", call.body)
    return module_command("post_client", server.port, call.path, body, load_seconds(bench))


def probe(bench: Bench, server: Running, load_command: Sequence[str]) -> Probed:
    """Probes `/health` while the load runs; the load yields to the prober on their core."""
    health = module_command("health_probe", server.port, PROBES_PER_S, bench.seconds)
    with load_process(load_command, bench.cores.load, niceness=LOAD_NICENESS) as load:
        time.sleep(LEAD_S)
        with load_process(health, bench.cores.load) as prober:
            probed = read_result(prober, bench.seconds)
        return Probed(**probed, load=read_result(load, bench.seconds))


def probe_all(
    bench: Bench, contenders: Sequence[Contender], load_command: LoadCommand
) -> Mapping[str, list[Probed]]:
    """Probes every contender under its load, round after round."""

    def probed(contender: Contender) -> Probed:
        with running(contender, bench) as server:
            return probe(bench, server, load_command(bench, server))

    return interleaved(bench, contenders, probed)


def run_busy(bench: Bench) -> Report:
    """Probes while the millisecond model is saturated."""
    model = make_millisecond_model(bench.workspace)
    call = small_call(model)
    spec = model_spec(bench.workspace, model)
    contenders = [penstock(spec, call), samples_shape(model, call), bare(model, call)]
    figures = probe_all(bench, contenders, attack_command)
    answered = {
        name: [probed.load["requests"] / probed.load["duration_s"] for probed in rounds]
        for name, rounds in figures.items()
    }
    return Report(
        title="`/health` while a model of milliseconds is saturated",
        how=f"The millisecond model under {CONNECTIONS} connections; meanwhile {PROBES_PER_S} "
        "probes of `GET /health` a second, sent on schedule whatever the answers do.",
        table=health_table(figures, {"predictions/s": answered}),
        marks=health_marks("busy model", figures),
        notes=[*failures(figures), *refusals(figures)],
        figures=raw(figures),
    )


def run_large(bench: Bench) -> Report:
    """Probes while one client posts bodies of 10 MB."""
    model = make_wide_model(bench.workspace)
    call = large_call(model)
    rows = len(call.answer["prediction"])
    spec = model_spec(bench.workspace, model)
    contenders = [penstock(spec, call), bare(model, call), samples(model, call)]
    figures = probe_all(bench, contenders, post_command)
    posts = {
        name: [sum(probed.load["statuses"].values()) / load_seconds(bench) for probed in rounds]
        for name, rounds in figures.items()
    }
    took = {name: [probed.load["p50_ms"] for probed in rounds] for name, rounds in figures.items()}
    return Report(
        title="`/health` under posts of 10 MB",
        how=f"One client posts {len(call.body):,} bytes of JSON, {rows:,} rows, back to back; "
        f"meanwhile {PROBES_PER_S} probes of `GET /health` a second, sent on schedule whatever the "
        "answers do.",
        table=health_table(figures, {"posts/s": posts, "a post, p50 ms": took}),
        marks=health_marks("posts of 10 MB", figures),
        notes=[*failures(figures), *statuses(figures)],
        figures=raw(figures),
    )


def health_table(
    figures: Mapping[str, list[Probed]], further: Mapping[str, Mapping[str, list[float]]]
) -> Table:
    """The latencies of `/health`, and what the load got."""
    columns = ["server", "p50 ms", "p99 ms", "max ms", "prober late, p99 ms", *further]
    rows = [
        [
            name,
            Spread.of([probed.p50_ms for probed in rounds]).text(2),
            Spread.of([probed.p99_ms for probed in rounds]).text(1),
            Spread.of([probed.max_ms for probed in rounds]).text(1),
            Spread.of([probed.late_p99_ms for probed in rounds]).text(1),
            *(Spread.of(values[name]).text(1) for values in further.values()),
        ]
        for name, rounds in figures.items()
    ]
    return Table(columns, rows)


def health_marks(load: str, figures: Mapping[str, list[Probed]]) -> list[Mark]:
    """Penstock's p99 of `/health`."""
    p99_ms = Spread.of([probed.p99_ms for probed in figures[PENSTOCK]])
    return [Mark(f"`/health` p99, {load}", Bound.BELOW, LIMIT_MS, p99_ms, " ms")]


def failures(figures: Mapping[str, list[Probed]]) -> list[str]:
    """Probes that were not answered with 200."""
    failed = {name: sum(probed.failed for probed in rounds) for name, rounds in figures.items()}
    return [f"{name}: **{count} probes failed**." for name, count in failed.items() if count]


def refusals(figures: Mapping[str, list[Probed]]) -> list[str]:
    """Predictions that were refused, or whose connection broke."""
    failed = {
        name: sum(probed.load["refused"] + probed.load["broken"] for probed in rounds)
        for name, rounds in figures.items()
    }
    return [f"{name}: **{count} predictions failed**." for name, count in failed.items() if count]


def statuses(figures: Mapping[str, list[Probed]]) -> list[str]:
    """The statuses of the large posts: each has to be 200."""
    notes = []
    for name, rounds in figures.items():
        counts: dict[str, int] = {}
        for probed in rounds:
            for status, count in probed.load["statuses"].items():
                counts[status] = counts.get(status, 0) + count
        counted = ", ".join(f"{count} x {status}" for status, count in counts.items())
        warning = "" if set(counts) == {"200"} else " **Not all were answered.**"
        notes.append(f"{name}: statuses of the posts {counted}.{warning}")
    return notes


def raw(figures: Mapping[str, list[Probed]]) -> dict[str, object]:
    """The figures of every round."""
    return {name: [asdict(probed) for probed in rounds] for name, rounds in figures.items()}
