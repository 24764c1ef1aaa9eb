from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support import nothing_loose


@pytest_asyncio.fixture(autouse=True)
async def _nothing_loose() -> AsyncIterator[None]:
    """Let no pattern leave a Task, or an error that nobody has looked at."""
    async with nothing_loose():
        yield
