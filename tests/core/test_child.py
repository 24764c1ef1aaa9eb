from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import pytest_asyncio
import uvloop

from penstock.core.child import Child, ChildFailed, ChildLost, _Link, main
from tests.support import Start, both_ways, nothing_loose, settle

HERE: Final = str(Path(__file__).parent)
OBEYING: Final = "child_targets:obeying"
BOUND_S: Final = 30.0
"""How long an end that must come is waited for."""


@pytest_asyncio.fixture(autouse=True)
async def _nothing_loose() -> AsyncIterator[None]:
    async with nothing_loose():
        yield


@pytest_asyncio.fixture
async def child() -> AsyncIterator[Child]:
    child = Child(OBEYING, ("first", 2), import_paths=(HERE,))
    yield child
    child.close()
    await settle()


def is_gone(pid: int) -> bool:
    """Tell whether the process has ended and been waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


class Pipe:
    """A named pipe that a call in the child waits for."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "pipe")
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDWR)

    def release(self) -> None:
        os.write(self._fd, b"!")

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    pipe = Pipe(tmp_path)
    yield pipe
    pipe.close()


# --- calls -------------------------------------------------------------------------------


@both_ways
async def test_answers_each_call_its_own_in_order(child: Child, start: Start) -> None:
    done = list[int]()
    calls = [start(child.call(["echo", i])) for i in range(50)]
    for i, call in enumerate(calls):
        call.add_done_callback(lambda _, i=i: done.append(i))  # type: ignore[misc]

    assert [await call for call in calls] == list(range(50))
    await settle()
    assert done == list(range(50))
    assert (child.starts, child.waiting, child.alive) == (1, 0, True)


async def test_starts_with_the_first_call(child: Child) -> None:
    assert (child.starts, child.waiting, child.alive) == (0, 0, False)

    await child.call(["echo", None])

    assert (child.starts, child.alive) == (1, True)


async def test_hands_over_arguments_and_import_paths(child: Child) -> None:
    assert await child.call(["args", None]) == ["first", 2]
    assert (await child.call(["path", None]))[-1] == HERE  # it replaces nothing


async def test_carries_large_payloads_both_ways(child: Child) -> None:
    large = os.urandom(10 * 1024 * 1024)

    calls = [asyncio.ensure_future(child.call(["echo", it])) for it in (large, "small", large)]

    assert [await call for call in calls] == [large, "small", large]


async def test_carries_all_that_messagepack_holds(child: Child) -> None:
    payload: Any = {"a": [1, 2.5, None, True, "ä", b"\x00"], "b": {}}

    assert await child.call(["echo", payload]) == payload


# --- what fails in the child -------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (["fail", "no"], "^ValueError: no$"),
        (["unpackable", None], "^TypeError: Encoding objects of type object is unsupported$"),
        ("neither command nor argument", "^ValueError: too many values to unpack"),
        (["fail", "\u20ac"], "^ValueError: \u20ac$"),
        (["fail in", b"no\xff"], r"^ValueError: no\\udcff$"),
    ],
)
async def test_a_failure_is_that_calls_answer(child: Child, payload: object, message: str) -> None:
    with pytest.raises(ChildFailed, match=message):
        await child.call(payload)

    assert await child.call(["echo", "still here"]) == "still here"
    assert child.starts == 1


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("child_targets:failing", "^RuntimeError: the model is broken$"),
        ("child_targets:missing", "^AttributeError: .*missing"),
        ("no_such_module:function", "^ModuleNotFoundError: .*no_such_module"),
    ],
)
async def test_a_target_that_cannot_be_had_fails_every_call(target: str, message: str) -> None:
    child = Child(target, import_paths=(HERE,))
    for _ in range(2):
        with pytest.raises(ChildFailed, match=message):
            await child.call(["echo", 1])

    assert child.starts == 1
    child.close()


# --- a child that ends -------------------------------------------------------------------


@both_ways
async def test_a_killed_child_fails_its_calls_and_the_next_starts_another(
    child: Child, start: Start, pipe: Pipe
) -> None:
    pid = await child.call(["pid", None])
    calls = [start(child.call(["wait for", pipe.path])), start(child.call(["echo", 1]))]
    await settle()
    assert child.waiting == 2

    os.kill(pid, signal.SIGKILL)

    for call in calls:
        with pytest.raises(ChildLost):
            await call
    assert (child.alive, child.waiting) == (False, 0)
    assert await child.call(["pid", None]) != pid
    assert (child.alive, child.starts) == (True, 2)
    assert is_gone(pid)


async def test_a_child_killed_between_calls_is_started_anew(child: Child) -> None:
    pid = await child.call(["pid", None])
    lost = asyncio.ensure_future(child.call(["end", 0]))
    with pytest.raises(ChildLost):
        await lost

    assert await child.call(["pid", None]) != pid


async def test_a_child_killed_under_a_large_call_fails_it(child: Child, pipe: Pipe) -> None:
    pid = await child.call(["pid", None])
    waiting = asyncio.ensure_future(child.call(["wait for", pipe.path]))
    cancelled = asyncio.ensure_future(child.call(["echo", 1]))
    large = asyncio.ensure_future(child.call(["echo", bytes(10 * 1024 * 1024)]))
    await settle()
    cancelled.cancel()

    os.kill(pid, signal.SIGKILL)

    for call in (waiting, large):
        with pytest.raises(ChildLost):
            await call
    assert cancelled.cancelled()


async def test_a_function_that_exits_ends_the_child(child: Child) -> None:
    with pytest.raises(ChildLost):
        await child.call(["end", 3])

    assert await child.call(["echo", "anew"]) == "anew"


async def test_calls_at_the_same_time_start_one_child(child: Child) -> None:
    pids = await asyncio.gather(*(child.call(["pid", None]) for _ in range(10)))

    assert len(set(pids)) == 1
    assert child.starts == 1


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_lives_and_dies_on_either_loop(
    new_loop: Callable[[], asyncio.AbstractEventLoop], pipe: Pipe
) -> None:
    async def living() -> None:
        child = Child(OBEYING, import_paths=(HERE,))
        calls = [asyncio.ensure_future(child.call(["echo", i])) for i in range(20)]
        assert [await call for call in calls] == list(range(20))
        large = os.urandom(1024 * 1024)
        assert await child.call(["echo", large]) == large
        pid = await child.call(["pid", None])
        waiting = asyncio.ensure_future(child.call(["wait for", pipe.path]))
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ChildLost):
            await waiting
        second_pid = await child.call(["pid", None])
        assert second_pid != pid
        waiting = asyncio.ensure_future(child.call(["wait for", pipe.path]))
        await asyncio.sleep(0)
        child.close()
        with pytest.raises(ChildLost):
            await waiting
        assert is_gone(second_pid)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(living())


# --- cancellation ------------------------------------------------------------------------


@both_ways
async def test_a_cancelled_calls_answer_is_thrown_away(
    child: Child, start: Start, pipe: Pipe
) -> None:
    await child.call(["echo", None])
    cancelled = start(child.call(["wait for", pipe.path]))
    others = [start(child.call(["echo", i])) for i in range(3)]
    others[1].cancel()
    await settle()

    cancelled.cancel()
    await settle()
    assert cancelled.cancelled()
    assert child.waiting >= 3
    pipe.release()

    assert [await others[0], await others[2]] == [0, 2]
    assert (child.waiting, child.starts) == (0, 1)


@both_ways
@pytest.mark.parametrize("turns", range(6))
async def test_a_call_may_be_cancelled_while_the_child_starts(
    child: Child, start: Start, turns: int
) -> None:
    first = start(child.call(["echo", "first"]))
    second = start(child.call(["echo", "second"]))
    for _ in range(turns):
        await asyncio.sleep(0)

    first.cancel()

    assert await second == "second"
    assert first.cancelled()
    assert await child.call(["echo", "third"]) == "third"


# --- closing -----------------------------------------------------------------------------


async def test_closing_leaves_no_process_and_fails_what_waits(child: Child, pipe: Pipe) -> None:
    pid = await child.call(["pid", None])
    waiting = asyncio.ensure_future(child.call(["wait for", pipe.path]))
    await settle()

    child.close()

    assert is_gone(pid)
    assert (child.alive, child.waiting) == (False, 0)
    with pytest.raises(ChildLost):
        await waiting


async def test_closed_it_starts_no_more(child: Child) -> None:
    child.close()
    child.close()

    with pytest.raises(ChildLost, match="has been closed"):
        await child.call(["echo", None])
    assert child.starts == 0


@pytest.mark.parametrize("turns", range(6))
async def test_closing_while_it_starts_leaves_no_process(child: Child, turns: int) -> None:
    calls = [asyncio.ensure_future(child.call(["pid", None])) for _ in range(2)]
    for _ in range(turns):
        await asyncio.sleep(0)

    child.close()

    for call in calls:
        with pytest.raises(ChildLost):
            await call
    assert child._process is None
    assert not child.alive


async def test_a_call_to_a_lost_link_fails() -> None:
    link = _Link()
    link.connection_lost(None)

    with pytest.raises(ChildLost):
        await link.call(b"")


# --- starting ----------------------------------------------------------------------------


@contextmanager
def few_files(left: int) -> Iterator[None]:
    """Leave the process only so many file descriptors to open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = list[int]()
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        while True:
            try:
                opened.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        for _ in range(left):
            os.close(opened.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in opened:
            os.close(fd)


@pytest.mark.parametrize("left", [0, 2])
async def test_a_process_that_cannot_be_started_fails_the_call(child: Child, left: int) -> None:
    with few_files(left), pytest.raises(ChildLost, match=r"cannot be started: .*Too many open"):
        await child.call(["echo", 1])

    assert await child.call(["echo", "now"]) == "now"


async def test_stands_back_as_far_as_it_is_told() -> None:
    child = Child(OBEYING, import_paths=(HERE,), niceness=7)

    assert await child.call(["niceness", None]) == min(os.nice(0) + 7, 19)
    child.close()


async def test_signals_to_the_parents_group_do_not_reach_it(child: Child) -> None:
    assert await child.call(["group", None]) != os.getpgid(0)


PARENT: Final = """
import asyncio, sys
from penstock.core.child import Child

async def main():
    child = Child("child_targets:obeying", import_paths=sys.argv[1:])
    print(await child.call(["pid", None]), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def a_parent(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process in `folder` that has a child, and prints its process id."""
    script = folder / "scripts" / "parent.py"
    script.parent.mkdir()
    script.write_text(PARENT)
    command = [sys.executable, str(script), HERE]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as parent:
        try:
            yield parent
        finally:
            parent.kill()


def test_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    with a_parent(tmp_path) as parent:
        assert parent.stdout is not None
        child_pid = int(parent.stdout.readline())
        assert not is_gone(child_pid)

        parent.kill()

        # the child has the same standard output: it ends for us when both of them have ended
        rest, _ = parent.communicate(timeout=BOUND_S)
        assert rest == ""


def test_imports_nothing_from_the_working_directory(tmp_path: Path) -> None:
    for name in ("struct", "msgspec", "asyncio", "penstock"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not this one')")

    with a_parent(tmp_path) as parent:
        assert parent.stdout is not None
        assert int(parent.stdout.readline()) > 0


# --- the child's own end, in this process ------------------------------------------------


class Served:
    """`main` in a thread, and the parent's end of its socket."""

    def __init__(self) -> None:
        self.link, theirs = socket.socketpair()
        self.link.settimeout(BOUND_S)
        self._thread = threading.Thread(target=main, args=(theirs.detach(),))
        self._thread.start()

    def send(self, payload: object) -> None:
        frame = msgspec.msgpack.encode(payload)
        self.link.sendall(struct.pack("<Q", len(frame)) + frame)

    def receive(self) -> Any:  # noqa: ANN401 - whatever was answered
        header = self.link.recv(8, socket.MSG_WAITALL)
        (length,) = struct.unpack("<Q", header)
        return msgspec.msgpack.decode(self.link.recv(length, socket.MSG_WAITALL))

    def end(self) -> None:
        self.link.close()
        self._thread.join(BOUND_S)
        assert not self._thread.is_alive()


@pytest.fixture
def served() -> Iterator[Served]:
    path = list(sys.path)
    served = Served()
    yield served
    served.end()
    sys.path[:] = path


def test_serves_until_the_other_end_closes(served: Served) -> None:
    served.send([OBEYING, ["an argument"], [HERE]])
    for payload, answer in (
        (["echo", {"a": 1}], [True, {"a": 1}]),
        (["args", None], [True, ["an argument"]]),
        (["fail", "no"], [False, "ValueError: no"]),
    ):
        served.send(payload)
        assert served.receive() == answer


def test_tries_a_target_anew_at_each_call_with_the_same_paths(served: Served) -> None:
    served.send(["child_targets:failing", [], [HERE]])
    for _ in range(3):
        served.send(1)
        assert served.receive() == [False, "RuntimeError: the model is broken"]

    assert sys.path.count(HERE) <= 1


def test_ends_without_having_been_told_what_to_serve(served: Served) -> None:
    served.link.close()


@pytest.mark.parametrize("part", [b"\x08\x00", struct.pack("<Q", 100) + b"half"])
def test_ends_in_the_middle_of_a_frame(served: Served, part: bytes) -> None:
    served.send([OBEYING, [], [HERE]])
    served.link.sendall(part)
    served.link.close()
