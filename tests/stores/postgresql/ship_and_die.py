"""Ships an outbox, again and again, and is killed at the step that it is told.

    python -m tests.stores.postgresql.ship_and_die FOLDER      # the address is in the environment

A line on standard input is the number of a step; what is answered is the name of that step, or
`done` where there was none any more. Each time a process of its own does it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from penstock.core.clock import SystemClock
from penstock.core.log import Log
from penstock.stores.postgresql.address import address_in
from penstock.stores.postgresql.database import Postgresql
from penstock.stores.postgresql.outbox import Bounds, Outbox
from penstock.stores.postgresql.shipper import Shipper
from penstock.stores.postgresql.status import read_status

BATCH_BYTES = 2000


class Dies:
    """Kills its process at one of the steps."""

    def __init__(self, last: int, told: int) -> None:
        self._left = last
        self._told = told

    def __call__(self, step: str) -> None:
        self._left -= 1
        if not self._left:
            os.write(self._told, step.encode())
            os.kill(os.getpid(), signal.SIGKILL)


def ship(folder: Path, step: Dies) -> None:
    outbox = Outbox(folder)
    address = address_in(os.environ)
    assert address is not None
    with outbox.alone():
        shipper = Shipper(
            outbox,
            Postgresql(address, outbox.log_id(), step=step),
            clock=SystemClock(),
            log=Log(SystemClock()),
            bounds=Bounds(),
            status=read_status(folder),
            step=step,
        )
        shipper._reader._max_bytes = BATCH_BYTES
        shipper.ship_all()
        shipper.tell()


def main(folder: Path) -> None:
    for line in sys.stdin:
        read, write = os.pipe()
        child = os.fork()
        if not child:
            try:
                ship(folder, Dies(int(line), write))
                os.write(write, b"done")
            finally:
                os._exit(0)
        os.close(write)
        os.waitpid(child, 0)
        with os.fdopen(read, "rb") as told:
            sys.stdout.write(f"{told.read().decode() or 'failed'}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
