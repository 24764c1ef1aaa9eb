"""The operators' face: is the process live, is it ready."""

from __future__ import annotations

from penstock.gateway.exchange import Exchange
from penstock.gateway.paths import PathTable


def serve_operations(table: PathTable, prefix: str) -> None:
    """Put the operators' endpoints into the table, below `prefix`."""
    table.add("GET", f"{prefix}/health", health)
    table.add("GET", f"{prefix}/health/ready", ready)


async def health(exchange: Exchange) -> None:
    """`GET /health`: the process is live."""
    await exchange.answer(200, b'{"health":"ok"}')


async def ready(exchange: Exchange) -> None:
    """`GET /health/ready`: the spec is applied and all its local models are open.

    A gateway that is not open yet answers 503 at every path.
    """
    await exchange.answer(200, b'{"health":"ok"}')
