"""A small load generator for where wrk is missing: closed loop, raw sockets, one process.

    python -m benchmarks.load.asyncio_load PORT PATH BODY_FILE CONNECTIONS SECONDS THINK_TIME_MS

It prints what `load.lua` prints. It is slower than the fastest servers, so figures taken with it
are figures of the pair; reports say which generator was used.
"""

import asyncio
import json
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.load.exchange import HttpConnection, post_request

MS_PER_S: Final = 1e3


@dataclass(slots=True)
class Tally:
    """What the load has seen so far."""

    latencies_ms: list[float] = field(default_factory=list)
    refused: int = 0
    broken: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send, and until when."""

    port: int
    request: bytes
    end_s: float
    think_time_s: float


async def think(plan: Plan, dice: random.Random) -> None:
    """Waits an exponential think time, if there is one."""
    if plan.think_time_s > 0:
        await asyncio.sleep(dice.expovariate(1 / plan.think_time_s))


async def keep_asking(plan: Plan, tally: Tally, dice: random.Random) -> None:
    """Sends one request after the other over one connection until the end."""
    connection = await HttpConnection.open(plan.port)
    while time.perf_counter() < plan.end_s:
        await think(plan, dice)
        started_s = time.perf_counter()
        try:
            status = await connection.ask(plan.request)
        except OSError:
            tally.broken += 1
            connection = await HttpConnection.open(plan.port)
            continue
        if (now_s := time.perf_counter()) <= plan.end_s:
            tally.latencies_ms.append((now_s - started_s) * MS_PER_S)
            tally.refused += not 200 <= status < 400
    connection.close()


async def attack(plan: Plan, connections: int) -> Tally:
    """Runs all connections at once."""
    tally = Tally()
    dice = random.Random(20)
    await asyncio.gather(*(keep_asking(plan, tally, dice) for _ in range(connections)))
    return tally


def percentile(sorted_values: list[float], percent: float) -> float:
    """The nearest-rank percentile of sorted values."""
    if not sorted_values:
        return float("nan")
    rank = min(len(sorted_values) - 1, int(len(sorted_values) * percent / 100))
    return sorted_values[rank]


def main() -> None:
    """Runs the load that the arguments name and prints its result."""
    port, path, body_file, connections, seconds, think_time_ms = sys.argv[1:]
    request = post_request(path, Path(body_file).read_bytes())
    end_s = time.perf_counter() + float(seconds)
    plan = Plan(int(port), request, end_s, float(think_time_ms) / MS_PER_S)
    tally = asyncio.run(attack(plan, int(connections)))
    latencies_ms = sorted(tally.latencies_ms)
    result = {
        "requests": len(latencies_ms),
        "duration_s": float(seconds),
        "refused": tally.refused,
        "broken": tally.broken,
        "p50_ms": percentile(latencies_ms, 50),
        "p95_ms": percentile(latencies_ms, 95),
        "p99_ms": percentile(latencies_ms, 99),
        "max_ms": latencies_ms[-1] if latencies_ms else float("nan"),
    }
    sys.stdout.write(f"RESULT {json.dumps(result)}\n")


if __name__ == "__main__":
    main()
