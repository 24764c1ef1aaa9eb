"""Opening remote models for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import Struct

from penstock.core.clock import Clock, SystemClock
from penstock.core.model import ModelSource
from penstock.core.predictor import Description, OpenModel
from penstock.core.values import InferenceRequest
from penstock.runtimes.http_terms import PoolCounts, PoolLimits
from penstock.runtimes.remote import open_remote
from penstock.runtimes.remote_predictor import RemotePredictor
from tests.support import IRIS

PATIENCE_S: Final = 20.0
"""For a machine that is slow; what is waited for is there much sooner."""

SMALL: Final = PoolLimits(connections=8, waiting=64, answer_bytes=200_000)


async def until(condition: Callable[[], bool]) -> None:
    """Return once it is so; the loop goes on meanwhile."""
    while not condition():  # noqa: ASYNC110 - what is looked at tells nobody
        await asyncio.sleep(0)


def remote_source(*urls: str, **options: Any) -> ModelSource:  # noqa: ANN401 - ModelSource's own
    """Return the source of a remote model `svc`."""
    return ModelSource(name="svc", folder=Path(), urls=urls, **options)


class Opened(Struct, frozen=True):
    """A remote model that is open.

    Attributes:
        model: as its runtime yields it.
        clock: by which deadlines are set.
        told: what its listener has been told, the newest last.
    """

    model: OpenModel
    clock: Clock
    told: list[Description]

    @property
    def predictor(self) -> RemotePredictor:
        assert isinstance(self.model.predict, RemotePredictor)
        return self.model.predict

    def counts(self) -> PoolCounts:
        return self.predictor.pool.counts()

    def request(
        self,
        *rows: Sequence[float],
        within_s: float = PATIENCE_S,
        labelled: bool = False,
        traceparent: str = "",
    ) -> InferenceRequest:
        """Return a request, due `within_s` from now."""
        data = np.array(rows or (IRIS,), dtype=np.float32)
        deadline_s = self.clock.now_s() + within_s
        return InferenceRequest(
            "a-request", "iris", {"data": data}, deadline_s, 7, labelled, traceparent=traceparent
        )


@asynccontextmanager
async def opened(
    source: ModelSource, *, limits: PoolLimits = SMALL, known: bool = True
) -> AsyncIterator[Opened]:
    """Open a remote model and, if it is to be `known`, wait until it is."""
    clock = SystemClock()
    told: list[Description] = []
    first = asyncio.Event()

    def listen(description: Description) -> None:
        told.append(description)
        first.set()

    async with open_remote(source, clock=clock, limits=limits) as model:
        assert model.follow is not None
        model.follow(listen)
        if known:
            await asyncio.wait_for(first.wait(), PATIENCE_S)
        yield Opened(model, clock, told)
