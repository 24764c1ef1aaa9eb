"""What others count, as `Measures.watching` reads it: background work, pools, the process, the log.

stack.enter_context(measures.watching(partial(background_readings, background)))
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterator
from typing import Final

import penstock
from penstock.core import families
from penstock.core.background import BackgroundScope
from penstock.core.log import Log
from penstock.core.predictor import PoolCounted
from penstock.core.snapshot import Reading

_STATM: Final = "/proc/self/statm"
_FDS: Final = "/proc/self/fd"


def background_readings(background: BackgroundScope) -> Iterator[Reading]:
    """Read what one graph does beside its answers; queues are those of its shadows."""
    yield families.BACKGROUND_RUNNING, (), background.running
    yield families.BACKGROUND_STARTED, (), background.started
    yield families.BACKGROUND_DROPPED, (), background.dropped
    yield families.BACKGROUND_FAILED, (), background.failed
    yield families.BACKGROUND_CANCELLED, (), background.cancelled
    for place, copies in background.queues.items():
        yield families.SHADOW_COPIES, (place, "asked"), copies.begun
        for reason, count in copies.dropped.items():
            yield families.SHADOW_COPIES, (place, reason), count
        yield families.SHADOWS_RUNNING, (place,), copies.running
        yield families.SHADOWS_WAITING, (place,), copies.waiting
        yield families.SHADOWS_HELD_BYTES, (place,), copies.held_bytes


def pool_readings(model: str, counts: PoolCounted) -> Iterator[Reading]:
    """Read what the pool of one remote model is and has done."""
    yield families.POOL_CONNECTIONS, (model, "busy"), counts.busy
    yield families.POOL_CONNECTIONS, (model, "other"), counts.open - counts.busy
    yield families.POOL_WAITING, (model,), counts.waiting
    yield families.POOL_SKIPPED, (model,), counts.skipped
    yield families.POOL_EVENTS, (model, "request"), counts.requests
    yield families.POOL_EVENTS, (model, "retry"), counts.retries
    yield families.POOL_EVENTS, (model, "connect_failure"), counts.connect_failures
    yield families.POOL_EVENTS, (model, "broken"), counts.broken
    yield families.POOL_EVENTS, (model, "late"), counts.late


def log_readings(log: Log) -> Iterator[Reading]:
    """Read what the log of this process did not write."""
    yield families.LOG_LEFT_OUT, (), log.left_out


def process_readings(worker: str, started_wall_s: float) -> Iterator[Reading]:
    """Read what this process uses; `worker` is its index, it started at `started_wall_s`."""
    labels = (worker,)
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield families.INFO, (penstock.__version__,), 1
    yield families.CPU_SECONDS, labels, time.process_time()
    yield families.RESIDENT_BYTES, labels, resident_bytes()
    if os.path.isdir(_FDS):
        yield families.OPEN_FDS, labels, len(os.listdir(_FDS)) - 1  # less the folder's own
    yield families.FDS_LIMIT, labels, float("inf") if most == resource.RLIM_INFINITY else most
    yield families.START_TIME, labels, started_wall_s


def resident_bytes() -> int:
    """Return how much memory this process uses now; at most, where the system tells no more."""
    try:
        with open(_STATM, encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
