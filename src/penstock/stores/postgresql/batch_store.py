"""Stores a batch of records in a database, whatever of them it refuses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol, final

from msgspec import Struct

from penstock.stores.postgresql.database import CannotShip, RowsRefused
from penstock.stores.postgresql.row import Row, bare_row_of, row_of
from penstock.stores.prediction_record import PredictionRecord

SURE_REFUSALS: Final = 16
"""Rows that a database refuses one by one, and takes none, before that is its state, not theirs."""


class Database(Protocol):
    """Where records are shipped to: `Postgresql`, or a fake."""

    @property
    def is_open(self) -> bool:
        """Whether it can be shipped to."""

    def open(self) -> Mapping[str, int]:
        """Connect; return how far each segment has been shipped."""

    def ship(
        self, rows: Sequence[Row], positions: Mapping[str, int], forget: Sequence[str] = ()
    ) -> int:
        """Store rows and positions, all or nothing; return how many rows were new."""

    def close(self) -> None:
        """End the connection."""


class Stored(Struct):
    """What has become of records.

    Attributes:
        new: they were stored.
        bare: they were stored without what is bulky.
        known: they were there already.
        refused: they are passed over.
        refusal: what the database said of one of them.
    """

    new: int = 0
    bare: int = 0
    known: int = 0
    refused: int = 0
    refusal: str = ""

    @property
    def taken(self) -> int:
        """How many are in the database."""
        return self.new + self.bare + self.known


class _Made(Struct, frozen=True):
    """A record and its row; a bare one, where there is no other."""

    record: PredictionRecord
    row: Row
    is_bare: bool = False


@final
class BatchStore:
    """Stores batches: a record that is refused costs no other.

    Args:
        database: where they are stored.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def store(
        self,
        records: Iterable[PredictionRecord],
        positions: Mapping[str, int],
        forget: Sequence[str],
    ) -> Stored:
        """Store records, and how far their segments have been shipped then.

        Args:
            records: of a batch.
            positions: by the segment's name.
            forget: names of segments that are no more.

        Raises:
            CannotShip: the database is out of reach, or takes none of the records.
        """
        made = [_made(record) for record in records]
        stored = Stored()
        try:
            self._store(made, positions, forget, stored)
        except RowsRefused as error:
            self._store_apart(made, stored, error)
            if not stored.taken:
                raise _takes_none(error) from error
            self._store((), positions, forget, stored)
        return stored

    def _store(
        self,
        made: Sequence[_Made],
        positions: Mapping[str, int],
        forget: Sequence[str],
        stored: Stored,
    ) -> None:
        new = self._database.ship([one.row for one in made], positions, forget)
        bare = sum(one.is_bare for one in made) if new == len(made) else 0
        stored.new += new - bare
        stored.bare += bare
        stored.known += len(made) - new

    def _store_apart(self, made: Sequence[_Made], stored: Stored, refusal: RowsRefused) -> None:
        """Store by halves, ever smaller, until those that are refused stand alone."""
        if len(made) == 1:
            self._store_bare(made[0], stored)
            return
        middle = len(made) // 2
        for half in (made[:middle], made[middle:]):
            try:
                self._store(half, {}, (), stored)
            except RowsRefused as error:
                self._store_apart(half, stored, error)
            if not stored.taken and stored.refused >= SURE_REFUSALS:
                raise _takes_none(refusal) from refusal

    def _store_bare(self, one: _Made, stored: Stored) -> None:
        try:
            if self._database.ship([bare_row_of(one.record)], {}):
                stored.bare += 1
            else:
                stored.known += 1
        except RowsRefused as error:
            stored.refused += 1
            stored.refusal = error.message


def _made(record: PredictionRecord) -> _Made:
    try:
        return _Made(record, row_of(record))
    except Exception:  # noqa: BLE001 - something in it is no JSON: the rest of it is kept
        return _Made(record, bare_row_of(record), is_bare=True)


def _takes_none(error: RowsRefused) -> CannotShip:
    return CannotShip("refused", f"the database takes none of the records: {error.message}")
