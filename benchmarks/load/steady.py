"""Holds a steady open-loop load and tells what became of every request, phase by phase.

    python -m benchmarks.load.steady PORT PATH BODY_FILE CONNECTIONS RATE

It prints `READY` once it sends. Each line on standard input is the name of a new phase; the result
of the one before is printed as `PHASE {json}` once its last request has ended. `!keep` has all
connections kept for the time being, `!renew` no longer. An empty line, or the end of the input,
ends the last phase and the process.

Open loop: requests are due on schedule, whatever the answers do. One that finds every connection
busy waits for a free one, and its latency counts from when it was due. A connection carries one
request at a time and is kept for about a thousand, as nginx keeps those to its upstreams, so that
workers which come back get their share again. No request is sent twice.
"""

import asyncio
import gc
import json
import os
import random
import sys
import time
import traceback
from collections import deque
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import uvloop

from benchmarks.load.exchange import HOST, code_of, field_of, post_request
from benchmarks.load.fates import Failure, Fate, PhaseTally

TICK_S: Final = 0.001
SWEEP_S: Final = 0.1
TIMEOUT_S: Final = 10.0
"""After this an unanswered request is given up and its connection closed."""

MAX_WAITING: Final = 50_000
"""Requests that may wait for a connection; more are counted as never sent."""

KEPT_REQUESTS: Final = 1_000
"""After so many requests, or a few less, the client closes a connection and makes a new one."""

KEEP: Final = "!keep"
RENEW: Final = "!renew"
HEAD_END: Final = b"\r\n\r\n"


class Pending:
    """One request: when it was due, when it was sent, and the phase it counts for."""

    __slots__ = ("due_s", "phase", "sent_s")

    def __init__(self, phase: PhaseTally, due_s: float) -> None:
        self.phase = phase
        self.due_s = due_s
        self.sent_s = 0.0


class Line(asyncio.Protocol):
    """One connection, made anew whenever a request finds it closed."""

    def __init__(self, load: "SteadyLoad") -> None:
        self.load = load
        self.transport: asyncio.Transport | None = None
        self.pending: Pending | None = None
        self.received = bytearray()
        self.local_port = 0
        self.carried = 0
        self.carries = load.dice.randrange(KEPT_REQUESTS // 2, KEPT_REQUESTS)

    def take(self, pending: Pending) -> None:
        """Sends a request, over a new connection if there is none."""
        self.pending = pending
        if self.transport is None or self.transport.is_closing():
            pending.sent_s = time.monotonic()
            self.drop()  # else the end of the old connection would be taken for the new one's
            self.load.connect(self)
        else:
            self.send(pending)

    def send(self, pending: Pending) -> None:
        """Sends a request over the connection."""
        assert self.transport is not None
        pending.sent_s = time.monotonic()
        self.received.clear()
        self.transport.write(self.load.request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self.local_port = transport.get_extra_info("sockname")[1]
        self.carried = 0
        self.carries = self.load.dice.randrange(KEPT_REQUESTS // 2, KEPT_REQUESTS)

    def data_received(self, data: bytes) -> None:
        """Settles the request once its whole answer is here."""
        self.received += data
        head_end = self.received.find(HEAD_END)
        if head_end < 0 or self.pending is None:
            return
        head = bytes(self.received[:head_end]).lower()
        try:
            status = int(head[9:12])
            length = int(field_of(head, b"content-length") or b"0")
        except ValueError:
            self.fail(Fate.GARBLED)
            return
        body = bytes(self.received[head_end + len(HEAD_END) :])
        if len(body) < length:
            return
        if len(body) > length:
            self.fail(Fate.GARBLED)
            return
        self.carried += 1
        worn = self.carried >= self.carries and self.load.renews
        if worn or field_of(head, b"connection") == b"close":
            self.drop()
        self.answered(status, body)

    def answered(self, status: int, body: bytes) -> None:
        """Books the answer and takes the next request."""
        pending, self.pending = self.pending, None
        assert pending is not None
        answer = body.decode(errors="replace") if status == 200 else f"{status} {code_of(body)}"
        pending.phase.answered(answer, pending.due_s, pending.sent_s, time.monotonic())
        self.load.free(self)

    def fail(self, fate: Fate) -> None:
        """Books that there is no answer, gives the connection up and takes the next request."""
        pending, self.pending = self.pending, None
        assert pending is not None
        ended_s, reused = time.monotonic(), self.carried > 0
        failure = Failure(fate, pending.sent_s, ended_s, self.local_port, reused)
        pending.phase.failed(failure)
        self.drop()
        self.load.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fails the request under way, if there is one."""
        del exc
        self.transport = None
        if self.pending is not None:
            self.fail(Fate.CUT if self.received else Fate.RESET)
        else:
            self.load.phase.idle_closes += 1

    def drop(self) -> None:
        """Closes the connection; the next request makes a new one."""
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.set_protocol(asyncio.Protocol())  # what still comes is nobody's
            transport.abort()


class SteadyLoad:
    """The schedule, the connections, and the phase that requests now count for."""

    def __init__(self, port: int, request: bytes, lines: int, rate: float) -> None:
        self.port = port
        self.request = request
        self.interval_s = 1 / rate
        self.dice = random.Random(20)
        self.renews = True
        self.lines = [Line(self) for _ in range(lines)]
        self.idle = deque(self.lines)
        self.waiting: deque[Pending] = deque()
        self.phase = PhaseTally("start", time.monotonic())
        self.ending: list[PhaseTally] = []
        self.next_due_s = time.monotonic()
        self.settled = asyncio.Event()
        self.connecting: set[asyncio.Task[None]] = set()

    def tick(self) -> None:
        """Sends all that has become due."""
        asyncio.get_running_loop().call_later(TICK_S, self.tick)
        now_s = time.monotonic()
        phase = self.phase
        while self.next_due_s <= now_s:
            pending = Pending(phase, self.next_due_s)
            self.next_due_s += self.interval_s
            phase.late_ms.append((now_s - pending.due_s) * 1e3)
            phase.due += 1
            phase.under_way += 1
            if self.idle:
                self.idle.popleft().take(pending)
            elif len(self.waiting) < MAX_WAITING:
                self.waiting.append(pending)
            else:
                phase.failed(Failure(Fate.UNSENT, now_s, now_s, 0, reused=False))

    def free(self, line: Line) -> None:
        """Gives a connection the next request that waits; not at once, so as not to recurse."""
        if self.waiting:
            asyncio.get_running_loop().call_soon(line.take, self.waiting.popleft())
        else:
            self.idle.append(line)

    def connect(self, line: Line) -> None:
        """Makes a connection for the request that a line holds."""
        task = asyncio.get_running_loop().create_task(self.connected(line))
        self.connecting.add(task)
        task.add_done_callback(self.connecting.discard)

    async def connected(self, line: Line) -> None:
        """Connects and sends, or books why not."""
        loop = asyncio.get_running_loop()
        pending = line.pending
        line.local_port = 0
        line.carried = 0
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await loop.create_connection(lambda: line, HOST, self.port)
        except ConnectionRefusedError:
            line.fail(Fate.REFUSED)
        except (OSError, TimeoutError):
            line.fail(Fate.UNCONNECTED)
        else:
            if pending is not None and line.pending is pending:  # not lost again meanwhile
                line.send(pending)

    def sweep(self) -> None:
        """Gives up what has waited too long, and hands out the phases that have come to rest."""
        asyncio.get_running_loop().call_later(SWEEP_S, self.sweep)
        now_s = time.monotonic()
        for line in self.lines:
            pending = line.pending
            if pending is not None and line.transport and now_s - pending.sent_s > TIMEOUT_S:
                line.fail(Fate.LATE)
        for phase in [one for one in self.ending if one.under_way == 0]:
            self.ending.remove(phase)
            print(f"PHASE {json.dumps(phase.result())}", flush=True)
            if not self.ending:
                self.settled.set()

    def begin(self, name: str) -> None:
        """Counts what becomes due from now on for a new phase."""
        now_s = time.monotonic()
        self.phase.ended_s = now_s
        self.settled.clear()
        self.ending.append(self.phase)
        self.phase = PhaseTally(name, now_s)

    async def finish(self) -> None:
        """Sends nothing more and waits for the last answers."""
        self.next_due_s = float("inf")
        self.begin("over")
        await self.settled.wait()


async def lines_of_input() -> asyncio.StreamReader:
    """Reads standard input without holding up the loop."""
    reader = asyncio.StreamReader()
    standard_input = os.fdopen(0, "rb", buffering=0)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), standard_input)
    return reader


def give_up(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> NoReturn:
    """A fault of the generator's own ends it: its counts would be wrong."""
    traceback.print_exception(context.get("exception") or RuntimeError(context["message"]))
    os._exit(1)


async def hold(load: SteadyLoad) -> None:
    """Sends until the input ends."""
    asyncio.get_running_loop().set_exception_handler(give_up)
    commands = await lines_of_input()
    load.next_due_s = time.monotonic()
    load.tick()
    load.sweep()
    print("READY", flush=True)
    while name := (await commands.readline()).decode().strip():
        if name in (KEEP, RENEW):
            load.renews = name == RENEW
        else:
            load.begin(name)
    await load.finish()


def main() -> None:
    """Holds the load that the arguments name."""
    port, path, body_file, lines, rate = sys.argv[1:]
    request = post_request(path, Path(body_file).read_bytes())
    gc.freeze()
    load = SteadyLoad(int(port), request, int(lines), float(rate))
    uvloop.run(hold(load))


if __name__ == "__main__":
    main()
