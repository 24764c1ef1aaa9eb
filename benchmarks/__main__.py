"""Measures Penstock beside what a user would pick instead of it.

python -m benchmarks [SCENARIO ...] [--rounds N] [--seconds S] [--json FILE] [--markdown]
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Final

from benchmarks.bench import Bench, Cores, MeasurementFailed, ToolMissing, say
from benchmarks.machine import describe
from benchmarks.report import Report, machine_section, summary
from benchmarks.scenarios import (
    data_plane,
    fan_out,
    half_load,
    health,
    hop,
    install,
    log_query,
    log_ship,
    memory,
    millisecond,
    prediction_log,
    remote_fan_out,
    shadow,
    single,
    start,
    workers,
)

SCENARIOS: Final[Mapping[str, Callable[[Bench], Report]]] = {
    "data-plane": data_plane.run,
    "single": single.run,
    "fan-out": fan_out.run,
    "log": prediction_log.run,
    "log-load": prediction_log.run_under_load,
    "millisecond": millisecond.run,
    "hop": hop.run,
    "remote-fan-out": remote_fan_out.run,
    "shadow": shadow.run,
    "workers": workers.run,
    "health-busy": health.run_busy,
    "health-large": health.run_large,
    "half-load": half_load.run,
    "memory": memory.run,
    "start": start.run,
    "install": install.run,
    "log-query": log_query.run,
    "log-ship": log_ship.run,
}


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "scenario",
        nargs="*",
        metavar="SCENARIO",
        choices=[[], *SCENARIOS],
        help=f"what to measure: {', '.join(SCENARIOS)}; everything by default",
    )
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (5)")
    parser.add_argument("--seconds", type=float, default=5.0, help="each spell of load (5)")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds before each spell (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file")
    parser.add_argument(
        "--markdown", action="store_true", help="print one page at the end, machine and marks first"
    )
    return parser.parse_args()


def leave(_number: int, _frame: FrameType | None) -> None:
    """Turns a signal into an ordinary exit, so that every server is stopped."""
    raise SystemExit(1)


def measure(bench: Bench, name: str) -> Report | str:
    """Runs one scenario and says how long it took; why, if there is nothing to report."""
    say(f"{name}:")
    started_s = time.monotonic()
    try:
        report = SCENARIOS[name](bench)
    except MeasurementFailed as failure:
        say(f"  failed: {failure}")
        return "it failed, see standard error"
    except ToolMissing as missing:
        say(f"  skipped: {missing}")
        return f"skipped, as {missing}"
    say(f"  done in {time.monotonic() - started_s:.0f} s")
    return report


def measure_all(
    bench: Bench, names: Iterable[str], *, print_each: bool
) -> tuple[dict[str, Report], dict[str, str]]:
    """Runs scenarios; returns the reports, and for what is not measured the reason."""
    reports: dict[str, Report] = {}
    reasons: dict[str, str] = {}
    for name in names:
        report = measure(bench, name)
        if isinstance(report, str):
            reasons[name] = report
            continue
        reports[name] = report
        if print_each:
            sys.stdout.write(f"{report.markdown()}\n\n")
            sys.stdout.flush()
    return reports, reasons


def main() -> None:
    """Runs the scenarios that were asked for, and prints what they showed."""
    asked = arguments()
    signal.signal(signal.SIGTERM, leave)
    machine = describe()
    names = asked.scenario or list(SCENARIOS)
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as workspace:
        cores = Cores.of_this_machine()
        os.sched_setaffinity(0, cores.load)
        bench = Bench(asked.rounds, asked.seconds, asked.warm_up, cores, Path(workspace))
        reports, reasons = measure_all(bench, names, print_each=not asked.markdown)
    page(reports, machine, whole=asked.markdown)
    for name, reason in reasons.items():
        sys.stdout.write(f"\n**Not measured: {name}; {reason}.**\n")
    if asked.json:
        figures = {name: report.as_json() for name, report in reports.items()}
        asked.json.write_text(json.dumps({"machine": machine, "scenarios": figures}, indent=2))
    sys.exit(bool(reasons))


def page(reports: Mapping[str, Report], machine: Mapping[str, str], *, whole: bool) -> None:
    """Prints the machine and the marks, and all sections behind them if they are not out yet."""
    sections = [machine_section(machine), summary(list(reports.values()))]
    if whole:
        sections += [report.markdown() for report in reports.values()]
    sys.stdout.write("\n\n".join(sections) + "\n")


if __name__ == "__main__":
    main()
