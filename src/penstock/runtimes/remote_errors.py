"""What a remote model's refusals mean here: from status and body to our own errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from penstock.core.errors import (
    AnswerNotFinite,
    DeadlineExceeded,
    InvalidInput,
    NoLabels,
    NotReady,
    ServingError,
    UpstreamFailed,
    UpstreamShed,
)
from penstock.runtimes.http_terms import Answer

MAX_MESSAGE: Final = 200
"""How many characters of a remote model's message are passed on."""

MAX_PATH: Final = 100
MAX_RETRY_AFTER_S: Final = 3600
MAX_ERROR_BYTES: Final = 64 * 1024
"""A longer error body is not read for its message."""

_ROW: Final = re.compile(r"\$\.data\[(\d{1,9})\]")
_CODE: Final = re.compile(r"[a-z][a-z_]{0,63}")


class Refusal(msgspec.Struct, frozen=True):
    """What the body of an error says.

    Attributes:
        code: of the plain face's errors; empty in others.
        message: in one line; may be empty.
        path: the place in the request's body, where there is one.
    """

    code: str = ""
    message: str = ""
    path: str | None = None


def error_of(model: str, answer: Answer, where: str = "") -> ServingError:
    """Return what an answer other than 200 means.

    Args:
        model: the model's name.
        answer: of the remote.
        where: what was asked, if not a prediction.
    """
    refusal = read_refusal(answer.body)
    said = f": {refusal.message}" if refusal.message else ""
    match answer.status:
        case 400 | 413 | 422:
            return _refused(model, refusal, said)
        case 404 if refusal.code == "no_labels":
            return NoLabels(f"model {model}", "the remote has none; give them in the spec")
        case 503 if refusal.code == "not_ready":
            return NotReady(f"model {model} (the remote{said or ' said so'})")
        case 429 | 503:
            what = refusal.message or f"it answered {answer.status}"
            return UpstreamShed(model, what, _retry_after_s(answer))
        case 504:
            return DeadlineExceeded(f"model {model}, at the remote")
        case status:
            at = f" to {where}" if where else ""
            return UpstreamFailed(model, f"it answered {status}{at}{said}")


def _refused(model: str, refusal: Refusal, said: str) -> ServingError:
    row = _ROW.fullmatch(refusal.path or "")
    if refusal.code == "answer_not_finite" and row is not None:
        return AnswerNotFinite(model, int(row[1]))
    return InvalidInput(f"the remote model {model} refused the input{said}", refusal.path)


def _retry_after_s(answer: Answer) -> int:
    """Return whole seconds; a date, which no model server sends, counts as one second."""
    text = answer.header(b"retry-after") or b""
    digits = text.strip()
    if not digits.isdigit() or len(digits) > len(str(MAX_RETRY_AFTER_S)):
        return 1
    return min(max(1, int(digits)), MAX_RETRY_AFTER_S)


def read_refusal(body: bytes | bytearray) -> Refusal:
    """Return what an error's body says: of the plain face's shape, the protocol's, or neither."""
    if len(body) > MAX_ERROR_BYTES:
        return Refusal()
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Refusal()
    error = content.get("error") if isinstance(content, dict) else None
    if isinstance(error, str):
        return Refusal(message=in_one_line(error))
    return _plain(error) if isinstance(error, dict) else Refusal()


def _plain(error: Mapping[str, Any]) -> Refusal:
    code, message, path = (error.get(key) for key in ("code", "message", "path"))
    return Refusal(
        code=code_of(code),
        message=in_one_line(message) if isinstance(message, str) else "",
        path=path if isinstance(path, str) and 0 < len(path) <= MAX_PATH else None,
    )


def code_of(value: object) -> str:
    """Return an error's code if it has the form of one, else nothing."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) else ""


def in_one_line(text: str) -> str:
    """Return a foreign text so that it can stand in a message: one line, printable, not long."""
    line = " ".join(text[: 4 * MAX_MESSAGE].split())
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 3] + "..."
