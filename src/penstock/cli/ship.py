"""`penstock log ship`."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from penstock.cli.log_place import log_folder
from penstock.core.clock import SystemClock
from penstock.core.errors import PenstockError
from penstock.core.log import Log
from penstock.stores.log_settings import bytes_in, number_in
from penstock.stores.postgresql.address import VARIABLE, Address, address_in
from penstock.stores.postgresql.database import CannotShip, Postgresql
from penstock.stores.postgresql.outbox import (
    MAX_OUTBOX_BYTES,
    MAX_OUTBOX_DAYS,
    Bounds,
    Outbox,
    OutboxBusy,
)
from penstock.stores.postgresql.shipper import Shipper
from penstock.stores.postgresql.status import ShipStatus, read_status

OUTBOX_MB_VARIABLE: Final = "PENSTOCK_LOG_OUTBOX_MB"
OUTBOX_DAYS_VARIABLE: Final = "PENSTOCK_LOG_OUTBOX_DAYS"

NICENESS: Final = 5
"""How much a shipper that a server started gives way to what serves."""

BUSY_S: Final = 5.0
"""How often a shipper that waits for another one looks whether that is gone."""

_MB: Final = 1024 * 1024


class NothingToShipTo(PenstockError):
    """The environment names no database."""

    code = "nothing_to_ship_to"

    def __init__(self) -> None:
        super().__init__(
            f"{VARIABLE} is not set: it says where records are shipped to, "
            "as in postgresql://user@host/name"
        )


def ship(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Ship what is in the outbox of a log, until told to stop; return the exit status.

    Raises:
        NothingToShipTo, PostgresqlUnavailable, BadSetting: the environment is not as it must be.
        NoLog, SeveralLogs: it is not clear which log is meant, or there is none.
        OutboxBusy: it is to be done once, and another process does it.
        CannotShip: the outbox cannot be used; or it is to be done once, and cannot be.
    """
    address = address_in(environment)
    if address is None:
        raise NothingToShipTo
    folder, bounds = _folder(options, environment), bounds_in(environment)
    if options.parent is not None:
        os.nice(NICENESS)
    stopping = threading.Event()

    def stop(number: int, frame: object) -> None:
        del frame
        stopping.set()
        signal.signal(number, signal.SIG_DFL)  # told twice, it ends at once

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _ship(folder, address, bounds, options, stopping)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _folder(options: argparse.Namespace, environment: Mapping[str, str]) -> Path:
    if options.parent is not None:  # a server's, where nothing may have been recorded yet
        return Path(options.log_dir)
    return log_folder(options, environment)


def bounds_in(environment: Mapping[str, str]) -> Bounds:
    """Return how much the environment lets wait.

    Raises:
        BadSetting: it says something that is no number.
    """
    return Bounds(
        max_bytes=bytes_in(environment, OUTBOX_MB_VARIABLE, MAX_OUTBOX_BYTES, _MB),
        keep_days=number_in(environment, OUTBOX_DAYS_VARIABLE, MAX_OUTBOX_DAYS),
    )


def _ship(
    folder: Path,
    address: Address,
    bounds: Bounds,
    options: argparse.Namespace,
    stopping: threading.Event,
) -> None:
    clock = SystemClock()
    log, outbox = Log(clock), Outbox(folder)

    def is_orphaned() -> bool:
        return options.parent is not None and os.getppid() != options.parent

    with contextlib.ExitStack() as stack:
        try:
            log_id = _entered(outbox, stack)
        except OutboxBusy as error:
            if options.once:
                raise
            log.warning(f"{error.message}; waiting for it to end")
            waited = _entered_later(outbox, stack, stopping, is_orphaned)
            if waited is None:
                return
            log_id = waited
        before = read_status(folder) or ShipStatus()
        database = Postgresql(address, log_id)
        stack.callback(database.close)
        shipper = Shipper(outbox, database, clock=clock, log=log, bounds=bounds, status=before)
        if options.once:
            stack.callback(shipper.tell)
            shipper.ship_all(stopping.is_set)
            now = shipper.status
            print(f"{now.shipped + now.bare - before.shipped - before.bare} records shipped")
        else:
            shipper.run(stopping, is_orphaned)


def _entered(outbox: Outbox, stack: contextlib.ExitStack) -> str:
    """Keep other shippers out; return what the database knows the outbox by.

    Raises:
        OutboxBusy: one is in.
        CannotShip: the disk refuses.
    """
    try:
        stack.enter_context(outbox.alone())
        return outbox.log_id()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise CannotShip("outbox", f"the outbox in {outbox.path} cannot be used: {why}") from error


def _entered_later(
    outbox: Outbox,
    stack: contextlib.ExitStack,
    stopping: threading.Event,
    is_orphaned: Callable[[], bool],
) -> str | None:
    """Wait for another shipper to end, and do the same; None where it is not to be."""
    while not stopping.wait(BUSY_S) and not is_orphaned():
        with contextlib.suppress(OutboxBusy):
            return _entered(outbox, stack)
    return None
