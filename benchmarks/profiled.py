"""Samples where Penstock's time goes under load, and prints it as tables in markdown.

    python -m benchmarks.profiled [single | fan-out | millisecond] [--server NAME] [--seconds S]

py-spy looks at the server from outside, so nothing is changed in it; what a C library does counts
for the Python line that called it, and the event loop's own work for the line that runs the loop.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from benchmarks.attack import Load, generator_command
from benchmarks.bench import Bench, Cores, load_process, pin
from benchmarks.contenders import PENSTOCK
from benchmarks.report import Table
from benchmarks.scenarios.fan_out import FAN_OUT, fan_out_contenders
from benchmarks.scenarios.millisecond import millisecond_contenders
from benchmarks.scenarios.single import CONNECTIONS, single_contenders
from benchmarks.server import Contender, Running, running

SAMPLES_PER_S: Final = 200
LEAD_S: Final = 1.0
SHOWN: Final = 30

PROFILES: Final[Mapping[str, tuple[Callable[[Bench], list[Contender]], str]]] = {
    "single": (single_contenders, PENSTOCK),
    "fan-out": (fan_out_contenders, FAN_OUT),
    "millisecond": (millisecond_contenders, PENSTOCK),
}


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profiled", description=__doc__)
    parser.add_argument("scenario", nargs="?", default="single", choices=PROFILES)
    parser.add_argument("--server", help="another server of the scenario, by its name")
    parser.add_argument("--seconds", type=float, default=10.0)
    return parser.parse_args()


def record(bench: Bench, server: Running) -> list[str]:
    """Samples the server under load: one line for every stack that was seen, and how often."""
    stacks = bench.workspace / "stacks.txt"
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or "py-spy"
    load = Load(CONNECTIONS, bench.seconds + 2 * LEAD_S)
    with load_process(generator_command(bench, server, load), bench.cores.load):
        time.sleep(LEAD_S)
        subprocess.run(
            [
                *(spy, "record", "--nonblocking", "--subprocesses", "--format", "raw"),
                *("--pid", str(server.pid), "--rate", str(SAMPLES_PER_S)),
                *("--duration", str(round(bench.seconds)), "--output", str(stacks)),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=pin(*bench.cores.load),
        )
    return stacks.read_text().splitlines()


def count(stacks: list[str]) -> tuple[Counter[str], Counter[str], int]:
    """For every line of code how often it ran itself, and how often it or what it called did."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in stacks:
        stack, _, times = line.rpartition(" ")
        frames = [frame for frame in stack.split(";") if not frame.startswith("process ")]
        if not frames:
            continue
        own[frames[-1]] += int(times)
        whole.update(dict.fromkeys(frames, int(times)))
    return own, whole, sum(own.values())


def function_of(frame: str) -> str:
    """A frame without its line number."""
    return frame.rpartition(":")[0] + ")"


def tables(stacks: list[str]) -> str:
    """The functions, then the lines, that most samples were in."""
    own, whole, total = count(stacks)
    functions: Counter[str] = Counter()
    for frame, times in own.items():
        functions[function_of(frame)] += times
    by_function = [[name, f"{100 * n / total:.1f}"] for name, n in functions.most_common(SHOWN)]
    by_line = [
        [frame, f"{100 * times / total:.1f}", f"{100 * whole[frame] / total:.1f}"]
        for frame, times in own.most_common(SHOWN)
    ]
    return "\n\n".join(
        [
            f"{total} samples",
            Table(["function", "itself %"], by_function).markdown(),
            Table(["line", "itself %", "with what it calls %"], by_line).markdown(),
        ]
    )


def main() -> None:
    """Profiles one server under the scenario's load."""
    asked = arguments()
    contenders, usual = PROFILES[asked.scenario]
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as workspace:
        bench = Bench(1, asked.seconds, 1.0, Cores.of_this_machine(), Path(workspace))
        name = asked.server or usual
        contender = next(one for one in contenders(bench) if one.name == name)
        with running(contender, bench) as server:
            stacks = record(bench, server)
    sys.stdout.write(f"## {name}, {asked.scenario}\n\n{tables(stacks)}\n")


if __name__ == "__main__":
    main()
