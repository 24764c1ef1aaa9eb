"""Shipping the prediction log to PostgreSQL: what the shipper costs, and what comes through."""

import importlib.util
import os
from dataclasses import asdict
from typing import Final

from benchmarks.bench import Bench, ToolMissing, say
from benchmarks.figures import Spread
from benchmarks.postgresql import a_database
from benchmarks.report import Report, Table
from benchmarks.scenarios.log_query import Took, command, write
from penstock.stores.postgresql.address import VARIABLE

RECORDS_PER_SECOND_ASKED: Final = 10_000


def run(bench: Bench) -> Report:
    """Writes a log by the server's own writer, and ships all of it, in every round."""
    if importlib.util.find_spec("psycopg") is None:
        raise ToolMissing("penstock[postgresql]")
    count = round(RECORDS_PER_SECOND_ASKED * bench.seconds)
    say(f"  {count:,} records a round")
    with a_database() as address:
        before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = address
        try:
            idle = [_shipped(bench, 0, "idle")]  # makes the tables
            idle += [_shipped(bench, 0, f"idle {number}") for number in range(bench.rounds)]
            took = [_shipped(bench, count, str(number)) for number in range(bench.rounds)]
        finally:
            if before is None:
                del os.environ[VARIABLE]
            else:
                os.environ[VARIABLE] = before
    start_s, start_cpu_s = idle_of(idle[1:])
    rates = Spread.of([count / (one.wall_s - start_s) for one in took])
    cpu_us = Spread.of([(one.cpu_s - start_cpu_s) * 1e6 / count for one in took])
    return Report(
        title="Shipping the prediction log to PostgreSQL",
        how=f"`penstock log ship --once` as a whole command over {count:,} records of one row of "
        "four, three hops and a group each, to a server on the same machine with its usual "
        "settings, less what the command takes where nothing waits. All cores.",
        table=Table(
            ["records/s", "CPU us a record, of the shipper", "peak MB"],
            [
                [
                    rates.text(),
                    cpu_us.text(1),
                    Spread.of([one.peak_mb for one in took]).text(),
                ]
            ],
        ),
        marks=[],
        notes=[
            f"Where nothing waits the command takes {start_s:.2f} s, "
            f"and {Spread.of([one.peak_mb for one in idle]).text()} MB."
        ],
        figures={
            "idle": [asdict(one) for one in idle],
            "shipped": [asdict(one) for one in took],
        },
    )


def idle_of(took: list[Took]) -> tuple[float, float]:
    """Tells what the command takes where nothing waits, in seconds: on the clock, of CPU."""
    walls = Spread.of([one.wall_s for one in took])
    cpus = Spread.of([one.cpu_s for one in took])
    return walls.median, cpus.median


def _shipped(bench: Bench, count: int, salt: str) -> Took:
    folder = bench.workspace / "shipped" / salt
    (folder / "segments").mkdir(parents=True)
    if count:
        write(folder, count, salt, ships=True)
    return command(bench, folder, "ship", "--once")
