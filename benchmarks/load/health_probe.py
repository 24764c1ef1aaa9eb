"""Asks for `GET /health` at a steady rate and reports how long the answers took.

    python -m benchmarks.load.health_probe PORT RATE SECONDS

Open loop: a probe goes out when its time has come, over a connection of its own if the others still
wait for their answers, so that a server that stalls is asked while it does. A latency counts from
the moment that the probe was sent, which no answer holds up; how late the prober itself was (its
timer has a resolution of a millisecond) is reported beside it.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Final

from benchmarks.load.asyncio_load import MS_PER_S, percentile
from benchmarks.load.exchange import HttpConnection, get_request

HEALTH: Final = get_request("/health")


@dataclass(slots=True)
class Probes:
    """What was measured, and the connections that are free."""

    port: int
    idle: list[HttpConnection] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    failed: int = 0

    async def connection(self) -> HttpConnection:
        """Takes a free connection that the server has not closed for being idle, or opens one."""
        while self.idle:
            connection = self.idle.pop()
            if connection.is_open:
                return connection
        return await HttpConnection.open(self.port)

    async def probe(self, due_s: float) -> None:
        """Asks once and notes how long the answer took."""
        sent_s = time.perf_counter()
        self.late_ms.append((sent_s - due_s) * MS_PER_S)
        try:
            connection = await self.connection()
            status = await connection.ask(HEALTH)
        except OSError:
            self.failed += 1
            return
        self.failed += status != 200
        self.latencies_ms.append((time.perf_counter() - sent_s) * MS_PER_S)
        self.idle.append(connection)


async def probe_steadily(port: int, rate: float, seconds: float) -> Probes:
    """Sends probes on schedule and waits for the last answers."""
    probes = Probes(port, idle=[await HttpConnection.open(port) for _ in range(4)])
    started_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due_s = started_s + number / rate
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            group.create_task(probes.probe(due_s))
    return probes


def main() -> None:
    """Probes as the arguments say and prints the result."""
    port, rate, seconds = sys.argv[1:]
    probes = asyncio.run(probe_steadily(int(port), float(rate), float(seconds)))
    latencies_ms, late_ms = sorted(probes.latencies_ms), sorted(probes.late_ms)
    result = {
        "probes": len(late_ms),
        "failed": probes.failed,
        "p50_ms": percentile(latencies_ms, 50),
        "p99_ms": percentile(latencies_ms, 99),
        "max_ms": percentile(latencies_ms, 100),
        "late_p99_ms": percentile(late_ms, 99),
    }
    sys.stdout.write(f"RESULT {json.dumps(result)}\n")


if __name__ == "__main__":
    main()
