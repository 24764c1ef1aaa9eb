"""The log: how often what is said, and that it neither fails nor waits."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from penstock.core.log import MOST_A_SECOND, MOST_LINES_A_SECOND, PIECE_BYTES, Log, to_stderr
from penstock.core.log_line import Level
from tests.support import ManualClock


class Lines:
    """Takes lines, or does not."""

    def __init__(self, *, takes: bool = True) -> None:
        self.said: list[str] = []
        self.takes = takes

    def __call__(self, line: str) -> bool:
        if self.takes:
            self.said.append(line)
        return self.takes

    def events(self) -> list[str]:
        """Return what has been said since the last time."""
        events = [json.loads(line)["event"] for line in self.said]
        self.said.clear()
        return events


def test_each_level_says_its_own() -> None:
    lines = Lines()
    log = Log(ManualClock(), write=lines, human=False)
    log.info("began", n=1)
    log.warning("odd")
    log.error("failed")
    said = [json.loads(line) for line in lines.said]
    assert [(one["level"], one["event"]) for one in said] == [
        ("info", "began"),
        ("warning", "odd"),
        ("error", "failed"),
    ]
    assert said[0]["n"] == 1
    assert log.left_out == 0


def test_for_people() -> None:
    lines = Lines()
    Log(ManualClock(), write=lines, human=True).info("began", n=1)
    (line,) = lines.said
    assert line.endswith(" info: began n=1\n")


# --- how often ---------------------------------------------------------------------------


def test_an_event_is_said_so_often_a_second_and_the_rest_is_counted() -> None:
    lines, clock = Lines(), ManualClock()
    log = Log(clock, write=lines, human=False)
    for _ in range(MOST_A_SECOND + 3):
        log.error("failed")
        clock.advance(0.0625)
    log.error("something else")
    assert lines.events() == ["failed"] * MOST_A_SECOND + ["something else"]
    assert log.left_out == 3

    clock.advance(1.0)
    assert lines.events() == []
    log.error("the next")
    assert lines.events() == ["3 more lines were not shown", "the next"]
    clock.advance(1.0)
    log.error("failed")
    assert lines.events() == ["failed"]


def test_what_was_left_out_is_said_to_be_like_the_last_of_it() -> None:
    lines, clock = Lines(), ManualClock()
    log = Log(clock, write=lines, human=False)
    for _ in range(MOST_A_SECOND + 1):
        log.error("failed")
    clock.advance(1.0)
    log.error("the next")
    said = json.loads(lines.said[-2])
    assert (said["level"], said["like"]) == ("warning", "failed")


def test_a_second_is_a_second() -> None:
    lines, clock = Lines(), ManualClock()
    log = Log(clock, write=lines, human=False)
    for _ in range(MOST_A_SECOND):
        log.error("failed")
    clock.advance(0.875)
    log.error("failed")
    clock.advance(0.125)
    log.error("failed")
    events = [*["failed"] * MOST_A_SECOND, "1 more lines were not shown", "failed"]
    assert lines.events() == events


def test_what_comes_seldom_is_all_said() -> None:
    lines, clock = Lines(), ManualClock()
    log = Log(clock, write=lines, human=False)
    for _ in range(3 * MOST_A_SECOND):
        log.error("failed")
        clock.advance(0.25)
    assert lines.events() == ["failed"] * 3 * MOST_A_SECOND


def test_events_that_all_differ_are_bounded_too() -> None:
    lines = Lines()
    log = Log(ManualClock(), write=lines, human=False)
    for i in range(MOST_LINES_A_SECOND + 7):
        log.error(f"request {i} failed")
    assert len(lines.said) == MOST_LINES_A_SECOND
    assert log.left_out == 7


def test_what_is_alike_counts_as_one() -> None:
    lines = Lines()
    log = Log(ManualClock(), write=lines, human=False)
    for i in range(MOST_A_SECOND + 2):
        log.say(Level.INFO, f"peer {i} is odd", {}, alike="peer %s is odd")
    assert len(lines.said) == MOST_A_SECOND


# --- it neither fails nor waits ----------------------------------------------------------


def test_a_line_that_could_not_be_written_is_counted() -> None:
    log = Log(ManualClock(), write=Lines(takes=False), human=False)
    log.error("failed")
    assert log.left_out == 1


def test_a_fault_while_writing_is_counted() -> None:
    def write(line: str) -> bool:
        raise RuntimeError

    log = Log(ManualClock(), write=write, human=False)
    log.error("failed")
    assert log.left_out == 1


def test_a_value_that_contains_itself_does_no_harm() -> None:
    endless: list[object] = []
    endless.append(endless)
    log = Log(ManualClock(), write=Lines(), human=False)
    log.error("failed", value=endless)
    assert log.left_out == 1


def test_standard_error_is_where_it_goes(capfd: pytest.CaptureFixture[str]) -> None:
    with stderr_to(2):
        log = Log(ManualClock())
        log.error("failed", why="x" * 3 * PIECE_BYTES)
    out, err = capfd.readouterr()
    assert out == ""
    assert json.loads(err)["why"] == "x" * 3 * PIECE_BYTES
    assert log.left_out == 0


def test_standard_error_that_is_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert to_stderr("häll \ud800\n")
    assert capsys.readouterr().err == "häll \\ud800\n"


def test_no_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        monkeypatch.setattr(sys, "stderr", stream)
        log = Log(ManualClock())
        log.error("failed")
        assert log.left_out == 1


def test_a_pipe_that_nobody_reads_delays_nobody() -> None:
    reader, writer = os.pipe()
    try:
        with stderr_to(writer):
            log = Log(ManualClock(), human=False)
            for i in range(60):
                log.error(f"event {i}", text="x" * 3000)
        assert 0 < log.left_out < 60
        assert os.read(reader, 10).startswith(b'{"time"')
    finally:
        os.close(reader)
        os.close(writer)


def test_a_pipe_that_is_closed_at_the_other_end() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with stderr_to(writer):
            assert not to_stderr("x\n")
    finally:
        os.close(writer)


def test_a_terminal_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    controller, terminal = os.openpty()
    try:
        with stderr_to(terminal):
            Log(ManualClock()).info("began")
        assert b" info: began" in os.read(controller, 100)
    finally:
        os.close(controller)
        os.close(terminal)


@contextmanager
def stderr_to(descriptor: int) -> Iterator[None]:
    """Have standard error be a descriptor."""
    before = sys.stderr
    stream = os.fdopen(os.dup(descriptor), "w")
    sys.stderr = stream
    try:
        yield
    finally:
        sys.stderr = before
        stream.close()
