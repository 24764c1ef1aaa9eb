"""Time as a value that is passed in: whatever decides by the time is given a clock."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Protocol, final


class Timer(Protocol):
    """What `Clock.call_at` gives back: a call that can still be taken back."""

    def cancel(self) -> None:
        """Take the call back; does nothing if it has already been made."""


class Clock(Protocol):
    """Two readings and one alarm.

    `now_s` is monotonic seconds since some fixed moment: deadlines are instants of it.
    `wall_s` is seconds since the epoch, for records that people read.
    """

    def now_s(self) -> float:
        """Return monotonic seconds."""

    def wall_s(self) -> float:
        """Return seconds since the epoch."""

    def call_at(self, when_s: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` on the running loop once `now_s()` has reached `when_s`."""


class SystemClock:
    """The machine's clock, and the timers of the event loop that it is first used on.

    Most alarms are taken back within the very pass of the loop that set them: what they guard has
    been answered. So an alarm reaches the loop, where a timer is dear, only after that pass.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._new: list[_Alarm] = []
        # The very functions, not methods around them: the hot path reads the clock a lot.
        self.now_s: Callable[[], float] = time.monotonic
        self.wall_s: Callable[[], float] = time.time

    def call_at(self, when_s: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` on the running loop once `now_s()` has reached `when_s`."""
        if self._loop is None:  # looked up once: a look-up is a system call
            self._loop = asyncio.get_running_loop()
        if not self._new:
            self._loop.call_soon(self._set_new)
        alarm = _Alarm(when_s, callback)
        self._new.append(alarm)
        return alarm

    def _set_new(self) -> None:
        alarms, self._new = self._new, []
        for alarm in alarms:
            if alarm.callback is not None:
                assert self._loop is not None
                alarm.set(self._loop, alarm.when_s - self.now_s())


@final
class _Alarm:
    __slots__ = ("_timer", "callback", "when_s")

    def __init__(self, when_s: float, callback: Callable[[], None]) -> None:
        self.when_s = when_s
        self.callback: Callable[[], None] | None = callback
        self._timer: asyncio.Handle | None = None

    def set(self, loop: asyncio.AbstractEventLoop, left_s: float) -> None:
        assert self.callback is not None
        if left_s <= 0.0:
            self._timer = loop.call_soon(self.callback)
        else:
            # uvloop counts in whole milliseconds: it rounds, and may be one more too early.
            self._timer = loop.call_later((math.ceil(left_s * 1000.0) + 1) / 1000.0, self.callback)

    def cancel(self) -> None:
        """Take the call back."""
        self.callback = None
        if self._timer is not None:
            self._timer.cancel()
