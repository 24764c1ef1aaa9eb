"""Puts a server under load and says what each request cost it."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.bench import Bench, load_process, read_result
from benchmarks.process_tree import Memory, cpu_s, idle_s, memory, threads_outside
from benchmarks.server import Running

LUA: Final = Path(__file__).with_name("load") / "load.lua"
US_PER_S: Final = 1e6
MS_PER_S: Final = 1e3


@dataclass(frozen=True, slots=True)
class Load:
    """How a server is asked: so many connections, each thinking for a while between requests."""

    connections: int
    seconds: float
    think_time_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What one spell of load showed."""

    requests: int
    rate: float
    cpu_us: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    failed: int
    memory: Memory
    threads_outside: int
    load_busy_percent: float
    others_busy_percent: float


def generator_command(bench: Bench, running: Running, load: Load) -> list[str]:
    """The command of wrk, or of our own generator where wrk is missing."""
    call = running.contender.call
    body = bench.body_file("request", call.body)
    if bench.wrk is None:
        module = [sys.executable, "-m", "benchmarks.load.asyncio_load"]
        plan = [running.port, call.path, body, load.connections, load.seconds, load.think_time_ms]
        return [*module, *map(str, plan)]
    return [
        *(bench.wrk, "--threads", "1", "--connections", str(load.connections)),
        *("--duration", f"{max(1, round(load.seconds))}s", "--timeout", "30s"),
        *("--script", str(LUA), f"http://127.0.0.1:{running.port}{call.path}"),
        *("--", str(body), f"{load.think_time_ms:.3f}"),
    ]


def put_under_load(bench: Bench, running: Running, load: Load) -> Measured:
    """Runs the generator for a while and reads the server's CPU time before and after."""
    cores = bench.cores.load
    started_s, before_s, idle_before_s = time.monotonic(), cpu_s(running.pid), idle_s(cores)
    server_idle_before_s = idle_s(bench.cores.server)
    command = generator_command(bench, running, load)
    with load_process(command, cores) as process:
        result = read_result(process, load.seconds)
    used_s, idled_s = cpu_s(running.pid) - before_s, idle_s(cores) - idle_before_s
    server_idled_s = idle_s(bench.cores.server) - server_idle_before_s
    passed_s = (time.monotonic() - started_s) * len(cores)
    server_passed_s = passed_s / len(cores) * len(bench.cores.server)
    others_s = server_passed_s - server_idled_s - used_s
    requests = int(result["requests"])
    return Measured(
        requests=requests,
        rate=requests / result["duration_s"],
        cpu_us=used_s * US_PER_S / requests if requests else float("nan"),
        p50_ms=result["p50_ms"],
        p95_ms=result["p95_ms"],
        p99_ms=result["p99_ms"],
        failed=result["refused"] + result["broken"],
        memory=memory(running.pid),
        threads_outside=threads_outside(running.pid, bench.cores.server),
        load_busy_percent=max(0.0, 100 * (1 - idled_s / passed_s)),
        others_busy_percent=max(0.0, 100 * others_s / server_passed_s),
    )


def measure(bench: Bench, running: Running, load: Load) -> Measured:
    """Warms the server up with the same load, then measures."""
    put_under_load(bench, running, Load(load.connections, bench.warm_up_s, load.think_time_ms))
    return put_under_load(bench, running, load)
