"""Lines on a descriptor: whole, in order, waited for, and never mixed with another process's."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Final

import pytest

from penstock.stores.line_sink import STDOUT, LineSink
from tests.stores.ends import a_maker, a_record, an_entry
from tests.waiting import BOUND_S

OTHER: Final = """
import sys
from penstock.stores.line_sink import LineSink
sink = LineSink(int(sys.argv[1]))
print("begins", flush=True)
sink.append(b"after\\n")
"""


class Pipe:
    """Both ends of a pipe."""

    def __init__(self) -> None:
        self.reads, self.writes = os.pipe()
        self._open = {self.reads, self.writes}

    def read(self, size: int = 1 << 20) -> bytes:
        return os.read(self.reads, size)

    def close(self, end: int) -> None:
        self._open.discard(end)
        os.close(end)

    def close_all(self) -> None:
        for end in tuple(self._open):
            self.close(end)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    it = Pipe()
    yield it
    it.close_all()


def test_a_record_is_a_line_of_json(pipe: Pipe) -> None:
    sink = LineSink(pipe.writes)
    assert list(sink.begin()) == []
    record = a_maker().payload_of(an_entry(a_record(7)))
    sink.append(sink.encoded(record + record, 2))
    sink.rest()
    sink.close()
    one, other = pipe.read().splitlines()
    assert one == other
    told = json.loads(one)
    assert (told["request_id"], told["role"], told["status"]) == ("r7", "primary", 200)


def test_a_full_pipe_is_waited_for(pipe: Pipe) -> None:
    sink, whole = LineSink(pipe.writes), b"x" * (1 << 20)
    writing = threading.Thread(target=sink.append, args=(whole,))
    writing.start()
    read = b""
    while len(read) < len(whole):
        read += pipe.read()
    writing.join(BOUND_S)
    assert read == whole
    assert not writing.is_alive()


def test_one_that_does_not_block_is_waited_for_as_well(pipe: Pipe) -> None:
    os.set_blocking(pipe.writes, False)
    test_a_full_pipe_is_waited_for(pipe)


def test_where_nobody_reads_it_says_so(pipe: Pipe) -> None:
    pipe.close(pipe.reads)
    with pytest.raises(BrokenPipeError):
        LineSink(pipe.writes).append(b"line\n")


class Disk:
    """Takes so many bytes, and no more until it is given `room` again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = 0
        self.written = b""
        monkeypatch.setattr(os, "write", self.write)

    def write(self, descriptor: int, content: memoryview) -> int:
        assert descriptor == STDOUT
        if not self.room:
            raise OSError("no space")
        taken = min(self.room, len(content))
        self.written += bytes(content[:taken])
        self.room -= taken
        return taken


def refused(sink: LineSink, disk: Disk, lines: bytes, room: int) -> None:
    disk.room = room
    with pytest.raises(OSError, match="no space"):
        sink.append(lines)
    disk.room = 100


def test_what_was_written_of_a_batch_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sink, disk = LineSink(), Disk(monkeypatch)
    refused(sink, disk, b"one\ntwo\n", 3)
    sink.append(b"one\ntwo\n")
    sink.append(b"three\n")
    assert disk.written == b"one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("room", "begun"), [(0, b""), (2, b"on\n"), (4, b"one\n"), (5, b"one\nt\n")]
)
def test_after_a_batch_that_was_given_up_halfway_comes_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, room: int, begun: bytes
) -> None:
    sink, disk = LineSink(), Disk(monkeypatch)
    refused(sink, disk, b"one\ntwo\n", room)
    sink.append(b"three\n")
    sink.append(b"four\n")
    assert disk.written == begun + b"three\nfour\n"


def test_the_end_of_a_line_that_was_given_up_is_written_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sink, disk = LineSink(), Disk(monkeypatch)
    refused(sink, disk, b"one\n", 2)
    refused(sink, disk, b"three\n", 0)
    refused(sink, disk, b"three\n", 3)
    sink.append(b"three\n")
    assert disk.written == b"on\nthree\n"


def test_other_processes_wait_until_lines_are_whole(pipe: Pipe) -> None:
    fcntl.lockf(pipe.writes, fcntl.LOCK_EX)
    command = [sys.executable, "-c", OTHER, str(pipe.writes)]
    with subprocess.Popen(command, pass_fds=[pipe.writes], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"begins\n"
        os.write(pipe.writes, b"before\n")
        assert pipe.read() == b"before\n"
        fcntl.lockf(pipe.writes, fcntl.LOCK_UN)
        assert child.wait(BOUND_S) == 0
    assert pipe.read() == b"after\n"


def test_where_nothing_can_be_locked_lines_are_written(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    LineSink(pipe.writes).append(b"line\n")
    assert pipe.read() == b"line\n"
