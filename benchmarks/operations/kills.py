"""Workers that are killed under the load, one after the other."""

import os
import random
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.bench import MeasurementFailed, say
from benchmarks.load.fates import Failure
from benchmarks.operations.phases import Scene
from benchmarks.operations.served import STATUS_POLL_S, Served
from benchmarks.operations.verdict import Kill, Outcome, kills_only, right_answers
from benchmarks.sockets import callers_of

LIVED_S: Final = 12.0
"""A worker is killed when it has lived as long: one that dies sooner is restarted with a delay."""

PATIENCE_S: Final = 30.0
KEPT_S: Final = 0.3
"""After which the load has heard that it keeps its connections, and the worker has them all."""


def kills(scene: Scene, count: int) -> Outcome:
    """Kills workers by SIGKILL, each when the one before has been replaced."""
    scene.load.begin(name := f"{count} worker kills")
    killed = [kill_one(scene, number) for number in range(1, count + 1)]
    phase = scene.load.end(name)
    wrong, lost = kills_only(phase, killed)
    wrong += right_answers(phase, [scene.now()]).wrong
    return Outcome(phase, wrong, [toll(lost), replacements(killed)])


def kill_one(scene: Scene, number: int) -> Kill:
    """Kills the worker that has lived longest, and waits for the one in its place.

    The load keeps its connections meanwhile, so that what is read of them still holds at the kill.
    """
    victim = ready_to_die(scene.served)
    pid = int(victim["pid"])
    say(f"  kill {number}: pid {pid}")
    with scene.load.keeping():
        peers = settled_callers(pid, scene.served.port)
        killed_s = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        return Kill(pid, killed_s, peers, replaced(scene.served, pid))


def settled_callers(pid: int, port: int) -> frozenset[int]:
    """The worker's connections, once they are the same as a while ago.

    Raises:
        MeasurementFailed: they never are.
    """
    before: frozenset[int] | None = None
    end_s = time.monotonic() + PATIENCE_S
    while (now := callers_of(pid, port)) != before:
        if time.monotonic() > end_s:
            message = f"the connections of worker {pid} change all the time"
            raise MeasurementFailed(message)
        before = now
        time.sleep(KEPT_S)
    return now


def replaced(served: Served, pid: int) -> float:
    """Waits until all workers serve, and none of them is the killed one; returns when.

    Raises:
        MeasurementFailed: that took too long.
    """
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        time.sleep(STATUS_POLL_S)
        members = served.workers()
        if all(one["phase"] == "serving" and one["pid"] != pid for one in members):
            return time.monotonic()
    message = f"worker {pid} was not replaced within {PATIENCE_S:.0f} s"
    raise MeasurementFailed(message)


def ready_to_die(served: Served) -> Mapping[str, Any]:
    """Waits until a worker has lived long enough to be restarted without a delay."""
    while True:
        oldest: Mapping[str, Any] = min(served.workers(), key=lambda one: one["started_wall_s"])
        to_live_s = oldest["started_wall_s"] + LIVED_S - time.time()
        if to_live_s <= 0:
            return oldest
        time.sleep(to_live_s + random.uniform(0, STATUS_POLL_S))


def toll(lost: Mapping[Kill, Sequence[Failure]]) -> str:
    """What the kills cost, in a sentence."""
    connections = sum(len(kill.peers) for kill in lost)
    counts = [len(victims) for victims in lost.values()]
    before = sum(one.sent_s <= kill.killed_s for kill, victims in lost.items() for one in victims)
    return (
        f"{sum(counts)} requests were lost with {len(lost)} workers, which held {connections} "
        f"connections in all, and at most {max(counts)} with one; each was on a connection of the "
        f"killed worker, {before} of them sent before the kill, the others before the caller saw "
        "that the connection had gone"
    )


def replacements(kills: Sequence[Kill]) -> str:
    """How soon killed workers were replaced, in a sentence."""
    took_ms = sorted((kill.replaced_s - kill.killed_s) * 1e3 for kill in kills)
    return (
        f"a replacement was seen to serve {took_ms[len(took_ms) // 2]:.0f} ms after the kill "
        f"(median), {took_ms[-1]:.0f} ms at most, of which asking takes a quarter of a second"
    )
