"""The control socket: where commands on this machine ask the supervisor.

A unix socket in the state directory that only this user and root can connect to; who asks is told
by the kernel, never by the caller. What arrives is not trusted all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, final

from penstock.core.clock import Clock, Timer
from penstock.core.link import Link, LinkLimits
from penstock.core.log import Says
from penstock.supervisor.remote import RemoteSupervisor
from penstock.supervisor.verbs import Operator, answered

MAX_CLIENTS: Final = 16
"""Connections to the control socket at once; further ones are closed."""

IDLE_S: Final = 10.0
"""How long a connection to the control socket may ask nothing; then it is closed."""

MAX_REQUEST_BYTES: Final = 64 * 1024
"""The largest request on the control socket; a larger one closes its connection."""

MAX_UNREAD_BYTES: Final = 16 * 1024 * 1024
"""Answers that a client of the control socket may leave unread; more close its connection."""

LIMITS: Final = LinkLimits(
    frame_bytes=MAX_REQUEST_BYTES, unsent_bytes=MAX_UNREAD_BYTES, calls_at_once=4
)
LONGEST_PATH: Final = 100
"""Bytes of a socket's path that every system can hold."""

BY_NUMBER: Final = Path("/proc/self/fd")
"""Where Linux has open folders under short names."""

_CREDENTIALS: Final = struct.Struct("3i")


@final
class ControlServer:
    """Serves the control socket.

    Args:
        operator: answers.
        clock: tells who has been idle for too long.
        log: is told of those who may not ask.
    """

    def __init__(self, operator: Operator, *, clock: Clock, log: Says) -> None:
        self._operator = operator
        self._clock = clock
        self._log = log
        self._clients: set[_Client] = set()
        self._ended = False

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    @asynccontextmanager
    async def serve(self, path: Path) -> AsyncIterator[None]:
        """Serve the socket at `path`; a dead server's is replaced: the lock proves it dead.

        Raises:
            OSError: the socket cannot be made there.
        """
        listening = _bound(path)
        try:
            loop = asyncio.get_running_loop()
            server = await loop.create_unix_server(self._accepted, sock=listening, backlog=64)
        except BaseException:
            listening.close()
            raise
        try:
            yield
        finally:
            server.close()
            self._ended = True  # some may have been accepted that have no protocol yet
            for client in tuple(self._clients):
                client.close("the server ends")
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _accepted(self) -> asyncio.BaseProtocol:
        client = _Client(self._operator, self._clients, self._clock, self._log)
        if self._ended:
            client.close("the server ends")
        return client


@final
class _Client(asyncio.Protocol):
    """One connection: a link, once it is known whose it is."""

    def __init__(self, operator: Operator, clients: set[_Client], clock: Clock, log: Says) -> None:
        self._operator = operator
        self._clients = clients
        self._clock = clock
        self._log = log
        self._who = ""
        self._busy = 0
        self._idle: Timer | None = None
        self._link = Link(self._answer, clock=clock, limits=LIMITS)

    def close(self, why: str) -> None:
        self._link.close(why)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._link.connection_made(transport)
        if self._link.lost:
            return
        uid = _uid(transport.get_extra_info("socket"))
        if uid not in (os.getuid(), 0):
            self._log.warning(f"the control socket was asked by the user {_name(uid)}: refused")
            self._link.close("this user may not ask")
        elif len(self._clients) >= MAX_CLIENTS:
            self._link.close(f"{MAX_CLIENTS} are connected")
        else:
            self._who = _name(uid)
            self._clients.add(self)
            self._await_call()

    def data_received(self, data: bytes) -> None:
        self._link.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.discard(self)
        self._stop_waiting()
        self._link.connection_lost(exc)

    async def _answer(self, verb: str, payload: Any) -> Any:  # noqa: ANN401
        self._busy += 1
        self._stop_waiting()
        try:
            return await answered(self._operator, verb, payload, self._who)
        finally:
            self._busy -= 1
            if not self._busy and self in self._clients:
                self._await_call()

    def _await_call(self) -> None:
        when_s = self._clock.now_s() + IDLE_S
        self._idle = self._clock.call_at(when_s, lambda: self.close("nothing was asked"))

    def _stop_waiting(self) -> None:
        if self._idle is not None:
            self._idle.cancel()


@asynccontextmanager
async def connected(path: Path, *, clock: Clock) -> AsyncIterator[RemoteSupervisor]:
    """Connect to the control socket at `path`, and yield what can be asked.

    Raises:
        OSError: nobody listens there, or this user may not connect.
    """
    loop = asyncio.get_running_loop()
    with _short(path) as short, contextlib.ExitStack() as undo:
        ours = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        ours.setblocking(False)
        ours.connect(short)  # to a local socket: it is connected at once, or not at all
        _, link = await loop.create_unix_connection(lambda: Link(_ask_back, clock=clock), sock=ours)
        undo.pop_all()
    try:
        yield RemoteSupervisor(link)
    finally:
        link.close()


def is_live(path: Path) -> bool:
    """Return whether a server listens at `path`, and this user may ask it."""
    try:
        with _short(path) as short, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            one.setblocking(False)
            one.connect(short)
    except OSError:
        return False
    return True


async def _ask_back(verb: str, payload: Any) -> Any:  # noqa: ANN401
    raise NotImplementedError(verb)


def _bound(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(OSError):  # so that it never is anybody else's, where that works
            os.fchmod(listening.fileno(), 0o600)
        path.unlink(missing_ok=True)
        with _short(path) as short:
            listening.bind(short)
        path.chmod(0o600)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield a path to the same place that is short enough for a socket's address.

    Raises:
        OSError: the path is too long, and this system has no way around it.
    """
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        by_number = BY_NUMBER / str(folder)
        if not by_number.exists():
            raise OSError(f"{path} is too long for a socket; give a shorter --state-dir")
        yield str(by_number / path.name)
    finally:
        os.close(folder)


def _uid(connection: Any) -> int:  # noqa: ANN401 - uvloop has a class of its own
    """Return the user at the other end; where the system does not tell, the mode has: it is us."""
    if not hasattr(socket, "SO_PEERCRED"):
        return os.getuid()
    with socket.socket(fileno=os.dup(connection.fileno())) as one:
        told = one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(told)[1])


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
