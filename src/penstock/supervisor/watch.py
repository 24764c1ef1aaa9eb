"""Sees that a file has changed, also where a symlink on the way to it is swapped.

It is looked at twice a second rather than waited for: notifications neither follow symlinks, as
Kubernetes swaps them, nor come from every file system.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Final, TypeAlias, final

from penstock.core.clock import Clock
from penstock.core.log import Says
from penstock.supervisor.disk import Disk, DiskHangs

POLL_S: Final = 0.5
"""How often the spec's file is looked at; it is read when two looks in a row agree."""

RETRY_S: Final = 1.0
"""How soon a file that could not be served for a passing reason is tried again; it doubles."""

LONGEST_RETRY_S: Final = 60.0
"""The longest pause before it is tried again."""

Seen: TypeAlias = tuple[int, ...] | None
"""What tells a file from its predecessor; None where there is none."""


@final
class Watch:
    """What is known of a file from looking at it.

    Args:
        path: of the file.
        log: is told once that it is gone, or that its disk hangs.
        clock: tells when to try it again.
    """

    def __init__(self, path: str, log: Says, clock: Clock) -> None:
        self._path = path
        self._log = log
        self._clock = clock
        self._disk = Disk(clock)
        self._hangs = False
        self._taken: Seen = None
        self._before: Seen = None
        self._looks = 0
        self._refused: Seen = None
        self._refusals = 0
        self._again_s = 0.0

    @property
    def tried(self) -> bool:
        """Whether the file, as it was seen last, has been refused before."""
        return self._before is not None and self._before == self._refused

    async def look(self) -> bool:
        """Look at the file; return whether it is to be read now.

        It is when it is another than was taken last and has come to rest; after it was refused,
        when it has changed again or it is time to try once more.
        """
        try:
            now = await self._disk.ask(partial(_seen, self._path))
        except DiskHangs as hangs:
            if not self._hangs:
                self._log.warning(f"{self._path} cannot be looked at: {hangs}")
            self._hangs = True
            return False
        self._hangs = False
        return self.judge(now)

    def judge(self, now: Seen) -> bool:
        """Return whether what is seen now is to be read now."""
        before, self._before = self._before, now
        self._looks += 1
        if self._looks == 1:
            self._taken = now
            return False
        if now is None:
            if before is not None:
                self._log.warning(f"{self._path} is gone; what was served goes on being served")
            return False
        if now == self._taken or now != before:
            return False
        return not self.tried or self._clock.now_s() >= self._again_s

    def taken(self) -> None:
        """Take note that the file is served, or that it is no use to try it again as it is."""
        self._taken = self._before
        self._refused = None

    def refused(self) -> None:
        """Take note that the file cannot be served now, for a reason that may pass."""
        self._refusals = self._refusals + 1 if self.tried else 1
        self._refused = self._before
        doublings = min(self._refusals - 1, 10)  # more are beyond the longest anyway
        self._again_s = self._clock.now_s() + min(RETRY_S * 2.0**doublings, LONGEST_RETRY_S)


def _seen(path: str) -> Seen:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
