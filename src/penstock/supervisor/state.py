"""The state directory: what a server keeps over restarts, and the lock that makes it its own.

In it lie `overlay.jsonl`, what operators have changed (`journal.py`); `control.sock`, where they
ask (`control.py`); and `lock`, held by the server that runs, with its process id in it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias, final

from penstock.core.errors import PenstockError
from penstock.core.folders import make_private
from penstock.supervisor.journal import MAX_HISTORY, Journal
from penstock.supervisor.overlay import Event

LOG_NAME: Final = "overlay.jsonl"
SOCKET_NAME: Final = "control.sock"
LOCK_NAME: Final = "lock"
VARIABLE: Final = "PENSTOCK_STATE_DIR"

LONGEST_STEM: Final = 48
"""Characters of the spec's name in its state directory's."""


class StateInUse(PenstockError):
    """Another server has the state directory; ends the start."""

    code = "state_in_use"

    def __init__(self, folder: str, pid: str) -> None:
        super().__init__(
            f"{folder} is in use by the server with the process id {pid}; stop that one, or give "
            "this one another --state-dir"
        )


def base_folder(environment: Mapping[str, str]) -> Path | None:
    """Return where state directories lie unless one is given; None where there is no home."""
    state_home = environment.get("XDG_STATE_HOME", "")
    if state_home.startswith("/"):  # the standard says to pass over others
        return Path(state_home) / "penstock"
    home = environment.get("HOME", "")
    return Path(home) / ".local" / "state" / "penstock" if home.startswith("/") else None


def default_folder(environment: Mapping[str, str], spec: Path, port: int) -> Path | None:
    """Return the state directory of a server, unless one is given.

    Args:
        environment: may name one.
        spec: what is served, as an absolute path.
        port: where.
    """
    if named := environment.get(VARIABLE):
        return Path(named)
    base = base_folder(environment)
    if base is None:
        return None
    tag = hashlib.sha256(os.fsencode(spec)).hexdigest()[:8]
    return base / f"{spec.stem[:LONGEST_STEM]}-{tag}-{port}"


@final
class StateDirectory:
    """A state directory that is this server's own. Its methods wait for the disk.

    Args:
        folder: the directory.
        journal: its log.
        lock: the file that is locked.

    Attributes:
        folder: the directory.
        refusal: why nothing can be kept: empty, as it can.
    """

    refusal: Final = ""

    def __init__(self, folder: Path, journal: Journal, lock: int) -> None:
        self.folder: str | None = str(folder)
        self._journal = journal
        self._lock = lock

    @property
    def events(self) -> Sequence[Event]:
        """Everything that has happened, oldest first."""
        return self._journal.events

    @property
    def cut(self) -> str:
        """A sentence on the torn last line of the log, where there was one."""
        return self._journal.cut

    def append(self, events: Sequence[Event]) -> None:
        """Add events; they are on the disk when this returns.

        Raises:
            CannotKeep: the disk is full, or worse; the log is as it was.
        """
        self._journal.append(events)

    def close(self) -> None:
        """Let another server have it."""
        self._journal.close()
        os.close(self._lock)


@final
class NoState:
    """No place to keep anything: what happens is remembered until the server ends.

    Args:
        refusal: why, as a sentence; nothing can be set.

    Attributes:
        folder: None.
        refusal: why nothing can be kept.
        cut: empty.
    """

    folder: Final[str | None] = None
    cut: Final = ""

    def __init__(self, refusal: str) -> None:
        self.refusal = refusal
        self._events: deque[Event] = deque(maxlen=MAX_HISTORY)

    @property
    def events(self) -> Sequence[Event]:
        """The newest of what has happened, oldest first."""
        return tuple(self._events)

    def append(self, events: Sequence[Event]) -> None:
        """Remember events."""
        self._events.extend(events)

    def close(self) -> None:
        """Do nothing."""


State: TypeAlias = StateDirectory | NoState


def open_state(folder: Path | None) -> State:
    """Return the state directory, made where there is none; or why there can be none.

    Args:
        folder: the directory; None where the environment names no place for it.

    Raises:
        StateInUse: another server has it.
        StateCorrupt: its log has a line that cannot be read.
    """
    if folder is None:
        return NoState("there is no state directory, as the environment has no HOME; --state-dir")
    try:
        make_private(folder)
        lock = _locked(folder)
    except OSError as error:
        return NoState(_unusable(folder, error))
    try:
        journal = Journal(folder / LOG_NAME)
    except OSError as error:
        os.close(lock)
        return NoState(_unusable(folder, error))
    except BaseException:
        os.close(lock)
        raise
    return StateDirectory(folder, journal, lock)


def _unusable(folder: Path, error: OSError) -> str:
    why = (error.strerror or str(error)).lower()
    return f"the state directory {folder} cannot be used: {why}; give another --state-dir"


def _locked(folder: Path) -> int:
    """Return the locked lock file; the lock ends with this process, however it ends."""
    lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as error:
        pid = os.pread(lock, 20, 0).decode(errors="replace").strip()
        os.close(lock)
        raise StateInUse(str(folder), pid or "?") from error
    except OSError:
        os.close(lock)
        raise
    return lock
