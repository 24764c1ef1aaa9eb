"""Remote models: opens what is served elsewhere as a predictor.

    request ──▶ rows checked ──▶ encoded ──▶ pool ──▶ replica ──▶ decoded ──▶ response

A start never waits for the network: the model is open at once, and what it takes and gives is asked
for in the background, again and again; until it is known, requests are answered `NotReady`. Time
left, request id, seed and trace go along; nothing else of the caller's does.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from penstock.core.clock import Clock
from penstock.core.errors import (
    ModelFileError,
    ServingError,
)
from penstock.core.model import ModelSource
from penstock.core.predictor import Description, Health, OpenModel
from penstock.core.rows import ANY_ROWS
from penstock.core.values import AnswerKind
from penstock.runtimes.describe import sample_rows
from penstock.runtimes.http_address import Address, parse_address
from penstock.runtimes.http_pool import Pool
from penstock.runtimes.http_terms import OK, PoolLimits
from penstock.runtimes.open_inference import fetch_open_inference, model_address
from penstock.runtimes.plain_protocol import fetch_plain
from penstock.runtimes.remote_predictor import RemotePredictor
from penstock.runtimes.remote_watch import Watch

_USUAL: Final = PoolLimits()


@asynccontextmanager
async def open_remote(
    source: ModelSource, /, *, clock: Clock, limits: PoolLimits = _USUAL
) -> AsyncIterator[OpenModel]:
    """Yield a model that is served elsewhere as a predictor, at once.

    Args:
        source: from the spec, with `urls`.
        clock: tells the time.
        limits: of the pool.

    Raises:
        ModelFileError: an address is none, or the spec's sample is no rows.
    """
    addresses = _addresses(source)
    unknown = Description(
        source.name,
        AnswerKind.SCORES,
        labels=source.labels,
        sample=sample_rows(source, ANY_ROWS),
        source=source.name,
        known=False,
    )
    tls = None
    if any(address.tls for address in addresses):
        tls = await asyncio.to_thread(ssl.create_default_context)  # reads the system's certificates
    pool = Pool(source.name, addresses, clock=clock, tls=tls, limits=limits)
    predictor = RemotePredictor(source.name, pool=pool, clock=clock)
    fetch = fetch_open_inference if source.protocol == "oip" else fetch_plain
    ask = partial(fetch, source, pool)
    watch = Watch(ask, unknown, predictor, replicas=pool.size, clock=clock)
    watching = asyncio.get_running_loop().create_task(watch.run())
    try:
        path = "/ready" if source.protocol == "oip" else "/health"
        yield OpenModel(
            predictor,
            unknown,
            _health(pool, path, clock),
            _running(source),
            follow=watch.follow,
            pool=pool.counts,
        )
    finally:
        predictor.close()
        watching.cancel()
        await asyncio.wait([watching])
        await pool.close()


def _addresses(source: ModelSource) -> list[Address]:
    addresses = []
    for url in source.urls:
        try:
            address = parse_address(url)
        except ValueError as error:
            raise ModelFileError(source.name, "url", str(error)) from error
        oip = source.protocol == "oip"
        addresses.append(model_address(address, source.name) if oip else address)
    if not addresses:
        raise ModelFileError(source.name, "url", "there is none; give host:port or a URL")
    return addresses


def _running(source: ModelSource) -> str:
    count = len(source.urls)
    return f"remote, {source.protocol}" + (f", {count} replicas" if count > 1 else "")


def _health(pool: Pool, path: str, clock: Clock) -> Health:
    target = pool.target("GET", path)

    async def health(deadline_s: float) -> bool:
        """Ask one replica after the other, each with its share of the time, until one is well."""
        for index in range(pool.size):
            left_s = deadline_s - clock.now_s()
            until_s = deadline_s - left_s * (1 - 1 / (pool.size - index))
            try:
                answer = await pool.ask(target, b"", b"", until_s, index)
            except ServingError:
                continue
            if answer.status == OK:
                return True
        return False

    return health
