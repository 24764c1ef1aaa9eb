"""What the log says of requests that failed, read back."""

from __future__ import annotations

import json

from msgspec import Struct


class Fault(Struct, frozen=True):
    """One line of the log.

    Attributes:
        request_id: whose.
        traceback: why, with its causes.
    """

    request_id: str
    traceback: str


def faults(said: str) -> list[Fault]:
    """Return all faults of requests that standard error was told of."""
    lines = [json.loads(line) for line in said.splitlines()]
    assert {line["event"] for line in lines} <= {"request failed"}
    return [Fault(line["request_id"], line["traceback"]) for line in lines]
