"""Something else beside what is to be answered, that must not hold it up when it fails."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from penstock.core.clock import Clock
from penstock.core.drive import Call, Driven, Together

T = TypeVar("T")
U = TypeVar("U")


async def beside(
    main: Coroutine[Any, Any, T], other: Call[U], *, clock: Clock
) -> tuple[T, U | Exception]:
    """Await `main` while another call runs, and then that call until its deadline.

    The other one is started first. Where `main` raises, the other is cancelled at once. Both have
    ended when this returns or raises; cancelling this cancels both.

    Returns:
        What `main` returned, and what the other returned or the exception it raised;
        `DeadlineExceeded` where it was late.

    Raises:
        BaseException: as `main` did.
    """
    driven = Driven(other.coroutine)
    driven.start()
    waiting = Together((other,), clock)
    waiting.add(driven, other.deadline_s)
    try:
        answer = await main
    except BaseException:
        await waiting.cancel_all()
        raise
    if waiting.pending:
        await waiting.wait()
    (outcome,) = waiting.outcomes()
    return answer, outcome
