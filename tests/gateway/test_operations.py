"""Live and ready, at the root and below every route."""

from __future__ import annotations

import pytest

from tests.gateway.asking import ask
from tests.gateway.opening import FLOWER, open_gateway


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/iris/health", "/iris/health/ready"])
@pytest.mark.parametrize("default", ["", "default: iris\n"])
async def test_is_live_and_ready(path: str, default: str) -> None:
    async with open_gateway(FLOWER + default) as gateway:
        answer = await ask(gateway, "GET", path)
        assert (answer.status, answer.content) == (200, b'{"health":"ok"}')


async def test_without_a_default_route_the_root_has_nothing_else() -> None:
    async with open_gateway(FLOWER) as gateway:
        assert (await ask(gateway, "POST", "/predict")).status == 404
        assert (await ask(gateway, "GET", "/health/all")).status == 404
