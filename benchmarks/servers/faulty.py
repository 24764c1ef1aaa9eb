"""A predictor that misbehaves in one way, whatever it is asked.

    python -m benchmarks.servers.faulty PORT FAULT ANSWERS_FILE

`ANSWERS_FILE` is a JSON object from paths to the bodies of right answers, for the faults that
answer rightly and then do something about the connection. It ends by SIGTERM.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
BYTE_EVERY_S: Final = 0.05
FOR_EVER_S: Final = 3600.0
GARBAGE: Final = b"\x16\x03\x01\x00\xa5 this is no HTTP \x00\xff\xfe\r\n\r\n" * 4
MANY_HEADERS: Final = b"".join(b"x-%d: %s\r\n" % (n, b"y" * 1000) for n in range(200))


@dataclass(frozen=True, slots=True)
class Connection:
    """A caller's connection, and which of its requests is being answered."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    right: bytes
    number: int

    async def send(self, content: bytes) -> None:
        """Sends bytes."""
        self.writer.write(content)
        await self.writer.drain()

    def reset(self) -> None:
        """Ends the connection at once."""
        self.writer.transport.abort()


def answer(body: bytes, status: str = "200 OK", headers: bytes = b"") -> bytes:
    """A whole answer."""
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\n" % status.encode()
    return head + headers + b"content-length: %d\r\n\r\n" % len(body) + body


async def garbage(to: Connection) -> None:
    """Answers with bytes that are no HTTP."""
    await to.send(GARBAGE)


async def half_then_close(to: Connection) -> None:
    """Sends half of a right answer and closes."""
    whole = answer(to.right)
    await to.send(whole[: len(whole) - len(to.right) // 2])
    to.writer.close()


async def half_then_silence(to: Connection) -> None:
    """Sends half of a right answer and nothing more."""
    whole = answer(to.right)
    await to.send(whole[: len(whole) - len(to.right) // 2])
    await asyncio.sleep(FOR_EVER_S)


async def failing(to: Connection) -> None:
    """Answers 500."""
    await to.send(answer(b'{"error":{"code":"oops","message":"oops"}}', "500 Oops"))


async def shedding(to: Connection) -> None:
    """Answers 503 and asks for patience."""
    body = b'{"error":{"code":"overloaded","message":"too much"}}'
    await to.send(answer(body, "503 Service Unavailable", b"retry-after: 1\r\n"))


async def byte_by_byte(to: Connection) -> None:
    """Sends a right answer, too slowly to be of use."""
    for byte in answer(to.right):
        await to.send(bytes([byte]))
        await asyncio.sleep(BYTE_EVERY_S)


async def closing_after_answers(to: Connection) -> None:
    """Answers rightly and closes without having said so."""
    await to.send(answer(to.right))
    to.writer.close()


async def closing_on_reuse(to: Connection) -> None:
    """Answers the first request of a connection, and closes as soon as a second one comes."""
    if to.number > 1:
        to.reset()
    else:
        await to.send(answer(to.right))


async def closing_always(to: Connection) -> None:
    """Closes as soon as a request has come."""
    to.reset()


async def silent(to: Connection) -> None:
    """Takes requests and never answers."""
    del to
    await asyncio.sleep(FOR_EVER_S)


async def not_json(to: Connection) -> None:
    """Answers 200 with something else than JSON."""
    await to.send(answer(b"<html>Welcome</html>"))


async def other_shape(to: Connection) -> None:
    """Answers 200 with fewer scores than its metadata says."""
    await to.send(answer(b'{"prediction":[0.5]}'))


async def redirecting(to: Connection) -> None:
    """Sends callers elsewhere."""
    await to.send(answer(b"", "302 Found", b"location: http://127.0.0.1:1/predict\r\n"))


async def endless_head(to: Connection) -> None:
    """Answers with a head of 200 kB."""
    await to.send(b"HTTP/1.1 200 OK\r\n" + MANY_HEADERS + b"content-length: 2\r\n\r\n{}")


async def answering_twice(to: Connection) -> None:
    """Sends a right answer and, unasked, a wrong one behind it."""
    await to.send(answer(to.right) + answer(b'{"prediction":[0.0,1.0]}'))


FAULTS: Final[Mapping[str, Callable[[Connection], Awaitable[None]]]] = {
    "garbage": garbage,
    "half-then-close": half_then_close,
    "half-then-silence": half_then_silence,
    "failing": failing,
    "shedding": shedding,
    "byte-by-byte": byte_by_byte,
    "closing-after-answers": closing_after_answers,
    "closing-on-reuse": closing_on_reuse,
    "closing-always": closing_always,
    "silent": silent,
    "not-json": not_json,
    "other-shape": other_shape,
    "redirecting": redirecting,
    "endless-head": endless_head,
    "answering-twice": answering_twice,
}


async def read_path(reader: asyncio.StreamReader) -> str:
    """Reads one request whole and returns its path.

    Raises:
        asyncio.IncompleteReadError: the caller has gone.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            length = int(value)
    await reader.readexactly(length)
    return head.split(b" ", 2)[1].decode()


async def serve(port: int, fault: str, answers: Mapping[str, str]) -> None:
    """Misbehaves until told to end."""
    misbehave = FAULTS[fault]

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                path = await read_path(reader)
                number += 1
                right = answers.get(path, "{}").encode()
                await misbehave(Connection(reader, writer, right, number))
        writer.close()

    server = await asyncio.start_server(connected, HOST, port, backlog=1024)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Serves as the arguments say."""
    port, fault, answers_file = sys.argv[1:]
    answers = json.loads(Path(answers_file).read_text())
    asyncio.run(serve(int(port), fault, answers))


if __name__ == "__main__":
    main()
