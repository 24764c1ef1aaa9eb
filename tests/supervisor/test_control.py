from __future__ import annotations

import asyncio
import getpass
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from penstock.core.clock import SystemClock
from penstock.core.errors import ChangeRefused, Unavailable
from penstock.supervisor import control as module
from penstock.supervisor.control import (
    IDLE_S,
    MAX_CLIENTS,
    MAX_REQUEST_BYTES,
    ControlServer,
    connected,
    is_live,
)
from tests.supervisor.fakes import Said
from tests.supervisor.operators import CHANGED, STATUS, FakeOperator
from tests.support import ManualClock, nothing_loose, settle
from tests.waiting import until


class Serving:
    """A control server at a path, and what stands around it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.operator = FakeOperator()
        self.clock = ManualClock()
        self.said = Said()
        self.server = ControlServer(self.operator, clock=self.clock, log=self.said)

    def dial(self) -> socket.socket:
        end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        end.setblocking(False)
        end.connect(str(self.path))
        return end


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Serving]:
    serving = Serving(tmp_path / "control.sock")
    async with nothing_loose():
        async with serving.server.serve(serving.path):
            yield serving
        await settle()
        assert serving.server.clients == 0
    assert serving.clock.timers == 0


async def closed(end: socket.socket) -> bool:
    """Whether the other side closes, whatever it sends before that."""
    loop = asyncio.get_running_loop()
    try:
        while await loop.sock_recv(end, 65536):
            pass
    except ConnectionResetError:
        pass
    end.close()
    return True


def request(number: int, verb: str, payload: object = None) -> bytes:
    content = msgspec.msgpack.encode([number, "call", verb, payload])
    return struct.pack("<Q", len(content)) + content


async def answer_to(end: socket.socket) -> Any:  # noqa: ANN401
    """Return the first answer; what has come with it is passed over."""
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < 8 or len(data) < 8 + struct.unpack_from("<Q", data)[0]:
        data += await loop.sock_recv(end, 65536)
    return msgspec.msgpack.decode(data[8 : 8 + struct.unpack_from("<Q", data)[0]])


# --- asking ------------------------------------------------------------------------------


async def test_who_asks_is_told_by_the_kernel(serving: Serving) -> None:
    async with connected(serving.path, clock=SystemClock()) as server:
        assert await server.switch("iris", "off", "root") == CHANGED
    assert serving.operator.asked == [("switch", "iris", "off", getpass.getuser())]


async def test_a_user_without_a_name_is_told_by_number() -> None:
    assert module._name(4_000_000_001) == "4000000001"


async def test_a_refusal(serving: Serving) -> None:
    serving.operator.error = ChangeRefused(("one", "two"))
    async with connected(serving.path, clock=SystemClock()) as server:
        with pytest.raises(ChangeRefused, match="one\ntwo"):
            await server.reload()


async def test_many_one_after_the_other(serving: Serving) -> None:
    for _ in range(3 * MAX_CLIENTS):
        async with connected(serving.path, clock=SystemClock()) as server:
            assert await server.status() == STATUS
        await until(lambda: serving.server.clients == 0)


async def test_the_server_asks_nothing(serving: Serving) -> None:
    with pytest.raises(NotImplementedError):
        await module._ask_back("status", None)


def test_on_the_loop_that_serves(tmp_path: Path) -> None:
    async def ask() -> object:
        serving = Serving(tmp_path / "control.sock")
        async with (
            serving.server.serve(serving.path),
            connected(serving.path, clock=SystemClock()) as server,
        ):
            await server.switch("iris", "off")
        return serving.operator.asked

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(ask()) == [("switch", "iris", "off", getpass.getuser())]


# --- the socket --------------------------------------------------------------------------


async def test_only_its_user_may_connect(serving: Serving) -> None:
    mode = serving.path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert mode & 0o777 == 0o600
    assert is_live(serving.path)


async def test_others_are_refused(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_uid", lambda _: 12345)
    assert await closed(serving.dial())
    assert serving.said.lines == [
        "warning: the control socket was asked by the user 12345: refused"
    ]
    assert serving.server.clients == 0


async def test_where_the_kernel_does_not_tell_the_mode_has(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "SO_PEERCRED")
    async with connected(serving.path, clock=SystemClock()) as server:
        await server.switch("iris", "off")
    assert serving.operator.asked == [("switch", "iris", "off", getpass.getuser())]


async def test_it_is_gone_when_the_server_ends(tmp_path: Path) -> None:
    serving = Serving(tmp_path / "control.sock")
    async with serving.server.serve(serving.path):
        pass
    assert not serving.path.exists()
    assert not is_live(serving.path)
    with pytest.raises(OSError, match="No such file"):
        async with connected(serving.path, clock=SystemClock()):
            pass


async def test_who_connects_while_the_server_ends_is_closed(tmp_path: Path) -> None:
    serving = Serving(tmp_path / "control.sock")
    async with nothing_loose():
        async with serving.server.serve(serving.path):
            pass
        there, here = socket.socketpair()
        here.setblocking(False)
        there.setblocking(False)
        later = serving.server._accepted()
        await asyncio.get_running_loop().create_connection(lambda: later, sock=there)
        assert await closed(here)
    assert serving.server.clients == 0


async def test_a_dead_server_s_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    dead.bind(str(path))
    dead.close()
    assert not is_live(path)
    serving = Serving(path)
    async with serving.server.serve(path):
        assert is_live(path)
        await settle()


async def test_a_place_that_cannot_hold_one(tmp_path: Path) -> None:
    serving = Serving(tmp_path / "nowhere" / "control.sock")
    with pytest.raises(OSError, match="No such file"):
        async with serving.server.serve(serving.path):
            pass


async def test_a_server_that_cannot_be_had_leaves_no_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    serving = Serving(tmp_path / "control.sock")
    monkeypatch.setattr(asyncio.get_running_loop(), "create_unix_server", full)
    with pytest.raises(OSError, match="Too many open files"):
        async with serving.server.serve(serving.path):
            pass
    assert not is_live(serving.path)


async def test_a_path_that_is_too_long_for_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120) / ("y" * 120)
    folder.mkdir(parents=True)
    serving = Serving(folder / "control.sock")
    async with (
        serving.server.serve(serving.path),
        connected(serving.path, clock=SystemClock()) as server,
    ):
        assert is_live(serving.path)
        assert await server.status() == STATUS
    assert list(folder.iterdir()) == []


async def test_a_path_that_is_too_long_where_there_is_no_way_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    monkeypatch.setattr(module, "BY_NUMBER", tmp_path / "no" / "proc")
    serving = Serving(folder / "control.sock")
    with pytest.raises(OSError, match="is too long for a socket; give a shorter --state-dir"):
        async with serving.server.serve(serving.path):
            pass


# --- those who mean harm, or are broken --------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x00" * 1000,
        b"\xff" * 1000,
        os.urandom(5000),
        struct.pack("<Q", MAX_REQUEST_BYTES + 1),
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 3) + b"\xc1\xc1\xc1",
    ],
    ids=range(7),
)
async def test_garbage_ends_only_its_own_connection(serving: Serving, data: bytes) -> None:
    good, bad = serving.dial(), serving.dial()
    await asyncio.get_running_loop().sock_sendall(bad, data)
    assert await closed(bad)
    await asyncio.get_running_loop().sock_sendall(good, request(1, "status"))
    number, kind, _ = await answer_to(good)
    assert (number, kind) == (1, "answer")
    good.close()
    await until(lambda: serving.server.clients == 0)


async def test_a_thousand_idle_connections_keep_nobody_out_for_long(serving: Serving) -> None:
    idle = []
    for _ in range(1000):
        idle.append(serving.dial())
        await asyncio.sleep(0)
        assert serving.server.clients <= MAX_CLIENTS
    await until(lambda: serving.server.clients == MAX_CLIENTS)
    await settle()
    with pytest.raises(Unavailable):  # now there is no room
        async with connected(serving.path, clock=SystemClock()) as server:
            await server.status()
    await serving.clock.elapse(IDLE_S)
    await until(lambda: serving.server.clients == 0)
    async with connected(serving.path, clock=SystemClock()) as server:
        assert await server.status() == STATUS
    for end in idle:
        end.close()


async def test_a_request_that_comes_byte_by_byte_is_idle(serving: Serving) -> None:
    end = serving.dial()
    for byte in request(1, "status")[:-1]:
        await asyncio.get_running_loop().sock_sendall(end, bytes([byte]))
    await until(lambda: serving.server.clients == 1)
    await serving.clock.elapse(IDLE_S)
    assert await closed(end)
    assert serving.operator.asked == []


async def test_who_waits_for_an_answer_is_not_idle(serving: Serving) -> None:
    serving.operator.gate = asyncio.get_running_loop().create_future()
    end = serving.dial()
    await asyncio.get_running_loop().sock_sendall(end, request(1, "reload") + request(2, "status"))
    await until(lambda: len(serving.operator.asked) == 2)
    await serving.clock.elapse(20 * IDLE_S)
    serving.operator.gate.set_result(None)
    assert (await answer_to(end))[1] == "answer"
    await until(lambda: serving.clock.timers)  # from then on it is
    await serving.clock.elapse(IDLE_S)
    assert await closed(end)


async def test_who_leaves_before_its_answer_leaves_nothing(serving: Serving) -> None:
    serving.operator.gate = asyncio.get_running_loop().create_future()
    end = serving.dial()
    await asyncio.get_running_loop().sock_sendall(end, request(1, "reload"))
    await until(lambda: serving.operator.asked)
    end.close()
    await until(lambda: serving.server.clients == 0)
    serving.operator.gate.set_result(None)
    await settle()


async def test_one_connection_asks_only_so_much_at_once(serving: Serving) -> None:
    serving.operator.gate = asyncio.get_running_loop().create_future()
    end = serving.dial()
    many = b"".join(request(number, "status") for number in range(100))
    await asyncio.get_running_loop().sock_sendall(end, many)
    number, kind, text = await answer_to(end)
    assert (number, kind, text) == (4, "failed", "4 calls are being handled; try again later")
    assert len(serving.operator.asked) == 4
    end.close()
    serving.operator.gate.set_result(None)
    await until(lambda: serving.server.clients == 0)
