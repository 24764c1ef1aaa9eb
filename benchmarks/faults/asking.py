"""Asks the gateway from several threads, and says what each request was answered."""

import http.client
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.calls import fan_out_call
from benchmarks.server import HOST, alike

ABREAST: Final = 10
PATIENCE_S: Final = 30.0
RIGHT: Final = "right"
WRONG: Final = "WRONG"
MISSING: Final = "MISSING"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered, and after how long; status 0 where it was not."""

    status: int
    took_ms: float
    arms: dict[str, str]
    """For each arm `right`, or the code of its error."""


def arm_state(expected: Any, answered: Any) -> str:  # noqa: ANN401 - any JSON
    """What became of one arm: right, wrong, or the code of its error."""
    match answered:
        case {"error": {"code": str(code)}}:
            return code
        case None:
            return MISSING
        case _ if alike(expected, answered):
            return RIGHT
        case _:
            return WRONG


class Caller:
    """One caller over one kept connection."""

    def __init__(self, port: int, deadline_ms: float) -> None:
        self.connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE_S)
        self.headers = {"Content-Type": "application/json", "x-timeout-ms": f"{deadline_ms:g}"}
        self.call = fan_out_call()

    def ask(self) -> Answer:
        """Asks once for all arms."""
        began_s = time.perf_counter()
        try:
            self.connection.request("POST", self.call.path, self.call.body, self.headers)
            response = self.connection.getresponse()
            content = response.read()
            status = response.status
        except (OSError, http.client.HTTPException):
            self.connection.close()
            return Answer(0, (time.perf_counter() - began_s) * 1e3, {})
        took_ms = (time.perf_counter() - began_s) * 1e3
        decoded = json.loads(content)
        if status != 200:
            return Answer(status, took_ms, {"(all)": str(decoded["error"]["code"])})
        arms = {
            name: arm_state(answer, decoded.get(name)) for name, answer in self.call.answer.items()
        }
        return Answer(status, took_ms, arms)

    def ask_often(self, times: int) -> list[Answer]:
        """Asks one time after the other."""
        answers = [self.ask() for _ in range(times)]
        self.connection.close()
        return answers


def ask_all(port: int, deadline_ms: float, requests: int) -> list[Answer]:
    """Sends so many requests, ten at a time."""
    callers = [Caller(port, deadline_ms) for _ in range(ABREAST)]
    with ThreadPoolExecutor(ABREAST) as threads:
        each = list(threads.map(lambda caller: caller.ask_often(requests // ABREAST), callers))
    return [answer for answers in each for answer in answers]


@dataclass(frozen=True, slots=True)
class Healths:
    """What `/health/all` says, and after how long."""

    status: int
    took_ms: float
    arms: dict[str, str]


def ask_health(port: int) -> Healths:
    """Asks for the health of all arms."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE_S)
    began_s = time.perf_counter()
    try:
        connection.request("GET", "/health/all")
        response = connection.getresponse()
        decoded = json.loads(response.read())
    finally:
        connection.close()
    took_ms = (time.perf_counter() - began_s) * 1e3
    return Healths(response.status, took_ms, {arm: one["health"] for arm, one in decoded.items()})


def counted(words: Sequence[str]) -> str:
    """Words with their numbers: `98 x right, 2 x late`."""
    return ", ".join(f"{words.count(word)} x {word}" for word in dict.fromkeys(words))
