"""Asking a disk that may hang: it holds up neither the loop nor the end of the process.

A thread that waits for such a disk cannot be ended. So nobody joins it, and there is one at most:
while it has not come back, whatever else is asked is refused at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar, final

from penstock.core.clock import Clock

ANSWER_S: Final = 10.0
"""How long the disk that the spec lies on may take to answer."""

T = TypeVar("T")


class DiskHangs(Exception):
    """The disk has not answered, now or before; the text says which."""


@final
class Disk:
    """Asks a disk one thing at a time, each in a thread of its own.

    Args:
        clock: tells when an answer is late.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asking = False

    async def ask(self, what: Callable[[], T]) -> T:
        """Return what a function returns, or raise what it raises.

        Raises:
            DiskHangs: it has not come back in time, or an earlier one has not come back yet.
        """
        if self._asking:
            raise DiskHangs("the disk has not answered what it was asked before")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        late = DiskHangs(f"the disk has not answered within {ANSWER_S:g} s")
        timer = self._clock.call_at(self._clock.now_s() + ANSWER_S, partial(_fail, answer, late))
        try:
            threading.Thread(target=self._work, args=(what, answer), daemon=True).start()
            self._asking = True
            return await answer
        finally:
            timer.cancel()

    def _work(self, what: Callable[[], T], answer: asyncio.Future[T]) -> None:
        try:
            value = what()
        except Exception as error:  # noqa: BLE001 - who waits for it is told
            tell = partial(_fail, answer, error)
        else:
            tell = partial(_answer, answer, value)
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            answer.get_loop().call_soon_threadsafe(self._back, tell)

    def _back(self, tell: Callable[[], None]) -> None:
        self._asking = False
        tell()


def _answer(answer: asyncio.Future[Any], value: object) -> None:
    if not answer.done():
        answer.set_result(value)


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
