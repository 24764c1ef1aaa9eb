"""Records on their way to a database, and what takes the database's place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import astuple

from penstock.stores.postgresql.database import CannotShip, RowsRefused
from penstock.stores.postgresql.outbox import Outbox
from penstock.stores.postgresql.row import Row
from penstock.stores.prediction_record import PredictionRecord, encode_fields
from penstock.stores.segment import framed
from penstock.stores.segment_writer import SegmentWriter

WALL_S = 1_750_000_000.0

HOSTILE = (
    "\0",
    "a\0b\\u0000c",
    "\\u0000",
    '"\\\t\n\r\\.',
    "\\N",
    "\U0001f600 \ufffe \u2028",
    "x" * 300_000,
    "{}",
    "'; DROP TABLE penstock_predictions; --",
)
"""Texts that a database, or a way to it, may not take as they are."""


def a_prediction(number: int = 0, **fields: object) -> PredictionRecord:
    """Return a record whose ids tell its number."""
    usual: dict[str, Any] = {
        "schema": 1,
        "record_id": f"r{number}",
        "role": "primary",
        "route": "iris",
        "place": "iris",
        "time_us": int(WALL_S * 1e6),
        "elapsed_ms": 2.5,
        "request_id": f"q{number}",
        "seed": 255,
        "generation": 3,
        "model": "svc",
        "version": "1",
        "rows": 1,
        "input": [[1.0, 2.0]],
        "output": [[0.25, 0.75]],
        "status": 200,
    }
    return PredictionRecord(**{**usual, **fields})


def a_frame(number: int = 0, **fields: object) -> bytes:
    return framed(encode_fields(astuple(a_prediction(number, **fields))))


def a_writer(folder: Path, outbox: Outbox | None = None) -> SegmentWriter:
    """Return what writes the log in a folder, with an outbox."""
    return SegmentWriter(folder / "segments", began=(outbox or Outbox(folder)).add)


def written(
    folder: Path, numbers: Sequence[int], *, closed: bool = True, wall_s: float = WALL_S
) -> SegmentWriter:
    """Write records of these numbers into a segment of their own; return its writer."""
    writer = a_writer(folder)
    for number in numbers:
        writer.append(a_frame(number), wall_s)
    if closed:
        writer.close()
    return writer


class FakeDatabase:
    """Keeps what is shipped to it.

    Attributes:
        rows: that it has, by record id.
        positions: of the segments.
        refuses: record ids that it refuses, but for bare rows of those in `takes_bare`.
        takes_bare: record ids.
        down: why it does not answer; empty: it does.
        ships: how many transactions it has made.
    """

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.positions: dict[str, int] = {}
        self.refuses: set[str] = set()
        self.takes_bare: set[str] = set()
        self.down = ""
        self.ships = 0
        self.opened = 0
        self._open = False

    @property
    def is_open(self) -> bool:
        return self._open

    def open(self) -> Mapping[str, int]:
        self._answer()
        self._open = True
        self.opened += 1
        return dict(self.positions)

    def ship(
        self, rows: Sequence[Row], positions: Mapping[str, int], forget: Sequence[str] = ()
    ) -> int:
        self._answer()
        assert self._open
        for row in rows:
            is_bare = "input" in row[21]
            if row[0] in self.refuses and not (is_bare and row[0] in self.takes_bare):
                raise RowsRefused(f"{row[0]} is refused")
        new = {row[0]: row for row in rows if row[0] not in self.rows}
        self.rows |= new
        self.positions |= positions
        for name in forget:
            self.positions.pop(name, None)
        self.ships += 1
        return len(new)

    def close(self) -> None:
        self._open = False

    def _answer(self) -> None:
        if self.down:
            self._open = False
            raise CannotShip("down", self.down)
