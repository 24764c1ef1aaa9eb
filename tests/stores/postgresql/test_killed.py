"""Killed at any point, by kill -9, with a real database: records written equal records there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from penstock.stores.postgresql.address import VARIABLE
from penstock.stores.postgresql.outbox import Outbox
from penstock.stores.postgresql.status import read_status
from penstock.stores.prediction_record import decode_record
from penstock.stores.segment import SegmentReader
from penstock.stores.segment_writer import segments_in
from tests.postgres import PostgresServer, asked
from tests.stores.postgresql.shipped import WALL_S, a_frame, a_writer, written
from tests.waiting import until_blocking

PATIENCE_S = 40.0
STEPS = {
    "read", "ship", "begin", "copy", "insert", "positions", "forget", "commit", "committed",
    "delete",
}  # fmt: skip


@contextmanager
def dying(folder: Path, address: str) -> Iterator[Callable[[int], str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.stores.postgresql.ship_and_die", str(folder)],
        env={**os.environ, VARIABLE: address},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def ship(last: int) -> str:
        stdin.write(f"{last}\n")
        stdin.flush()
        return stdout.readline().strip()

    with process:
        yield ship


def there(address: str) -> list[str]:
    return sorted(
        str(one) for (one,) in asked(address, "SELECT record_id FROM penstock_predictions")
    )


def waiting(folder: Path) -> set[str]:
    return {
        decode_record(payload).record_id
        for path in segments_in(Outbox(folder).path)
        for payload in SegmentReader(path).payloads()
    }


def test_killed_at_each_step_nothing_is_lost_or_doubled(tmp_path: Path, database: str) -> None:
    live = a_writer(tmp_path)
    number, last, died_at = 0, 1, set[str]()
    with dying(tmp_path, database) as ship:
        assert ship(10_000) == "done"  # the tables are there
        while True:
            for _ in range(3):
                written(tmp_path, range(number, number + 12), wall_s=WALL_S + last)
                number += 12
            live.append(a_frame(number), WALL_S + last)
            number += 1
            step = ship(last)
            expected = {f"r{one}" for one in range(number)}
            found = there(database)
            assert set(found) | waiting(tmp_path) == expected, step
            assert len(found) == len(set(found))
            if step == "done":
                break
            died_at.add(step)
            last += 1
    assert died_at == STEPS
    assert set(there(database)) == expected
    assert len(segments_in(Outbox(tmp_path).path)) == 1
    assert len(asked(database, "SELECT * FROM penstock_positions")) == 1
    live.close()


class Writes(threading.Thread):
    """Writes records as two processes would, until told to stop."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._stopping = threading.Event()
        self.written = 0

    def run(self) -> None:
        writers = [a_writer(self._folder) for _ in range(2)]
        for turn in range(1_000_000):
            for writer in writers:
                frames = [a_frame(self.written + one) for one in range(40)]
                writer.append(b"".join(frames), WALL_S + turn)
                self.written += len(frames)
                if turn % 25 == 24:
                    writer.close()
            if self._stopping.wait(0.002):
                break
        for writer in writers:
            writer.close()

    def stop(self) -> None:
        self._stopping.set()
        self.join()


class Shipping:
    """`penstock log ship`, as somebody would start it by hand."""

    def __init__(self, folder: Path, address: str, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "log", "ship", "--log-dir", str(folder), *options],
            env={**os.environ, VARIABLE: address},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> tuple[int, str]:
        _, told = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, told


def count(address: str) -> int:
    try:
        ((found,),) = asked(address, "SELECT count(*) FROM penstock_predictions")
    except psycopg.OperationalError:
        return 0  # it is being started
    except psycopg.errors.UndefinedTable:
        return 0
    return int(found)


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_under_load_and_the_database_restarted(
    tmp_path: Path, postgres: PostgresServer, database: str, seed: int
) -> None:
    rng = random.Random(seed)
    writes = Writes(tmp_path)
    writes.start()
    shipping = Shipping(tmp_path, database)
    try:
        for turn in range(6):
            before = count(database)
            until_blocking(lambda: count(database) >= before + rng.randrange(1, 3000))  # noqa: B023
            if turn in (2, 4):
                postgres.stop()
                postgres.start()
            else:
                shipping.kill()
                shipping = Shipping(tmp_path, database)
        until_blocking(lambda: getattr(read_status(tmp_path), "pid", 0) == shipping.process.pid)
    finally:
        writes.stop()
        shipping.process.send_signal(signal.SIGTERM)
        status, told = shipping.end()
    assert status == 0, told
    if segments_in(Outbox(tmp_path).path):  # it was still connecting
        status, told = Shipping(tmp_path, database, "--once").end()
        assert status == 0, told
    assert there(database) == sorted(f"r{one}" for one in range(writes.written))
    assert segments_in(Outbox(tmp_path).path) == []
    ended = read_status(tmp_path)
    assert ended is not None
    assert (ended.waiting, ended.refused, ended.unreadable, ended.dropped) == (0, 0, 0, 0)
    assert "sesame" not in told
