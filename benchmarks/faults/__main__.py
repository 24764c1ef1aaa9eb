"""The fault matrix: a gateway with three remote arms, of which one at a time fails.

    python -m benchmarks.faults [FAULT ...] [--requests N] [--markdown]

The gateway and the arms are `penstock serve` processes; faults that no signal makes come from
scripted servers (`benchmarks/servers/faulty.py`) at the arm's address. The exit status is 1 if an
answer was wrong or late, another arm's was lost, or descriptors or connections leak.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.__main__ import leave
from benchmarks.bench import say
from benchmarks.faults.asking import ABREAST, ask_all, counted
from benchmarks.faults.fleet import fleet
from benchmarks.faults.matrix import DEADLINE_MS, FAULTS, Row, run
from benchmarks.machine import describe
from benchmarks.report import Table, machine_section

REQUESTS: Final = 100
COLUMNS: Final = (
    *("the arm", "its entry in the answer", "the other arms", "statuses"),
    *("slowest ms", "`/health/all`", "answered again after s"),
    *("descriptors", "connections to arms", "verdict"),
)


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description=__doc__.splitlines()[0]
    )
    names = [fault.does for fault in FAULTS]
    parser.add_argument(
        "fault", nargs="*", choices=[[], *names], metavar="FAULT", help=", ".join(names)
    )
    parser.add_argument(
        "--requests", type=int, default=REQUESTS, help=f"for each arm of each fault ({REQUESTS})"
    )
    parser.add_argument("--markdown", action="store_true", help="print the machine first")
    return parser.parse_args()


def cells(row: Row) -> list[str]:
    """A row of the table."""
    again_s = max(spell.recovered_s for spell in row.spells)
    return [
        row.fault.title,
        counted(row.bad()),
        counted(row.good()),
        counted([str(answer.status) for answer in row.answers]),
        f"{row.slowest_ms:.0f}",
        counted(row.healths()),
        f"{again_s:.2f}",
        f"{row.descriptors[0]} -> {row.descriptors[1]}",
        f"{row.connections[0]} -> {row.connections[1]}",
        "**violated**" if row.wrong() else "as it should be",
    ]


def measure(folder: Path, names: list[str], requests: int) -> tuple[list[Row], list[str]]:
    """Tries all faults on one gateway; returns the rows, and what its log should not have."""
    rows = []
    with fleet(folder) as tried:
        ask_all(tried.port, DEADLINE_MS, requests)  # the pools are as full as they will be
        for fault in FAULTS:
            if names and fault.does not in names:
                continue
            row = run(tried, fault, requests)
            say(f"{fault.title}: {'; '.join(row.wrong()) or 'as it should be'}")
            rows.append(row)
        log = tried.log.read_text(errors="replace")
    found = [word for word in ("Traceback", "internal_error", "never retrieved") if word in log]
    if found:
        say(log)
    return rows, found


def main() -> None:
    """Tries all faults and prints the matrix."""
    asked = arguments()
    signal.signal(signal.SIGTERM, leave)
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        rows, found = measure(Path(folder), asked.fault, max(ABREAST, asked.requests))
    parts = [machine_section(describe())] if asked.markdown else []
    parts += [
        "## The fault matrix",
        f"A gateway with a fan-out of three remote arms. One arm at a time fails, each in turn: "
        f"{len(rows[0].answers)} requests for each fault, {ABREAST} at a time, each with "
        f"`x-timeout-ms: {DEADLINE_MS:g}`. Descriptors and connections are the gateway's before "
        "the fault and after it.",
        Table(COLUMNS, [cells(row) for row in rows]).markdown(),
    ]
    wrong = [f"- **{row.fault.title}: {one}.**" for row in rows for one in row.wrong()]
    wrong += [f"- **The gateway's log has `{word}`.**" for word in found]
    parts += ["\n".join(wrong)] if wrong else []
    sys.stdout.write("\n\n".join(parts) + "\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
