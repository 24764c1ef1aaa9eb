"""Sees that a file has changed, also where a symlink on the way to it is swapped.

It is looked at twice a second rather than waited for: notifications neither follow symlinks, as
Kubernetes swaps them, nor come from every file system.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final, TypeAlias, final

from penstock.core.log import Says

POLL_S: Final = 0.5
"""How often the spec's file is looked at; it is read when two looks in a row agree."""

Seen: TypeAlias = tuple[int, ...] | None
"""What tells a file from its predecessor; None where there is none."""


@final
class Watch:
    """What is known of a file from looking at it.

    Args:
        path: of the file.
        log: is told once that it is gone.
    """

    def __init__(self, path: str, log: Says) -> None:
        self._path = path
        self._log = log
        self._read: Seen = None
        self._before: Seen = None
        self._looks = 0

    async def look(self) -> bool:
        """Look at the file; return whether it is another than before, and has come to rest."""
        now = await asyncio.to_thread(_seen, self._path)
        return self.judge(now)

    def judge(self, now: Seen) -> bool:
        """Return whether what is seen now is another file that has come to rest."""
        before, self._before = self._before, now
        self._looks += 1
        if self._looks == 1:
            self._read = now
            return False
        if now is None:
            if before is not None:
                self._log.warning(f"{self._path} is gone; what was served goes on being served")
            return False
        if now == self._read or now != before:
            return False
        self._read = now
        return True


def _seen(path: str) -> Seen:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
