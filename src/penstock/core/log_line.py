"""A line of the log: for people, or as one JSON object."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec

MAX_TEXT_CHARACTERS: Final = 16_384
"""Length of one field; the middle of a longer one is left out."""

_MOST_IN_JSON: Final = 2**63 - 1


class Level(StrEnum):
    """How much a line matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def human_line(wall_s: float, level: Level, event: str, fields: Mapping[str, object]) -> str:
    """Return an event as people read it; texts of several lines stand below it."""
    moment = time.strftime("%H:%M:%S", time.localtime(wall_s))
    said = [f"{moment} {level}: {_in_one_line(event)}"]
    below = []
    for name, value in fields.items():
        if isinstance(value, str) and "\n" in value:
            below.append(_printable(value.rstrip("\n")))
        else:
            said.append(_printable(f"{name}={_shown(value)}"))
    return "\n".join([" ".join(said), *below]) + "\n"


def json_line(wall_s: float, level: Level, event: str, fields: Mapping[str, object]) -> str:
    """Return an event as one JSON object."""
    moment = datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds")
    head = {
        "time": moment.replace("+00:00", "Z"),
        "level": str(level),
        "event": event,
        "pid": os.getpid(),
    }
    return _json({**fields, **head} if head.keys() & fields.keys() else {**head, **fields}) + "\n"


def shown_fields(fields: Mapping[str, object]) -> dict[str, object]:
    """Return an event's fields in values that both forms can show; see `Log.info`."""
    given: dict[str, object] = {}
    for name, value in fields.items():
        if isinstance(value, BaseException):
            given[name] = shortened("".join(traceback.format_exception_only(value)).strip())
            given["traceback"] = shortened("".join(traceback.format_exception(value)))
        elif value is not None:
            given[name] = _plain(value)
    return given


def _plain(value: object) -> object:
    """Return what both forms can show, whatever it was."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _MOST_IN_JSON else str(value)
    if isinstance(value, str):
        return shortened(value)
    if isinstance(value, Mapping):
        return {_text(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    return shortened(_text(value))


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a user's own object: the log must go on
        return f"<{type(value).__name__}>"


def shortened(text: str) -> str:
    """Return the text without its middle, where it is too long."""
    left = len(text) - MAX_TEXT_CHARACTERS
    if left <= 0:
        return text
    half = MAX_TEXT_CHARACTERS // 2
    return f"{text[:half]}\n... {left} characters left out ...\n{text[-half:]}"


def _in_one_line(text: str) -> str:
    return _printable(" ".join(text.split()))


def _printable(text: str) -> str:
    """Return the text without what would move a terminal's cursor, or worse."""
    return "".join(one if one.isprintable() or one in "\n\t" else ascii(one)[1:-1] for one in text)


def _shown(value: object) -> str:
    if isinstance(value, str) and value and value.isprintable() and not set(value) & set(' "='):
        return value
    return _json(value)


def _json(value: object) -> str:
    return msgspec.json.encode(_utf8(value)).decode()


def _utf8(value: object) -> object:
    """Return the value with half surrogates, which no UTF-8 can hold, written as escapes."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_utf8(name): _utf8(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_utf8(one) for one in value]
    return value
