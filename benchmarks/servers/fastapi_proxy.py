"""The tidy proxy: FastAPI and pydantic on uvicorn, and one aiohttp session for the process.

`BENCH_SERVICES` names the services as `NAME=URL`, separated by commas; one service's answer is
passed on as it is, several are put together by name. `/constant` answers `BENCH_CONSTANT` without
asking anyone.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from fastapi import FastAPI, Request
from pydantic import BaseModel

SERVICES: Final = dict(pair.split("=", 1) for pair in os.environ["BENCH_SERVICES"].split(","))
CONSTANT: Final[dict[str, Any]] = json.loads(os.environ["BENCH_CONSTANT"])


class Data(BaseModel):
    """The body of a prediction request."""

    data: list[list[float]]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keeps one session while the app runs."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        app.state.session = session
        yield


app = FastAPI(lifespan=lifespan)


async def ask(session: aiohttp.ClientSession, url: str, data: Data) -> dict[str, Any]:
    """Asks one service."""
    async with session.post(f"{url}/predict", json={"data": data.data}) as answer:
        answer.raise_for_status()
        decoded: dict[str, Any] = await answer.json()
        return decoded


@app.get("/health")
async def health() -> dict[str, str]:
    """Says that the process is live."""
    return {"health": "ok"}


@app.post("/predict")
async def predict(data: Data, request: Request) -> dict[str, Any]:
    """Asks every service at once."""
    session: aiohttp.ClientSession = request.app.state.session
    if len(SERVICES) == 1:
        return await ask(session, next(iter(SERVICES.values())), data)
    answers = await asyncio.gather(*(ask(session, url, data) for url in SERVICES.values()))
    return dict(zip(SERVICES, answers, strict=True))


@app.post("/constant")
async def constant(data: Data) -> dict[str, Any]:
    """Answers without asking anyone."""
    return CONSTANT if data.data else {}
