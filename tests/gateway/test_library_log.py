"""What libraries log goes through our log, as often as that allows."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from penstock.core.log import MOST_A_SECOND, Log
from penstock.gateway.library_log import LibraryLog, libraries_logged
from tests.support import ManualClock


class Lines:
    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def __call__(self, line: str) -> bool:
        self.said.append(json.loads(line))
        return True


@pytest.fixture
def lines() -> Iterator[Lines]:
    lines = Lines()
    with libraries_logged(Log(ManualClock(), write=lines, human=False)):
        yield lines


LIBRARY = logging.getLogger("a.library")


def test_a_record_is_an_event(lines: Lines) -> None:
    LIBRARY.warning("%s is %d", "it", 7)
    (said,) = lines.said
    assert (said["level"], said["event"], said["logger"]) == ("warning", "it is 7", "a.library")


@pytest.mark.parametrize(
    ("level", "word"),
    [(logging.CRITICAL, "error"), (logging.ERROR, "error"), (logging.WARNING, "warning")],
)
def test_levels(lines: Lines, level: int, word: str) -> None:
    LIBRARY.log(level, "x")
    assert [said["level"] for said in lines.said] == [word]


def test_what_is_below_the_level_is_not_said(lines: Lines) -> None:
    LIBRARY.info("x")
    assert lines.said == []


def test_another_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "a.library")
    lines = Lines()
    with libraries_logged(Log(ManualClock(), write=lines, human=False), logging.INFO):
        LIBRARY.info("x")
    assert [said["level"] for said in lines.said] == ["info"]


def test_nobody_can_fill_the_log(lines: Lines) -> None:
    """As uvicorn says of every request that is no HTTP, and of whom it came from."""
    for i in range(MOST_A_SECOND + 10):
        LIBRARY.warning("Invalid HTTP request received from %s.", i)
    assert len(lines.said) == MOST_A_SECOND


def test_an_error_comes_with_its_traceback(lines: Lines) -> None:
    try:
        raise KeyError("missing")
    except KeyError:
        LIBRARY.exception("failed")
    (said,) = lines.said
    assert said["error"] == "KeyError: 'missing'"
    assert "test_library_log.py" in said["traceback"]


def test_a_record_that_cannot_be_filled_in_is_said_as_it_is() -> None:
    lines = Lines()
    record = LIBRARY.makeRecord("it", logging.WARNING, "", 0, "%s and %s", ("one only",), None)
    LibraryLog(Log(ManualClock(), write=lines, human=False)).handle(record)
    assert [said["event"] for said in lines.said] == ["%s and %s"]


def test_afterwards_all_is_as_before() -> None:
    before = logging.getLogger().handlers[:]
    with libraries_logged(Log(ManualClock())):
        assert len(logging.getLogger().handlers) == len(before) + 1
    assert logging.getLogger().handlers == before
