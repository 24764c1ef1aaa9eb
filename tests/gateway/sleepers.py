"""Lets a test's clock run on when a model of `gateway_callables` has fallen asleep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_waking: list[Callable[[], None]] = []


@contextmanager
def waking(wake: Callable[[], None]) -> Iterator[None]:
    """Have `wake` called on the loop, each time that a model has fallen asleep."""
    _waking.append(wake)
    try:
        yield
    finally:
        _waking.remove(wake)


def fell_asleep() -> None:
    """Say that a model never answers."""
    for wake in _waking:
        asyncio.get_running_loop().call_soon(wake)


_deaf: list[Callable[[], None]] = []


@contextmanager
def deaf() -> Iterator[Callable[[], None]]:
    """Have `gateway_callables.deaf` run on until what this yields is called, or it is left."""
    _deaf.append(_deaf.clear)
    try:
        yield _deaf.clear
    finally:
        _deaf.clear()


def awake() -> bool:
    """Tell whether nobody wants it to run on."""
    return not _deaf
