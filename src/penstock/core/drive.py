"""Driving coroutines without a Task.

A coroutine that finishes at its first step needs no asyncio Task, and one that waits for a future
needs only somebody to step it again when that future is done. A Task costs ten microseconds and a
`gather` of three some thirty; stepping costs one. So patterns use `within` and `together`, and no
`asyncio.timeout`, `TaskGroup`, `gather` or `current_task`.

What is driven may await promises (`promise.py`), futures, and anything built on them. What needs a
current Task (`asyncio.timeout`, most client libraries) is wrapped in a Task by the runtime that
calls it. A context variable that it sets after its first wait is not seen by who awaits it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast, final

from msgspec import Struct

from penstock.core.clock import Clock, Timer
from penstock.core.errors import DeadlineExceeded
from penstock.core.promise import Promise

T = TypeVar("T")

Awaited: TypeAlias = asyncio.Future[Any] | Promise[Any] | None

_UNSTARTED: Final = object()


@final
class Driven(Generic[T]):
    """A coroutine that is stepped here and resumed by the futures it awaits.

    Args:
        coroutine: not started yet, or waiting for `awaited`.
        awaited: the future that its last step gave.
    """

    __slots__ = ("_cancelling", "_coroutine", "_on_done", "_result", "done", "error", "waiting_for")

    def __init__(
        self, coroutine: Coroutine[Any, Any, T], awaited: Awaited | object = _UNSTARTED
    ) -> None:
        self._coroutine = coroutine
        self._on_done: Callable[[], None] | None = None
        self._cancelling = False
        self._result: T | None = None
        self.done = False
        self.error: BaseException | None = None
        self.waiting_for: Awaited = None  # as a Task's own _fut_waiter
        if awaited is not _UNSTARTED:
            self._await(cast("Awaited", awaited))

    def start(self) -> bool:
        """Take the first step; return whether the coroutine is done already."""
        self._step()
        return self.done

    def result(self) -> T:
        """Return what the coroutine returned, or raise what it raised; it must be done."""
        if self.error is not None:
            raise self.error
        return cast("T", self._result)

    def when_done(self, on_done: Callable[[], None]) -> None:
        """Have `on_done` called once, after the last step; the coroutine must not be done yet."""
        self._on_done = on_done

    def cancel(self) -> None:
        """Cancel as a Task would: what is awaited first, else at the next step."""
        if self.done:
            return
        if self.waiting_for is not None and self.waiting_for.cancel():
            return
        self._cancelling = True

    def _resume(self, awaited: object = None) -> None:
        self.waiting_for = None
        self._step()
        if self.done and self._on_done is not None:
            on_done, self._on_done = self._on_done, None  # leaves no cycle behind
            on_done()

    def _step(self) -> None:
        try:
            if self._cancelling:
                self._cancelling = False
                awaited = self._coroutine.throw(asyncio.CancelledError())
            else:
                awaited = self._coroutine.send(None)
        except StopIteration as stop:
            self._result = stop.value
            self.done = True
        except BaseException as error:  # noqa: BLE001 - kept, and raised again by result()
            self.error = error
            self.done = True
        else:
            self._await(awaited)

    def _await(self, awaited: Awaited) -> None:
        self.waiting_for = awaited
        if type(awaited) is Promise:
            awaited.wake(self._resume)
        elif awaited is None:  # a bare yield, as in asyncio.sleep(0): one turn of the loop
            asyncio.get_running_loop().call_soon(self._resume)
            return
        elif getattr(awaited, "_asyncio_future_blocking", None) is None:
            self._coroutine.close()
            self.waiting_for = None
            self.error = RuntimeError(f"awaited {awaited!r}, which is no asyncio future")
            self.done = True
            return
        else:
            awaited._asyncio_future_blocking = False  # noqa: SLF001 - as a Task does
            awaited.add_done_callback(self._resume)
        if self._cancelling and awaited.cancel():
            self._cancelling = False


class Call(Struct, Generic[T]):
    """One of the calls of `together`.

    Attributes:
        name: for the error that says it was late.
        coroutine: not started yet.
        deadline_s: instant at which it is cancelled.
    """

    name: str
    coroutine: Coroutine[Any, Any, T]
    deadline_s: float


async def within(
    deadline_s: float, coroutine: Coroutine[Any, Any, T], *, clock: Clock, name: str
) -> T:
    """Await `coroutine`, cancelling it at `deadline_s`.

    One that finishes at its first step costs next to nothing, and its deadline is not looked at.

    Raises:
        DeadlineExceeded: the deadline passed; the coroutine has been cancelled and has ended.
    """
    try:
        awaited = coroutine.send(None)
    except StopIteration as stop:
        finished: T = stop.value
        return finished
    waiting = Together((Call(name, coroutine, deadline_s),), clock)
    waiting.add(Driven(coroutine, awaited), deadline_s)
    if waiting.pending:
        await waiting.wait()
    (outcome,) = waiting.outcomes()
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


async def together(calls: Sequence[Call[T]], *, clock: Clock) -> list[T | Exception]:
    """Run the calls side by side, each until its own deadline.

    Calls are started in order; those that never wait run one after the other. All have ended when
    this returns: a late one has been cancelled and counts as `DeadlineExceeded`. Cancelling this
    cancels them all.

    Returns:
        For each call, in order, what it returned or the exception it raised.
    """
    running = Together(calls, clock)
    running.start_all()
    if running.pending:
        await running.wait()
    return running.outcomes()


@final
class Together(Generic[T]):
    """Waits for calls that run side by side; `together`, `within` and `beside` are made of it.

    Args:
        calls: what they are.
        clock: tells the time and wakes.

    Attributes:
        pending: how many have not ended.
    """

    __slots__ = (
        "_calls", "_clock", "_driven", "_earliest_s", "_late", "_timer", "_wake", "pending",
    )  # fmt: skip

    def __init__(self, calls: Sequence[Call[T]], clock: Clock) -> None:
        self._calls = calls
        self._clock = clock
        self._driven: list[Driven[T]] = []
        self._late: set[int] = set()
        self.pending = 0
        self._earliest_s = float("inf")
        self._wake: Promise[None] | None = None
        self._timer: Timer | None = None

    def start_all(self) -> None:
        """Have each take its first step, in order; one whose time has passed takes none."""
        now_s = self._clock.now_s
        for i, call in enumerate(self._calls):
            driven = Driven(call.coroutine)
            if call.deadline_s <= now_s():
                self._late.add(i)
                self._driven.append(driven)
                call.coroutine.close()
                continue
            driven.start()
            self.add(driven, call.deadline_s)

    def add(self, driven: Driven[T], deadline_s: float) -> None:
        """Look after a call that has taken its first step."""
        self._driven.append(driven)
        if not driven.done:
            self.pending += 1
            driven.when_done(self._one_done)
            if deadline_s < self._earliest_s:
                self._earliest_s = deadline_s

    def outcomes(self) -> list[T | Exception]:
        """Return what each call came to; all have ended."""
        if not self._late:
            return [self._outcome(driven) for driven in self._driven]
        return [self._late_or_outcome(i, driven) for i, driven in enumerate(self._driven)]

    async def wait(self) -> None:
        """Wait until all have ended, cancelling what is late."""
        self._timer = self._clock.call_at(self._earliest_s, self._on_time)
        self._wake = self._promise()
        try:
            await self._wake
        except asyncio.CancelledError:
            await self.cancel_all()
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _promise(self) -> Promise[None]:
        """Make a promise on the loop of what is waited for: to look up the running one is dear."""
        for driven in self._driven:
            if driven.waiting_for is not None:
                return Promise(driven.waiting_for.get_loop())
        return Promise(asyncio.get_running_loop())

    async def cancel_all(self) -> None:
        """Cancel all, again each time that this is cancelled, until they have ended."""
        while True:
            for driven in self._driven:
                driven.cancel()
            try:
                if self.pending:
                    self._wake = self._promise()
                    await self._wake
            except asyncio.CancelledError:
                continue
            return

    def _one_done(self) -> None:
        self.pending -= 1
        if not self.pending and self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _on_time(self) -> None:
        """Cancel what is late; set the timer for the earliest deadline that can still be missed."""
        now_s = self._clock.now_s()
        earliest_s = float("inf")
        for i, (call, driven) in enumerate(zip(self._calls, self._driven, strict=True)):
            if driven.done or i in self._late:
                continue
            if call.deadline_s <= now_s:
                self._late.add(i)
                driven.cancel()
            else:
                earliest_s = min(earliest_s, call.deadline_s)
        waits = earliest_s < float("inf")
        self._timer = self._clock.call_at(earliest_s, self._on_time) if waits else None

    def _late_or_outcome(self, i: int, driven: Driven[T]) -> T | Exception:
        if i in self._late and (driven.error is not None or not driven.done):
            return DeadlineExceeded(self._calls[i].name)
        return self._outcome(driven)

    @staticmethod
    def _outcome(driven: Driven[T]) -> T | Exception:
        error = driven.error
        if error is None:
            return driven.result()
        if isinstance(error, Exception):
            return error
        raise error
