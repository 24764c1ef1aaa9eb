"""A function in a process of its own, called over a socket pair.

For work that would hold the interpreter's lock for long: decoding megabytes of JSON, models written
in Python. The child imports one function, answers one call at a time in order, and ends when the
parent's end of the socket closes, also when the parent is killed. Frames are a length and
MessagePack: never pickles.

    parent                                   child: python -m penstock.core.child
      |  init: target "module:function", args  |
      |--------------------------------------->|  serve = function(*args)
      |  call: payload                         |
      |--------------------------------------->|  serve(payload)
      |<---------------------------------------|  [true, result] or [false, error text]
"""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, cast, final

import msgspec

Serve: TypeAlias = Callable[[Any], Any]
"""What a target returns: takes a decoded payload, returns something MessagePack can hold."""

PARENT_CHECK_S: Final = 1.0

_LENGTH: Final = struct.Struct("<Q")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class ChildFailed(Exception):
    """The function raised in the child; the text is the child's."""


class ChildLost(Exception):
    """The child process ended before it answered."""


@final
class Child:
    """A child process and the calls waiting for it. The process starts with the first call.

    A child that dies fails the calls it had and is started anew by the next one. It has a process
    group of its own, so that Ctrl-C does not end it while the parent still answers.

    Args:
        target: `module:function`; called in the child with `args`, it returns what serves calls.
        args: what MessagePack can hold.
        import_paths: folders put behind all others of the child's `sys.path`.
        niceness: how far the child stands back where it shares a core with others (0 to 19).
    """

    def __init__(
        self,
        target: str,
        args: Sequence[object] = (),
        *,
        import_paths: Sequence[str] = (),
        niceness: int = 0,
    ) -> None:
        self._init = _encode([target, list(args), list(import_paths)])
        self._niceness = niceness
        self._process: subprocess.Popen[bytes] | None = None
        self._link: _Link | None = None
        self._starting: asyncio.Lock | None = None
        self._closed = False
        self.starts = 0

    async def call(self, payload: object) -> Any:  # noqa: ANN401 - whatever the target answers
        """Call the function with `payload` and return its answer.

        Cancelling this leaves the child at work; its answer is then thrown away.

        Raises:
            ChildFailed: the function raised.
            ChildLost: the process ended, cannot be started, or has been closed.
        """
        link = await self._running_link()
        return await link.call(_encode(payload))

    async def _running_link(self) -> _Link:
        if self._link is not None and not self._link.lost:
            return self._link
        if self._starting is None:
            self._starting = asyncio.Lock()
        async with self._starting:
            if self._link is None or self._link.lost:
                self._link = await self._start()
            return self._link

    async def _start(self) -> _Link:
        self._reap()
        if self._closed:
            raise ChildLost("the process has been closed")
        try:
            self._process, ours = _spawn(self._niceness)
        except OSError as error:
            raise ChildLost(f"the process cannot be started: {error}") from error
        self.starts += 1
        ours.setblocking(False)
        _, link = await asyncio.get_running_loop().create_connection(_Link, sock=ours)
        link.send(self._init)
        return link

    @property
    def alive(self) -> bool:
        """Whether a process is running and reachable."""
        return self._link is not None and not self._link.lost

    @property
    def waiting(self) -> int:
        """How many calls have not been answered."""
        return 0 if self._link is None else self._link.waiting

    def kill(self) -> None:
        """End the process; calls that wait fail with `ChildLost`, the next one starts it anew."""
        if self._link is not None:
            self._link.close()
            self._link = None
        self._reap()

    def close(self) -> None:
        """End the process for good; calls that wait and calls to come fail with `ChildLost`."""
        self._closed = True
        self.kill()

    def _reap(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()  # it has been killed: this returns at once
        self._process = None


def _spawn(niceness: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a child; takes about a millisecond (vfork). Return it and our end of its socket."""
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            # -P: no file in the working directory stands in for a module of its name
            module = [sys.executable, "-P", "-m", "penstock.core.child"]
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [*module, str(theirs.fileno()), str(niceness)],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
    except OSError:
        ours.close()
        raise
    return process, ours


@final
class _Link(asyncio.Protocol):
    """The parent's end: frames out, answers in, in the order of the calls."""

    def __init__(self) -> None:
        self.lost = False
        self._transport: asyncio.Transport | None = None
        self._calls: deque[asyncio.Future[Any]] = deque()
        self._received = bytearray()

    @property
    def waiting(self) -> int:
        return len(self._calls)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        for call in self._calls:
            if not call.done():
                call.set_exception(ChildLost("the process ended before it answered"))
        self._calls.clear()

    def send(self, frame: bytes) -> None:
        assert self._transport is not None
        self._transport.write(_LENGTH.pack(len(frame)))
        self._transport.write(frame)

    async def call(self, frame: bytes) -> Any:  # noqa: ANN401
        if self.lost:
            raise ChildLost("the process ended before it was called")
        answer = asyncio.get_running_loop().create_future()
        self._calls.append(answer)
        self.send(frame)
        ok, result = await answer
        if not ok:
            raise ChildFailed(result)
        return result

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._received)
            end = _LENGTH.size + length
            if len(self._received) < end:
                return
            with memoryview(self._received) as view:
                answer = _decode(view[_LENGTH.size : end])
            del self._received[:end]
            call = self._calls.popleft()
            if not call.done():
                call.set_result(answer)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.abort()


def main(fd: int) -> None:
    """Serve calls from the socket `fd` until its other end closes."""
    with socket.socket(fileno=fd) as link:
        stream = link.makefile("rwb")
        init = _read_frame(stream)
        if init is None:
            return
        serve = _Lazy(*_decode(init))
        while (frame := _read_frame(stream)) is not None:
            answer = serve.answer(frame)
            stream.write(_LENGTH.pack(len(answer)))
            stream.write(answer)
            stream.flush()


def _end_with(parent: int) -> None:  # pragma: no cover - runs in the child only
    """End the child when its parent has gone, even if the function never returns."""
    while os.getppid() == parent:
        threading.Event().wait(PARENT_CHECK_S)
    os._exit(1)


def _read_frame(stream: Any) -> bytes | None:  # noqa: ANN401 - a BufferedRWPair
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(header)
    frame: bytes = stream.read(length)
    return frame if len(frame) == length else None


class _Lazy:
    """Imports the target at the first call, so that what fails then is that call's answer."""

    def __init__(self, target: str, args: list[Any], import_paths: list[str]) -> None:
        sys.path += import_paths
        self._target = target
        self._args = args
        self._serve: Serve | None = None

    def answer(self, frame: bytes) -> bytes:
        try:
            if self._serve is None:
                module, _, function = self._target.partition(":")
                self._serve = getattr(importlib.import_module(module), function)(*self._args)
            return _encode([True, self._serve(_decode(frame))])
        except Exception as error:  # noqa: BLE001 - it becomes the answer
            text = f"{type(error).__name__}: {error}".encode(errors="backslashreplace").decode()
            return _encode([False, text])


if __name__ == "__main__":  # pragma: no cover - runs in the child only
    try:
        os.nice(int(sys.argv[2]))
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        main(int(sys.argv[1]))
    except (BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        os._exit(0)
