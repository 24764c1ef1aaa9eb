"""Models in Python whose answers are plain to see: the first value of a row picks a line."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.core.errors import InvalidInput
from tests.gateway import sleepers

Rows = npt.NDArray[Any]

# In binary fractions, so that float arithmetic is exact on every machine.
FLOWER = {1: [0.75, 0.125, 0.125], 2: [0.25, 0.25, 0.5]}
BLOOM = {1: [0.5, 0.25, 0.25], 2: [0.5, 0.375, 0.125]}
ROSE = {1: [0.96875, 0.03125], 2: [0.125, 0.875]}
TULIP = {1: [0.0625, 0.9375], 2: [0.5, 0.5]}
LILY = {1: [0.5, 0.5], 2: [0.5, 0.5]}
PRICE = {1: [12.5], 2: [-3.0]}


def flower(rows: Rows) -> Rows:
    return _picked(FLOWER, rows)


def bloom(rows: Rows) -> Rows:
    return _picked(BLOOM, rows)


def rose(rows: Rows) -> Rows:
    return _picked(ROSE, rows)


def tulip(rows: Rows) -> Rows:
    return _picked(TULIP, rows)


def lily(rows: Rows) -> Rows:
    return _picked(LILY, rows)


def price(rows: Rows) -> Rows:
    return _picked(PRICE, rows)


def wide(rows: Rows) -> Rows:
    """Give a thousand scores a row."""
    return np.tile(rows[:, :1], (1, 1000))


def broken(rows: Rows) -> Rows:
    raise RuntimeError("a secret of the model")


def picky(rows: Rows) -> Rows:
    raise NoSuchFlower(f"no flower is {rows[0, 0]} wide", path="$.data[0][0]")


def garbled(rows: Rows) -> Rows:
    """Refuse with a message that is no text: half a surrogate."""
    raise InvalidInput("no flower is called \ud800", path="$.\ud800")


class NoSuchFlower(InvalidInput):
    """A user's own kind of refusal."""


async def late(rows: Rows) -> Rows:
    """Never answer."""
    sleepers.fell_asleep()
    never: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
    return await never


async def deaf(rows: Rows) -> Rows:
    """Heed nobody who cancels it."""
    while not sleepers.awake():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
    return flower(rows)


def timid(rows: Rows) -> Rows:
    """Answer as `flower` does, but fail for a row that begins with 2."""
    return broken(rows) if (rows[:, 0] == 2).any() else flower(rows)


async def sleepy(rows: Rows) -> Rows:
    """Answer as `flower` does, but never for a row that begins with 2."""
    return await late(rows) if (rows[:, 0] == 2).any() else flower(rows)


def _picked(table: dict[int, list[float]], rows: Rows) -> Rows:
    return np.array([table[int(row[0])] for row in rows])
