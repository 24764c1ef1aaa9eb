"""A query over the prediction log, and the compacting before it, each as a whole command."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from benchmarks.bench import REPOSITORY, Bench, MeasurementFailed, pin, say
from benchmarks.figures import Spread
from benchmarks.report import Bound, Mark, Report, Table
from penstock.stores.postgresql.outbox import Outbox
from penstock.stores.prediction_record import SCHEMA, encode_fields
from penstock.stores.segment import framed
from penstock.stores.segment_writer import SegmentWriter

RECORDS_PER_SECOND_ASKED: Final = 200_000
LIVE_SHARE: Final = 0.04
"""Of the records, in segments that are not compacted yet: about 13 MB of a million."""

LIMIT_S: Final = 1.0
"""For a million records; the issue's "about a second"."""

FLUSH: Final = 256
SEED: Final = 21
DAY_S: Final = 86_400
START_S: Final = 1_795_000_000
SQL: Final = (
    "SELECT model, count(*), avg(elapsed_ms), quantile_cont(elapsed_ms, 0.99) "
    "FROM records GROUP BY model"
)
ONE_DAY: Final = f"{SQL.partition(' GROUP')[0]} WHERE day = '2026-11-19' GROUP BY model"


@dataclass(frozen=True, slots=True)
class Took:
    """What a command took."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def run(bench: Bench) -> Report:
    """Writes a log by the server's own writer, compacts it, and asks it some times."""
    count = round(RECORDS_PER_SECOND_ASKED * bench.seconds)
    live = round(count * LIVE_SHARE)
    folder = bench.workspace / "log"
    say(f"  {count:,} records")
    write(folder, count - live, "old")
    size_mb = size_bytes(folder) / 1e6
    compacted = command(bench, folder, "compact", "--keep-days", "1e6")
    parquet_mb = size_bytes(folder / "parquet") / 1e6
    cases = {"all in Parquet files": SQL, "all of one day": ONE_DAY}
    figures = {name: asked(bench, folder, sql) for name, sql in cases.items()}
    write(folder, live, "new")
    figures[f"{live:,} still in segments"] = asked(bench, folder, SQL)
    rate = (count - live) / compacted.wall_s
    walls = {name: Spread.of([one.wall_s for one in took]) for name, took in figures.items()}
    slowest = walls[f"{live:,} still in segments"]
    return Report(
        title="A query over the prediction log",
        how=f"`penstock log query` as a whole command, from its start to its end: count, mean and "
        f"99th percentile by model over {count:,} records of one row of four, three hops and a "
        "group each, two days. All cores; the files are in the page cache.",
        table=Table(
            ["query", "s", "CPU s", "peak MB"],
            [
                [
                    name,
                    Spread.of([one.wall_s for one in took]).text(2),
                    Spread.of([one.cpu_s for one in took]).text(2),
                    Spread.of([one.peak_mb for one in took]).text(),
                ]
                for name, took in figures.items()
            ],
        ),
        marks=[
            Mark(f"query over {count:,} records", Bound.AT_MOST, LIMIT_S, slowest, " s"),
        ],
        notes=[
            f"`penstock log compact`: {count - live:,} records in {compacted.wall_s:.1f} s, "
            f"{rate:,.0f} records/s, peak {compacted.peak_mb:.0f} MB; "
            f"{size_mb:.0f} MB of segments became {parquet_mb:.0f} MB."
        ],
        figures={
            "compact": asdict(compacted),
            **{name: [asdict(one) for one in took] for name, took in figures.items()},
        },
    )


def write(folder: Path, count: int, salt: str, *, ships: bool = False) -> None:
    """Writes records as a server does, 256 together; on request they wait for PostgreSQL too."""
    began = Outbox(folder).add if ships else lambda _: None
    writer = SegmentWriter(folder / "segments", began=began)
    records = payloads(count, salt)
    while batch := list(islice(records, FLUSH)):
        writer.append(framed(b"".join(batch), len(batch)), START_S)
    writer.close()


def payloads(count: int, salt: str) -> Iterator[bytes]:
    """Records of two models and days."""
    rng = random.Random(f"{SEED}{salt}")
    for number in range(count):
        model = rng.choice(("svc", "rf"))
        elapsed_ms = rng.expovariate(1.0)
        yield encode_fields(
            (
                SCHEMA,
                f"{rng.getrandbits(128):032x}",
                "primary",
                "iris-ab",
                "iris-ab",
                int((START_S + number * 2 * DAY_S / count) * 1e6),
                elapsed_ms,
                f"{rng.getrandbits(128):032x}",
                rng.getrandbits(64),
                1,
                False,
                model,
                "6c4ef19f5054",
                tuple((name, 0.01, elapsed_ms) for name in ("split", f"split:{model}", model)),
                1,
                [[rng.random() * 8 for _ in range(4)]],
                "",
                [[rng.random() for _ in range(3)]],
                {},
                (),
                False,
                rng.random(),
                200,
                "",
                {"header:x-age-band": rng.choice(("20-30", "30-40"))},
            )
        )


def asked(bench: Bench, folder: Path, sql: str) -> Sequence[Took]:
    """Asks once unmeasured, so that all files are in memory, and then in every round."""
    command(bench, folder, "query", sql)
    return [command(bench, folder, "query", sql) for _ in range(bench.rounds)]


def command(bench: Bench, folder: Path, *arguments: str) -> Took:
    """Runs `penstock log ...` on all cores."""
    started_s = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "log", *arguments, "--log-dir", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
        preexec_fn=pin(*bench.cores.every),
    )
    assert process.stderr is not None
    with process.stderr as errors:
        said = errors.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    took_s = time.perf_counter() - started_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise MeasurementFailed(said)
    return Took(took_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def size_bytes(folder: Path) -> int:
    """How large all files in a folder are together."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
