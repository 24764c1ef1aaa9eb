"""An answer to come, that costs less than a future.

An asyncio future wakes who awaits it through the loop: a handle, a context and a turn of the loop
for each. A promise wakes a driven coroutine (`drive.py`) at once, in the call that keeps it; a Task
it wakes as a future would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, Final, Generic, TypeVar, final

T = TypeVar("T")

_TO_COME: Final = object()


@final
class Promise(Generic[T]):
    """A result or an error to come, awaited by one coroutine at most.

    It follows the protocol between asyncio's futures and Tasks (`_asyncio_future_blocking`,
    `get_loop`, `add_done_callback`), so that either kind of caller may await it.

    Args:
        loop: the loop of who awaits it.
    """

    __slots__ = ("_asyncio_future_blocking", "_error", "_loop", "_result", "_wake")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._result: object = _TO_COME
        self._error: BaseException | None = None
        self._wake: Callable[[], object] | None = None

    def done(self) -> bool:
        """Tell whether there is a result or an error."""
        return self._result is not _TO_COME or self._error is not None

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop of who awaits it."""
        return self._loop

    def result(self) -> T:
        """Return the result, or raise the error.

        Raises:
            asyncio.InvalidStateError: there is neither yet.
        """
        if self._error is not None:
            raise self._error
        if self._result is _TO_COME:
            raise asyncio.InvalidStateError("the promise has not been kept yet")
        return self._result  # type: ignore[return-value]  # _TO_COME has just been ruled out

    def set_result(self, result: T) -> None:
        """Keep the promise; a driven coroutine that awaits it goes on within this call."""
        assert not self.done(), "a promise is kept once"
        self._result = result
        self._wake_up()

    def set_exception(self, error: BaseException) -> None:
        """Break the promise; a driven coroutine that awaits it goes on within this call."""
        assert not self.done(), "a promise is kept once"
        self._error = error
        self._wake_up()

    def _wake_up(self) -> None:
        if self._wake is not None:
            wake, self._wake = self._wake, None  # leaves no cycle behind
            wake()

    def cancel(self, msg: object = None) -> bool:
        """Break the promise with `CancelledError`; who awaits it goes on on a later turn.

        Returns:
            False if it has been kept or broken already.
        """
        if self.done():
            return False
        self._error = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        if self._wake is not None:
            self._loop.call_soon(self._wake)
        return True

    def wake(self, resume: Callable[[], object]) -> None:
        """Have `resume` called when the promise is kept or broken; it must not be so yet."""
        self._wake = resume

    def add_done_callback(
        self, callback: Callable[[Any], object], *, context: Context | None = None
    ) -> None:
        """Have `callback` called on a later turn of the loop, as a future would."""

        def resume() -> None:
            self._loop.call_soon(callback, self, context=context)

        if self.done():
            resume()
        else:
            self._wake = resume

    def __await__(self) -> Generator[Any, None, T]:
        if not self.done():
            self._asyncio_future_blocking = True
            yield self
        return self.result()
