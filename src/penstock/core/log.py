"""The log on standard error: for people on a terminal, else one JSON object a line.

    12:00:01 warning: the spec was not reloaded file=penstock.yaml problems=2
    {"time":"2025-06-15T12:00:01.123Z","level":"warning","event":"the spec ...","pid":42,...}

Never a line per request. An event that repeats is said a few times a second and the rest is
counted. Nothing here raises, and nothing waits for who reads: a line that a full pipe would not
take is left out and counted.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeAlias, final

from penstock.core.clock import Clock
from penstock.core.log_line import Level, human_line, json_line, shortened, shown_fields

MOST_A_SECOND: Final = 5
"""Lines of one event in a second; more are counted."""

MOST_LINES_A_SECOND: Final = 50
"""Lines in a second, whatever their events; more are counted."""

PIECE_BYTES: Final = 4096
"""What a pipe takes without waiting, once it takes anything (POSIX's PIPE_BUF is no more)."""

Write: TypeAlias = Callable[[str], bool]
"""Writes a line; False where it could not."""


class Says(Protocol):
    """What takes events: a `Log`, or a fake."""

    def info(self, event: str, **fields: object) -> None:
        """Say what is as it should be."""

    def warning(self, event: str, **fields: object) -> None:
        """Say what somebody should look at."""

    def error(self, event: str, **fields: object) -> None:
        """Say what failed."""


@final
class Log:
    """Says events.

    Args:
        clock: tells the time.
        write: takes the lines; standard error unless given.
        human: for people; asked of standard error unless given.

    Attributes:
        left_out: how many lines were not written.
    """

    def __init__(
        self, clock: Clock, *, write: Write | None = None, human: bool | None = None
    ) -> None:
        self._clock = clock
        self._write = write or to_stderr
        for_people = _is_terminal() if human is None else human
        self._form = human_line if for_people else json_line
        self._bound = _Bound()
        self.left_out = 0

    def info(self, event: str, **fields: object) -> None:
        """Say what is as it should be.

        A field's value may be anything. None is left out; an error is shown with its traceback.
        """
        self.say(Level.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Say what somebody should look at."""
        self.say(Level.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Say what failed."""
        self.say(Level.ERROR, event, fields)

    def say(
        self, level: Level, event: str, fields: Mapping[str, object], *, alike: str = ""
    ) -> None:
        """Say an event; what is `alike` counts as one for how often it is said."""
        now_s = self._clock.now_s()
        if self._bound.has_passed(now_s):
            unsaid, like = self._bound.renewed(now_s)
            if unsaid:
                what = f"{unsaid} more lines were not shown"
                self._line(Level.WARNING, what, {"like": like})
        if self._bound.takes(alike or event):
            self._line(level, event, fields)
        else:
            self.left_out += 1

    def _line(self, level: Level, event: str, fields: Mapping[str, object]) -> None:
        try:
            line = self._form(self._clock.wall_s(), level, shortened(event), shown_fields(fields))
            written = self._write(line)
        except Exception:  # noqa: BLE001 - whoever says something must not fail of that
            written = False
        if not written:
            self.left_out += 1


@final
class _Bound:
    """How much has been said in this second, by what is alike."""

    def __init__(self) -> None:
        self._since_s = float("-inf")
        self._said: dict[str, int] = {}
        self._lines = 0
        self._unsaid = 0
        self._like = ""

    def has_passed(self, now_s: float) -> bool:
        return now_s - self._since_s >= 1.0

    def renewed(self, now_s: float) -> tuple[int, str]:
        """Begin another second; return how much was not said in the last, and the last of it."""
        unsaid = self._unsaid, self._like
        self._since_s = now_s
        self._said.clear()
        self._lines = self._unsaid = 0
        return unsaid

    def takes(self, alike: str) -> bool:
        said = self._said.get(alike, 0)
        if said >= MOST_A_SECOND or self._lines >= MOST_LINES_A_SECOND:
            self._unsaid += 1
            self._like = alike
            return False
        self._said[alike] = said + 1
        self._lines += 1
        return True


def to_stderr(line: str) -> bool:
    """Write a line to standard error, if it can be without waiting.

    A line of up to `PIECE_BYTES` is written whole or not at all; a longer one may be cut off.

    Returns:
        False where it was not written, or not to its end.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or there is none
        content = line.encode(errors="backslashreplace")
        descriptor = _descriptor()
        if descriptor is None:
            sys.stderr.write(content.decode())
            sys.stderr.flush()
            return True
        for start in range(0, len(content), PIECE_BYTES):
            if not _takes_more(descriptor):
                return False
            os.write(descriptor, content[start : start + PIECE_BYTES])
        return True
    return False


def _descriptor() -> int | None:
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError):  # something that only looks like a file
        return None


def _takes_more(descriptor: int) -> bool:
    polled = select.poll()
    polled.register(descriptor, select.POLLOUT)
    return any(events & select.POLLOUT for _, events in polled.poll(0))


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (OSError, ValueError, AttributeError):
        return False
