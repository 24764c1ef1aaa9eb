"""Reads what a server's whole process tree has used, from Linux's /proc."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
BYTES_PER_KB: Final = 1024


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """One line of /proc/PID/stat, as far as it is needed here."""

    pid: int
    parent: int
    started_ticks: int
    cpu_ticks: int


@dataclass(frozen=True, slots=True)
class Memory:
    """The resident memory of a tree: pages counted for each process, or shared out."""

    rss_bytes: int
    pss_bytes: int


def read_stat(pid: int) -> ProcessStat | None:
    """The stat line of a process, or None when it is gone.

    The CPU time includes that of children which have exited and were waited for.
    """
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return ProcessStat(pid, int(fields[1]), int(fields[19]), sum(map(int, fields[11:15])))


def tree(root: int) -> list[ProcessStat]:
    """The process `root` and all its living descendants."""
    pids = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    stats = [stat for pid in pids if (stat := read_stat(pid)) is not None]
    found = {root}
    for _ in stats:
        grown = found | {stat.pid for stat in stats if stat.parent in found}
        if grown == found:
            break
        found = grown
    return [stat for stat in stats if stat.pid in found]


def cpu_s(root: int) -> float:
    """User and system time of the tree so far, exited and awaited children included."""
    return sum(stat.cpu_ticks for stat in tree(root)) / TICKS_PER_S


def idle_s(cores: Collection[int]) -> float:
    """For how long some cores have had nothing to do, all of them together."""
    names = {f"cpu{core}" for core in cores}
    lines = (line.split() for line in (PROC / "stat").read_text().splitlines())
    # user, nice, system, idle, iowait
    ticks = sum(int(line[4]) + int(line[5]) for line in lines if line and line[0] in names)
    return ticks / TICKS_PER_S


def memory(root: int) -> Memory:
    """The memory of the tree now."""
    rss_kb = pss_kb = 0
    for stat in tree(root):
        try:
            lines = (PROC / str(stat.pid) / "smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        sizes = {line.split(":")[0]: line.split()[1] for line in lines[1:]}
        rss_kb += int(sizes.get("Rss", 0))
        pss_kb += int(sizes.get("Pss", 0))
    return Memory(rss_kb * BYTES_PER_KB, pss_kb * BYTES_PER_KB)


def threads_outside(root: int, cores: Collection[int]) -> int:
    """How many threads of the tree may run on other cores than those they were given.

    A model runtime may widen the affinity of its own thread pool.
    """
    outside = 0
    for stat in tree(root):
        try:
            threads = [int(entry.name) for entry in (PROC / str(stat.pid) / "task").iterdir()]
            outside += sum(not os.sched_getaffinity(thread) <= set(cores) for thread in threads)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return outside
