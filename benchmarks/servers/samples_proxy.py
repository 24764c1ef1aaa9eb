"""The samples' design for parallel predictors: a proxy that makes a new HTTP client per request.

`BENCH_SERVICES` names the services as `NAME=URL`, separated by commas. `/constant` is no part of
the samples: it answers `BENCH_CONSTANT` without asking anyone, for what the hop itself costs.
"""

import asyncio
import json
import logging
import os
import uuid
from typing import Any

import httpx
from fastapi import FastAPI
from pydantic import BaseModel

logger = logging.getLogger(__name__)

services = dict(pair.split("=", 1) for pair in os.environ["BENCH_SERVICES"].split(","))
constant_answer: dict[str, Any] = json.loads(os.environ.get("BENCH_CONSTANT", "{}"))
app = FastAPI()


class Data(BaseModel):
    """The body of a prediction request."""

    data: list[list[float]] = [[5.1, 3.5, 1.4, 0.2]]


@app.get("/health")
def health() -> dict[str, str]:
    """Says that the process is live."""
    return {"health": "ok"}


@app.post("/predict")
async def predict(data: Data) -> dict[str, Any]:
    """Asks every service at once and answers all of them by name."""
    job_id = str(uuid.uuid4())[:6]
    logger.info(f"POST redirect to: /predict as {job_id}")
    results: dict[str, Any] = {}
    async with httpx.AsyncClient() as client:

        async def ask(service: str, url: str) -> tuple[str, httpx.Response]:
            body = {"data": data.data}
            return service, await client.post(f"{url}/predict", json=body, params={"id": job_id})

        answers = await asyncio.gather(*(ask(name, url) for name, url in services.items()))
        for service, answer in answers:
            logger.info(f"{service} {job_id} {answer.json()}")
            results[service] = answer.json()
    return results


@app.post("/constant")
async def constant(data: Data) -> dict[str, Any]:
    """Answers as `/predict` does, log lines included, and asks no service."""
    job_id = str(uuid.uuid4())[:6]
    logger.info(f"POST redirect to: /predict as {job_id}")
    for service, answer in constant_answer.items():
        logger.info(f"{service} {job_id} {answer}")
    return constant_answer
