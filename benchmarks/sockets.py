"""Which connections a process holds, from Linux's /proc."""

from dataclasses import dataclass
from typing import Final

from benchmarks.process_tree import PROC

ESTABLISHED: Final = "01"
LISTENING: Final = "0A"


@dataclass(frozen=True, slots=True)
class Connection:
    """A TCP connection over IPv4, in whatever state, but for those that only listen."""

    own_port: int
    peer_port: int
    established: bool


def descriptors(pid: int) -> list[str]:
    """What the open descriptors of a process point to."""
    held = []
    for entry in (PROC / str(pid) / "fd").iterdir():
        try:
            held.append(str(entry.readlink().name))
        except OSError:  # closed meanwhile
            continue
    return held


def connections(pid: int) -> list[Connection]:
    """The connections that a process holds."""
    held = set(descriptors(pid))
    found = []
    for line in (PROC / "net" / "tcp").read_text().splitlines()[1:]:
        fields = line.split()
        own, peer = (int(address.rpartition(":")[2], 16) for address in fields[1:3])
        if f"socket:[{fields[9]}]" in held and fields[3] != LISTENING:
            found.append(Connection(own, peer, fields[3] == ESTABLISHED))
    return found


def callers_of(pid: int, port: int) -> frozenset[int]:
    """The callers' ports of all connections to `port` that a process holds."""
    return frozenset(
        one.peer_port for one in connections(pid) if one.own_port == port and one.established
    )
